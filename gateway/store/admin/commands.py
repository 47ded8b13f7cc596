"""`dask-gateway-server db`: what administrators do with the database, apart from the gateway.

The gateway itself makes its database, upgrades it and takes a new first key at
its start, so none of this is needed to run one. `check` and `backup` only
read, whether a gateway is at work or not; the others take its lock.
"""

import json
import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from attrs import asdict, frozen

from gateway import log
from gateway.config.backend import encryption_keys
from gateway.config.chosen import Chosen
from gateway.errors import ConfigError, GatewayError
from gateway.store.admin.sentences import (
    contents,
    findings_lines,
    findings_object,
    preparation_lines,
    preparation_object,
)
from gateway.store.backup import BackupFailed, back_up
from gateway.store.database import Database
from gateway.store.files import key_file_of
from gateway.store.keys import ENVIRONMENT_VARIABLE, OPTION, Keys, find_keys
from gateway.store.reader import file_of, open_reader
from gateway.store.rotation import finish, replace_key
from gateway.store.schema import SCHEMA_VERSION

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_file = click.option(
    "-f", "--config", "file", type=click.Path(path_type=Path), help="The gateway's configuration file."
)


@frozen
class _Place:
    """Where the configuration says that the database is, and what its keys are."""

    url: str
    keys: Sequence[str]

    def open(self, holder: str) -> Database:
        return Database.open(self.url, keys=self.keys, environment=os.environ, holder=holder)


def _needs_place(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """For a command: its first argument is the place that the configuration says."""

    @_file
    @wraps(function)
    def command(file: Path | None, **arguments: Any) -> int | None:
        log.set_up("WARNING")
        chosen: Chosen = click.get_current_context().obj
        backend = chosen.and_then(file, None).load().backend
        return function(_Place(backend.db_url, encryption_keys(backend.db_encrypt_keys)), **arguments)

    return command


@click.group()
@_file
@click.pass_context
def db(context: click.Context, file: Path | None) -> None:
    """Check, copy and upgrade the database, and replace its key."""
    context.obj = context.obj.and_then(file, None)


@db.command()
@_json
@_needs_place
def upgrade(place: _Place, as_json: bool) -> None:
    """Bring the tables to this version's schema.

    The gateway does the same at its start. An SQLite database is copied first.
    """
    file = file_of(place.url)  # a file that is not there is rather in another place than to be made
    with closing(place.open("`dask-gateway-server db upgrade`")) as database:
        done = database.preparation
    name = _name(place.url, file)
    if as_json:
        click.echo(json.dumps(preparation_object(name, done), indent=2))
    else:
        click.echo("\n".join(preparation_lines(name, done)))


@db.command()
@_json
@_needs_place
def check(place: _Place, as_json: bool) -> int:
    """Say what is wrong, and what a start would do.

    All rows are read, and nothing is written; the gateway may run.
    """
    with open_reader(place.url, keys=place.keys, environment=os.environ) as reader:
        findings = reader.inspect()
    if findings.schema is None and not findings.problems:
        raise GatewayError(
            f"The database {reader.name} has no tables of a gateway, which makes them at its first start."
        )
    if as_json:
        click.echo(json.dumps(findings_object(reader.name, reader.keys, findings), indent=2))
    else:
        click.echo("\n".join(findings_lines(reader.name, reader.keys, findings)))
    return 1 if findings.problems else 0


@db.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@_json
@_needs_place
def backup(place: _Place, target: Path, as_json: bool) -> None:
    """Copy an SQLite database, with its key, to FILE.

    The key file goes to FILE.key. The gateway may run.
    """
    file = file_of(place.url)
    if file is None:
        raise BackupFailed(_how_to_dump(place.url, target))
    made = back_up(file, target, keys=place.keys, environment=os.environ)
    if as_json:
        key_file = None if made.key_file is None else str(made.key_file)
        about = {"file": str(made.file), "key_file": key_file, "bytes": made.file.stat().st_size}
        click.echo(json.dumps({**about, **asdict(made.findings)}, indent=2))
        return
    click.echo(f"Backed up to {made.file}: {contents(made.findings)}; schema {made.findings.schema}.")
    if made.key_file is not None:
        click.echo(f"Its key is in {made.key_file}: whoever has both can read the secrets of clusters.")
    else:
        click.echo("Its key is not in it: keep that of the configuration, without which the backup cannot be read.")


def _how_to_dump(url: str, target: Path) -> str:
    parsed = sa.make_url(url)
    query = {name: value for name, value in parsed.query.items() if "password" not in name}
    plain = parsed.set(drivername="postgresql", password=None, query=query).render_as_string()
    command = shlex.join(["pg_dump", "--format=custom", "--table=dask_gateway*", f"--file={target}", plain])
    return (
        f"The database is PostgreSQL's, whose own tools copy it while the gateway runs:\n    {command}\n"
        "Keep the encryption keys as well, without which nobody can read it."
    )


@db.command()
@_needs_place
def rotate_keys(place: _Place) -> None:
    """Put a new key in the place of the old one.

    Everything is encrypted and sealed anew, while no gateway runs.
    """
    file = file_of(place.url)
    name = _name(place.url, file)
    keys = find_keys(place.keys, os.environ, None if file is None else key_file_of(file), new=False)
    if keys.file is None and len(keys.values) == 1:
        raise ConfigError(_what_to_write(keys))
    with closing(place.open("`dask-gateway-server db rotate-keys`")) as database:
        findings = finish(database) if keys.file is None else replace_key(database)
    click.echo(f"The database {name} is encrypted and sealed with the new key alone: {contents(findings)}.")
    if keys.file is None:
        click.echo(f"Remove the other keys from {keys.source} now.")
    else:
        click.echo(f"The new key is in {keys.file}; the old one is gone from there.")
        click.echo("Backups need the keys that they were made with. Make a new backup.")
    for copy in _old_copies(file):
        click.echo(f"A copy of before an upgrade is still there, with its key: remove {copy} and {key_file_of(copy)}.")
    click.echo("Whoever is logged in with a browser has to log in again.")


def _old_copies(file: Path | None) -> list[Path]:
    if file is None:
        return []
    names = (f"{file.name}.schema-{schema}" for schema in range(1, SCHEMA_VERSION))
    return [file.with_name(name) for name in names if key_file_of(file.with_name(name)).exists()]


def _what_to_write(keys: Keys) -> str:
    both = f'c.{OPTION} = ["NEW", "OLD"]' if keys.source == OPTION else f"{ENVIRONMENT_VARIABLE}='NEW;OLD'"
    return (
        f"The key is in {keys.source}, where only you can replace it:\n"
        "1. Make a new key: openssl rand -base64 32\n"
        f"2. Write it in front of the present one: {both}\n"
        "3. Stop the gateway, and run this again. (A restart of the gateway encrypts everything anew as well, but\n"
        "   what the old key opens stays in the free space of an SQLite file.)\n"
        "4. Remove the old key, and start the gateway."
    )


def _name(url: str, file: Path | None) -> str:
    return str(file or sa.make_url(url).set(query={}).render_as_string(hide_password=True))

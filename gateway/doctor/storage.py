"""The database: its folder, whether it can be opened, and room for it to grow."""

import os
from collections.abc import Iterator
from pathlib import Path

from gateway.backends.launcher.client import own_account
from gateway.config.backend import encryption_keys
from gateway.doctor import room
from gateway.doctor.finding import Finding, failed, ok, skipped
from gateway.doctor.site import Say, Site, is_root, looked_at
from gateway.errors import GatewayError
from gateway.store.files import check_folder
from gateway.store.reader import open_reader

_CHECK = "database"


async def examine(site: Site, say: Say) -> None:
    """Look at the folder, then into the database."""
    backend = site.config.backend
    if backend.database_in_memory:
        say(skipped(_CHECK, "it is in memory (db_url): clusters are stopped when the gateway stops"))
        return
    if backend.database_file:
        for finding in await looked_at(lambda: list(_folder(os.path.abspath(backend.database_file)))):
            say(finding)
    say(await looked_at(_contents, site))


def _folder(file: str) -> Iterator[Finding]:
    """What there is to say of the folder of an SQLite database."""
    folder = os.path.dirname(file)
    if not os.path.isdir(folder):
        yield failed(
            "database folder", f"there is no folder {folder}", f"install -d -m 700 -o {own_account()} {folder}"
        )
        return
    if not is_root():  # for whom the gateway's own folder is somebody else's
        try:
            check_folder(file)
        except GatewayError as error:
            yield failed("database folder", str(error), f"chown {own_account()} {folder}; chmod 700 {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            evidence = f"{own_account()} cannot make files in {folder}, where db_url has the database"
            remedy = f"chown {own_account()} {folder}, or run this in the gateway's working directory"
            yield failed("database folder", evidence, remedy)
    yield from room.verdicts("database", folder, os.statvfs(folder))


def _contents(site: Site) -> Finding:
    backend = site.config.backend
    remedy = f"dask-gateway-server db check{f' -f {site.file}' if site.file else ''}"
    file = backend.database_file
    if file and not os.path.exists(file):
        return ok(_CHECK, f"{os.path.abspath(file)} is not there yet; the gateway makes it")
    if file and os.stat(file).st_uid != os.geteuid():
        if is_root():
            return skipped(_CHECK, "root does not open a database of somebody else's")
        return failed(
            _CHECK, f"{file} does not belong to {own_account()}", f"chown {own_account()} {Path(file).absolute()}*"
        )
    try:
        keys = encryption_keys(backend.db_encrypt_keys)
        with open_reader(backend.db_url, keys=keys, environment=os.environ) as reader:
            found = reader.inspect()
            name = reader.name
    except GatewayError as error:
        return failed(_CHECK, str(error), remedy)
    if found.problems:
        return failed(_CHECK, found.problems[0], remedy)
    return ok(_CHECK, f"{name}: {found.clusters} clusters")

"""Backups of an SQLite database that may be in use: copied, read once as a gateway would, and only then named."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from gateway.errors import GatewayError
from gateway.store.copies import copy_database, copy_key_file, draft_of, drafts_removed, said
from gateway.store.errors import StoreUnavailable
from gateway.store.files import key_file_of
from gateway.store.inspection import Findings
from gateway.store.keys import find_keys
from gateway.store.publishing import publish
from gateway.store.reader import read_file
from gateway.trusted_files import unsafe


class BackupFailed(GatewayError):
    """There is no backup; the text says why."""


@frozen
class Backup:
    """A backup that could be read: its file, that of its keys unless they come from elsewhere, and what is in it."""

    file: Path
    key_file: Path | None
    findings: Findings


def back_up(database: Path, target: Path, *, keys: Sequence[str], environment: Mapping[str, str]) -> Backup:
    """Copy a database, with its key file, to names that are free. Raises `BackupFailed` or `StartError`."""
    target = Path(os.path.abspath(target))
    _check_place(target)
    draft = draft_of(target)
    in_key_file = find_keys(keys, environment, key_file_of(database), new=False).file is not None
    try:
        with drafts_removed(target):
            copy_database(database, draft)
            if in_key_file:
                copy_key_file(database, draft)
            with read_file(draft, keys=keys, environment=environment) as reader:
                findings = reader.inspect()
            if findings.problems or findings.schema is None:
                why = " ".join(findings.problems) or "it has no tables of a gateway."
                raise BackupFailed(f"A backup of the database {database} would be of no use, and is not kept: {why}")
            if in_key_file:  # first: a backup without its key would only look like one
                publish(key_file_of(draft), key_file_of(target))
            publish(draft, target)
    except StoreUnavailable as error:
        raise BackupFailed(
            f"A backup of the database {database} would be of no use, and is not kept. {error}"
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"The database {database} cannot be backed up to {target}: {said(error)}.") from error
    return Backup(target, key_file_of(target) if in_key_file else None, findings)


def _check_place(target: Path) -> None:
    """Raises `BackupFailed`."""
    owners = (0, os.geteuid())
    why = unsafe(str(target.parent), folder=True, owners=owners, group_may_write=os.geteuid() != 0)
    if why:
        raise BackupFailed(
            f"{target.parent} is no folder for a backup: {why}. The backup holds keys, and others could exchange it:"
            " choose a folder of the gateway's user that nobody else can write to."
        )
    for path in (target, key_file_of(target)):
        if os.path.lexists(path):
            raise BackupFailed(f"{path} is there already, and nothing is overwritten: choose another name.")
    if os.path.lexists(draft_of(target)):
        raise BackupFailed(
            f"{draft_of(target)} is there: another backup is being made, or was interrupted. If none is, remove"
            f" {draft_of(target)}*."
        )

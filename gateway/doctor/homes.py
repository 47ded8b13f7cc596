"""The directories in which users' jobs have their logs: there, reachable, theirs, writable, with room."""

import grp
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from gateway.doctor import room
from gateway.doctor.finding import Finding, failed, ok, skipped, warning


def may_write(status: os.stat_result, uid: int, gids: Collection[int]) -> bool:
    """Whether a user may make files in a folder, by its mode alone."""
    if status.st_uid == uid:
        needed = 0o300
    elif status.st_gid in gids:
        needed = 0o030
    else:
        needed = 0o003
    return status.st_mode & needed == needed


def verdicts(account: pwd.struct_passwd, template: str) -> Iterator[Finding]:
    """What there is to say of the directory that a template such as `{home}/.dask-gateway` stands for; blocking."""
    name = account.pw_name
    if "{home}" in template:
        found = list(_home(account))
        yield from found
        if any(finding.status == "failed" for finding in found):
            return
    path = template.replace("{home}", account.pw_dir).replace("{username}", name)
    check = f"{name}'s logs"
    try:
        folder = _nearest(path)
        status = folder.stat()
        gids = {account.pw_gid, *os.getgrouplist(name, account.pw_gid)}
    except PermissionError as error:
        yield skipped(check, f"{error.filename} cannot be looked at from this account; --submit-as {name} tries it")
        return
    except OSError as error:
        yield failed(check, f"{path} cannot be reached: {error.strerror}", f"ls -ld {path}, and see its file system")
        return
    if not may_write(status, account.pw_uid, gids):
        evidence = f"{name} cannot make {path}: {folder} {_shown(status)}"
        yield failed(
            check, evidence, f"install -d -m 700 -o {name} {path}, or c.JobQueueClusterConfig.staging_directory"
        )
        return
    yield ok(check, f"{path} can be made by {name}" if str(folder) != path else f"{path} can be written by {name}")
    yield from (finding for finding in room.verdicts(check, str(folder), os.statvfs(folder)) if finding.status != "ok")


def _home(account: pwd.struct_passwd) -> Iterator[Finding]:
    name, home = account.pw_name, account.pw_dir
    check = f"{name}'s home"
    try:
        status = os.stat(home)
    except OSError as error:
        evidence = f"{home} cannot be reached on this host: {error.strerror}"
        yield failed(check, evidence, f"mount the file system of {home}, or mkhomedir_helper {name}")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield failed(check, f"{home} is no directory", f"usermod --home ... {name}")
    elif status.st_uid != account.pw_uid:
        yield failed(check, f"{home} {_shown(status)}, and not to {name}", f"chown {name} {home}")
    elif not may_write(status, account.pw_uid, ()):
        yield failed(
            check, f"{name} cannot write to {home}: mode {stat.S_IMODE(status.st_mode):o}", f"chmod u+wx {home}"
        )
    elif status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        yield warning(check, f"everybody can put files into {home}", f"chmod o-w {home}")
    else:
        yield ok(check, f"{home} belongs to {name}")


def _nearest(path: str) -> Path:
    """The path, or the folder above it that is there. Raises OSError."""
    for folder in (Path(path), *Path(path).parents):
        try:
            folder.stat()
        except FileNotFoundError:
            continue
        return folder
    return Path("/")


def _shown(status: os.stat_result) -> str:
    return f"belongs to {_user(status.st_uid)}:{_group(status.st_gid)}, mode {stat.S_IMODE(status.st_mode):o}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

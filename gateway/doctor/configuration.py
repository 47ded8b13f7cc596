"""The configuration: whether it can be read, what it warns of, and whether others could change it."""

import os
from collections.abc import Iterator
from pathlib import Path

from gateway.config.load import Config
from gateway.doctor.finding import Finding, failed, ok, warning
from gateway.doctor.site import is_root
from gateway.trusted_files import unsafe

CHECK = "configuration"


def mistakes(text: str, file: Path | None) -> Iterator[Finding]:
    """What is wrong with a configuration, by the error that it was refused with: a finding for each mistake."""
    heading, *rest = text.splitlines()
    remedy = f"dask-gateway-server check-config{f' -f {file}' if file else ''}"
    for line in rest or [heading]:
        yield failed(CHECK, line, remedy)


def verdicts(config: Config, file: Path | None) -> Iterator[Finding]:
    """What there is to say of one that can be read."""
    yield ok(CHECK, f"{file or 'the defaults'}: no mistakes")
    for text in config.warnings:
        yield warning(CHECK, text, "change the option that it names")
    if file is not None:
        yield from _who_could_change(file)


def _who_could_change(file: Path) -> Iterator[Finding]:
    """The file is a program, which the gateway runs."""
    owners = {0, os.geteuid()}
    if is_root():  # the gateway's account is another one, and may own it
        owners.add(file.stat().st_uid)
    remedy = f"chown root {file}; chmod go-w {file}, and its folders"
    if why := unsafe(str(file), owners=owners, group_may_write=True):
        yield failed("configuration file", f"others could run programs as the gateway: {why}", remedy)
    elif why := unsafe(str(file), owners=owners):
        yield warning("configuration file", f"a group could run programs as the gateway: {why}", remedy)

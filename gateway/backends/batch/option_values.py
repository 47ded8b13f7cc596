"""Texts that options of batch systems are made of: each checked, and read, by one function (pure)."""

import re

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_PORTS = re.compile(r"(\d{1,5})(?:[:-](\d{1,5}))?")


def walltime_seconds(text: str) -> int:
    """Seconds of a time limit in the forms that sbatch takes.

    These are `MINUTES`, `MINUTES:SECONDS`, `HOURS:MINUTES:SECONDS`, `DAYS-HOURS`, `DAYS-HOURS:MINUTES` and
    `DAYS-HOURS:MINUTES:SECONDS`. Raises ValueError.
    """
    match = _WALLTIME.fullmatch(text)
    if match is None:
        raise ValueError("must be a time like 90 (minutes), 1:30:00 or 2-12 (days and hours)")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:  # hours come first
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:  # minutes come first
        hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        raise ValueError("must be longer than nothing; leave it empty for the batch system's own limit")
    return total


def check_walltime(text: str) -> None:
    """Raises ValueError for what is neither empty nor a time limit."""
    if text:
        walltime_seconds(text)


def port_range(text: str) -> tuple[int, int]:
    """The first and last port of `8786` or `8786:8800`. Raises ValueError."""
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError("must be a port, or the first and last of a range like 8786:8800")
    first = int(match[1])
    last = int(match[2] or first)
    if not first <= last <= 65535 or (match[2] and (first < 1 or last - first < 2)):
        raise ValueError("must be ports up to 65535; a scheduler needs a range of at least three")
    return first, last


def shebang_line(line: str) -> str:
    """The line without blanks around it. Raises ValueError for what does not begin a script."""
    line = line.strip()
    if "\n" in line or "\0" in line or not re.match(r"#! ?/", line):
        raise ValueError("must be one line that begins with #! and a path, like '#!/bin/bash -l'")
    return line


def directory_template(text: str) -> str:
    """A directory with {home} and {username} in it. Raises ValueError for other fields and relative paths."""
    bare = text.replace("{home}", "/home").replace("{username}", "user")
    if text and (re.search(r"[{}\\\x00-\x1f\x7f]", bare) or not bare.startswith("/")):
        raise ValueError("must be an absolute path, or begin with {home}; the only fields are {home} and {username}")
    return text


def check_variable_names(names: tuple[str, ...]) -> None:
    """Raises ValueError for what no environment variable can be called."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"must be names of environment variables ({name!r} is none)")

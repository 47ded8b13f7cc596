"""Attributes as PBS prints them: table, `-f` text, `-F dsv`, `-F json`. Pure.

Everything odd here is in the recordings: text that passes newlines on raw,
JSON that turns a variable's value into a number where it can and passes bytes
that are not UTF-8 on, ids cut to 16 characters and a star.
"""

import re
from typing import Any

WIDTH = 79
TAB = 8
HEADER = (
    "Job id            Name             User              Time Use S Queue\n"
    "----------------  ---------------- ----------------  -------- - -----\n"
)
COUNTS = {"Priority", "substate", "run_count", "Stageout_status", "Exit_status"}
NUMBERS = COUNTS | {"session_id", "array_index", "history_timestamp"}  # attributes that are numbers by type
_NUMBER = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def cut(text: str, width: int) -> str:
    """Text that fits, else its beginning and a star."""
    return text if len(text) <= width else text[: width - 1] + "*"


def table_row(job: str, name: str, user: str, used: str, state: str, queue: str) -> str:
    """A line of the table. Ids have 17 columns, but only 16 are printed of one that does not fit."""
    shown = job if len(job) <= 17 else job[:16] + "*"
    return f"{shown:<17} {cut(name, 16):<16} {cut(user, 16):<16}  {used:>8} {state} {queue:<16}\n"


def row_of(job: str, attributes: list[list[Any]]) -> str:
    """The line of the table for a job."""
    values = {(name, resource): value for name, resource, value in attributes}
    return table_row(
        job,
        values["Job_Name", None],
        values["Job_Owner", None].partition("@")[0],
        values.get(("resources_used", "cput"), "0"),
        values["job_state", None],
        values["queue", None],
    )


def _variable(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def text_of(job: str, attributes: list[list[Any]]) -> str:
    """`qstat -f`: one attribute a line, broken at column 79, lists broken at commas."""
    lines = [f"Job Id: {job}\n"]
    for name, resource, value in attributes:
        start = f"    {name}.{resource} = " if resource else f"    {name} = "
        lines.append(_broken_list(start, value) if isinstance(value, list) else _broken(start, value))
    return "".join([*lines, "\n"])


def _broken(start: str, value: str) -> str:
    first = WIDTH - len(start)
    parts = [value[:first]]
    rest = value[first:]
    while rest:
        parts.append(rest[: WIDTH - TAB])
        rest = rest[WIDTH - TAB :]
    return start + "\n\t".join(parts) + "\n"


def _broken_list(start: str, pairs: list[list[str]]) -> str:
    text, column = start, len(start)
    for number, (name, value) in enumerate(pairs):
        comma = "," if number < len(pairs) - 1 else ""
        width = len(name) + 1 + len(value) + len(comma)
        if number and column + width >= WIDTH:
            text, column = text + "\n\t", TAB
        text, column = f"{text}{name}={_variable(value)}{comma}", column + width
    return text + "\n"


def dsv_of(job: str, attributes: list[list[Any]]) -> str:
    """`qstat -f -F dsv`: all of a job in one line, `|` between."""
    parts = [f"Job Id: {job}"]
    for name, resource, value in attributes:
        if isinstance(value, list):
            value = ",".join(f"{k}={_variable(v)}" for k, v in value)
            value = value.replace("\\\\", "\\\\\\\\")
        parts.append(f"{name}{'.' + resource if resource else ''}={value}".replace("\n", "\\n").replace("|", "\\|"))
    return "|".join(parts) + "\n"


def json_head(server: str, now: int) -> str:
    """The beginning of a JSON answer."""
    return f'{{\n\t"timestamp":\t{now},\n\t"pbs_version":\t"23.06.06",\n\t"pbs_server":\t{_string(server)}'


JSON_TAIL = "\n}\n"


def json_jobs(jobs: list[tuple[str, list[list[Any]]]]) -> str:
    """The `Jobs` of a JSON answer."""
    return ',\n\t"Jobs":\t' + _object(2, [(job, _object(3, _members(attributes))) for job, attributes in jobs])


def _members(attributes: list[list[Any]]) -> list[tuple[str, str]]:
    members: list[tuple[str, str]] = []
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, resource, value in attributes:
        if resource:
            if name not in groups:
                groups[name] = []
                members.append((name, ""))
            groups[name].append((resource, _scalar(value)))
        elif isinstance(value, list):
            inner = [(key, _scalar(item.replace("\\", "\\\\"))) for key, item in value]
            members.append((name, _object(4, inner)))
        else:
            members.append((name, value if name in NUMBERS else _string(value)))
    return [(name, text or _object(4, groups[name])) for name, text in members]


def _object(depth: int, members: list[tuple[str, str]]) -> str:
    inner = ",\n".join(f"{chr(9) * depth}{_string(key)}:\t{text}" for key, text in members)
    return f"{{\n{inner}\n{chr(9) * (depth - 1)}}}"


def _scalar(text: str) -> str:
    """A value as PBS guesses it: a number or a truth value where it reads like one."""
    if text.strip() in ("true", "false", "null"):
        return text.strip()
    match = _NUMBER.fullmatch(text)
    if match is None:
        return _string(text)
    value = float(match[1])
    if value in (float("inf"), float("-inf")):
        return "null"
    return f"{value:.15g}" if float(f"{value:.15g}") == value else f"{value:.17g}"


def _string(text: str) -> str:
    return '"' + re.sub(r'["\\\x00-\x1f]', lambda m: _ESCAPES.get(m[0], f"\\u{ord(m[0]):04x}"), text) + '"'

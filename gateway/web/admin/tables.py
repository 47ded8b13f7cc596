"""Tables for people at a terminal; pure."""

from collections.abc import Sequence
from datetime import UTC, datetime


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns that stand below each other; without rows the headings alone."""
    whole = [headings, *rows]
    widths = [max(len(row[n]) for row in whole) for n in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in whole
    )


def moment(milliseconds: int | None, otherwise: str = "never") -> str:
    """A time in UTC, as the log has it, to the minute."""
    return otherwise if milliseconds is None else f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"

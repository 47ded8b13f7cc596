"""Files and functions stay small enough to be read at once.

Ruff counts branches and statements (pyproject.toml); here are the lengths, and
the ways through a function as radon counts them: with conditions that are
joined by `and` and `or`, and with comprehensions.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

#: Lines of a file and of a function, and ways through a function.
MOST_LINES, MOST_LINES_OF_FUNCTION, MOST_WAYS = 350, 60, 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> Iterator[Function]:
    yield from (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def ways(function: Function) -> int:
    """The cyclomatic complexity of a function, without that of functions inside it."""
    count = 1
    pending: list[ast.AST] = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, Function):
            continue
        pending += ast.iter_child_nodes(node)
        match node:
            case ast.If() | ast.IfExp() | ast.Assert():
                count += 1
            case ast.For(orelse=orelse) | ast.AsyncFor(orelse=orelse) | ast.While(orelse=orelse):
                count += 1 + bool(orelse)
            case ast.Try(handlers=handlers, orelse=orelse) | ast.TryStar(handlers=handlers, orelse=orelse):
                count += len(handlers) + bool(orelse)
            case ast.BoolOp(values=values):
                count += len(values) - 1
            case ast.comprehension(ifs=ifs):
                count += 1 + len(ifs)
            case ast.Match(cases=cases):
                count += len(cases)
    return count


def test_ways_are_counted() -> None:
    (plain, branching) = functions(
        "def f(): pass\n"
        "def g(a):\n  while a and b:\n    x = [i for i in a if i]\n    try: x if a else b\n    except E: pass\n"
    )
    assert (ways(plain), ways(branching)) == (1, 7)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_can_be_read_at_once(file: Path) -> None:
    source = file.read_text()
    assert len(source.splitlines()) <= MOST_LINES
    for function in functions(source):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= MOST_LINES_OF_FUNCTION, function.name
        assert ways(function) <= MOST_WAYS, function.name

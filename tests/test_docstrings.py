"""Docstrings of public functions name the errors that they raise."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(node: ast.AST) -> Iterator[Function]:
    """Functions and methods without an underscore, and constructors of such classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child)
        elif isinstance(child, Function) and (child.name == "__init__" or not child.name.startswith("_")):
            yield child


def raises(function: Function) -> bool:
    """True if the function itself raises something that it does not catch."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, Function | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if isinstance(node, ast.Try):
            pending += [*node.handlers, *node.orelse, *node.finalbody]
        else:
            pending += ast.iter_child_nodes(node)
    return False


def is_command(function: Function) -> bool:
    """True for a command of a program, whose docstring is shown to people."""
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_what_counts() -> None:
    tree = ast.parse(
        "def f(): raise E\ndef _g(): raise E\nclass C:\n  def m(self):\n    try: raise E\n    except E: pass\n"
        "class D:\n  def n(self):\n    def inner(): raise E\n  def o(self):\n    if a: raise E(1)\n"
    )
    assert [(function.name, raises(function)) for function in public_functions(tree)] == [
        ("f", True),
        ("m", False),
        ("n", False),
        ("o", True),
    ]


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_errors_are_named(file: Path) -> None:
    silent = [
        function.name
        for function in public_functions(ast.parse(file.read_text()))
        if raises(function) and not is_command(function) and "aise" not in (ast.get_docstring(function) or "")
    ]
    assert silent == []

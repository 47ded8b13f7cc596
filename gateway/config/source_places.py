"""Where in a site's files something of a class stands: "file:line", for messages."""

import ast
import inspect
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def place_of(cls: type, name: str = "", files: Iterable[str] = ()) -> str:
    """The place of a class's attribute or method, else that of the class; empty when it cannot be found.

    `files` are configuration files, which are no modules: classes of theirs are looked for by name.
    """
    if place := place_of_function(vars(cls).get(name)):
        return place
    for file in _files_of(cls, files):
        for node in _classes(file, cls.__name__):
            return f"{file}:{_line(node, name)}"
    return ""


def place_of_function(value: Any) -> str:
    """The place of a function, whatever it is wrapped in; empty for what is none."""
    for attribute in ("__func__", "fget", "func", "__wrapped__"):
        value = getattr(value, attribute, value)
    code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
    if code is None or code.co_filename.startswith("<"):  # made by a decorator, from a text of its own
        return ""
    return f"{code.co_filename}:{code.co_firstlineno}"


def _files_of(cls: type, files: Iterable[str]) -> Iterator[str]:
    module = sys.modules.get(cls.__module__)
    own = getattr(module, "__file__", None)
    yield from (own,) if own else files


def _classes(file: str, name: str) -> Iterator[ast.ClassDef]:
    """Every class of this name in a file, the last one first: it is the one that counts."""
    try:
        with tokenize.open(Path(file)) as opened:
            tree = ast.parse(opened.read())
    except (OSError, SyntaxError, ValueError):
        return
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
    yield from reversed(found)


def _line(node: ast.ClassDef, name: str) -> int:
    """The line of an assignment or a method in a class's body, else that of the class."""
    for statement in node.body:
        targets: list[Any] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if name in names or getattr(statement, "name", None) == name:
            return statement.lineno
    return node.lineno

"""Where in a site's files something of a class stands."""

import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.source_places import place_of, place_of_function

SOURCE = """\
import functools
def decorated(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args)
    return wrapper
class Ours:
    a = 1
    b: int = 2
    c = d = 3
    @staticmethod
    def e(): pass
    @property
    def f(self): pass
    @decorated
    def g(self): pass
    class h: pass
    i = functools.partial(print)
    (x, y) = 1, 2
"""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "our_places.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("our_places").Ours
    del sys.modules["our_places"]


def test_places(ours: Any, tmp_path: Path) -> None:
    lines = {"a": 7, "b": 8, "c": 9, "d": 9, "e": 10, "f": 12, "g": 14, "h": 16, "i": 17, "nothing": 6, "": 6, "x": 6}
    assert {name: place_of(ours, name) for name in lines} == {
        name: f"{tmp_path}/our_places.py:{line}" for name, line in lines.items()
    }


def test_a_class_of_a_file_that_is_no_module(tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text("class Ours: pass\nif True:\n    class Ours:\n        a = 1\n")
    namespace: dict[str, Any] = {"__name__": "no_module"}
    exec(file.read_text(), namespace)
    (tmp_path / "broken.py").write_text("class (:\n")
    files = [str(tmp_path / "none.py"), str(tmp_path / "broken.py"), str(file)]
    assert place_of(namespace["Ours"], "a", files) == f"{file}:4"
    assert place_of(namespace["Ours"], "a", files[:2]) == ""
    assert place_of(namespace["Ours"], "a") == ""


def test_functions() -> None:
    assert place_of_function(test_functions) == f"{__file__}:{test_functions.__code__.co_firstlineno}"
    assert place_of_function(functools.partial(test_functions)) == place_of_function(test_functions)
    assert place_of_function(3) == place_of_function(None) == place_of_function(print) == ""

"""Configuration files are Python: run them, and remember what was assigned to `c`, where, in which order.

`c.Proxy.address = ":8000"` is an assignment to the option `address` in the
section `Proxy`; what sections and options exist is load.py's business.
What has been set can be read back. What has not been set reads as the value
that holds so far (a parent class's, or the default), and when that is a list
or a dictionary it may be changed in place: `c.ClusterConfig.environment["A"] = "b"`.

A file that raises, or is no Python, gives a `Mistake` with the line; other
files, and what came before that line, still count, so that one run shows as
many mistakes as possible.
"""

import copy
import inspect
import os
import sys
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

from attrs import field, frozen

from gateway.config.compat import SECTION_ALIASES
from gateway.config.fields import default_of, is_configurable, settings_of
from gateway.config.site_errors import advice, place_raised
from gateway.config.structure import InvalidValue, shown
from gateway.config.traits import default_value, is_trait
from gateway.trusted_files import unsafe


@frozen
class Assignment:
    """`c.<section>.<option> = value` at `origin` ("file:line"); `order` counts through all files.

    `section` is the class's right name, `text` is what stands in the file, "c.Proxy.address".
    """

    text: str
    section: str
    option: str
    value: Any = field(repr=False)
    origin: str
    order: int


@frozen
class Mistake:
    """Something wrong, in words for people."""

    text: str
    order: int


class Recording:
    """What configuration files did. `classes`: the config classes known by name, for reading defaults."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        self.classes = dict(classes)
        self.mistakes: list[Mistake] = []
        self.warnings: list[str] = []
        self._assignments: dict[tuple[str, str], Assignment] = {}
        self._handed_out: dict[tuple[str, str], tuple[Assignment, Any]] = {}
        self._order = 0
        self._running: list[str] = []
        self._seen: set[str] = set()
        self._c = _Root(self)

    @property
    def assignments(self) -> Sequence[Assignment]:
        """The last assignment to each option, in order; a value changed in place counts as assigned."""
        changed = [given for given, original in self._handed_out.values() if given.value != original]
        return sorted((*self._assignments.values(), *changed), key=lambda assignment: assignment.order)

    @property
    def files(self) -> Sequence[str]:
        """Every file that was run."""
        return sorted(self._seen)

    def run(self, path: Path) -> None:
        """Run a file, from beginning to end or to its first exception. Mistakes are recorded, not raised."""
        name = str(path.absolute())
        if name in self._running:
            self.mistake(f"{self.where()}: load_subconfig: {name} loads itself")
            return
        try:
            with tokenize.open(name) as file:
                code = compile(file.read(), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            self.mistake(f"{error.filename or name}:{error.lineno or 1}: {type(error).__name__}: {error.msg}")
        except OSError as error:
            caller = f"{self.where()}: load_subconfig: " if self._running else ""
            self.mistake(f"{caller}cannot read {name}: {error.strerror}")
        except ValueError as error:  # bytes that are no text
            self.mistake(f"{name}:1: not a Python file: {error}")
        else:
            if self._is_ours(name):
                self._execute(code)

    def _is_ours(self, name: str) -> bool:
        """Whether a file may be run: not by root, if somebody else can write to it; by others with a warning."""
        root = os.geteuid() == 0
        why = unsafe(name, owners=(0, os.geteuid()))
        if why and root:
            self.mistake(
                f"{name}: is not run as root: {why}, and so could decide what root does. Let root own it and be alone"
                " in writing to it and its folders (chown root, chmod go-w), or use the account of the gateway instead"
            )
        elif why:
            self.warnings.append(f"{name}: {why}: whoever does decides what the gateway does (chmod go-w)")
        return not (why and root)

    def _execute(self, code: CodeType) -> None:
        name = code.co_filename
        self._running.append(name)
        self._seen.add(name)
        namespace = {
            "__file__": name,
            "__name__": "dask_gateway_config",
            "c": self._c,
            "get_config": self._get_config,
            "load_subconfig": self._load_subconfig,
        }
        try:
            exec(code, namespace)  # noqa: S102 - a configuration file is a program that its owner wrote
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the file raises is a mistake in it
            place = self._where_raised(error.__traceback__) or f"{name}:1"
            inside = place_raised(error.__traceback__)  # of a module that the file imports
            where = "" if inside.rpartition(":")[0] in ("", *self._seen) else f" ({inside})"
            kind = "" if isinstance(error, InvalidValue) else f"{type(error).__name__}: "  # whose text is a sentence
            self.mistake(f"{place}: {kind}{error}{where}{advice(error)}")
        finally:
            self._running.pop()
        for value in namespace.values():
            if is_configurable(value):
                self.classes.setdefault(value.__name__, value)

    def _get_config(self, *arguments: object) -> "_Root":
        if arguments:
            raise TypeError("get_config() takes no arguments")
        return self._c

    def _load_subconfig(self, name: str, path: str | None = None) -> None:
        """Run another file; a relative name counts from `path`, or else from where the including file is."""
        self.run(Path(path or Path(self._running[-1]).parent) / Path(name).expanduser())

    def mistake(self, text: str) -> None:
        """Something is wrong here."""
        self._order += 1
        self.mistakes.append(Mistake(text, self._order))

    def where(self) -> str:
        """The line of a configuration file that is being executed."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename not in self._seen:
            frame = frame.f_back
        return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def _where_raised(self, tb: TracebackType | None) -> str:
        place = ""
        while tb is not None:
            if tb.tb_frame.f_code.co_filename in self._seen:
                place = f"{tb.tb_frame.f_code.co_filename}:{tb.tb_lineno}"
            tb = tb.tb_next
        return place

    def assign(self, text: str, section: str, option: str, value: Any) -> None:
        """Record an assignment at the current line."""
        self._order += 1
        self._handed_out.pop((section, option), None)
        self._assignments[section, option] = Assignment(text, section, option, value, self.where(), self._order)

    def read(self, text: str, section: str, option: str, visible: Mapping[str, object]) -> Any:
        """What holds so far. `visible` are the names in the file that asks: classes of its own are there.

        Raises AttributeError for what was never set.
        """
        key = section, option
        if key not in self._assignments and key not in self._handed_out:
            cls = self.classes.get(section, visible.get(section))
            trait = inspect.getattr_static(cls, option, None)
            if is_configurable(cls) and option in settings_of(cls):
                value = self._inherited(cls, option)
            elif is_configurable(cls) and is_trait(trait):  # of a class that is yet to be made a config class
                value = default_value(trait)
            else:
                raise AttributeError(f"{text} is neither set nor known")
            if not isinstance(value, list | dict):
                return value
            self._order += 1
            given = Assignment(text, section, option, copy.deepcopy(value), self.where(), self._order)
            self._handed_out[key] = given, value
        return self._set(key)

    def _set(self, key: tuple[str, str]) -> Any:
        return self._assignments[key].value if key in self._assignments else self._handed_out[key][0].value

    def _inherited(self, cls: type, option: str) -> Any:
        for base in cls.__mro__[1:]:
            key = base.__name__, option
            if key in self._assignments or key in self._handed_out:
                return self._set(key)
        default = default_of(settings_of(cls)[option])
        return list(default) if isinstance(default, tuple) else default


class _Root:
    """`c`: every attribute is a section."""

    _recording: Recording

    def __init__(self, recording: Recording) -> None:
        object.__setattr__(self, "_recording", recording)

    def __getattr__(self, section: str) -> "_Section":
        if section.startswith("_"):
            raise AttributeError(section)
        return _Section(self._recording, section)

    def __setattr__(self, section: str, value: object) -> None:
        record = self._recording
        record.mistake(f"{record.where()}: c.{section} = {shown(value)}: set its options, c.{section}.<option> = ...")


class _Section:
    """`c.<section>`: every attribute is an option."""

    _recording: Recording
    _written: str
    _name: str

    def __init__(self, recording: Recording, section: str) -> None:
        object.__setattr__(self, "_recording", recording)
        object.__setattr__(self, "_written", section)
        object.__setattr__(self, "_name", SECTION_ALIASES.get(section, section))

    def __getattr__(self, option: str) -> Any:
        if option.startswith("_"):
            raise AttributeError(option)
        text = f"c.{self._written}.{option}"
        return self._recording.read(text, self._name, option, sys._getframe(1).f_globals)

    def __setattr__(self, option: str, value: object) -> None:
        self._recording.assign(f"c.{self._written}.{option}", self._name, option, value)

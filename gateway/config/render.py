"""Configuration as text, made from the config classes: a file to start from, what is in force, and the manual.

`python -m gateway.config.render` prints the manual, docs/configuration.md.
"""

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from gateway.config.compat import name_of
from gateway.config.fields import Memory, default_of, is_secret_name, setting_of, settings_of
from gateway.config.load import Config
from gateway.config.registry import builtin_classes
from gateway.config.resolve import MASK
from gateway.config.user_options import Options

_UNITS = {"T": 4, "G": 3, "M": 2, "K": 1}
_RULE = "#" * 78

_FILE_HEAD = f"""\
{_RULE}
## Configuration of dask-gateway-server. Every option stands here with its default;
## remove the "# " before the ones to change. `dask-gateway-server check-config -f FILE`
## tells what is wrong with a file, `show-config -f FILE` what is in force.
{_RULE}

from gateway.options import Bool, Float, Integer, Mapping, Options, Select, String

c = get_config()
"""

_MANUAL_HEAD = """\
# Configuration

<!-- Made from the config classes: `python -m gateway.config.render > docs/configuration.md`. -->

`dask-gateway-server -f FILE` reads a Python file. Options are assigned to `c`, by class:

```python
c.DaskGateway.backend_class = "gateway.backends.local.UnsafeLocalBackend"
c.Proxy.address = ":8000"
c.ClusterConfig.worker_memory = "4 G"
c.ClusterConfig.environment["OMP_NUM_THREADS"] = "1"
```

- A value set on a class holds for the classes that extend it; the more specific one wins. With
  `c.ClusterConfig.worker_cores = 1` and `c.SlurmClusterConfig.worker_cores = 4`, clusters on Slurm have 4.
- What has been set can be read back; lists and dictionaries can be changed in place.
- `load_subconfig("other.py")` reads another file, relative to the one that says so; `get_config()` returns `c`.
- `--Class.option=value` on the command line replaces the same `c.Class.option` of the file.
- Files for the original `dask-gateway-server` work: its class names, quoted or imported, mean those of this gateway.
  What makes no sense in one process (`c.Proxy.externally_managed`, for example) is accepted with a warning.
- Anything unknown, or of a wrong type, is an error. `dask-gateway-server check-config -f FILE` lists all errors of a
  file; `show-config -f FILE` prints what is in force and where it was set; `generate-config` writes a file with every
  option.
- Memory is a number of bytes, or text such as `"4 G"` (K, M, G, T: powers of 1024). Times are in seconds.

Backends, authenticators and cluster options of a site's own are subclasses; those with options of their own look like
this, in the file itself or in a module that can be imported:

```python
from gateway.backends.local import UnsafeLocalBackend
from gateway.configurable import configurable, setting

@configurable
class OurBackend(UnsafeLocalBackend):
    cluster_start_timeout = 120  # another default
    motto: str = setting(default="", help="Said at the start.")

c.DaskGateway.backend_class = OurBackend
c.OurBackend.motto = "hello"
```

Classes written for the original, with options declared by traitlets, work as well; docs/migrating.md says what does
not.
"""


def render_value(value: Any, kind: Any = None) -> str:
    """A value as it may stand in a configuration file, where that is possible."""
    if isinstance(value, type):
        return repr(name_of(value))
    if isinstance(value, tuple | list):
        return repr([str(item) if isinstance(item, str) else item for item in value])
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    if isinstance(value, int) and kind in (Memory, Memory | None):
        return repr(_memory(value))
    if callable(value) and not isinstance(value, Options):
        return getattr(value, "__qualname__", repr(value))
    return repr(value)


def _memory(size: int) -> int | str:
    """A number of bytes, with a unit where that is exact."""
    return next((f"{size >> 10 * n} {unit}" for unit, n in _UNITS.items() if size and not size % (1 << 10 * n)), size)


def generated_file() -> str:
    """A configuration file with every option, commented out, with its help and default."""
    parts = [_FILE_HEAD]
    for name, cls in builtin_classes().items():
        parts.append(f"{_RULE}\n## {name}\n##\n{_comment(_purpose(cls))}\n{_RULE}\n")
        for field in _own_settings(cls):
            parts.append(f"{_comment(_help(field))}\n# c.{name}.{field.name} = {render_value(default_of(field))}\n")
    return "\n".join(parts)


def effective(config: Config) -> str:
    """Every option in force with its value and where that was set; secrets are masked."""
    lines = []
    for part in config.parts:
        cls = type(part)
        lines.append(f"# {cls.__name__}: {_purpose(cls)}".rstrip(": "))
        for name, field in _shown_settings(cls).items():
            origin = config.origins.get(f"{cls.__name__}.{name}", "default")
            value = getattr(part, name)
            if name == "environment" and isinstance(value, Mapping):
                value = {key: MASK if is_secret_name(key) else text for key, text in value.items()}
            masked = setting_of(field).secret and value and value != _shipped_default(cls, name)
            lines.append(f"c.{cls.__name__}.{name} = {MASK if masked else render_value(value, field.type)}  # {origin}")
        lines.append("")
    return "\n".join(lines)


def _shipped_default(cls: type, name: str) -> Any:
    """The default that comes with the gateway and is no secret; None for an option of a site's own."""
    shipped = next(base for base in cls.__mro__ if base.__module__.split(".")[0] == "gateway")
    return default_of(settings_of(shipped)[name]) if name in settings_of(shipped) else None


def manual() -> str:
    """The text of docs/configuration.md."""
    parts = [_MANUAL_HEAD]
    for name, cls in builtin_classes().items():
        parts.append(f"## {name}\n\n{textwrap.fill(_purpose(cls), 120)}\n")
        parents = [base.__name__ for base in cls.__mro__[1:] if attrs.has(base)]
        if parents:
            links = ", ".join(f"[{parent}](#{parent.lower()})" for parent in parents)
            parts.append(f"Has the options of {links} as well.\n")
        items = [
            f"- `{field.name}` = `{render_value(default_of(field))}`{_limits(field)}\n"
            + textwrap.fill(setting_of(field).help, 118, initial_indent="  ", subsequent_indent="  ")
            for field in _own_settings(cls)
        ]
        if items:
            parts.append("\n".join(items) + "\n")
    return "\n".join(parts)


def _shown_settings(cls: type) -> "Mapping[str, attrs.Attribute[Any]]":
    """The options of a class, but for those that do nothing."""
    return {name: field for name, field in settings_of(cls).items() if not setting_of(field).retired}


def _own_settings(cls: type) -> Iterator["attrs.Attribute[Any]"]:
    """Options that a class adds, or gives another default."""
    parents: Mapping[str, Any] = settings_of(cls.__mro__[1]) if attrs.has(cls.__mro__[1]) else {}
    for name, field in _shown_settings(cls).items():
        if name not in parents or field.default != parents[name].default:
            yield field


def _purpose(cls: type) -> str:
    """A class's docstring, as one paragraph."""
    return " ".join((inspect.getdoc(cls) or "").split())


def _help(field: "attrs.Attribute[Any]") -> str:
    return f"{setting_of(field).help}{_limits(field)}"


def _limits(field: "attrs.Attribute[Any]") -> str:
    """Unit and bounds of an option, " (seconds, at least 1)"."""
    about = setting_of(field)
    limits = [about.unit] if about.unit else []
    if about.minimum is not None:
        limits.append(f"at least {about.minimum:g}")
    if about.maximum is not None:
        limits.append(f"at most {about.maximum:g}")
    if about.choices is not None:
        limits.append(f"one of {', '.join(map(repr, about.choices))}")
    return f" ({', '.join(limits)})" if limits else ""


def _comment(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="## ", subsequent_indent="## ")


if __name__ == "__main__":
    print(manual(), end="")

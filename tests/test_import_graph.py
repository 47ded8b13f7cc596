"""The rooms of the house, and the doors between them.

A room is a package below gateway/; the floor itself holds what all rooms may
use, and the programs, which use every room. The docstring of a room says what
it is for and which rooms it may import, and that is held to be true here: no
more and no less, never in a circle. The table in docs/architecture.md is made
of these docstrings. What a type checker alone imports does not count.

Pure modules do no I/O, read no clock and know no event loop, so that tests
reach all of them (check_coverage.py): they stand in a list here.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent

#: Modules that use every room, and that none below them imports.
PROGRAMS = {
    "__main__",
    "server",
    "server.main",
    "server.cli",
    "server.edges",
    "server.exposition",
    "server.own_names",
    "server.demo",
    "server.demo.client",
    "server.demo.program",
    "proxy.__main__",
}

#: Room → its pure modules.
PURE = {
    "": "addresses backoff errors models user_text",
    "auth": "access basic failures oauth origins secret_compare token_record token_text",
    "auth.jupyterhub": "known_tokens models",
    "auth.kerberos": "header keytab refusals",
    "auth.oidc": "claims discovery jwt signing_keys",
    "auth.pam": "answers stack",
    "config": """backend callables carried carry cluster compat fields limits option_fields original_classes proxy
        registry server setting_errors site_errors structure traits user_options""",
    "backends": "base commands exit_words log_tail tracebacks",
    "backends.batch": "cancellations dialect evidence option_values options script submit_options",
    "backends.launcher": "answers policy request rules sudo",
    "backends.slurm": "arguments dialect ids jobs launcher_rules options refusals submission",
    "backends.pbs": "arguments dialect follow_up ids launcher_rules options qstat refusals submission",
    "backends.local": "jobs",
    "clusters": """actions canceller demand expiry explanations heartbeat heartbeat_body job_specs ledger lifecycle
        machine news patience quota reasons records rows rules sharing silence submitter timing told workers""",
    "doctor": "finding pbs pbs_nodes probe report room slurm slurm_jobs sudo_rules trial unit wishes",
    "process": "units",
    "web": "fast_parser http2_frames next_page request_origin",
    "web.admin": "place tables",
    "proxy": "admission client_hello comm_messages destinations proxy_protocol routes",
    "proxy.dashboard": "access headers hosts links pages paths",
    "proxy.relay": "turn_policy",
}

#: What pure modules do without.
IMPURE = {"asyncio", "httpcore", "logging", "os", "quart", "socket", "structlog", "subprocess", "threading"}
IMPURE |= {"time", "trio"}
#: Below `os`, and yet only about texts.
TEXTS_ONLY = {"os.path"}


def modules() -> dict[str, Path]:
    """Every module: its name below `gateway` (the package itself: "") → its file."""
    names = {}
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


MODULES = modules()
ROOMS = sorted(name for name, file in MODULES.items() if file.name == "__init__.py" and name not in ("", *PROGRAMS))
PURE_MODULES = {f"{room}.{name}".strip(".") for room, names in PURE.items() for name in names.split()}


def imports(source: str) -> set[str]:
    """The dotted names that a source imports when it runs, wherever in it."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module is not None
            # `from gateway.proxy import pages` names a module
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in whole if name.removeprefix("gateway.") in MODULES} or {node.module}
    return found


def ours(names: set[str]) -> set[str]:
    """Of dotted names those that are modules of ours, below `gateway`."""
    return {name.removeprefix("gateway").removeprefix(".") for name in names if name.split(".")[0] == "gateway"}


IMPORTS = {name: imports(file.read_text()) for name, file in MODULES.items()}
GRAPH = {name: ours(found) & MODULES.keys() for name, found in IMPORTS.items()}


def room_of(module: str) -> str:
    """The room that a module is in: "" for the floor."""
    return module if module in ROOMS else module.rpartition(".")[0]


def arrows() -> dict[str, set[str]]:
    """Room → the other rooms that it imports; programs are in no room."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in GRAPH.keys() - PROGRAMS:
        if room := room_of(module):
            found[room] |= {room_of(other) for other in GRAPH[module]} - {"", room}
    return found


def says(room: str) -> tuple[str, set[str]]:
    """What the docstring of a room says: what it is for, and what it may import."""
    docstring = importlib.import_module(f"gateway.{room}").__doc__ or ""
    match = re.search(r"^May import: (.*?)\.$", docstring, re.DOTALL | re.MULTILINE)
    assert match, f"gateway/{room.replace('.', '/')}/__init__.py says what it may import"
    names = " ".join(match[1].split())
    return docstring.partition("\n")[0], set() if names == "no other room" else set(names.split(", "))


def upwards() -> Iterator[str]:
    """The rooms, each after those that it may import. Fails on a circle."""
    left = {room: says(room)[1] for room in ROOMS}
    while left:
        free = sorted(room for room, below in left.items() if not below & left.keys())
        assert free, f"rooms import each other: {left}"
        yield from free
        for room in free:
            del left[room]


def table() -> str:
    """The rooms as docs/architecture.md shows them, those on top first."""
    rows = [(room, *says(room)) for room in reversed(list(upwards()))]
    return "".join(
        f"| `{room.replace('.', '/')}/` | {purpose} | {' '.join(f'`{name}`' for name in sorted(below)) or '–'} |\n"
        for room, purpose, below in rows
    )


def test_the_reader_of_imports() -> None:
    source = (
        "import os.path\nfrom gateway import models, __version__\nif TYPE_CHECKING:\n  import trio\nelse:\n  import re"
    )
    assert imports(source) == {"os.path", "gateway.models", "re"}
    assert imports("def f():\n  from gateway.server.main import run") == {"gateway.server.main"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_says(room: str) -> None:
    assert arrows()[room] == says(room)[1]


def test_rooms_do_not_import_in_circles() -> None:
    assert sorted(upwards()) == ROOMS


def test_backends_and_the_proxy_do_not_know_each_other_or_clusters() -> None:
    found: Mapping[str, set[str]] = arrows()
    for room, below in found.items():
        kin = room.split(".")[0]
        if kin in ("backends", "proxy"):
            assert {other.split(".")[0] for other in below} <= {kin, "config"}


def test_nobody_imports_a_program() -> None:
    for module in GRAPH.keys() - PROGRAMS:
        assert not GRAPH[module] & PROGRAMS, module
    assert not any("server.cli" in GRAPH[module] for module in PROGRAMS - {"__main__"})


def test_the_floor_imports_no_room() -> None:
    for module in GRAPH.keys() - PROGRAMS:
        if not room_of(module):
            assert not {room_of(other) for other in GRAPH[module]} - {""}, module


def test_the_floor_can_be_seen_at_a_glance() -> None:
    hidden = {"__init__.py", "__pycache__", "py.typed"}
    assert len([entry for entry in ROOT.iterdir() if entry.name not in hidden]) <= 20


def test_what_users_install_needs_the_published_client_alone() -> None:
    for file in (ROOT.parent / "dask_gateway_login").glob("*.py"):
        packages = {name.split(".")[0] for name in imports(file.read_text())}
        assert packages - sys.stdlib_module_names <= {"dask", "dask_gateway", "dask_gateway_login"}, file


def test_the_page_shows_the_rooms() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    assert table() in page, f"the table in docs/architecture.md should be:\n{table()}"


def test_pure_modules_are_there() -> None:
    assert not PURE_MODULES - MODULES.keys()


@pytest.mark.parametrize("name", sorted(PURE_MODULES))
def test_pure_modules_stay_pure(name: str) -> None:
    impure = {other for other in IMPORTS[name] - TEXTS_ONLY if other.split(".")[0] in IMPURE}
    assert not impure, f"{name} imports {sorted(impure)}"
    packages = {module for module, file in MODULES.items() if file.name == "__init__.py"}
    assert not GRAPH[name] - PURE_MODULES - packages


def test_nothing_imports_in_circles() -> None:
    done: set[str] = set()
    under_way: list[str] = []

    def visit(name: str) -> None:
        assert name not in under_way, f"a circle: {' → '.join([*under_way, name])}"
        if name not in done:
            under_way.append(name)
            for other in sorted(GRAPH[name]):
                visit(other)
            done.add(under_way.pop())

    for name in sorted(GRAPH):
        visit(name)

"""Imports go down only.

Every module of the package has a line in the table: its layer, and its name.
A module may import what stands in its own layer or below. In the two lowest
layers there is no I/O, no clock and no event loop. What a type checker alone
imports does not count.
"""

import ast
from pathlib import Path

import pytest

import gateway

LAYERS = ("values", "pure", "io", "trees", "edge", "root")

TABLE = """
values  gateway
values  gateway.addresses
values  gateway.auth
values  gateway.backends
values  gateway.backends.batch
values  gateway.backends.launcher
values  gateway.backends.local
values  gateway.backends.pbs
values  gateway.backends.slurm
values  gateway.clusters
values  gateway.config
values  gateway.config.cluster
values  gateway.config.compat
values  gateway.config.fields
values  gateway.config.site_errors
values  gateway.config.structure
values  gateway.config.traits
values  gateway.demo
values  gateway.errors
values  gateway.models
values  gateway.proxy
values  gateway.proxy.dashboard
values  gateway.proxy.limits
values  gateway.proxy.relay
values  gateway.secret_compare
values  gateway.store
values  gateway.web

pure    gateway.backends.base
pure    gateway.backends.batch.cancellations
pure    gateway.backends.batch.dialect
pure    gateway.backends.batch.evidence
pure    gateway.backends.batch.options
pure    gateway.backends.batch.script
pure    gateway.backends.batch.submit_options
pure    gateway.backends.commands
pure    gateway.backends.exit_words
pure    gateway.backends.launcher.rules
pure    gateway.backends.launcher.sudo
pure    gateway.backends.local.jobs
pure    gateway.backends.log_tail
pure    gateway.backends.pbs.arguments
pure    gateway.backends.pbs.dialect
pure    gateway.backends.pbs.ids
pure    gateway.backends.pbs.options
pure    gateway.backends.pbs.qstat
pure    gateway.backends.pbs.refusals
pure    gateway.backends.slurm.arguments
pure    gateway.backends.slurm.dialect
pure    gateway.backends.slurm.ids
pure    gateway.backends.slurm.jobs
pure    gateway.backends.slurm.options
pure    gateway.backends.slurm.refusals
pure    gateway.backends.tracebacks
pure    gateway.clusters.actions
pure    gateway.clusters.canceller
pure    gateway.clusters.demand
pure    gateway.clusters.heartbeat
pure    gateway.clusters.heartbeat_body
pure    gateway.clusters.job_specs
pure    gateway.clusters.lifecycle
pure    gateway.clusters.machine
pure    gateway.clusters.news
pure    gateway.clusters.patience
pure    gateway.clusters.quota
pure    gateway.clusters.reasons
pure    gateway.clusters.records
pure    gateway.clusters.rows
pure    gateway.clusters.rules
pure    gateway.clusters.silence
pure    gateway.clusters.submitter
pure    gateway.clusters.timing
pure    gateway.config.backend
pure    gateway.config.carry
pure    gateway.config.original_classes
pure    gateway.config.registry
pure    gateway.config.server
pure    gateway.config.user_options
pure    gateway.proxy.admission
pure    gateway.proxy.client_hello
pure    gateway.proxy.comm_messages
pure    gateway.proxy.dashboard.headers
pure    gateway.proxy.dashboard.pages
pure    gateway.proxy.destinations
pure    gateway.proxy.proxy_protocol
pure    gateway.proxy.routes
pure    gateway.proxy.trust
pure    gateway.web.fast_parser
pure    gateway.web.http2_frames
pure    gateway.web.request_origin

io      gateway.backends.batch.node_daemon
io      gateway.backends.launcher.client
io      gateway.backends.launcher.directories
io      gateway.backends.launcher.program
io      gateway.backends.launcher.settings
io      gateway.backends.launcher.site_commands
io      gateway.backends.local.accounts
io      gateway.backends.local.files
io      gateway.backends.local.process
io      gateway.backends.local.sessions
io      gateway.backends.processes
io      gateway.backends.removal
io      gateway.backends.user_slots
io      gateway.backends.watch
io      gateway.clusters.certificate
io      gateway.clusters.changes
io      gateway.clusters.events
io      gateway.clusters.hearing
io      gateway.clusters.scheduler_client
io      gateway.config.file
io      gateway.config.source_places
io      gateway.gc_pauses
io      gateway.log
io      gateway.proxy.answer_headers
io      gateway.proxy.certificate
io      gateway.proxy.connector
io      gateway.proxy.dashboard.upstream
io      gateway.proxy.deadlines
io      gateway.proxy.file_limit
io      gateway.proxy.http_stream
io      gateway.proxy.hushed_log
io      gateway.proxy.listeners
io      gateway.proxy.memory_budget
io      gateway.proxy.relay.pipes
io      gateway.proxy.resolver
io      gateway.proxy.tcp_options
io      gateway.proxy.this_host
io      gateway.proxy.traffic
io      gateway.store.database
io      gateway.store.engines
io      gateway.store.errors
io      gateway.store.keys
io      gateway.store.tables
io      gateway.store.writer
io      gateway.supervise
io      gateway.systemd
io      gateway.web.http_budget
io      gateway.web.pace

trees   gateway.backends.batch.driver
trees   gateway.backends.batch.job_names
trees   gateway.backends.batch.poller
trees   gateway.backends.local.backend
trees   gateway.backends.local.driver
trees   gateway.backends.pbs.backend
trees   gateway.backends.slurm.backend
trees   gateway.clusters.cluster
trees   gateway.clusters.manager
trees   gateway.clusters.services

edge    gateway.auth.authenticator
edge    gateway.proxy.accept
edge    gateway.proxy.dashboard.app
edge    gateway.proxy.detect
edge    gateway.proxy.dialing
edge    gateway.proxy.farewell
edge    gateway.proxy.http
edge    gateway.proxy.port
edge    gateway.proxy.relay.epoll_loop
edge    gateway.proxy.relay.relay
edge    gateway.proxy.switchboard
edge    gateway.web.api
edge    gateway.web.fast_path
edge    gateway.web.heartbeat_route
edge    gateway.web.http1_connection
edge    gateway.web.http2_connection
edge    gateway.web.hypercorn_patches
edge    gateway.web.list_route
edge    gateway.web.router
edge    gateway.web.server

root    gateway.__main__
root    gateway.cli
root    gateway.config.load
root    gateway.config.render
root    gateway.config.resolve
root    gateway.demo.client
root    gateway.demo.program
root    gateway.main
root    gateway.proxy.__main__
"""

PLACE = {name: LAYERS.index(layer) for layer, name in (line.split() for line in TABLE.split("\n") if line)}
PURE = LAYERS.index("pure")

#: What the two lowest layers do without.
IMPURE = {"asyncio", "httpcore", "logging", "os", "quart", "socket", "structlog", "subprocess", "threading"}
IMPURE |= {"time", "trio"}
#: Below `os`, and yet only about texts.
TEXTS_ONLY = {"os.path"}

ROOT = Path(gateway.__file__).parent


def modules():
    """Every module of the package: name → file."""
    names = {}
    for file in ROOT.rglob("*.py"):
        parts = ("gateway", *file.relative_to(ROOT).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def imports(source):
    """The dotted names that a source imports when it runs, wherever in it."""
    found = set()
    pending = [ast.parse(source)]
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
            # `from gateway import models` may name a module
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & PLACE.keys()
            found |= inside or {node.module}
    return found


GRAPH = {name: imports(file.read_text()) for name, file in modules().items()}


def test_the_reader_of_imports():
    source = (
        "import os.path\nfrom gateway import models, __version__\nif TYPE_CHECKING:\n  import trio\nelse:\n  import re"
    )
    assert imports(source) == {"os.path", "gateway.models", "re"}
    assert imports("def f():\n  from gateway.main import run") == {"gateway.main"}


def test_every_module_has_its_place():
    assert sorted(PLACE) == sorted(GRAPH)


def test_the_table_names_nothing_twice():
    assert len(PLACE) == len([line for line in TABLE.split("\n") if line])


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_imports_go_down(name):
    if name == "gateway.cli":  # the last to know
        assert not any("gateway.cli" in GRAPH[other] for other in GRAPH if not other.endswith("__main__"))
    up = {other for other in GRAPH[name] & PLACE.keys() if PLACE[other] > PLACE[name]}
    assert not up, f"{name} ({LAYERS[PLACE[name]]}) imports {sorted(up)} from above"


@pytest.mark.parametrize("name", [name for name in sorted(PLACE) if PLACE[name] <= PURE])
def test_pure_modules_stay_pure(name):
    impure = {other for other in GRAPH.get(name, ()) - TEXTS_ONLY if other.split(".")[0] in IMPURE}
    assert not impure, f"{name} imports {sorted(impure)}"


def inside(name, package):
    return name == package or name.startswith(f"{package}.")


def test_backends_and_the_proxy_do_not_know_each_other():
    for name, found in GRAPH.items():
        for own, other in (("gateway.backends", "gateway.proxy"), ("gateway.proxy", "gateway.backends")):
            if inside(name, own):
                assert not [module for module in found if inside(module, other)], name


@pytest.mark.parametrize("package", ["gateway.backends", "gateway.proxy"])
def test_backends_and_the_proxy_do_not_know_clusters(package):
    trees = LAYERS.index("trees")
    for name in GRAPH:
        if inside(name, package) and not name.endswith("__main__"):  # a program, which puts parts together
            outside = {module for module in GRAPH[name] & PLACE.keys() if not inside(module, package)}
            assert not [module for module in outside if PLACE[module] >= trees], name


def test_nothing_imports_in_circles():
    """Where all imports go down, circles are possible inside a layer only; and not there either."""
    done, under_way = set(), []

    def visit(name):
        assert name not in under_way, f"a circle: {' → '.join([*under_way, name])}"
        if name not in done:
            under_way.append(name)
            for other in sorted(GRAPH[name] & GRAPH.keys()):
                visit(other)
            done.add(under_way.pop())

    for name in sorted(GRAPH):
        visit(name)

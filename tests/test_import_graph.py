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
values  gateway.backends
values  gateway.compat
values  gateway.configurable
values  gateway.cluster_config
values  gateway.errors
values  gateway.models
values  gateway.proxy
values  gateway.proxy.limits
values  gateway.same_secret
values  gateway.site_errors
values  gateway.strict
values  gateway.traits

pure    gateway.backends.base
pure    gateway.backends.commands
pure    gateway.backends.dialect
pure    gateway.backends.endings
pure    gateway.backends.evidence
pure    gateway.backends.exit_words
pure    gateway.backends.jobqueue
pure    gateway.backends.launcher_rules
pure    gateway.backends.local_jobs
pure    gateway.backends.log_tail
pure    gateway.backends.pbs
pure    gateway.backends.pbs_arguments
pure    gateway.backends.pbs_config
pure    gateway.backends.pbs_ids
pure    gateway.backends.pbs_jobs
pure    gateway.backends.pbs_refusals
pure    gateway.backends.script
pure    gateway.backends.settings
pure    gateway.backends.slurm
pure    gateway.backends.slurm_arguments
pure    gateway.backends.slurm_config
pure    gateway.backends.slurm_ids
pure    gateway.backends.slurm_jobs
pure    gateway.backends.slurm_refusals
pure    gateway.backends.submit_options
pure    gateway.backends.sudo
pure    gateway.backends.tracebacks
pure    gateway.carry
pure    gateway.config_classes
pure    gateway.heartbeat
pure    gateway.heartbeat_body
pure    gateway.http2_frames
pure    gateway.jobs
pure    gateway.lifecycle
pure    gateway.options
pure    gateway.original_classes
pure    gateway.proxy.admission
pure    gateway.proxy.client_hello
pure    gateway.proxy.comm_messages
pure    gateway.proxy.destinations
pure    gateway.proxy.headers
pure    gateway.proxy.pages
pure    gateway.proxy.proxy_protocol
pure    gateway.proxy.routes
pure    gateway.proxy.trust
pure    gateway.quota
pure    gateway.reasons
pure    gateway.request_origin
pure    gateway.scaling
pure    gateway.settings
pure    gateway.simple_request
pure    gateway.timeouts
pure    gateway.workers

io      gateway.backends.accounts
io      gateway.backends.impersonation
io      gateway.backends.launcher
io      gateway.backends.launcher_directories
io      gateway.backends.launcher_settings
io      gateway.backends.local_files
io      gateway.backends.local_process
io      gateway.backends.local_sessions
io      gateway.backends.node_daemon
io      gateway.backends.processes
io      gateway.backends.removal
io      gateway.backends.site_commands
io      gateway.backends.user_slots
io      gateway.backends.watch
io      gateway.changes
io      gateway.config_file
io      gateway.events
io      gateway.garbage
io      gateway.hearing
io      gateway.http_budget
io      gateway.log
io      gateway.notify
io      gateway.pace
io      gateway.proxy.answer_headers
io      gateway.proxy.certificate
io      gateway.proxy.connector
io      gateway.proxy.deadlines
io      gateway.proxy.file_limit
io      gateway.proxy.handshakes
io      gateway.proxy.hushed_log
io      gateway.proxy.listeners
io      gateway.proxy.memory_budget
io      gateway.proxy.pipes
io      gateway.proxy.resolver
io      gateway.proxy.tcp_options
io      gateway.proxy.this_host
io      gateway.proxy.traffic
io      gateway.proxy.upstream
io      gateway.proxy.web_stream
io      gateway.scheduler_client
io      gateway.source_places
io      gateway.store
io      gateway.store_database
io      gateway.store_engines
io      gateway.store_errors
io      gateway.store_keys
io      gateway.store_tables
io      gateway.supervise
io      gateway.tls

trees   gateway.backends.batch
trees   gateway.backends.job_names
trees   gateway.backends.local
trees   gateway.backends.local_driver
trees   gateway.backends.pbs_backend
trees   gateway.backends.poller
trees   gateway.backends.slurm_backend
trees   gateway.cluster
trees   gateway.ledger
trees   gateway.manager
trees   gateway.services
trees   gateway.submissions
trees   gateway.worker_keeper

edge    gateway.api
edge    gateway.asgi
edge    gateway.auth
edge    gateway.heartbeat_route
edge    gateway.http1_connection
edge    gateway.http2_connection
edge    gateway.http_server
edge    gateway.hypercorn_fixes
edge    gateway.list_route
edge    gateway.proxy.accepting
edge    gateway.proxy.dashboard
edge    gateway.proxy.dialing
edge    gateway.proxy.epoll_loop
edge    gateway.proxy.farewell
edge    gateway.proxy.front
edge    gateway.proxy.relay
edge    gateway.proxy.server
edge    gateway.proxy.switchboard
edge    gateway.proxy.web
edge    gateway.simple_http

root    gateway.__main__
root    gateway.cli
root    gateway.config
root    gateway.config_resolution
root    gateway.config_text
root    gateway.demo
root    gateway.demo_client
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
            # `from gateway import scaling` may name a module
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & PLACE.keys()
            found |= inside or {node.module}
    return found


GRAPH = {name: imports(file.read_text()) for name, file in modules().items()}


def test_the_reader_of_imports():
    source = (
        "import os.path\nfrom gateway import scaling, __version__\nif TYPE_CHECKING:\n  import trio\nelse:\n  import re"
    )
    assert imports(source) == {"os.path", "gateway.scaling", "re"}
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

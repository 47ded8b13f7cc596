"""What happens on the machine of machine.py: the guide, word for word, then everything that takes a systemd.

Each step writes down what it sees; the first that fails is the last. The two
lines of the guide that download are told to take what the virtual
environment of the tests has.
"""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.guide import Block, blocks

CHECKOUT = Path("/srv/dask-gateway")
CONFIG = Path("/etc/dask-gateway/dask_gateway_config.py")
#: The address of this host's name, in machine.py; without one that is no loopback, names are not looked up.
ADDRESS = "192.0.2.1/32"
#: The packages of this checkout, where a unit that sees neither /tmp nor homes finds them (machine.py).
PACKAGES = "/srv/packages"
SEEN: dict[str, dict[str, object]] = {}

#: The steps in their order.
STEPS: list[Callable[[], object]] = []


def step(function: Callable[[], object]) -> Callable[[], object]:
    STEPS.append(function)
    return function


def run(*command: str, user: str = "", timeout: float = 120, **options: object) -> str:
    """What a command prints. Fails with all that it has said."""
    argv = (
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env", *command] if user else command
    )
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=timeout, **options)
    assert done.returncode == 0, (
        f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{said_by_the_gateway()}"
    )
    return done.stdout


def shown(unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit."""
    lines = run("systemctl", "show", unit, f"--property={','.join(properties)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, true
        time.sleep(0.05)


def play(block: Block) -> None:
    """Do what a block of the guide says."""
    if path := block.get("file"):
        Path(path).write_text(block.text)
    elif path := block.get("append"):
        with open(path, "a") as file:
            file.write(block.text)
    elif "/opt/dask/bin/pip" in block.text:
        Path("/opt/dask").symlink_to(sys.prefix)  # Dask and its client are there
    else:
        offline = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": PACKAGES}
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        user = block.get("user") or ""
        run(*command, user=user, cwd="/" if user else CHECKOUT, **({} if user else {"env": {**os.environ, **offline}}))
        if "venv/bin/pip install ." in block.text:
            (libraries,) = Path("/opt/dask-gateway/venv/lib").glob("python*/site-packages")
            (libraries / "tests.pth").write_text(f"{PACKAGES}\n")


def the(language: str, *words: str) -> Block:
    (found,) = [block for block in blocks() if block.language == language and set(words) <= set(block.words)]
    return found


def ask_api(path: str) -> object:
    """The answer of the gateway's API."""
    with urllib.request.urlopen(f"http://localhost:8000{path}", timeout=60) as answer:
        return json.load(answer)


def exposure(unit: str) -> float:
    """What `systemd-analyze security` thinks of a unit."""
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"/etc/systemd/system/{unit}")
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])


def main_pid() -> str:
    return shown("dask-gateway.service", "MainPID")["MainPID"]


def of_process(pid: str) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def said_by_the_gateway() -> str:
    """The end of its journal, for whoever reads why a step went wrong."""
    command = ("journalctl", "--no-pager", "--output=cat", "--lines=20", "_SYSTEMD_UNIT=dask-gateway.service")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def journal(*matches: str) -> list[str]:
    """The lines of the journal, all that have been said by now."""
    run("journalctl", "--sync")
    return run("journalctl", "--no-pager", "--output=cat", *matches).splitlines()


# --- the guide --------------------------------------------------------------------------------------------------------


@step
def installation() -> object:
    """The page up to its service, beside a Slurm of one node."""
    run("ip", "address", "add", ADDRESS, "dev", "lo")
    Path("/etc/slurm").mkdir()
    # Else slurmd looks for control groups, which are a mixture where the host has others than this machine.
    Path("/etc/slurm/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    run(str(CHECKOUT / "start-slurm"), env={**os.environ, "NODES": "1"})
    run("userdel", "--remove", "dask")
    for block in blocks():
        if not {"background", "systemd", "launcherd"} & set(block.words) and (
            block.language == "sh" or block.get("file")
        ):
            play(block)
    return None


@step
def service() -> object:
    """It is started as the guide says."""
    play(the("sh", "systemd"))
    seen = shown("dask-gateway.service", "ActiveState", "StatusText", "Type", "MainPID", "WatchdogUSec", "NRestarts")
    listening = run("systemctl", "show", "dask-gateway.socket", "--property=Listen,ActiveState,Triggers").splitlines()
    return {**seen, "sockets": listening, "verify": run("systemd-analyze", "verify", "dask-gateway.service")}


CLIENT = """
import json, os, resource, sys
from dask_gateway import Gateway

def probe():
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    mask = os.umask(0)
    os.umask(mask)
    return [os.getuid(), oct(mask), limit == resource.RLIM_INFINITY]

gateway = Gateway("http://localhost:8000", proxy_address=8001)
workers = int(sys.argv[1])
if sys.argv[2:]:
    cluster = gateway.connect(sys.argv[2])
else:
    cluster = gateway.new_cluster(shutdown_on_close=False)
cluster.scale(workers)
client = cluster.get_client()
client.wait_for_workers(workers, timeout=60)
print(json.dumps({"cluster": cluster.name, "result": client.submit(sum, [1, 2, 3]).result(timeout=60),
    "workers": sorted(client.run(probe).values())}))
client.close()
"""

STOP = """
import sys
from dask_gateway import Gateway
Gateway("http://localhost:8000").stop_cluster(sys.argv[1])
"""

#: The one cluster, which lives through everything.
CLUSTER: list[str] = []


def compute(workers: int = 1) -> dict[str, object]:
    """What alice's cluster has computed, with so many workers, and what those are."""
    said = json.loads(run("/opt/dask/bin/python", "-c", CLIENT, str(workers), *CLUSTER, user="alice", cwd="/"))
    CLUSTER[:] = [said.pop("cluster")]
    return said


def jobs() -> set[str]:
    return set(run("squeue", "-h", "-o", "%i %u %j").splitlines())


def can_raise_limits() -> bool:
    """Whether root may do so here; not where this whole machine has to do without that right."""
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True


@step
def computes_with_sudo() -> object:
    return {
        "limits": can_raise_limits(),
        "administrators": run("/opt/dask-gateway/venv/bin/dask-gateway-server", "tokens", "list"),
        **compute(),
        "jobs": len(jobs()),
        "sessions": len(journal("SYSLOG_IDENTIFIER=sudo")),
    }


def problems_by_the_doctor() -> list[str]:
    """What the doctor finds wrong, who is asked as the page has it."""
    (block,) = (block for block in blocks() if " doctor " in block.text and block.language == "sh")
    text = f"{block.text.rstrip()} --json || true"
    found = json.loads(run("bash", "-c", text, user="dask", timeout=240))
    return [f"{one['check']}: {one['evidence']}" for one in found if one["status"] in ("failed", "warning")]


@step
def the_doctor_with_sudo() -> object:
    return problems_by_the_doctor()


# --- a service of systemd's -------------------------------------------------------------------------------------------

#: Of the watchdog, in seconds: the gateway is starved for less, on a machine that is busy.
PATIENCE = 5


@contextmanager
def knocking():
    """Connect to the public port all the time; counts what was refused."""
    counts, stop = {"connected": 0, "refused": 0}, threading.Event()

    def knock() -> None:
        while not stop.wait(0.01):
            try:
                socket.create_connection(("127.0.0.1", 8000), timeout=5).close()
                counts["connected"] += 1
            except OSError:
                counts["refused"] += 1

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join()


@step
def restarts_keep_clusters_and_refuse_nobody() -> object:
    extra = Path("/run/systemd/system/dask-gateway.service.d")
    extra.mkdir(parents=True)
    (extra / "watchdog.conf").write_text(f"[Service]\nWatchdogSec={PATIENCE}\nRestartSec=0\n")
    run("systemctl", "daemon-reload")
    before, pid = jobs(), main_pid()
    with knocking() as counts:
        run("systemctl", "restart", "dask-gateway.service")
    return {
        "same jobs": before == jobs(),
        "same process": pid == main_pid(),
        "status": shown("dask-gateway.service", "StatusText")["StatusText"],
        **compute(),
        **counts,
    }


@step
def the_watchdog_ends_a_frozen_gateway() -> object:
    before, pid = jobs(), main_pid()
    until = time.monotonic() + PATIENCE + 1
    while time.monotonic() < until:  # it is fed, and lives on
        assert main_pid() == pid
        time.sleep(0.2)
    os.kill(int(pid), signal.SIGSTOP)
    wait_until(lambda: shown("dask-gateway.service", "NRestarts")["NRestarts"] == "1")
    wait_until(lambda: shown("dask-gateway.service", "ActiveState")["ActiveState"] == "active")
    Path("/run/systemd/system/dask-gateway.service.d/watchdog.conf").unlink()
    run("systemctl", "daemon-reload")
    return {
        "told": [line for line in journal("_PID=1") if "watchdog" in line.lower()],
        "how it ended": [line for line in journal("_SYSTEMD_UNIT=dask-gateway.service") if "Fatal Python" in line],
        "same jobs": before == jobs(),
        **compute(),
    }


@step
def mistakes_are_not_tried_for_ever() -> object:
    """A configuration that cannot be: the service fails, and says why."""
    good = CONFIG.read_text()
    CONFIG.write_text(f"{good}\nc.Proxy.adress = ':8000'\n")
    restarted = subprocess.run(["systemctl", "restart", "dask-gateway.service"], check=False, capture_output=True)
    lines = journal("_SYSTEMD_UNIT=dask-gateway.service")
    CONFIG.write_text(good)
    return {
        "failed": restarted.returncode != 0,
        "says": [line for line in lines if "adress" in line][-1:],
        "status": [line for line in journal("_PID=1") if "status=2" in line][-1:],
    }


@step
def a_stopped_service_is_started_by_a_connection() -> object:
    run("systemctl", "stop", "dask-gateway.socket", "dask-gateway.service")
    run("systemctl", "reset-failed", "dask-gateway.socket", "dask-gateway.service")
    stopped = shown("dask-gateway.service", "ActiveState")["ActiveState"]
    run("systemctl", "start", "dask-gateway.socket")
    return {"stopped": stopped, "answer": ask_api("/api/health")}


# --- without sudo -----------------------------------------------------------------------------------------------------


@step
def the_daemon_takes_over() -> object:
    sudo, before = exposure("dask-gateway.service"), jobs()
    for block in blocks():
        if "launcherd" in block.words:
            play(block)
    status = of_process(main_pid())
    return {
        "exposure": {
            "with sudo": sudo,
            "without": exposure("dask-gateway.service"),
            "daemon": exposure("dask-gateway-launcherd.service"),
        },
        "same jobs": before == jobs(),
        "process": {name: status[name] for name in ("NoNewPrivs", "Seccomp", "CapBnd")},
        "administrators": run("/opt/dask-gateway/venv/bin/dask-gateway-server", "tokens", "list"),
        "socket": oct(Path("/run/dask-gateway-launcherd.sock").stat().st_mode & 0o777),
        "daemon": shown("dask-gateway-launcherd.service", "ActiveState")["ActiveState"],
    }


@step
def the_doctor_with_the_daemon() -> object:
    return problems_by_the_doctor()


@step
def computes_with_the_daemon() -> object:
    """A second worker is submitted, then all is cancelled and removed."""
    sessions, before = len(journal("SYSLOG_IDENTIFIER=sudo")), len(jobs())
    seen = {"limits": can_raise_limits(), **compute(2), "new jobs": len(jobs()) - before}
    run("/opt/dask/bin/python", "-c", STOP, *CLUSTER, user="alice", cwd="/")
    wait_until(lambda: not jobs())
    wait_until(lambda: not any(Path("/home/alice/.dask-gateway").iterdir()))
    return {
        **seen,
        "new sessions": len(journal("SYSLOG_IDENTIFIER=sudo")) - sessions,
        "journal": journal("_SYSTEMD_UNIT=dask-gateway-launcherd.service"),
        "health": ask_api("/api/health"),
    }


ASK = """
import json, socket, sys
from contextlib import suppress
user, request = sys.argv[1:]
answer = b""
try:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/dask-gateway-launcherd.sock")
        with suppress(BrokenPipeError):  # the answer says why
            connection.sendall(user.encode() + b"\\n" + request.encode())
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
    print(answer.decode())
except OSError as error:
    print(json.dumps({"ok": False, "error": error.strerror}))
"""


def ask(account: str, user: str, **request: object) -> dict[str, object]:
    """What a process of this account gets when it asks the daemon to act for a user."""
    return json.loads(run(sys.executable, "-c", ASK, user, json.dumps(request), user=account, cwd="/"))


CANCEL = {"action": "cancel", "rules": "slurm", "arguments": ["99999999"]}


@step
def what_the_daemon_refuses() -> object:
    return {
        "nothing": ask("dask", "alice", **CANCEL),
        "alice": ask("alice", "alice", **CANCEL),
        "root": ask("root", "alice", **CANCEL),
        "as root": ask("dask", "root", **CANCEL),
        "as carol": ask("dask", "carol", **CANCEL),
        "as dask": ask("dask", "dask", **CANCEL),
        "as daemon": ask("dask", "daemon", **CANCEL),
        "other command": ask("dask", "alice", **{**CANCEL, "rules": "pbs", "arguments": ["1"]}),
        "other path": ask("dask", "alice", **CANCEL, path="/home/dask/scancel"),
    }


@step
def the_daemon_is_started_when_it_is_needed() -> object:
    run("systemctl", "stop", "dask-gateway-launcherd.service")
    stopped = shown("dask-gateway-launcherd.service", "ActiveState")["ActiveState"]
    return {"stopped": stopped, "answer": ask("dask", "alice", **CANCEL)}


@step
def it_stops() -> object:
    run("systemctl", "stop", "dask-gateway.socket", "dask-gateway.service", "dask-gateway-launcherd.socket")
    return {
        **shown("dask-gateway.service", "ActiveState", "Result", "ExecMainStatus"),
        "daemon": shown("dask-gateway-launcherd.service", "ActiveState", "Result"),
        "socket": Path("/run/dask-gateway-launcherd.sock").exists(),
    }


def main() -> None:
    for function in STEPS:
        begin = time.monotonic()
        try:
            SEEN[function.__name__] = {"seen": function()}
        except Exception:
            SEEN[function.__name__] = {"error": traceback.format_exc()}
        SEEN[function.__name__]["seconds"] = round(time.monotonic() - begin, 1)
        Path("/result/seen.json").write_text(json.dumps(SEEN))
        if "error" in SEEN[function.__name__]:
            return


if __name__ == "__main__":
    main()

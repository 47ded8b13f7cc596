"""What a job tells of the environment that the site's commands find: the text that it runs, and how it is read (pure).

distributed takes the text of a module for `--preload`, so that it runs in the
very Python that a cluster's scheduler would have: in a container, or behind a
wrapper, as well. It says its word, waits for one connection at a port as a
scheduler would have it, and ends.
"""

import json
import re
from collections.abc import Mapping

from gateway.doctor.finding import Finding, failed, ok, skipped, warning

PACKAGES = ("dask", "distributed", "dask-gateway", "bokeh")
_MARK = "dask-gateway-doctor: "

SOURCE = """\
import importlib.metadata, json, os, platform, socket, ssl, urllib.request
def version(name):
    try:
        return importlib.metadata.version(name)
    except Exception:
        return ""
def ask(url):
    try:
        # Sent on to HTTPS it is told nothing, so that no authority has to be known on this node, as jobs know none.
        https = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(url, timeout=15) as answer:
            return "" if b'"version"' in answer.read(1000) else "what answers there is no gateway"
    except Exception as error:
        return str(error)[:300] or type(error).__name__
def address():
    from distributed.utils import get_ip, get_ip_interface
    interface = os.environ.get("DASK_GATEWAY_DOCTOR_INTERFACE", "")
    return get_ip_interface(interface) if interface else get_ip()
def listen():
    first, last = map(int, os.environ.get("DASK_GATEWAY_DOCTOR_PORTS", "0:0").split(":"))
    for port in range(first, last + 1):
        try:
            return socket.create_server(("", port))
        except OSError:
            continue
url = os.environ.get("DASK_GATEWAY_API_URL", "")
told = {name: version(name) for name in ("dask", "distributed", "dask-gateway", "bokeh")}
told.update(python=platform.python_version(), host=socket.gethostname(), url=url)
told["api"] = ask(url + "/version") if url else ""
listener = listen()
try:
    told.update(address=address(), port=listener.getsockname()[1] if listener else "")
except Exception as error:
    told.update(address="", port="", error=str(error)[:300])
print("dask-gateway-" + "doctor: " + json.dumps(told), flush=True)
try:
    listener.settimeout(20)
    listener.accept()
except Exception:
    pass
os._exit(0)
"""


def told(log: str) -> Mapping[str, str] | None:
    """What the job has said in its log; None when it has not said it."""
    for line in log.splitlines():
        if line.startswith(_MARK):
            try:
                said = json.loads(line.removeprefix(_MARK))
            except (ValueError, RecursionError):  # it is the user's, and can say anything
                continue
            if isinstance(said, dict):
                return {str(name): str(value) for name, value in said.items()}
    return None


def version_of(log: str) -> str:
    """What `dask worker --version` has printed; empty when it has not."""
    match = re.search(r"\bversion (\d[\w.+-]*)", log)
    return match[1] if match else ""


def python_verdict(said: Mapping[str, str], here: Mapping[str, str]) -> Finding:
    """What to make of it, beside the versions that are installed `here` (package → version)."""
    where = said.get("host", "a node")
    versions = {name: said.get(name, "") for name in PACKAGES}
    shown = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    check, remedy = "job's Python", "pip install dask-gateway, with dask and distributed, where scheduler_cmd finds it"
    lacking = [name for name in ("dask", "distributed", "dask-gateway") if not versions[name]]
    if lacking:
        return failed(check, f"{', '.join(lacking)} not installed there ({shown})", remedy)
    if not versions["bokeh"]:
        return warning(check, f"no bokeh, so that clusters have no dashboards ({shown})", "pip install bokeh there")
    beside = [f"{name} {here[name]}" for name in PACKAGES[:3] if here.get(name) not in (None, versions[name])]
    also = f"; here {', '.join(beside)}" if beside else ""
    return ok(check, f"Python {said.get('python')}, {shown}, on {where}{also}")


def api_verdict(said: Mapping[str, str]) -> Finding:
    """Whether the job has reached the API at the URL that it was told."""
    where, url = said.get("host", "a node"), said.get("url", "")
    if not url:
        return skipped("api_url", "it is known when the gateway runs only, as its port is", "set c.Backend.api_url")
    if why := said.get("api"):
        remedy = "c.Backend.api_url, or let the compute nodes through the firewall to that port"
        return failed("api_url", f"{url} cannot be reached from {where}: {why}", remedy)
    return ok("api_url", f"{url} answers on {where}")


def same_verdict(scheduler: Mapping[str, str], worker: str) -> Finding:
    """Whether schedulers and workers have the same distributed."""
    check, ours = "worker's Python", scheduler.get("distributed", "")
    if not ours or worker == ours:
        return ok(check, f"distributed {worker}")
    evidence = f"workers have distributed {worker}, and schedulers {ours}"
    return failed(check, evidence, "one environment for both: c.ClusterConfig.worker_cmd, worker_setup")

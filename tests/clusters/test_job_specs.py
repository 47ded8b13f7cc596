"""What schedulers and workers are started with."""

import itertools

import pytest
from attrs import evolve

from gateway.backends.base import ClusterRef
from gateway.clusters.job_specs import job_spec
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import configurable
from gateway.models import Role, SubmissionRecord
from tests.support.fakes import rules_with
from tests.support.houses import record

KNOWN = record(token="t0ken", tls_cert="CERT", tls_key="KEY", scheduler_address="tls://10.0.0.1:8786")


def a_spec(config, group, role, count, *, period=15.0, host="0.0.0.0"):
    ref = ClusterRef(name="c0ffee", username="alice", config=config or ClusterConfig())
    rules = evolve(rules_with(cluster_heartbeat_period=period), api_url="http://gw:8000/api", host=host)
    submission = SubmissionRecord(cluster=ref.name, group=group, role=role, count=count)
    return job_spec(ref, KNOWN, submission, rules)


def a_scheduler(config=None, **more):
    return a_spec(config, "scheduler", Role.SCHEDULER, 1, **more)


def some_workers(config=None, *, count=2):
    return a_spec(config, "w3", Role.WORKER, count)


def options_of(command):
    return {name: value for name, value in itertools.pairwise(command) if name.startswith("--")}


def test_the_schedulers_command():
    spec = a_scheduler(ClusterConfig(idle_timeout=90, adaptive_period=2.5))
    assert spec.argv("scheduler")[:2] == ("dask", "scheduler")
    assert options_of(spec.command) == {
        "--protocol": "tls",
        "--port": "0",
        "--host": "0.0.0.0",
        "--dashboard-address": "0.0.0.0:0",
        "--preload": "dask_gateway.scheduler_preload",
        "--dg-api-address": "0.0.0.0:0",
        "--dg-heartbeat-period": "15",
        "--dg-adaptive-period": "2.5",
        "--dg-idle-timeout": "90",
    }
    assert (spec.role, spec.group, spec.count, spec.names) == (Role.SCHEDULER, "scheduler", 1, ("scheduler",))
    assert spec.submission == "dask-gateway-c0ffee-scheduler"


def test_the_workers_command():
    spec = some_workers(ClusterConfig(worker_cores=3, worker_memory="1 G"))
    assert spec.command[:3] == ("dask", "worker", "tls://10.0.0.1:8786")
    assert options_of(spec.command) == {
        "--dashboard-address": "0.0.0.0:0",
        "--nthreads": "3",
        "--memory-limit": str(2**30),
    }
    assert (spec.names, spec.argv("w3-1")[-2:]) == (("w3-0", "w3-1"), ("--name", "w3-1"))
    assert options_of(some_workers(ClusterConfig(worker_cores=3, worker_threads=6)).command)["--nthreads"] == "6"


@configurable
class SitesConfig(ClusterConfig):
    """A backend that adds to the commands."""

    def scheduler_arguments(self):
        return ("--interface", "ib0")

    def worker_arguments(self):
        return ("--local-directory", "/scratch")


def test_what_a_site_says_comes_last():
    config = SitesConfig(scheduler_cmd="/opt/dask scheduler -v", worker_cmd=["srun", "dask", "worker"])
    scheduler, workers = a_scheduler(config), some_workers(config)
    assert scheduler.command[:3] == ("/opt/dask", "scheduler", "-v")
    assert scheduler.command[-2:] == ("--interface", "ib0")
    assert workers.command[:4] == ("srun", "dask", "worker", "tls://10.0.0.1:8786")
    assert workers.command[-2:] == ("--local-directory", "/scratch")


@pytest.mark.parametrize(("spec", "role"), [(a_scheduler, "SCHEDULER"), (some_workers, "WORKER")])
def test_secrets_travel_apart(spec, role):
    config = ClusterConfig(environment={"OMP_NUM_THREADS": "1", "DASK_GATEWAY_CLUSTER_NAME": "another"})
    spec = spec(config)
    assert spec.environment == {
        "OMP_NUM_THREADS": "1",
        "DASK_GATEWAY_API_URL": "http://gw:8000/api",
        "DASK_GATEWAY_CLUSTER_NAME": "c0ffee",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
    }
    assert spec.secrets == {
        "DASK_GATEWAY_API_TOKEN": "t0ken",
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "CERT",
        f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT": "CERT",
        f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY": "KEY",
    }
    shown = repr((spec.command, spec.environment, spec))
    assert not any(secret in shown for secret in ("t0ken", "CERT", "KEY'"))


@pytest.mark.parametrize(("seconds", "text"), [(15.0, "15"), (0.5, "0.5"), (86400.0, "86400"), (1234567.0, "1234567")])
def test_numbers_as_a_command_line_takes_them(seconds, text):
    assert options_of(a_scheduler(period=seconds).command)["--dg-heartbeat-period"] == text

import pytest

from gateway.backends.commands import with_fallback


def nothing(name):
    return None


def everything(name):
    return f"/usr/bin/{name}"


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (("dask-scheduler", "--port", "0"), ("dask", "scheduler", "--port", "0")),
        (("dask-worker",), ("dask", "worker")),
        (("/opt/env/bin/dask-worker", "-v"), ("/opt/env/bin/dask", "worker", "-v")),
        (("dask", "worker"), ("dask", "worker")),
        (("my-worker",), ("my-worker",)),
    ],
)
def test_old_scripts_that_are_gone_mean_the_new_commands(command, meant):
    assert with_fallback(command, nothing) == meant


def test_old_scripts_that_are_there_are_used():
    assert with_fallback(("dask-worker", "x"), everything) == ("dask-worker", "x")

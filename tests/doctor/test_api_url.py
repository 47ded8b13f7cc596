"""Where jobs find the API, and who answers there while no gateway runs."""

import socket

import pytest
import trio

from gateway.addresses import Address
from gateway.config.load import load
from gateway.doctor.api_url import jobs_url, somebody_answers
from gateway.doctor.examination import Subject, examine
from gateway.doctor.finding import ok
from gateway.doctor.ports import gateway_version
from gateway.doctor.site import Site
from tests.support.doctor_site import free_ports


def config_of(*options):
    return load(None, [f"--{option}" for option in options])


BATCH = "DaskGateway.backend_class='dask_gateway_server.backends.jobqueue.slurm.SlurmBackend'"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (["Backend.api_url='http://edge:1/api'"], "http://edge:1/api"),
        (["DaskGateway.address='10.0.0.1:8002'"], "http://10.0.0.1:8002/api"),
        (["DaskGateway.address='[fd00::1]:8002'", "Proxy.prefix='/x'"], "http://[fd00::1]:8002/api"),
        (["Proxy.address=':8000'", "Proxy.prefix='/x'"], f"http://{socket.gethostname()}:8000/x/api"),
        (["Proxy.address=':0'"], ""),
        (["Proxy.address='systemd'"], ""),
    ],
)
def test_the_url_that_jobs_are_told(options, url):
    assert jobs_url(config_of(BATCH, *options)) == url


async def test_the_doctor_answers_where_nobody_does():
    public, private = free_ports(2)
    config = config_of(f"Proxy.address='127.0.0.1:{public}'", f"DaskGateway.address='127.0.0.1:{private}'")
    place = Address("127.0.0.1", private)
    async with somebody_answers(config):
        assert await gateway_version(place) == "doctor"
        assert await gateway_version(Address("127.0.0.1", public)) == ""
        silent = await trio.open_tcp_stream(*place)
        await silent.aclose()
        async with somebody_answers(config):  # as where a gateway runs
            assert await gateway_version(place) == "doctor"
    assert await gateway_version(place) == ""


async def test_nobody_else_opens_a_socket_of_systemds():
    async with somebody_answers(config_of("Proxy.address='systemd'")):
        pass


async def test_what_would_be_in_the_way_of_others_comes_last():
    order = []

    def subject(name, **more):
        async def look(site, say):
            await trio.lowlevel.checkpoint()
            order.append(name)
            say(ok(name, "seen"))

        return Subject(name, look, **more)

    found = await examine(Site(config=load(None)), [subject("jobs", comes_last=True), subject("a"), subject("b")])
    assert [one.check for one in found] == ["jobs", "a", "b"]
    assert order[-1] == "jobs"

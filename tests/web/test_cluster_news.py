"""Events and logs of clusters: as they are, and as they come."""

import json
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.auth.simple import SimpleAuthenticator
from gateway.errors import BackendUnavailable, Forbidden
from gateway.web.admin.client import events_in
from gateway.web.cluster_news import EventSource
from gateway.web.event_stream import LIFETIME, MOST, PERIOD, EventStreams
from tests.support.houses import open_house

CLUSTERS = "/api/v1/clusters/"


class Listener:
    """What somebody hears who follows; `answer` is there when it has ended."""

    def __init__(self, house, path, **more):
        self.sent = []
        self.answer = None
        self.hang_up, self.ended = trio.Event(), trio.Event()
        self._ask = lambda: house.ask("GET", path, sent=self.sent, hang_up=self.hang_up, **more)

    async def run(self):
        self.answer = await self._ask()
        self.ended.set()

    @property
    def raw(self):
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def events(self):
        return [(id, kind, json.loads(data)) for id, kind, data in events_in(self.raw.splitlines(keepends=True))]

    @property
    def heard(self):
        """The data of what is news."""
        return [data for _, kind, data in self.events if kind == "message"]

    @property
    def messages(self):
        return [data["message"] for data in self.heard]

    @property
    def text(self):
        return "".join(data["text"] for data in self.heard)


@asynccontextmanager
async def listening(house, path, last="", **more):
    async with trio.open_nursery() as nursery:
        headers = [("Last-Event-ID", last)] if last else []
        listener = Listener(house, path, headers=headers, **more)
        nursery.start_soon(listener.run)
        await wait_all_tasks_blocked()
        yield listener
        nursery.cancel_scope.cancel()


# ---- events


async def test_events_come_as_they_happen_until_the_cluster_has_ended(autojump_clock):
    async with open_house() as house:
        name = await house.create()
        async with listening(house, f"{CLUSTERS}{name}/events?follow") as listener:
            assert listener.sent[0]["status"] == 200
            assert (b"content-type", b"text/event-stream") in [
                (key.lower(), value.partition(b";")[0]) for key, value in listener.sent[0]["headers"]
            ]
            assert listener.messages == ["The scheduler is job 1_0"]
            await house.beat(name)
            await wait_all_tasks_blocked()
            assert listener.messages == ["The scheduler is job 1_0", "The scheduler is running"]
            await house.ask("DELETE", f"{CLUSTERS}{name}")
            house.driver.end("scheduler")
            with trio.fail_after(60):
                await listener.ended.wait()
            assert listener.messages[-1] == "Ended"
            assert listener.events[-1][1] == "end"
        plain = await house.ask("GET", f"{CLUSTERS}{name}/events")
        assert plain.json["events"] == listener.heard


async def test_who_comes_back_hears_what_followed_and_whoever_knows_it_all_is_told_to_stop(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        path = f"{CLUSTERS}{name}/events?follow"
        async with listening(house, path) as listener:
            ids = [id for id, _, _ in listener.events]
            everything = listener.messages
        async with listening(house, path, ids[0]) as listener:
            assert listener.messages == everything[1:]
        for other in ("1-1", "nonsense", f"{ids[0]}x", ids[0].partition("-")[0], "9" * 400, "-", "²-²"):
            async with listening(house, path, other) as listener:
                assert listener.messages == everything
        await house.ask("DELETE", f"{CLUSTERS}{name}")
        house.driver.end("scheduler")
        async with listening(house, path, ids[-1]) as listener:
            with trio.fail_after(60):
                await listener.ended.wait()
            last = listener.events[-2][0]
        answer = await house.ask("GET", path, headers=[("Last-Event-ID", last)])
        assert (answer.status, answer.body) == (204, b"")


async def test_silence_is_filled_and_does_not_last_for_ever(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        async with listening(house, f"{CLUSTERS}{name}/events?follow=1") as listener:
            before = len(listener.sent)
            await trio.sleep(PERIOD + 1)
            assert [message["body"] for message in listener.sent[before:]] == [b": nothing yet\n\n"]
            await trio.sleep(LIFETIME)
            assert listener.answer is not None  # they ask again, and prove who they are
            assert listener.events[-1][1] == "message"


async def test_all_end_when_the_gateway_stops(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        async with listening(house, f"{CLUSTERS}{name}/events?follow") as listener:
            house.streams.end()
            await wait_all_tasks_blocked()
            assert listener.answer is not None


async def test_nobody_follows_too_much_and_who_hangs_up_may_again(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        path = f"{CLUSTERS}{name}/events?follow"
        async with trio.open_nursery() as nursery:
            listeners = [Listener(house, path) for _ in range(MOST)]
            for listener in listeners:
                nursery.start_soon(listener.run)
            await wait_all_tasks_blocked()
            refused = await house.ask("GET", path)
            assert refused.status == 503
            assert refused.error.startswith("User alice follows 20 events or logs already")
            listeners[0].hang_up.set()
            await wait_all_tasks_blocked()
            async with listening(house, path) as another:
                assert another.messages
            nursery.cancel_scope.cancel()


async def test_who_may_not_see_a_cluster_any_more_hears_nothing_more(autojump_clock):
    async with open_house(sharing="view") as house:
        name = await house.running()
        shares = f"{CLUSTERS}{name}/shares"
        await house.ask("PUT", shares, body={"view": ["bob"], "use": []})
        async with listening(house, f"{CLUSTERS}{name}/events?follow", user="bob") as listener:
            assert "Shared: bob may view it" in listener.messages
            await house.ask("PUT", shares, body={"view": [], "use": []})
            await wait_all_tasks_blocked()
            assert listener.answer is not None
            assert "Shared with nobody" not in listener.messages
            assert listener.events[-1][1] == "error"


async def test_a_right_that_ends_while_an_event_is_sent(autojump_clock):
    """A listener whose network is slow gets pieces one by one; what is asked between two of them may be refused."""
    async with open_house() as house:
        cluster = house.manager.find(await house.running())
        refusals = []

        def find():
            for refusal in refusals:
                raise refusal
            return cluster

        answer = EventStreams().answer("bob", EventSource(find, 0))
        heard = []
        async with answer.response as body:
            async for piece in body:
                heard.append(piece)
                if b"data: " in piece:
                    refusals.append(Forbidden("No longer shared with you"))
        assert b"The scheduler is running" in heard[-3]
        assert heard[-1] == b'event: error\ndata: {"error":"No longer shared with you"}\n\n'


async def test_others_hear_nothing():
    async with open_house() as house:
        name = await house.running()
        for part in ("events", "logs"):
            for query in ("?follow", ""):
                assert (await house.ask("GET", f"{CLUSTERS}{name}/{part}{query}", user="bob")).status == 403
                assert (await house.ask("GET", f"{CLUSTERS}{name}/{part}{query}", user=None)).status == 401
                assert (await house.ask("GET", f"{CLUSTERS}nobody/{part}{query}")).status == 404


# ---- logs


async def test_the_end_of_a_log_without_secrets(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        secret = house.manager.find(name).record
        log = f"\x1b[1mhello\x1b[0m\nMY_TOKEN is {secret.token}\n{secret.tls_key}\nbye\n"
        house.driver.logs[name, "scheduler"] = log
        answer = await house.ask("GET", f"{CLUSTERS}{name}/logs")
        assert (answer.status, answer.json) == (
            200,
            {
                "name": "scheduler",
                "start": 0,
                "end": len(log),
                "text": "hello\nMY_TOKEN is [redacted]\n[redacted]\nbye\n",
            },
        )


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 404, "There is no log of scheduler yet"),
        ("role=scheduler&name=scheduler", 404, "There is no log of scheduler yet"),
        ("name=w7-0", 404, "has had no job w7-0. It has no workers at the moment"),
        ("name=w7-0-3", 404, "has had no job w7-0."),
        ("role=worker", 422, "Say whose log: add ?name=..., as in name=w1-0. It has no workers"),
        ("role=baker", 422, "Query 'role' is 'baker', expected one of scheduler, worker"),
        ("name=../../etc/passwd", 422, "names no log of a job"),
        ("name=scheduler&role=worker", 422, "names no log of a worker"),
        ("name=w1-0&role=scheduler", 422, "names no log of the scheduler"),
        ("name=&follow", 422, "names no log of a job"),
        ("name=w1-0%0A", 422, "names no log of a job"),
        ("name=w١-0", 422, "names no log of a job"),
    ],
)
async def test_which_log_is_wanted(autojump_clock, query, status, words):
    async with open_house() as house:
        name = await house.running()
        answer = await house.ask("GET", f"{CLUSTERS}{name}/logs?{query}")
        assert answer.status == status
        assert words in answer.error


async def test_workers_are_named(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        await house.beat(name, 12)
        await house.driver.wait_submissions(2)
        answer = await house.ask("GET", f"{CLUSTERS}{name}/logs?role=worker")
        assert answer.error.endswith("w1-7, w1-8, w1-9 and 2 more")
        house.driver.logs[name, "w1-3"] = "hello\n"
        assert (await house.ask("GET", f"{CLUSTERS}{name}/logs?name=w1-3-0")).json["text"] == "hello\n"


async def test_a_log_that_cannot_be_read(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        house.driver.logs[name, "scheduler"] = BackendUnavailable("sudo does not answer.")
        answer = await house.ask("GET", f"{CLUSTERS}{name}/logs")
        assert (answer.status, answer.error) == (503, "The log of scheduler cannot be read: sudo does not answer.")
        async with listening(house, f"{CLUSTERS}{name}/logs?follow") as listener:
            assert listener.events == [("", "error", {"error": answer.error})]
            assert listener.answer is not None


async def test_a_log_is_followed_line_by_line_to_its_end(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        logs, path = house.driver.logs, f"{CLUSTERS}{name}/logs?follow"
        token = house.manager.find(name).record.token
        async with listening(house, path) as listener:
            logs[name, "scheduler"] = f"one\ntwo\nsecret {token[:7]}"
            await trio.sleep(20)
            assert listener.text == "one\ntwo\n"
            last = listener.events[-1][0]
            logs[name, "scheduler"] = f"one\ntwo\nsecret {token}\nthr"
            await trio.sleep(20)
            assert listener.text == "one\ntwo\nsecret [redacted]\n"
            house.driver.end("scheduler", "exit code 1")  # it has failed, so its logs stay
            await trio.sleep(20)
            assert listener.text == "one\ntwo\nsecret [redacted]\nthr"
            assert listener.events[-1][1] == "end"
            assert listener.answer is not None
        async with listening(house, path, last) as listener:
            await trio.sleep(20)
            assert listener.text == "secret [redacted]\nthr"


async def test_a_long_log_is_followed_from_its_beginning_without_a_pause(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        log = "".join(f"line {number}\n" for number in range(40_000))
        house.driver.logs[name, "scheduler"] = log
        async with listening(house, f"{CLUSTERS}{name}/logs?follow", "0") as listener:
            began = trio.current_time()
            while listener.text != log:
                await wait_all_tasks_blocked()
            assert trio.current_time() == began


async def test_who_may_only_look_reads_no_log_and_who_may_use_a_cluster_does(autojump_clock):
    async with open_house(sharing="use") as house:
        name = await house.running()
        house.driver.logs[name, "scheduler"] = "hello\n"
        await house.ask("PUT", f"{CLUSTERS}{name}/shares", body={"view": ["bob"], "use": ["ann"]})
        assert (await house.ask("GET", f"{CLUSTERS}{name}/logs", user="bob")).status == 409
        assert (await house.ask("GET", f"{CLUSTERS}{name}/logs?follow", user="bob")).status == 409
        assert (await house.ask("GET", f"{CLUSTERS}{name}/logs", user="ann")).json["text"] == "hello\n"


async def test_administrators_read_both(autojump_clock):
    admin = "/api/v1/admin/clusters/"
    async with open_house(authenticator=SimpleAuthenticator(admin_users={"root"}, password="p")) as house:
        ask = {"user": "root", "password": "p"}
        created = await house.ask("POST", CLUSTERS, body={}, password="p")
        name = created.json["name"]
        house.driver.logs[name, "scheduler"] = "hello\n"
        assert (await house.ask("GET", f"{admin}{name}/logs", **ask)).json["text"] == "hello\n"
        await house.driver.wait_submissions(1)
        await wait_all_tasks_blocked()
        told = (await house.ask("GET", f"{admin}{name}/events", **ask)).json["events"]
        assert [event["message"] for event in told] == ["The scheduler is job 1_0"]
        async with listening(house, f"{admin}{name}/events?follow", **ask) as listener:
            assert listener.heard == told
        for part in ("events", "logs", "events?follow"):
            assert (await house.ask("GET", f"{admin}{name}/{part}", password="p")).status == 403
            assert (await house.ask("GET", f"{admin}nobody/{part}", **ask)).status == 404

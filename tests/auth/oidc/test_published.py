"""What a server publishes: asked for when it is needed, kept when the server is away."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.auth.http_json import Away
from gateway.auth.oidc.published import Ages, Published
from gateway.errors import BadGateway

AGES = Ages(renewed=100, usable=1000, pause=10, patience=2)


class Server:
    """Publishes 1, 2, ...; an exception instead when `error` is set, and nothing while `hangs`."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.hangs = False

    async def ask(self) -> int:
        self.asked += 1
        if self.hangs:
            await trio.sleep(30)
            raise Away("nobody answers")
        await trio.sleep(0.5)
        if self.error:
            raise self.error
        return self.asked


@pytest.fixture
def server() -> Server:
    return Server()


async def test_it_is_asked_once_for_many(server: Server, autojump_clock: MockClock) -> None:
    published, got = Published(server.ask, AGES), list[int]()

    async def get() -> None:
        got.append(await published.get())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(get)
    assert got == [1] * 20
    await trio.sleep(99)
    assert await published.get() == 1
    await trio.sleep(1)
    assert await published.get() == 2


async def test_nobody_waits_while_it_is_renewed(server: Server, autojump_clock: MockClock) -> None:
    published = Published(server.ask, AGES)
    await published.get()
    await trio.sleep(200)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(published.get)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        assert await published.get() == 1
        assert trio.current_time() == began
    assert await published.get() == 2


@pytest.mark.parametrize("how", ["error", "hangs"])
async def test_what_is_known_holds_while_the_server_is_away(
    server: Server, autojump_clock: MockClock, how: str
) -> None:
    published = Published(server.ask, AGES)
    await published.get()
    await trio.sleep(500)
    server.error, server.hangs = Away("away"), how == "hangs"
    for _ in range(5):
        began = trio.current_time()
        assert await published.get() == 1
        assert trio.current_time() - began <= 2
    assert server.asked == 2  # not by each who comes
    await trio.sleep(10)
    server.error, server.hangs = None, False
    assert await published.get() == 3


@pytest.mark.parametrize("error", [Away("away for now"), BadGateway("somebody else answers")])
async def test_but_not_for_ever(server: Server, autojump_clock: MockClock, error: Any) -> None:
    published = Published(server.ask, AGES)
    await published.get()
    server.error = error
    await trio.sleep(1000)
    for _ in range(3):
        with pytest.raises(type(error), match=str(error)) as raised:
            await published.get()
        assert raised.value is not error
    assert server.asked == 2


async def test_whoever_needs_what_is_there_now_waits_for_it(server: Server, autojump_clock: MockClock) -> None:
    published = Published(server.ask, AGES)
    assert await published.get_now() == 1
    for _ in range(5):
        assert await published.get_now() == 1  # a moment ago is now
    await trio.sleep(10)
    assert await published.get_now() == 2
    server.error = Away("away")
    await trio.sleep(10)
    for _ in range(2):
        with pytest.raises(Away, match="away"):
            await published.get_now()
    assert server.asked == 3
    assert await published.get() == 2


async def test_who_gives_up_leaves_the_question_to_others(server: Server, autojump_clock: MockClock) -> None:
    published = Published(server.ask, AGES)
    with trio.move_on_after(0.1):
        await published.get()
    assert await published.get() == 2

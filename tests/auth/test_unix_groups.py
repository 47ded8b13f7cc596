"""Groups of accounts: of this machine's real ones, and of a directory service that is slow or away."""

import grp
import os
import threading

import pytest
import trio

from gateway.auth import unix_groups
from gateway.auth.unix_groups import UnixGroups, groups_of
from gateway.errors import TryAgainLater


def test_the_system_is_asked() -> None:
    assert grp.getgrgid(0).gr_name in groups_of("root")
    assert groups_of("no-such-account-here") == frozenset()


def test_groups_without_a_name_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [0, 4_000_000_000])
    assert groups_of("root") == {grp.getgrgid(0).gr_name}


async def test_asked_once_for_a_while() -> None:
    asked: list[str] = []

    def ask(name: str) -> frozenset[str]:
        asked.append(name)
        return frozenset({f"group-of-{name}"})

    groups = UnixGroups(ask)
    assert groups.known("ann") is None
    for _ in range(3):
        assert await groups.of("ann") == {"group-of-ann"}
    assert groups.known("ann") == {"group-of-ann"}
    assert asked == ["ann"]


async def test_what_is_remembered_is_bounded() -> None:
    groups = UnixGroups(lambda name: frozenset(), most=3)
    for number in range(5):
        await groups.of(f"user{number}")
    assert [number for number in range(5) if groups.known(f"user{number}") is not None] == [2, 3, 4]


async def test_a_directory_that_hangs_holds_up_nobody_for_ever() -> None:
    release = threading.Event()
    try:
        groups = UnixGroups(lambda name: frozenset({str(release.wait(60))}), deadline=0.05)
        with pytest.raises(TryAgainLater, match="groups of user ann are not known"):
            await groups.of("ann")
        assert groups.known("ann") is None
    finally:
        release.set()


async def test_an_answer_outlives_its_time_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    groups = UnixGroups(lambda name: frozenset())
    groups._known["ann"] = frozenset({"a"}), trio.current_time() + unix_groups.MAX_AGE
    assert groups.known("ann") == {"a"}
    await trio.sleep(unix_groups.MAX_AGE + 1)
    assert groups.known("ann") is None

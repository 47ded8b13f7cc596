"""Who is ended for whom, without any socket."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.proxy import Proxy
from gateway.proxy.admission import Admission, Crowd, Guest, group_of


class WatchedAdmission:
    """What decides who may stay at a port, and who had to go."""

    def __init__(self, **limits: int) -> None:
        self.gone: list[Guest] = []
        self.closed: list[Guest] = []
        self.reasons: list[str] = []
        self.admission = Admission(Proxy(**limits), self._ended)  # type: ignore[arg-type] # all are numbers

    def _ended(self, guest: Guest, reason: str) -> None:
        self.gone.append(guest)
        self.reasons.append(reason)

    def come(self, address: str, *then: Callable[[Guest], object]) -> Guest:
        assert not self.admission.make_room(address)
        guest = self.admission.enter(address)
        guest.end = lambda: self.closed.append(guest)
        for step in then or (self.admission.is_silent,):
            step(guest)
        return guest

    def silent(self, address: str) -> Guest:
        return self.come(address)

    def idle(self, address: str) -> Guest:
        return self.come(address, self.admission.idles)

    def busy(self, address: str) -> Guest:
        return self.come(address, self.admission.works)

    def known(self, address: str) -> Guest:
        return self.come(address, self.admission.knows)


def test_a_group_is_an_address_or_an_ipv6_network() -> None:
    assert group_of("192.0.2.7") == "192.0.2.7"
    assert group_of("unix") == "unix"
    assert group_of("2001:db8:0:1::5") == group_of("2001:db8:0:1:ffff::") == "2001:db8:0:1::/64"
    assert group_of("2001:db8:0:2::5") != group_of("2001:db8:0:1::5")
    assert group_of("fe80::1%eth0") == "fe80::/64"


def test_the_oldest_silent_one_of_the_address_that_has_most_goes() -> None:
    house = WatchedAdmission(max_undecided=5)
    other = house.silent("b")
    first, second = house.silent("a"), house.silent("a")
    house.silent("b")
    house.silent("a")
    house.silent("c")
    assert house.gone == house.closed == [first]
    assert "have not asked for anything yet" in house.reasons[0]
    house.silent("c")
    assert house.gone[1:] == [other]  # two of each, and b's were two first
    house.silent("d")
    assert house.gone[2:] == [second]
    assert first.gone
    assert not other.served


def test_all_of_an_ipv6_network_count_together() -> None:
    house = WatchedAdmission(max_undecided=4)
    house.silent("192.0.2.1")
    first = [house.silent(f"2001:db8::{number:x}") for number in range(20)]
    assert house.gone == first[:17]
    limited = WatchedAdmission(max_connections_per_address=2)
    one = limited.silent("2001:db8::1")
    limited.known("2001:db8::2")
    limited.silent("2001:db8::3")
    assert limited.gone == [one]


def test_an_address_that_has_too_many_makes_room_for_itself() -> None:
    house = WatchedAdmission(max_connections_per_address=3)
    other, busy, known = house.silent("b"), house.busy("a"), house.known("a")
    idle = house.idle("a")
    again = house.idle("a")
    assert house.gone == [idle]
    house.admission.works(again)
    assert "of one address" in house.admission.make_room("a")
    house.admission.leave(busy)
    house.admission.leave(busy)
    silent = house.silent("a")
    house.silent("a")
    assert house.gone == [idle, silent]
    assert not other.gone
    assert not known.gone


def test_when_all_places_are_taken_the_longest_idle_one_of_the_address_that_has_most_goes() -> None:
    house = WatchedAdmission(max_connections=4)
    other, first, second = house.idle("b"), house.idle("a"), house.idle("a")
    third = house.idle("a")
    first.works()
    first.waits()
    first.waits()
    assert first.served
    house.silent("c")
    assert house.gone == [second]
    silent = house.silent("c")
    assert house.gone == [second, third]
    house.silent("d")  # now c has most of the silent ones
    assert len(house.gone) == 3
    assert house.gone[2].address == "c"
    assert not other.gone
    assert not silent.gone


def test_who_keeps_coming_back_from_one_address_ends_its_own() -> None:
    house = WatchedAdmission(max_connections=100)
    mallory = [house.idle("mallory") for _ in range(100)]
    alice = house.silent("alice")
    for _ in range(1000):
        mallory.append(house.idle("mallory"))
    assert not alice.gone
    assert {guest.address for guest in house.gone} == {"mallory"}


def test_busy_ones_go_only_for_an_address_that_has_fewer() -> None:
    house = WatchedAdmission(max_connections=4)
    first, second, third = house.busy("a"), house.busy("a"), house.busy("a")
    house.busy("b")
    assert "max_connections" in house.admission.make_room("a")
    house.busy("c")
    assert house.gone == [third]
    assert house.admission.make_room("b")  # that would only change whose turn it is
    house.busy("d")
    assert house.gone == [third, second]
    assert house.admission.make_room("e")
    assert not first.gone


def test_known_ones_go_last_and_never_for_a_place_of_the_others() -> None:
    house = WatchedAdmission(max_connections=16)
    known = [house.known("a") for _ in range(14)]
    guest = house.silent("a")
    assert not house.admission.knows(guest)  # the last eighth is kept for others
    house.silent("a")
    house.silent("a")
    assert house.gone == [guest]
    house.known("b")
    assert house.gone[2:] == [known[-1]]
    assert house.admission.knows(known[0])


def test_those_that_are_known_have_places_of_their_own() -> None:
    house = WatchedAdmission(max_connections=16)
    silent = [house.silent("a") for _ in range(20)]
    assert house.gone == silent[:6]
    assert house.admission.total == 14
    job = house.silent("a")
    job.is_known()
    house.known("a")
    for _ in range(100):
        house.silent("a")
        house.busy("b")
    assert not job.gone
    job.works()
    job.waits()
    assert job.served
    house.admission.leave(job)
    job.waits()
    job.works()
    assert house.admission.total <= 16


def test_a_port_full_of_known_ones_takes_nobody_who_has_as_many() -> None:
    house = WatchedAdmission(max_connections=2)
    house.known("a")
    house.known("a")
    assert house.admission.make_room("a")
    third = house.silent("b")
    assert len(house.gone) == 1
    assert house.admission.make_room("a") == ""  # the silent one goes
    assert third.gone


def test_when_something_else_is_used_up_those_that_are_not_known_go() -> None:
    house = WatchedAdmission()
    house.known("a")
    silent, idle = [house.silent("a") for _ in range(3)], house.idle("b")
    busy = [house.busy("c") for _ in range(2)]
    assert house.admission.spare(2) == 2
    assert house.gone == silent[:2]
    assert house.admission.spare(10) == 3
    assert house.gone[2:] == [silent[2], idle, busy[1]]
    assert house.admission.spare(10) == 0
    assert set(house.reasons) == {"file descriptors or memory are used up"}


def test_an_introduced_client_counts_and_its_proxy_no_longer() -> None:
    house = WatchedAdmission(max_connections_per_address=2)
    proxied = house.silent("proxy")
    house.silent("proxy")
    assert house.admission.introduce(proxied, "a") == ""
    assert (proxied.address, proxied.group) == ("a", "a")
    house.silent("proxy")
    assert not house.gone
    house.known("a")
    assert house.admission.introduce(house.known("other"), "a") == ""  # for which the silent one goes
    assert house.gone == [proxied]
    late = house.silent("other")
    assert "of one address" in house.admission.introduce(late, "a")
    house.admission.leave(late)


def test_once_it_is_no_longer_silent_it_is_in_no_crowd() -> None:
    house = WatchedAdmission(max_undecided=1)
    guest = house.silent("a")
    house.admission.has_asked(guest)
    house.silent("a")
    assert not house.gone
    guest.end()
    house.admission.leave(guest)
    guest.end()  # nothing any more
    assert house.closed == [guest]


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "renew"]), st.sampled_from("abcd")), max_size=60))
def test_a_crowd_finds_what_a_search_would(steps: list[tuple[str, str]]) -> None:
    crowd, admission = Crowd(), Admission(Proxy())
    members: dict[str, list[Guest]] = {}
    for step, group in steps:
        mine = members.setdefault(group, [])
        if step == "add":
            mine.append(Guest(admission, group))
            crowd.add(mine[-1])
        elif step == "remove" and mine:
            crowd.remove(mine.pop(len(mine) // 2))
        elif step == "renew" and mine:
            crowd.renew(mine[0])
            mine.append(mine.pop(0))
        most = max(len(guests) for guests in members.values())
        assert crowd.most == most
        assert crowd.total == sum(len(guests) for guests in members.values())
        assert crowd.size_of(group) == len(mine)
        assert crowd.oldest_of(group) is (mine[0] if mine else None)
        if most:
            largest = members[crowd.oldest.address]
            assert len(largest) == most
            assert crowd.oldest is largest[0]
            assert crowd.newest is largest[-1]

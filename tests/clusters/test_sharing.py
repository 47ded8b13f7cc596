"""Who may do what with a cluster, as tables."""

import pytest
from attrs import evolve

from gateway.clusters import sharing
from gateway.clusters.manager import new_secret
from gateway.clusters.sharing import Access
from gateway.errors import Conflict, Forbidden, NotFound, NotShared
from gateway.models import ClusterStatus, Guest, User
from tests.support.houses import record

ALICE, BOB, CAROL, DAVE = User("alice"), User("bob"), User("carol", {"physics", "staff"}), User("dave", {"staff"})
ROOT = User("root", {"wheel"}, admin=True)
ROUTE = "c0ffee-" + "a" * 18
MINE = "c0ffee-" + "b" * 18
PAGE = "c0ffee-" + "p" * 18

#: bob and physics may use it, staff may see it.
SHARED = record(share_use=("bob", "@physics"), share_view=("@staff",), route=ROUTE, status=ClusterStatus.RUNNING)

VERBS = ("view", "use", "scale", "stop", "share")


@pytest.mark.parametrize(
    ("user", "access", "allowed"),
    [
        (ALICE, Access.OWN, VERBS),
        (BOB, Access.USE, ("view", "use")),
        (CAROL, Access.USE, ("view", "use")),  # of her two groups the one that gives more counts
        (DAVE, Access.VIEW, ("view",)),
        (User("eve"), Access.NONE, ()),
        (User("physics"), Access.NONE, ()),  # a group's name is no user's
        (User("@physics"), Access.USE, ("view", "use")),  # and no user has such a name: authenticators refuse it
        (User("bobby", {"bob", "alice"}), Access.NONE, ()),  # nor is a user's name a group's
        (ROOT, Access.NONE, ()),  # administrators have routes of their own
    ],
    ids=lambda value: value.name if isinstance(value, User) else "",
)
def test_who_may_do_what(user, access, allowed):
    assert sharing.access_of(user, SHARED) is access
    assert tuple(verb for verb in VERBS if sharing.may(user, SHARED, verb)) == allowed


@pytest.mark.parametrize("user", [BOB, CAROL, DAVE, ROOT])
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_not_shared_is_the_owners_alone(user, verb):
    assert not sharing.may(user, record(), verb)


def test_a_stranger_is_told_nothing_that_they_did_not_know():
    error = sharing.refusal(User("eve"), SHARED, "stop")
    assert type(error) is Forbidden
    assert str(error) == "User eve lacks permissions to stop cluster c0ffee"


@pytest.mark.parametrize(
    ("user", "verb", "text"),
    [
        (BOB, "scale", "User bob cannot scale cluster c0ffee: its owner alice shares it with them to use it,"),
        (DAVE, "use", "User dave cannot use cluster c0ffee: its owner alice shares it with them to see its dashboard,"),
    ],
)
def test_others_are_told_what_is_shared_with_them(user, verb, text):
    error = sharing.refusal(user, SHARED, verb)
    assert type(error) is NotShared
    assert str(error).startswith(text)


# ---- what the site allows


def test_a_site_that_allows_less_than_before():
    came = evolve(SHARED, guests=(Guest("bob", "bob", MINE, PAGE),))
    assert sharing.within("use", came) is came
    view = sharing.within("view", came)
    assert (view.share_view, view.share_use, view.guests) == (("@staff", "bob", "@physics"), (), came.guests)
    assert (sharing.access_of(BOB, view), sharing.name_for(BOB, view)) == (Access.VIEW, "c0ffee")
    assert sharing.routes_to(view, "tls", "http") == {
        "c0ffee": ("", "http"),
        ROUTE: ("tls", ""),
        PAGE: ("", "http"),
    }
    off = sharing.within("off", came)
    assert (off.share_view, off.share_use, off.guests, off.route) == ((), (), (), ROUTE)


# ---- changes


def changed(before, change):
    return evolve(before, **change.fields)


def test_new_shares_take_the_place_of_the_old_ones():
    change = sharing.shares(SHARED, ("dave", "bob", "alice"), ("bob", "alice"))
    after = changed(SHARED, change)
    assert (after.share_view, after.share_use) == (("dave",), ("bob",)), "neither the owner nor anybody twice"
    assert change.told == "Shared: bob may use it; dave may view it"
    assert sharing.shares(SHARED, (), ()).told == "Shared with nobody"


def test_only_a_cluster_with_a_route_of_its_owners_can_be_used_by_others():
    early = record(share_view=())
    assert changed(early, sharing.shares(early, ("bob",), ())).share_view == ("bob",)
    with pytest.raises(Conflict, match="can only be shared for viewing: it was started when"):
        sharing.shares(early, (), ("bob",))


def guest(user, share, letter="b"):
    return Guest(user, share, f"c0ffee-{letter * 18}", f"c0ffee-{letter * 17}p")


@pytest.mark.parametrize(
    ("view", "use", "left"),
    [
        (("@staff",), ("bob", "@physics"), {"bob": "bob", "carol": "@physics", "dave": "@staff"}),
        ((), ("@physics",), {"carol": "@physics"}),
        (("carol",), ("dave",), {"carol": "carol", "dave": "dave"}),  # who is named now stays
        (("@physics",), (), {"carol": "@physics"}),
        (("bob",), ("carol", "@physics"), {"bob": "bob", "carol": "carol"}),  # of two that give the same, the name
        ((), (), {}),
    ],
)
def test_whose_share_has_ended_has_no_way_any_more(view, use, left):
    guests = (guest("bob", "bob"), guest("carol", "@physics", "c"), guest("dave", "@staff", "d"))
    after = changed(SHARED, sharing.shares(evolve(SHARED, guests=guests), view, use))
    assert {guest.user: guest.share for guest in after.guests} == left
    routes = {guest.user: guest.route for guest in guests}
    assert all(guest.route == routes[guest.user] for guest in after.guests), "whoever stays keeps their route"


def test_whoever_comes_for_the_first_time_is_let_in():
    assert sharing.needs_admission(CAROL, SHARED)
    change = sharing.admission(CAROL, SHARED, MINE, PAGE)
    after = changed(SHARED, change)
    assert after.guests == (Guest("carol", "@physics", MINE, PAGE),)
    assert change.told == "User carol was let in to use it, as a member of physics"
    assert not sharing.needs_admission(CAROL, after)
    assert MINE not in repr(after)
    assert PAGE not in repr(after)
    assert ROUTE not in repr(after)


def test_credentials_that_say_less_close_no_way():
    both = evolve(SHARED, share_view=("carol",))
    came = changed(both, sharing.admission(CAROL, both, MINE, PAGE))
    assert came.guests[0].share == "@physics"
    nameless = User("carol")  # by a token, say, which knows no groups
    assert not sharing.needs_admission(nameless, came)
    assert sharing.name_for(nameless, came) == "c0ffee"
    assert sharing.routes_to(came, "tls", "")[MINE] == ("tls", "")


def test_whoever_may_do_more_than_before_keeps_their_route():
    came = changed(SHARED, sharing.admission(DAVE, SHARED, MINE, PAGE))
    more = evolve(came, share_use=("dave",))
    assert sharing.needs_admission(DAVE, more)
    change = sharing.admission(DAVE, more, "c0ffee-" + "z" * 18, "c0ffee-" + "y" * 18)
    assert change.fields["guests"] == (Guest("dave", "dave", MINE, PAGE),)
    assert change.told == "User dave was let in to use it"


@pytest.mark.parametrize("user", [ALICE, User("eve"), ROOT])
def test_who_is_no_guest(user):
    assert not sharing.needs_admission(user, SHARED)
    if user is not ALICE:
        with pytest.raises(Forbidden):
            sharing.admission(user, SHARED, MINE, PAGE)


@pytest.mark.parametrize("status", [ClusterStatus.STOPPING, ClusterStatus.STOPPED, ClusterStatus.FAILED])
def test_nobody_needs_a_way_into_a_cluster_that_ends(status):
    assert not sharing.needs_admission(BOB, evolve(SHARED, status=status))


def test_there_is_an_end_of_guests():
    many = tuple(
        Guest(f"user{number}", "@staff", f"c0ffee-{number}", f"c0ffee-p{number}")
        for number in range(sharing.MOST_GUESTS - 1)
    )
    full = changed(SHARED, sharing.admission(BOB, evolve(SHARED, guests=many), MINE, PAGE))
    with pytest.raises(Conflict, match="Cluster c0ffee is full"):
        sharing.admission(CAROL, full, MINE, PAGE)
    assert sharing.admission(BOB, full, MINE, PAGE).fields["guests"] == full.guests


def test_one_guest_can_be_turned_out():
    came = changed(SHARED, sharing.admission(BOB, SHARED, MINE, PAGE))
    change = sharing.departure("bob", came)
    assert (change.fields, change.told) == ({"guests": ()}, "The way of user bob was closed")
    with pytest.raises(NotFound, match="User carol has no way into cluster c0ffee"):
        sharing.departure("carol", came)


def test_an_administrator_ends_all_shares():
    change = sharing.ended_by("root", "the owner has left", SHARED)
    after = changed(SHARED, change)
    assert sharing.access_of(BOB, after) is Access.NONE
    assert change.told == "Shared with nobody: an administrator (root) has ended that: the owner has left"


# ---- names


def test_names_of_routes_fill_a_label_and_say_which_cluster_they_are_of():
    name = sharing.route_name("0" * 32, new_secret())
    assert len(f"daskgateway-{name}") == 63
    assert sharing.cluster_named(name) == "0" * 32
    assert sharing.route_name("0" * 32, new_secret()) != name


@pytest.mark.parametrize(
    "name", ["c0ffee", "my-cluster", "c0ffee-" + "a" * 17, "-" + "a" * 18, f"{MINE}\n", "", MINE.upper()]
)
def test_any_other_name_is_a_clusters(name):
    assert sharing.cluster_named(name) == name


CAME = evolve(SHARED, guests=(Guest("bob", "bob", MINE, PAGE), guest("dave", "@staff", "d")))


@pytest.mark.parametrize(
    ("user", "scheduler", "dashboard"),
    [
        (ALICE, ROUTE, "c0ffee"),
        (BOB, MINE, PAGE),
        (DAVE, "c0ffee", "c0ffee-" + "d" * 17 + "p"),
        (CAROL, "c0ffee", ""),  # has not come yet
    ],
)
def test_everybody_has_names_of_their_own(user, scheduler, dashboard):
    assert (sharing.name_for(user, CAME), sharing.dashboard_name(user, CAME)) == (scheduler, dashboard)


def test_a_cluster_that_nobody_can_share_has_its_own_name():
    assert sharing.name_for(ALICE, record()) == sharing.dashboard_name(ALICE, record()) == "c0ffee"
    assert sharing.routes_to(record(), "tls", "http") == {"c0ffee": ("tls", "http")}


def test_where_names_lead():
    assert sharing.routes_to(CAME, "tls", "http") == {
        "c0ffee": ("", "http"),
        ROUTE: ("tls", ""),
        MINE: ("tls", ""),
        PAGE: ("", "http"),
        "c0ffee-" + "d" * 17 + "p": ("", "http"),
    }
    assert sharing.routes_to(CAME, "tls", "") == {ROUTE: ("tls", ""), MINE: ("tls", "")}


@pytest.mark.parametrize(
    ("name", "cluster", "nowhere"),
    [
        (MINE, CAME, False),
        (ROUTE, CAME, False),
        ("c0ffee", CAME, True),
        ("c0ffee", record(status=ClusterStatus.RUNNING), False),
        (PAGE, CAME, True),  # whoever has a link has this name
        ("c0ffee-" + "d" * 18, CAME, True),  # may only see it
        ("c0ffee-" + "z" * 18, CAME, True),
        ("c0ffee-" + "z" * 18, evolve(CAME, status=ClusterStatus.PENDING), False),  # try again
    ],
)
def test_who_is_told_that_a_name_leads_nowhere(name, cluster, nowhere):
    said = sharing.leads_nowhere(name, cluster)
    assert said.startswith("This is no way into cluster c0ffee, or none any more") == bool(said) == nowhere


def test_whose_name_for_the_dashboard_it_is():
    names = {"c0ffee": "alice", PAGE: "bob", MINE: None, ROUTE: None, "other": None}
    assert {name: sharing.person_of(name, CAME) for name in names} == names

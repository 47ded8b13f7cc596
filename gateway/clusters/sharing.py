"""Who may do what with a cluster, and by which names they reach it (pure).

A cluster is its owner's. They may let others *view* it (its report, events,
traffic and dashboard) or *use* it (connect and compute as well), one by one or
by group; never scale, stop or share it. Administrators have no part in this:
what they may do is done by routes of their own (web/admin.py).

All who may use a cluster have the same key, and connections are encrypted from
end to end: the gateway sees nothing of whose they are but the name that a
client asks for. So each person has a name of their own, hard to guess, which
is the `name` in their report: the published client asks for that one. When
they may come in no longer, the route of that name ends, and with it
their connections and nobody else's. For the same reason the cluster's own name,
which is no secret, leads to no scheduler where a site allows use (`route`). The
name below which a guest finds the dashboard is another one, for people give
links to others.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import evolve, frozen

from gateway.clusters.lifecycle import is_active
from gateway.config.structure import ShareNames
from gateway.errors import Conflict, Forbidden, GatewayError, NotFound, NotShared
from gateway.models import ClusterRecord, ClusterStatus, Guest, User

Verb = Literal["view", "use", "scale", "stop", "share"]

#: People who may have a way into one cluster.
MOST_GUESTS = 200

#: A cluster's name and a route's own part, of 90 bits. With the prefix of server names a label's 63 characters.
_ROUTE_NAME = re.compile(r"([0-9a-z]{1,32})-[a-z2-7]{18}")


class Access(enum.IntEnum):
    """What somebody may do with a cluster: all that stands before it as well."""

    NONE = 0
    VIEW = 1
    USE = 2
    OWN = 3


_NEEDED: Mapping[Verb, Access] = {
    "view": Access.VIEW,
    "use": Access.USE,
    "scale": Access.OWN,
    "stop": Access.OWN,
    "share": Access.OWN,
}


@frozen
class SharingChange:
    """New values for fields of a cluster's record, and what its owner is told of that."""

    fields: Mapping[str, Any]
    told: str


# ---- what is allowed


def may(user: User, record: ClusterRecord, verb: Verb) -> bool:
    """Whether a user may do this with a cluster."""
    return access_of(user, record) >= _NEEDED[verb]


def access_of(user: User, record: ClusterRecord) -> Access:
    """The most that a user may do with a cluster."""
    return Access.OWN if user.name == record.username else access_by(_share_of(user, record), record)


def refusal(user: User, record: ClusterRecord, verb: Verb) -> GatewayError:
    """The error for somebody who may not. It says no more than that to whom the cluster is not shared with."""
    access = access_of(user, record)
    if access is Access.NONE:
        return Forbidden(f"User {user.name} lacks permissions to {verb} cluster {record.name}")
    allowed = "see its dashboard" if access is Access.VIEW else "use it"
    return NotShared(
        f"User {user.name} cannot {verb} cluster {record.name}: its owner {record.username} shares it with them to"
        f" {allowed}, and nothing else"
    )


def within(level: str, record: ClusterRecord) -> ClusterRecord:
    """The record of a cluster as far as its shares are allowed now; use counts as view where that is all there is."""
    if level == "use":
        return record
    view = (*record.share_view, *record.share_use) if level == "view" else ()
    return evolve(record, share_view=view, share_use=(), guests=record.guests if view else ())


def _share_of(user: User, record: ClusterRecord) -> str:
    """The share that gives a user most, their own before one of a group; empty: none does."""
    names = (user.name, *sorted(f"@{group}" for group in user.groups))
    shares = (name for shared in (record.share_use, record.share_view) for name in names if name in shared)
    return next(shares, "")


def access_by(share: str, record: ClusterRecord) -> Access:
    """What a share of a cluster allows."""
    if share in record.share_use:
        return Access.USE
    return Access.VIEW if share in record.share_view else Access.NONE


# ---- changes


def shares(record: ClusterRecord, view: ShareNames, use: ShareNames) -> SharingChange:
    """Who may view or use a cluster from now on: these, and nobody else.

    Those who came by a share that is left, or who are named themselves, keep their routes. Raises `Conflict` for
    a cluster that has no route to be shared.
    """
    if use and not record.route:
        raise Conflict(
            f"Cluster {record.name} can only be shared for viewing: it was started when the site allowed no more"
        )
    use = ShareNames(tuple(name for name in use if name != record.username))
    view = ShareNames(tuple(name for name in view if name != record.username and name not in use))
    guests = tuple(guest for guest in (_kept(guest, view, use) for guest in record.guests) if guest is not None)
    return SharingChange({"share_view": view, "share_use": use, "guests": guests}, told(view, use))


def ended_by(administrator: str, why: str, record: ClusterRecord) -> SharingChange:
    """Share a cluster with nobody any more, whatever its owner wants."""
    told = f"Shared with nobody: an administrator ({administrator}) has ended that: {why}"
    return SharingChange({"share_view": (), "share_use": (), "guests": ()}, told)


def _kept(guest: Guest, view: ShareNames, use: ShareNames) -> Guest | None:
    """A guest under new shares; None: they cannot stay."""
    shares = (name for shared in (use, view) for name in (guest.user, guest.share) if name in shared)
    share = next(shares, "")
    return evolve(guest, share=share) if share else None


def told(view: Sequence[str], use: Sequence[str]) -> str:
    """What the owner is told of this."""
    parts = [f"{', '.join(names)} may {verb} it" for verb, names in (("use", use), ("view", view)) if names]
    return f"Shared: {'; '.join(parts)}" if parts else "Shared with nobody"


def needs_admission(user: User, record: ClusterRecord) -> bool:
    """Whether a user has to be let in first: has no route yet, or came by a share that gives less than another one.

    Not by one that gives more: not all of a user's credentials say in which groups they are.
    """
    if user.name == record.username or not is_active(record.status):
        return False
    guest = _guest(user.name, record)
    return access_of(user, record) > (access_by(guest.share, record) if guest else Access.NONE)


def admission(user: User, record: ClusterRecord, route: str, dashboard: str) -> SharingChange:
    """Let somebody in who may come; the names of routes are for a newcomer.

    Raises what `refusal` says, and `Conflict` when the cluster is full.
    """
    share, before = _share_of(user, record), _guest(user.name, record)
    if not share:
        raise refusal(user, record, "view")
    others = tuple(guest for guest in record.guests if guest is not before)
    if before is None and len(others) >= MOST_GUESTS:
        raise Conflict(f"Cluster {record.name} is full: {MOST_GUESTS} people have a way into it, and nobody else can")
    guest = evolve(before, share=share) if before else Guest(user.name, share, route, dashboard)
    what = "use" if access_by(share, record) is Access.USE else "view"
    by = f", as a member of {share[1:]}" if share.startswith("@") else ""
    return SharingChange({"guests": (*others, guest)}, f"User {user.name} was let in to {what} it{by}")


def departure(name: str, record: ClusterRecord) -> SharingChange:
    """Close the way of somebody, who needs a new one if they may still come. Raises `NotFound` if they have none."""
    others = tuple(guest for guest in record.guests if guest.user != name)
    if others == record.guests:
        raise NotFound(f"User {name} has no way into cluster {record.name}")
    return SharingChange({"guests": others}, f"The way of user {name} was closed")


def _guest(name: str, record: ClusterRecord) -> Guest | None:
    return next((guest for guest in record.guests if guest.user == name), None)


# ---- names


def route_name(cluster: str, secret: str) -> str:
    """The name of a route that only one person knows; `secret` is 18 random characters of base 32."""
    return f"{cluster}-{secret}"


def cluster_named(name: str) -> str:
    """The cluster that somebody means by this name, which may be that of a route of their own."""
    match = _ROUTE_NAME.fullmatch(name)
    return match[1] if match else name


def name_for(user: User, record: ClusterRecord) -> str:
    """The name by which a user reaches the scheduler; the cluster's own for whoever does not."""
    if user.name == record.username:
        return record.route or record.name
    guest = _guest(user.name, record)
    return guest.route if guest and may(user, record, "use") else record.name


def dashboard_name(user: User, record: ClusterRecord) -> str:
    """The name below which a user finds the dashboard; empty for somebody who has to be let in first."""
    if user.name == record.username:
        return record.name
    guest = _guest(user.name, record)
    return guest.dashboard if guest else ""


def person_of(name: str, record: ClusterRecord) -> str | None:
    """Whose name for the dashboard this is; None: nobody's (any more)."""
    if name == record.name:
        return record.username
    return next((guest.user for guest in record.guests if guest.dashboard == name), None)


def routes_to(record: ClusterRecord, scheduler: str, dashboard: str) -> dict[str, tuple[str, str]]:
    """All names of a cluster that runs, each with the addresses of scheduler and dashboard to which it leads."""
    routes = {record.name: ("" if record.route else scheduler, dashboard)}
    if record.route:
        routes[record.route] = (scheduler, "")
    for guest in record.guests:
        routes[guest.dashboard] = ("", dashboard)
        if access_by(guest.share, record) is Access.USE:
            routes[guest.route] = (scheduler, "")
    return {name: addresses for name, addresses in routes.items() if any(addresses)}


def leads_nowhere(name: str, record: ClusterRecord) -> str:
    """What is said to whoever has the cluster's key and asks for its scheduler by a name that leads to none (any more).

    Empty for a name that may lead there: if not now, then later.
    """
    users = {guest.route for guest in record.guests if access_by(guest.share, record) is Access.USE}
    if name in users or name == (record.route or record.name) or record.status is not ClusterStatus.RUNNING:
        return ""
    return f"This is no way into cluster {record.name}, or none any more: connect to it anew, if it is shared with you"

"""What a personal token may be, and how it is kept."""

import json
from typing import Any

import attrs
import pytest

from gateway.auth.token_record import ALL_SCOPES, DAY, Token, Wish, from_document, report, to_document, wish
from gateway.errors import InvalidRequest
from gateway.models import Document

TOKEN = Token(
    id="a1B2c3D4e5",
    user="ann",
    groups={"staff", "admins"},
    method="oidc 12",
    scopes={"read"},
    label="nightly",
    made=1000,
    expires=5000,
    digest="0f" * 32,
)
BY_ROOT = attrs.evolve(TOKEN, method="", made_by="root", groups=())


@pytest.mark.parametrize("token", [TOKEN, BY_ROOT])
@pytest.mark.parametrize("used", [None, 1234])
def test_it_comes_back_from_the_store(token: Token, used: int | None) -> None:
    stored = to_document(token, used)
    assert (stored.kind, stored.name) == ("token", token.id)
    assert from_document(Document("token", token.id, json.loads(json.dumps(stored.content)))) == (token, used)


def test_what_a_later_version_adds_is_left_out() -> None:
    content = {**to_document(TOKEN, None).content, "colour": "red"}
    assert from_document(Document("token", TOKEN.id, content)) == (TOKEN, None)


def test_nothing_shows_its_digest() -> None:
    assert "0f0f" not in repr(TOKEN)
    assert "0f0f" not in repr(to_document(TOKEN, None))
    assert "0f0f" not in json.dumps(report(TOKEN, ends=1, used=None, state="active"))


def test_the_longest_life_holds_for_those_that_users_have_made() -> None:
    assert [TOKEN.ends(longest) for longest in (0, 2, 4, 1000)] == [1000, 3000, 5000, 5000]
    assert [BY_ROOT.ends(longest) for longest in (0, 2)] == [5000, 5000]


def test_how_it_is_told() -> None:
    told = report(BY_ROOT, ends=5000, used=7, state="active")
    assert told == {
        "id": "a1B2c3D4e5",
        "user": "ann",
        "label": "nightly",
        "scopes": ["read"],
        "created": 1000,
        "created_by": "root",
        "expires": 5000,
        "last_used": 7,
        "state": "active",
    }
    assert report(TOKEN, ends=5000, used=None, state="active")["created_by"] is None


def test_what_is_usual() -> None:
    assert wish(None, None, None, longest=90 * DAY) == Wish("", frozenset({"clusters"}), 30 * DAY)
    assert wish(None, None, None, longest=60) == Wish("", frozenset({"clusters"}), 60)


def test_what_is_wished_for() -> None:
    wanted = wish(" a – b ", ["read", "clusters"], 90 * DAY, longest=90 * DAY)
    assert wanted == Wish("a – b", frozenset({"read", "clusters"}), 90 * DAY)
    assert wish("x" * 100, ["read"], 1, longest=1) == Wish("x" * 100, frozenset({"read"}), 1)


@pytest.mark.parametrize("label", [1, [], "x" * 101, "a\nb", "a\x1b[2J", "\u202eevil", "\udcff"])
def test_labels_that_are_none(label: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"Field 'label' is .* at most 100 characters"):
        wish(label, None, None, longest=DAY)


@pytest.mark.parametrize("scopes", [[], "read", ["write"], ["read", 1], ["read", []], {"read": 1}])
def test_scopes_that_are_none(scopes: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"Field 'scopes' is .* clusters, read"):
        wish(None, scopes, None, longest=DAY)


def test_who_asks_decides_on_the_scopes_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"expected a list of some of clusters, read$"):
        wish(None, ["metrics"], None, longest=DAY)
    assert wish(None, ["metrics"], None, longest=DAY, allowed=ALL_SCOPES).scopes == {"metrics"}
    with pytest.raises(InvalidRequest, match=r"expected a list of some of clusters, read, metrics$"):
        wish(None, ["all"], None, longest=DAY, allowed=ALL_SCOPES)


@pytest.mark.parametrize("seconds", [0, -1, DAY + 1, 1e3, True, "60", [], 10**30])
def test_lives_that_are_none(seconds: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"Field 'expires_in' is .* up to 86400 \(1 days"):
        wish(None, None, seconds, longest=DAY)


def test_there_may_be_none() -> None:
    with pytest.raises(InvalidRequest, match="token_max_age is 0"):
        wish(None, None, None, longest=0)

"""Bodies of heartbeats, in whatever pieces they come."""

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.clusters.heartbeat_body import LONGEST_NAME, WINDOW, HeartbeatBody
from gateway.errors import InvalidRequest, TooLarge

names = st.text(max_size=12) | st.sampled_from(
    ["w1-0", "w1-1", "w2-0-3", "tls://[fe80::1]:7", 'a"]b', "\\", "[", "}", '"w1-0']
)
anything = (
    names
    | st.integers(-(2**60), 2**60)
    | st.none()
    | st.lists(names, max_size=2)
    | st.dictionaries(names, names, max_size=2)
)


def taken(
    body: bytes, sizes: list[int], *, limit: int = 10**6, awaited: tuple[str, ...] = ("w1-0", "w2-0")
) -> HeartbeatBody:
    taker = HeartbeatBody(limit, awaited)
    while body:
        size = sizes.pop() if sizes else len(body)
        taker.take(body[:size])
        body = body[size:]
    return taker


def dense(value: object) -> str:
    return orjson.dumps(value).decode()


def indented(value: object) -> str:
    return json.dumps(value, indent=2)


def ours(closed: list[object]) -> set[str]:
    """The awaited names among those of a list, by the slow way."""
    return {"-".join(name.split("-", 2)[:2]) for name in closed if isinstance(name, str)} & {"w1-0", "w2-0"}


@example([], ["", -1, "w1-0"], [], json.dumps, False)
@given(
    st.lists(names, max_size=4),
    st.lists(anything, max_size=8),
    st.lists(st.integers(1, 40), max_size=30),
    st.sampled_from(
        [json.dumps, lambda value: orjson.dumps(value).decode(), lambda value: json.dumps(value, indent=2)]
    ),
    st.booleans(),
)
def test_it_means_the_same_in_whatever_pieces_it_comes(active, closed, sizes, dumps, last):
    fields = {"count": 3, "active_workers": active}
    body = dumps({**fields, "closed_workers": closed} if last else {"closed_workers": closed, **fields}).encode()
    taker = taken(body, sizes)
    rest = orjson.loads(taker.rest())
    assert {name: rest[name] for name in fields} == fields
    assert ours(rest["closed_workers"]) | taker.closed == ours(closed)
    assert taker.held <= len(body)


@pytest.mark.parametrize("nested", [["w1-0"], [], {"a": ["w1-0"]}, [[[]]]])
def test_what_is_nested_is_left_to_the_parser(nested):
    taker = taken(orjson.dumps({"closed_workers": ["w2-0", nested, "w1-0"], "count": 1}), [])
    assert orjson.loads(taker.rest()) == {"closed_workers": [nested, "w1-0"], "count": 1}
    assert taker.closed == {"w2-0"}


def test_the_list_is_not_held():
    body = orjson.dumps({"active_workers": ["w1-0"], "closed_workers": [f"w{number}-0" for number in range(50_000)]})
    taker = HeartbeatBody(100, ("w49999-0",))
    for start in range(0, len(body), WINDOW):
        taker.take(body[start : start + WINDOW])
        assert taker.held < 200
    assert orjson.loads(taker.rest()) == {"active_workers": ["w1-0"], "closed_workers": []}
    assert taker.closed == {"w49999-0"}


@pytest.mark.parametrize(
    "body",
    [
        {"active_workers": ["w"] * 1000},
        {"closing_workers": ["x" * 1000]},
        {"closed_workers": [["w"] * 1000]},
        {"closed_workers": [{}] * 1000},
        {"closed_workers": {"closed": 1000 * "w"}},
        {"unheard": 1000 * "of"},
        {"closed_workers": [], "x": 1000 * "y"},
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_all_else_is_bounded(body, size):
    data = orjson.dumps(body)
    with pytest.raises(TooLarge, match="500 bytes"):
        taken(data, [size] * len(data), limit=500)


def test_space_without_end_before_a_list():
    with pytest.raises(TooLarge):
        taken(b'{"closed_workers":' + b" " * 1000 + b"[", [1] * 2000, limit=500)


@pytest.mark.parametrize("name", [b"x" * 5000, b'\\"' * 5000, b"\\" * 5000])
def test_a_name_without_an_end(name):
    with pytest.raises(InvalidRequest, match=f"longer than {LONGEST_NAME}"):
        taken(b'{"closed_workers": ["' + name, [100] * 200)


def test_nobody_is_awaited():
    assert taken(b'{"closed_workers": ["w1-0"]}', [], awaited=()).closed == frozenset()

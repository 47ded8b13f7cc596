import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clusters.heartbeat import parse_heartbeat, worker_events, worker_name
from gateway.clusters.lifecycle import RowEvent, RowState
from gateway.errors import BadRequest, GatewayError, InvalidRequest

GOOD = {
    "scheduler_address": "tls://10.0.0.7:8786",
    "dashboard_address": "http://10.0.0.7:8787",
    "api_address": "http://10.0.0.7:40000",
    "count": 3,
    "active_workers": ["w1-0"],
    "closing_workers": [],
    "closed_workers": [],
}


def beat(**changes):
    return parse_heartbeat(orjson.dumps({**GOOD, **changes}))


def test_a_good_one():
    heartbeat = beat()
    assert heartbeat.scheduler_address == "tls://10.0.0.7:8786"
    assert heartbeat.count == 3
    assert heartbeat.active_workers == {"w1-0"}


def test_a_scheduler_without_a_dashboard():
    assert beat(dashboard_address="").dashboard_address == ""


def test_ipv6():
    addresses = {
        "scheduler_address": "tls://[::1]:1",
        "dashboard_address": "http://[::1]:2",
        "api_address": "http://[::1]:3",
    }
    assert beat(**addresses).api_address == "http://[::1]:3"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scheduler_address", "tcp://10.0.0.7:8786"),
        ("scheduler_address", None),
        ("scheduler_address", "tls://10.0.0.7"),
        ("scheduler_address", "tls://10.0.0.7:99999"),
        ("scheduler_address", "tls://10.0.0.7:0"),
        ("scheduler_address", "tls://[10.0.0.7:1"),
        ("api_address", "http://10.0.0.7:1/path"),
        ("api_address", "http://user@10.0.0.7:1"),
        ("api_address", "http://10.0.0.\u00a07:1"),
        ("dashboard_address", "https://10.0.0.7:1"),
        ("count", True),
        ("count", -1),
        ("count", "3"),
        ("active_workers", "w1-0"),
        ("closed_workers", {}),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(InvalidRequest, match=field):
        beat(**{field: value})


def test_a_heartbeat_speaks_of_one_host():
    with pytest.raises(InvalidRequest, match=r"10\.0\.0\.7, 10\.0\.0\.8"):
        beat(api_address="http://10.0.0.8:1")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null"])
def test_what_is_no_object(body):
    with pytest.raises(BadRequest):
        parse_heartbeat(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=20) | st.sampled_from(list(GOOD.values())[:3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(GOOD)), json_values))
def test_only_sentences_come_out(changes):
    try:
        beat(**changes)
    except GatewayError as error:
        assert str(error)


def test_names_that_are_no_text_are_not_ours():
    assert beat(active_workers=[1, None, "w1-0"]).active_workers == {"w1-0"}


Q, S, A, C, L, E = (
    RowState.QUEUED,
    RowState.STARTING,
    RowState.ACTIVE,
    RowState.CLOSING,
    RowState.LOST,
    RowState.ENDING,
)


def events(states, **changes):
    return dict(worker_events(states, beat(**changes)))


def test_what_a_heartbeat_means_for_each_worker():
    states = {"w1-0": S, "w1-1": A, "w1-2": A, "w1-3": Q, "w1-4": S, "w1-5": C}
    assert events(
        states, active_workers=["w1-0", "else"], closing_workers=["w1-1"], closed_workers=["w1-4", "w0-9"]
    ) == {
        "w1-0": RowEvent.CONNECTED,
        "w1-1": RowEvent.CLOSING,
        "w1-2": RowEvent.DISCONNECTED,
        "w1-4": RowEvent.DISCONNECTED,
    }


def test_the_long_list_is_not_read_for_workers_that_were_seen():
    class Unread(list):
        def __iter__(self):
            raise AssertionError("read")

    heartbeat = beat(active_workers=[])
    object.__setattr__(heartbeat, "closed_workers", Unread())
    assert dict(worker_events({"w1-0": A, "w1-1": C, "w1-2": E, "w1-3": L}, heartbeat)) == {
        "w1-0": RowEvent.DISCONNECTED
    }


def test_several_workers_in_one_job_count_as_one():
    assert worker_name("w3-0-1") == worker_name("w3-0") == "w3-0"
    assert events({"w3-0": S}, active_workers=["w3-0-1"], closing_workers=["w3-0-0"]) == {"w3-0": RowEvent.CONNECTED}
    assert events({"w3-0": A}, active_workers=["w3-0-1"], closing_workers=["w3-0-0"]) == {}  # it is known

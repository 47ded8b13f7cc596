from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import backoff


def test_waits_double_up_to_the_longest() -> None:
    assert [backoff(failures, base=0.1, longest=0.5) for failures in (1, 2, 3, 4, 99)] == [0.1, 0.2, 0.4, 0.5, 0.5]


@given(failures=st.integers(1, 10**6), base=st.floats(0, 1e3), longest=st.floats(0, 1e4))
def test_waits_stay_in_their_bounds(failures: int, base: float, longest: float) -> None:
    assert min(base, longest) <= backoff(failures, base=base, longest=longest) <= longest

"""What holds for all attacks."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def slow_clock() -> MockClock:
    """A clock by which budgets fill up slowly, however long this machine takes for what empties them."""
    return MockClock(rate=0.1)

from math import inf

from gateway.clusters.timing import Moment, Retry


def test_a_moment_remembers_what_is_due_next():
    moment = Moment(10.0)
    assert moment.due(9.0)
    assert moment.due(10.0)
    assert moment.wake_at == inf
    assert not moment.due(12.0)
    assert not moment.due(11.0)
    assert not moment.due(inf)
    assert moment.wake_at == 11.0


def test_waits_double_up_to_the_longest():
    retry = Retry(0.1, 300)
    assert retry.at == -inf
    waits = []
    for _ in range(3):
        retry.failed(50.0)
        waits.append(round(retry.at - 50, 6))
    assert waits == [0.1, 0.2, 0.4]
    for _ in range(1000):
        retry.failed(50.0)
    assert retry.at == 350.0
    retry.succeeded()
    assert retry == Retry(0.1, 300)

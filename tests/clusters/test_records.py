from gateway.clusters.records import Records, Write
from gateway.models import Role, SubmissionRecord
from tests.support.houses import record


def a_submission(group="w1", jobs=None):
    return SubmissionRecord(cluster="c0ffee", group=group, role=Role.WORKER, count=2, jobs=jobs)


def test_what_is_changed_is_to_be_written_until_it_was():
    records = Records(record())
    assert records.write() is None
    assert records.change(count=3)
    assert not records.change(count=3)
    step = records.write()
    assert step == records.write() == Write((records.cluster,), ())
    assert records.durable.count == 0
    records.written(step)
    assert records.durable.count == 3
    assert records.write() is None


def test_changes_that_come_meanwhile_are_written_next():
    records = Records(record())
    records.change(count=3)
    step = records.write()
    records.change(count=4)
    records.written(step)
    assert records.durable.count == 3
    assert records.write() == Write((records.cluster,), ())


def test_submissions_come_and_go():
    old, new = a_submission(jobs=("7", "8")), a_submission("w2")
    records = Records(record(), [old])
    records.submissions["w2"] = new
    del records.submissions["w1"]
    step = records.write()
    assert step == Write((new,), ("w1",))
    records.written(step)
    assert records.write() is None
    records.stored(a_submission("w2", jobs=("9", "10")))
    assert records.write() is None
    records.submissions.clear()
    assert records.write() == Write((), ("w2",))


def test_a_group_that_comes_back_under_its_name_is_written_anew():
    records = Records(record(), [a_submission(jobs=("7", "8"))])
    del records.submissions["w1"]
    step = records.write()
    records.submissions["w1"] = again = a_submission()
    assert records.write() == Write((again,), ())
    records.written(step)
    assert records.write() == Write((again,), ())

from gateway.clusters.silence import Answer, Silence
from tests.support.fakes import RULES, rules_with

ASKING = rules_with(cluster_unreachable_timeout=20)
SILENT, HERE, REFUSED, NOT_ASKED = Answer.SILENT, Answer.HERE, Answer.REFUSED, Answer.NOT_ASKED


def test_a_scheduler_that_answers_is_alive():
    silence = Silence().after(SILENT, 45.0).after(HERE, 60.0)
    assert not silence.proves_end(HERE, RULES, missed=True)
    assert silence == Silence(answered=60.0, polled=True)
    again = silence.after(SILENT, 95.0)
    assert (again.unanswered, again.unanswered_since) == (1, 95.0)


def test_a_port_that_refuses_is_evidence():
    assert Silence().after(REFUSED, 40.0).proves_end(REFUSED, RULES, missed=False)


def test_no_answer_again_and_again_is_evidence():
    silence = Silence().after(SILENT, 45.0).after(SILENT, 60.0)
    assert not silence.proves_end(SILENT, ASKING, missed=False)
    assert silence.after(SILENT, 65.0).proves_end(SILENT, ASKING, missed=False)
    assert not silence.after(SILENT, 64.0).proves_end(SILENT, ASKING, missed=False)
    assert not Silence().after(SILENT, 45.0).after(SILENT, 1000.0).proves_end(SILENT, ASKING, missed=False)


def test_what_was_not_answered_while_nobody_could_be_heard_does_not_count():
    silence = Silence().after(SILENT, 45.0).after(SILENT, 60.0).after(SILENT, 75.0, deaf=50.0)
    assert (silence.unanswered, silence.unanswered_since) == (1, 75.0)


def test_what_could_not_be_asked_is_no_evidence():
    silence = Silence().after(NOT_ASKED, 40.0)
    assert not silence.proves_end(NOT_ASKED, RULES, missed=False)
    assert not silence.proves_end(NOT_ASKED, RULES, missed=True)
    assert (silence.asked, silence.unanswered) == (40.0, 0)


def test_absence_and_no_answer_are_evidence():
    assert Silence().after(SILENT, 35.0).proves_end(SILENT, RULES, missed=True)


def test_an_answer_closes_the_question():
    open_question = Silence(open=30.0)
    assert [open_question.after(answer, 31.0).open for answer in Answer] == [None] * len(Answer)

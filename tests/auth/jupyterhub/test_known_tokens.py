"""What was said of tokens, and for how long it counts."""

from gateway.auth.jupyterhub.known_tokens import KnownTokens
from gateway.models import User

ANN = User("ann")


def known(most: int = 3) -> KnownTokens:
    return KnownTokens(fresh=60.0, kept=600.0, refused=5.0, most=most)


def test_an_answer_is_fresh_then_kept_then_nothing() -> None:
    tokens = known()
    tokens.add("t", ANN, 100.0)
    assert (tokens.user("t", 159.9), tokens.user("t", 160.0)) == (ANN, None)
    assert (tokens.user("t", 699.9, fresh=False), tokens.user("t", 700.0, fresh=False)) == (ANN, None)
    assert tokens.user("other", 100.0) is None


def test_a_refusal_counts_for_less() -> None:
    tokens = known()
    tokens.refuse("t", "revoked", 100.0)
    assert (tokens.refusal("t", 104.9), tokens.refusal("t", 105.0), tokens.refusal("u", 100.0)) == ("revoked", "", "")


def test_the_last_word_counts() -> None:
    tokens = known()
    tokens.add("t", ANN, 0.0)
    tokens.refuse("t", "revoked", 1.0)
    assert tokens.user("t", 1.0, fresh=False) is None
    tokens.add("t", ANN, 2.0)
    assert (tokens.refusal("t", 2.0), tokens.user("t", 2.0)) == ("", ANN)


def test_strangers_push_out_nobody_who_is_known() -> None:
    tokens = known(most=3)
    for name in ("a", "b", "c"):
        tokens.add(name, User(name), 0.0)
    for number in range(100):
        tokens.refuse(f"made-up-{number}", "no", 0.0)
    assert [tokens.user(name, 0.0) is not None for name in "abc"] == [True] * 3
    assert [bool(tokens.refusal(f"made-up-{n}", 0.0)) for n in (0, 96, 97, 99)] == [False, False, True, True]


def test_the_oldest_answer_makes_room() -> None:
    tokens = known(most=2)
    for name in ("a", "b", "a", "c"):
        tokens.add(name, User(name), 0.0)
    assert [tokens.user(name, 0.0) is not None for name in "abc"] == [True, False, True]


def test_nothing_is_remembered_that_counts_for_no_time() -> None:
    tokens = KnownTokens(fresh=0.0, kept=0.0, refused=0.0)
    tokens.add("t", ANN, 0.0)
    tokens.refuse("u", "no", 0.0)
    assert (tokens.user("t", 0.0, fresh=False), tokens.refusal("u", 0.0)) == (None, "")


def test_no_token_is_kept() -> None:
    tokens = known()
    tokens.add("s3cret-token", ANN, 0.0)
    tokens.refuse("s3cret-token-too", "no", 0.0)
    assert "s3cret" not in repr(vars(tokens))

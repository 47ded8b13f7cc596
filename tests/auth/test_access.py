"""Who may use the gateway, and who administers it, as a table."""

import pytest

from gateway.auth.access import admitted, names_groups
from gateway.auth.simple import SimpleAuthenticator
from gateway.errors import Forbidden
from gateway.models import User

EVE = User("eve", {"students"})
ANN = User("ann", {"physics", "staff"})


@pytest.mark.parametrize(
    ("user", "rules", "admin"),
    [
        (EVE, {}, False),
        (User("root", admin=True), {}, True),
        (EVE, {"allowed_users": {"ann"}}, None),
        (EVE, {"allowed_groups": {"staff"}}, None),
        (EVE, {"allowed_users": {"eve"}, "allowed_groups": {"staff"}}, False),
        (ANN, {"allowed_users": {"eve"}, "allowed_groups": {"staff"}}, False),
        (ANN, {"allowed_users": {"eve"}, "admin_users": {"ann"}}, True),
        (ANN, {"allowed_users": {"eve"}, "admin_groups": {"physics"}}, True),
        (User("root", admin=True), {"allowed_users": {"eve"}}, True),
        (EVE, {"admin_users": {"ann"}, "admin_groups": {"staff"}}, False),
        (User("Ann"), {"allowed_users": {"ann"}}, None),
        (User(""), {"allowed_users": {"ann"}}, None),
    ],
)
def test_rules(user: User, rules: dict[str, set[str]], admin: bool | None) -> None:
    authenticator = SimpleAuthenticator(**rules)  # type: ignore[arg-type]
    if admin is None:
        with pytest.raises(Forbidden, match=f"User {user.name} is not among those who may use this gateway"):
            admitted(user, authenticator)
    else:
        assert admitted(user, authenticator) == User(user.name, user.groups, admin)


def test_when_groups_count() -> None:
    assert not names_groups(SimpleAuthenticator(allowed_users=["a"], admin_users=["b"]))
    assert names_groups(SimpleAuthenticator(allowed_groups=["a"]))
    assert names_groups(SimpleAuthenticator(admin_groups=["a"]))

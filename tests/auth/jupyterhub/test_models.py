"""What JupyterHub says of whom a token belongs to."""

from typing import Any

import pytest

from gateway.auth.jupyterhub.models import user_of_model
from gateway.errors import BadGateway, Unauthorized
from gateway.models import User

SCOPE = "access:services!service=dask-gateway"


def judged(service: str = "dask-gateway", admins: bool = False, **model: Any) -> User:
    #: As JupyterHub 6.1 answers to the token of a notebook.
    whole = {"admin": False, "groups": ["staff"], "kind": "user", "name": "ann", "scopes": [SCOPE, "access:servers!s"]}
    return user_of_model(whole | model, service=service, admins=admins)


def test_a_user() -> None:
    assert judged() == User("ann", {"staff"})


@pytest.mark.parametrize("scopes", [[SCOPE], ["access:services"], ["self", "access:services"]])
def test_scopes_that_are_enough(scopes: list[str]) -> None:
    assert judged(scopes=scopes).name == "ann"


@pytest.mark.parametrize(
    "scopes", [[], ["self"], ["access:services!service=other"], [f"{SCOPE}-2"], ["access:servers"]]
)
def test_scopes_that_are_not(scopes: list[str]) -> None:
    with pytest.raises(Unauthorized, match=f"'ann' is not for this service: it has not the scope {SCOPE},"):
        judged(scopes=scopes)
    assert judged(service="", scopes=scopes).name == "ann"


def test_hubs_that_know_no_scopes() -> None:
    assert user_of_model({"kind": "user", "name": "ann"}, service="", admins=True) == User("ann")
    with pytest.raises(Unauthorized):
        user_of_model({"kind": "user", "name": "ann"}, service="dask-gateway", admins=True)


def test_administrators_of_the_hub() -> None:
    assert not judged(admin=True).admin
    assert judged(admin=True, admins=True).admin
    assert not judged(admins=True).admin
    assert not judged(admin="yes", admins=True).admin
    assert not judged(admin=True, admins=True, kind="service").admin


def test_a_service_is_no_user() -> None:
    assert judged(kind="service", name="ann").name == "service:ann"
    assert judged(name="service:ann").name == "user:service:ann"


@pytest.mark.parametrize(
    "model",
    [
        {"name": None},
        {"name": 3},
        {"kind": None},
        {"groups": "staff"},
        {"groups": [1]},
        {"groups": None},
        {"scopes": {"self": 1}},
        {"scopes": None},
    ],
)
def test_what_is_no_description(model: dict[str, Any]) -> None:
    with pytest.raises(BadGateway, match="is jupyterhub_api_url right"):
        judged(**model)

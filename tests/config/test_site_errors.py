"""What a site's own code raises, in words and answers of ours."""

from collections.abc import Callable
from typing import Any

import pytest
from quart import Quart

from gateway.config.cluster import ClusterConfig
from gateway.config.site_errors import ABSENT, advice, as_gateway_error, described, told
from gateway.errors import GatewayError, TryAgainLater, Unauthorized


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def an_error(status: Any = None, reason: Any = None, headers: Any = None, module: str = __name__) -> Exception:
    kind = type("Refusal", (Exception,), {"__module__": module, "status": status, "reason": reason, "headers": headers})
    error: Exception = kind("the text")
    return error


def raised(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("error", "text", "challenge"),
    [
        (an_error(401), "the text", "Basic"),
        (an_error(401, "a token is needed"), "a token is needed", "Basic"),
        (an_error(401, "", {"X": "y", "www-Authenticate": "Negotiate"}), "the text", "Negotiate"),
        (an_error(401, 3, {"WWW-Authenticate": "Basic\r\nX: y"}), "the text", "Basic"),
        (an_error(401, None, {"WWW-Authenticate": ""}), "the text", "Basic"),
        (an_error(401, None, ["WWW-Authenticate"]), "the text", "Basic"),
        (ExceptionGroup("g", [ExceptionGroup("h", [an_error(401)])]), "the text", "Basic"),
    ],
)
def test_401_is_nobody(error: Exception, text: str, challenge: str) -> None:
    answer = as_gateway_error(error)
    assert isinstance(answer, Unauthorized)
    assert (str(answer), answer.challenge) == (text, challenge)


@pytest.mark.parametrize("status", [None, "401", True, 200, 302, 403, 404, 500])
def test_other_statuses_mean_nothing_elsewhere(status: Any) -> None:
    assert as_gateway_error(an_error(status)) is None


def test_other_statuses_of_aiohttp() -> None:
    for status in (400, 403, 502):
        answer = as_gateway_error(an_error(status, "because", module="aiohttp.web_exceptions"))
        assert isinstance(answer, GatewayError)
        assert (answer.status, str(answer)) == (status, "because")
    for status in (200, 302, 600):
        assert as_gateway_error(an_error(status, "because", module="aiohttp.web_exceptions")) is None


def test_our_own_errors_stay() -> None:
    error = TryAgainLater("later")
    assert as_gateway_error(error) is error
    assert as_gateway_error(ExceptionGroup("g", [error])) is error


def test_what_is_told_is_one_line_of_bounded_length() -> None:
    assert told(ValueError("a\nb\t\x1b[0mc")) == "a b c"
    assert told(ValueError()) == "ValueError"
    assert told(Unspeakable()) == "Unspeakable"
    assert len(told(ValueError("x" * 5000))) < 2100


def test_an_error_is_described_with_its_place() -> None:
    assert described(ValueError("x")) == "ValueError: x"
    assert described(ValueError()) == "ValueError"
    assert described(raised(lambda: int("x"))).startswith("ValueError: invalid literal for int() with base 10: 'x' (")
    assert f"({__file__}:" in described(raised(lambda: int("x")))
    namespace: dict[str, Any] = {"__name__": "gateway.somewhere"}
    exec(compile("def f(): 1 / 0", "/opt/site/ours.py", "exec"), namespace)
    assert "ours.py" not in described(raised(namespace["f"]))  # it is ours, and not where to look
    namespace["__name__"] = "site"
    assert described(raised(namespace["f"])) == "ZeroDivisionError: division by zero (/opt/site/ours.py:1)"


def test_advice() -> None:
    for name in ABSENT:
        assert ABSENT[name] in advice(ModuleNotFoundError("No module", name=f"{name}.web"))
        assert advice(ModuleNotFoundError(ABSENT[name], name=name)) == ""
    assert advice(ModuleNotFoundError("No module", name="nothing")) == ""
    assert advice(ModuleNotFoundError("No module")) == ""
    assert "runs on trio" in advice(RuntimeError("no running event loop"))
    assert "runs on trio" in described(RuntimeError("There is no current event loop in thread 'MainThread'."))
    assert advice(RuntimeError("other")) == ""
    assert advice(ValueError("no running event loop")) == ""


def test_advice_on_attributes_of_the_originals_objects() -> None:
    class Request:
        pass

    class Other:
        parent: int

    request: Any = Request()
    options: Any = ClusterConfig()
    other: Any = Other()
    app: Any = Quart(__name__)
    assert advice(raised(lambda: app.router)).startswith(": here it is Quart's, @app.get")
    assert advice(raised(lambda: request.remote)) == ": here it is request.remote_addr"
    assert advice(raised(lambda: options.parent)).startswith(": here it is options of self")
    assert advice(raised(lambda: options.trait_names)).startswith(": here it is options as attributes")
    assert advice(raised(lambda: other.parent)) == advice(raised(lambda: request.nothing)) == ""
    assert advice(AttributeError("x")) == ""

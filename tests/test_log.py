"""Log lines."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway import log


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers, logging.root.level = handlers, level
    structlog.reset_defaults()


def test_lines_for_programs() -> None:
    stream = io.StringIO()
    log.set_up("INFO", stream)
    logger = structlog.get_logger()
    logger.debug("not this")
    logger.info("serving", address=":8000", secure=True, text='say "a b"', evil="a\x1b[31m\nlevel=info")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("timestamp=20")
    assert line.split(" ", 1)[0].endswith("Z")
    assert ' level=info event=serving address=:8000 secure=true text="say \\"a b\\""' in line
    assert "\x1b" not in line


def test_no_line_shows_a_personal_token() -> None:
    stream = io.StringIO()
    log.set_up("INFO", stream)
    text = f"dgt_a1B2c3D4e5_{'x' * 49}"
    structlog.get_logger().info(f"event {text}", path=f"/api/{text[:40]}/x", user=text)
    logging.getLogger("hypercorn.error").warning("from %s", text)
    assert "xxxxxxx" not in stream.getvalue()
    assert stream.getvalue().count("dgt_a1B2c3D4e5_[redacted]") == 4


def test_lines_for_people() -> None:
    stream = Terminal()
    log.set_up("INFO", stream)
    try:
        raise ValueError("a\x1b]0;b")
    except ValueError:
        structlog.get_logger().exception("it failed", job="c\x1b[1m")
    text = stream.getvalue()
    assert "it failed" in text
    assert "Traceback (most recent call last):\n" in text
    assert "a\\x1b]0;b" in text
    assert "c\\x1b[1m" in text


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_no_line_holds_what_opens_a_dashboard(stream: io.StringIO) -> None:
    log.set_up("INFO", stream)
    link = "/clusters/c0ffee/~1790000000.Zm9vYmFy_-Zm9vYmFyZm9vYmFy/status"
    structlog.get_logger().info(f"asked for {link}", path=link, raw=link.encode(), headers=[(b"referer", link)])
    structlog.get_logger().info("sent on", location=f"/login?next={link.replace('~', '%7E').replace('.', '%2e')}")
    structlog.get_logger().info("cut off", path=link[:40], size="~5.25 MiB")
    logging.getLogger("hypercorn.error").warning("GET %s", link)
    try:
        raise ValueError(link)
    except ValueError:
        structlog.get_logger().exception("it failed")
    text = stream.getvalue()
    assert "Zm9v" not in text
    assert text.count("~1790000000.***/status") == 6
    assert "%7E1790000000%2e***/status" in text
    assert "~5.25 MiB" in text


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_no_line_holds_the_name_of_somebodys_own_route(stream: io.StringIO) -> None:
    log.set_up("INFO", stream)
    cluster, own = "0123456789abcdef" * 2, "abcdefghij234567zz"
    name = f"{cluster}-{own}"
    structlog.get_logger().info("unknown", server_name=f"daskgateway-{name}", path=f"/clusters/{name}/status")
    logging.getLogger("hypercorn.error").warning("GET %s", [(b"referer", f"/clusters/{name.upper()}/".encode())])
    structlog.get_logger().info("others", names=[cluster, "my-cluster", f"{cluster}-w1"])
    text = stream.getvalue()
    assert own not in text.lower()
    assert text.count(f"daskgateway-{cluster}-***") == text.count(f"/clusters/{cluster}-***/status") == 1
    assert all(name in text for name in (f"'{cluster}'", "my-cluster", f"{cluster}-w1"))


def test_loggers_of_the_standard_library_end_in_the_same_lines() -> None:
    stream = io.StringIO()
    log.set_up("WARNING", stream)
    logging.getLogger("hypercorn.error").info("not this")
    logging.getLogger("hypercorn.error").warning("from %s", "below\nlevel=error")
    (line,) = stream.getvalue().splitlines()
    assert "level=warning" in line
    assert "from below" in line


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("DEBUG")
    structlog.get_logger().debug("said")
    assert "event=said" in capsys.readouterr().err


def test_lines_of_json() -> None:
    stream = Terminal()
    log.set_up("INFO", stream, form="json")
    structlog.get_logger().info("cluster event", cluster="c0ffee", job="1_0", evil='"\x1b[31m\n', n=3, path=Path("/é"))
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("other").exception("it failed by dgt_a1B2c3D4e5_%s", "x" * 49)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info",
        "event": "cluster event",
        "cluster": "c0ffee",
        "job": "1_0",
        "evil": '"\\x1b[31m\\n',
        "n": 3,
        "path": "/é",
    }
    assert second["event"] == "it failed by dgt_a1B2c3D4e5_[redacted]"
    assert second["exception"].endswith("ValueError: no")


def test_lines_for_people_where_no_terminal_is() -> None:
    stream = io.StringIO()
    log.set_up("INFO", stream, form="console")
    structlog.get_logger().info("serving", address=":8000")
    assert "[info     ] serving" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()

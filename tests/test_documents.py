"""What the documents name is there: files, pages, routes."""

import re
from pathlib import Path

import pytest

from gateway.auth.login_state import LoginStates
from gateway.auth.simple import SimpleAuthenticator
from gateway.web.api import create_api
from gateway.web.event_stream import EventStreams
from tests.support.houses import chain_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
#: A file of the source or of the tests, as prose names it: with its folder.
_FILE = re.compile(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|sh|md))(?:[:`]| )")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_EXAMPLE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_ROUTE = re.compile(r"`(GET|POST|PUT|DELETE) (/[^` ]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    places = (ROOT, ROOT / "gateway", ROOT / "tests", page.parent)
    named = {name for name in _FILE.findall(page.read_text()) if name.split("/")[0] not in ("site", "etc")}
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = _EXAMPLE.sub("", page.read_text())
    assert {link for link in _LINK.findall(prose) if not (page.parent / link).exists()} == set()


def test_the_page_has_every_route() -> None:
    app = create_api(
        None, chain_of(SimpleAuthenticator()), None, states=LoginStates([bytes(32)]), streams=EventStreams()
    )  # type: ignore[arg-type]
    routes = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}}
    table = (ROOT / "docs" / "architecture.md").read_text()
    named = {route for line in table.split("\n") if line.startswith("| `") for route in _ROUTE.findall(line)}
    assert named == routes | {("POST", "/api/v1/clusters/<name>/heartbeat")}


def test_whoever_looks_for_something_finds_it() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where is")[2]
    places = re.findall(r"`(gateway/[^`]+)`", table)
    assert sum(line.startswith("| ") and "`gateway/" in line for line in table.split("\n")) == 8
    assert all((ROOT / place).is_file() for place in places)

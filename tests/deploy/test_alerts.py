"""The alert rules: promtool is satisfied, each rule is tried both ways, and what it tells people to read is there."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.server.test_exposition import exposition
from tests.support.houses import open_house
from tests.support.prometheus import ROOT, needs_prometheus, promtool

FILES = ROOT / "deploy" / "prometheus"
MANUAL = (ROOT / "docs" / "metrics.md").read_text()
GROUPS = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def series_in(expression: str) -> set[str]:
    """The names in an expression, as the manual has them: a histogram's without its suffix."""
    names = re.findall(r"\b(?:dask_gateway|process)_\w+", expression)
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in names}


def series_in_manual() -> set[str]:
    return set(re.findall(r"`((?:dask_gateway|process)_\w+)`", MANUAL))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@needs_prometheus
def test_promtool_is_satisfied_with_rules_and_example(tmp_path):
    folder = shutil.copytree(FILES, tmp_path / "prometheus")
    (folder / "dask-gateway.token").write_text("a token")
    promtool("check", "rules", "--lint-fatal", str(folder / "alerts.yml"))
    promtool("check", "config", "--lint-fatal", str(folder / "prometheus.yml"))


@needs_prometheus
def test_each_alert_fires_when_it_should():
    promtool("test", "rules", str(FILES / "alerts_test.yml"))


def test_each_alert_is_tried_both_ways():
    fired = set()
    for case in yaml.safe_load((FILES / "alerts_test.yml").read_text())["tests"]:
        assert case["promql_expr_test"][0]["exp_samples"] == [], case["name"]
        for expected in case["promql_expr_test"]:
            fired |= {re.search('alertname="([^"]+)"', each["labels"])[1] for each in expected["exp_samples"]}
    assert fired == set(RULES)


@needs_prometheus
async def test_promtool_is_satisfied_with_the_metrics():
    async with open_house() as house:
        text = exposition(house).text().decode()
    assert promtool("check", "metrics", text=text) == ""


@pytest.mark.parametrize("name", RULES)
def test_an_alert_says_what_to_do(name):
    rule = RULES[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "page"}
    page, _, anchor = rule["annotations"]["page"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert series_in(rule["expr"]) <= series_in_manual()


def test_the_manual_has_each_alert():
    table = re.findall(r"^\| `(DaskGateway\w+)` \| (\w+) \|", MANUAL, re.MULTILINE)
    assert table == [(name, rule["labels"]["severity"]) for name, rule in RULES.items()]

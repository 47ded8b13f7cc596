"""The dashboard: it is what its script makes, and shows nobody."""

import json
import re
import subprocess
import sys

import pytest

from tests.deploy.test_alerts import series_in, series_in_manual
from tests.support.prometheus import ROOT

FILE = ROOT / "deploy" / "grafana" / "dask-gateway.json"
PANELS = json.loads(FILE.read_text())["panels"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}: {target['legendFormat']}")
    for panel in PANELS
    for target in panel.get("targets", ())
]


def test_it_is_what_the_script_makes():
    command = [sys.executable, ROOT / "deploy" / "grafana" / "dashboard.py"]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert made == FILE.read_text(), "`make dashboard` makes it anew"


def test_panels_have_numbers_and_places_of_their_own():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_of_the_gateway_that_was_chosen_and_of_series_in_the_manual(query):
    series = series_in(query)
    assert series
    assert series <= series_in_manual()
    selectors = re.findall(r"(?:dask_gateway|process)_\w+(\{[^}]*\}|)", query)
    assert all('instance=~"$instance"' in selector for selector in selectors)

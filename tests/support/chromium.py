"""A real browser: Debian's packages chromium and chromium-driver. What is here runs in a thread, for it waits."""

import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

NEEDS_CHROMIUM = pytest.mark.skipif(
    not shutil.which("chromium") or not shutil.which("chromedriver"),
    reason="needs chromium and chromium-driver (apt-get install chromium chromium-driver)",
)
_SWITCHES = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --window-size=1400,1000 --ignore-certificate-errors"
)
#: Everything that the plots of a page of Bokeh show, as text.
PLOTTED = """
    const seen = [];
    for (const doc of window.Bokeh ? window.Bokeh.documents : [])
        for (const model of doc._all_models.values())
            if (model.type === "ColumnDataSource")
                seen.push(JSON.stringify(model.data instanceof Map ? [...model.data] : model.data));
    return seen.join();
"""


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A new browser, without anything that it remembers."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in _SWITCHES.split():
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(shutil.which("chromedriver"), log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def wait_until(driver: webdriver.Chrome, found: Callable[[webdriver.Chrome], Any]) -> Any:
    """What is found once it is there, within a minute. While one page goes and another comes, looking may fail."""
    return WebDriverWait(driver, 60, poll_frequency=0.1, ignored_exceptions=[WebDriverException]).until(found)


def text_of(driver: webdriver.Chrome) -> str:
    """What the page says."""
    return driver.find_element("tag name", "body").text


def log_in(driver: webdriver.Chrome, name: str, password: str = "") -> None:
    """Fill in the form of /login, which is shown, and wait for what comes after it."""
    driver.find_element("name", "name").send_keys(name)
    driver.find_element("name", "password").send_keys(password)
    send_form(driver)


def log_out(driver: webdriver.Chrome, gateway: str) -> None:
    """Go to the page /logout of the gateway at this URL, and press its button."""
    driver.get(f"{gateway}/logout")
    send_form(driver)
    assert "You are not logged in" in text_of(driver)


def send_form(driver: webdriver.Chrome) -> None:
    """Press the button of the page that is shown, and wait for what comes after it."""
    page = driver.find_element("tag name", "html")
    driver.find_element("tag name", "button").click()
    wait_until(driver, lambda driver: driver.find_element("tag name", "html") != page)
    wait_until(driver, lambda driver: driver.execute_script("return document.readyState") == "complete")


def watch_plots_move(driver: webdriver.Chrome) -> None:
    """Wait until the plots of the page have shown three different things."""
    first = wait_until(driver, lambda page: page.execute_script(PLOTTED))
    second = wait_until(driver, lambda page: (now := page.execute_script(PLOTTED)) != first and now)
    wait_until(driver, lambda page: page.execute_script(PLOTTED) != second)


def errors_of(driver: webdriver.Chrome) -> list[Any]:
    """What the pages have complained of in the console since it was asked last."""
    return [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def events_of(driver: webdriver.Chrome) -> dict[str, list[Any]]:
    """What has gone over the network since it was asked last, by kind."""
    by_kind = defaultdict(list)
    for entry in driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        by_kind[event["method"]].append(event["params"])
    return by_kind

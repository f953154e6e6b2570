"""The page of `ratchet try` in a real browser: whole, quiet, from this file alone, and without anyone's address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from tasks.try_out.page import render
from tests.browser import chromium
from tests.tasks.try_out.logs import asked, said, tried

pytestmark = pytest.mark.slow
MAIL = "ana.muster@mail.example"
WORDS = ("card", "loan", "transfer", "password", "branch", "fee", "account", "limit", "refund", "statement")
ATTACK = (
    '"><img src=x onerror="document.title=1"><link rel=stylesheet href="http://127.0.0.1:9/x.css"><script>x</script>'
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a log into which an address and markup were planted everywhere."""
    folder = tmp_path_factory.mktemp("try")
    rows: list[dict[str, Any]] = []
    for i in range(200):
        text = f"my {WORDS[i % 10]} and the {WORDS[i // 10 % 10]} number {i}, write to {MAIL} {ATTACK}"
        answer = {"content": f"We wrote to {MAIL} {ATTACK}"}
        rows.append(asked(i, text, output=answer, release_id=f"v{i // 100} {ATTACK}", model=f"m{i % 2}"))
        rows.append(said(i, "thumb", i % 10 > 0 and i % 3 > 0, comment=f"no, {MAIL} {ATTACK}"))
    path = folder / "page.html"
    path.write_text(render(tried(folder, *rows), key=b"k" * 32), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Headless Chromium with the page open, its console and its network recorded."""
    with chromium(tmp_path_factory.mktemp("profile"), size="1100,1400", records_network=True) as browser:
        browser.get(page.as_uri())
        yield browser


def test_the_page_opens_without_an_error_and_asks_for_nothing_else(browser: WebDriver, page: Path) -> None:
    assert "%" in browser.find_element(By.TAG_NAME, "h1").text
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [message["params"] for message in sent if message["method"] == "Network.requestWillBeSent"]
    asked_for = {r["request"]["url"] for r in requests if r["documentURL"] == page.as_uri()}
    assert asked_for == {page.as_uri()}


def test_nothing_that_was_planted_became_part_of_the_page(browser: WebDriver) -> None:
    assert browser.title == "What your logs say · Ratchet"
    assert browser.find_elements(By.CSS_SELECTOR, "img, script, link, iframe, object, form") == []


def test_no_address_stands_anywhere_not_even_folded_away(browser: WebDriver) -> None:
    examples = browser.find_elements(By.CSS_SELECTOR, "details.topics")
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert examples and "EMAIL_" in examples[0].text
    assert MAIL not in browser.page_source


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_runs_over_the_edge(browser: WebDriver, width: int) -> None:
    size = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # type: ignore[attr-defined]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_finding_leads_to_its_section(browser: WebDriver) -> None:
    links = [
        link.get_attribute("href").partition("#")[2] for link in browser.find_elements(By.CSS_SELECTOR, ".found a")
    ]
    assert len(links) >= 4
    assert all(browser.find_elements(By.ID, anchor) for anchor in links)

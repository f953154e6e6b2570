"""The approval form of a waiting run, filled in by a real browser in the Prefect UI."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

from ratchet.runs import Run
from tests.e2e.conftest import Desk

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    """Headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is missing: `apt-get install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1400")
    for flag in (*flags, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def waiting(desk: Desk) -> Run:
    """A run of a feature `clicks` that waits for an approval."""
    desk.add("clicks")
    desk.start("clicks")
    return desk.waiting("clicks")


def test_explore(desk: Desk, waiting: Run, browser: WebDriver) -> None:
    base = desk.clone.settings.prefect_api_url.removesuffix("/api")
    Path("/tmp/explore").write_text(
        f"{base} {waiting.flow_run_id} {waiting.release_id} {desk.totp.secret}\n{desk.clone.folder}"
    )
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline and not Path("/tmp/explore.done").exists():
        time.sleep(1)

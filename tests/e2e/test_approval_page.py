"""A waiting run, approved by a real browser on the page that `ratchet up` serves."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.conftest import Desk, wait_for

pytestmark = pytest.mark.slow


def answer(browser: WebDriver, approver: str, digest: str, code: str) -> None:
    """Fill the form in and send it."""
    browser.find_element(By.CSS_SELECTOR, "[value=approve]").click()
    for name, text in {"approver": approver, "digest_prefix": digest, "code": code}.items():
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(text)
    browser.find_element(By.CSS_SELECTOR, ".ask .strong").click()


def test_a_wrong_code_is_refused_and_the_right_one_goes_to_the_canary(desk: Desk, browser: WebDriver) -> None:
    desk.add("paged")
    desk.start("paged")
    run, settings = desk.waiting("paged"), desk.clone.settings
    browser.get(desk.clone.ratchet("pages", "--as", "ana", "--no-browser").stderr.split()[1])
    browser.find_element(By.PARTIAL_LINK_TEXT, "An approval: paged").click()
    digest = browser.find_element(By.CSS_SELECTOR, ".digest").text
    assert digest == str(run.release_id).removeprefix("rel_") and browser.find_elements(By.TAG_NAME, "iframe")
    answer(browser, "zoe", digest[:8], "000000")
    WebDriverWait(browser, 60).until(lambda _: "refused" in browser.find_element(By.ID, "trouble").text)
    desk.waiting("paged")
    answer(browser, "zoe", digest[:8], desk.code())
    done = wait_for(desk.clone, "paged", lambda found: found.state == "done", limit_s=90)
    assert (done.decision, done.version) == ("approve", "v2.0.0")
    WebDriverWait(browser, 30).until(lambda _: "goes to the canary" in browser.find_element(By.ID, "told").text)
    browser.get(f"{settings.pages_url}/rollouts/{done.rollout_id}")
    assert "20 % of the users" in browser.find_element(By.TAG_NAME, "h1").text

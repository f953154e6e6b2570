"""The approval form of a waiting run, filled in by a real browser in the Prefect UI."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from ratchet.runs import Run
from tests.e2e.conftest import Desk, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def waiting(desk: Desk) -> Run:
    """A run of a feature `clicks` that waits for an approval."""
    desk.add("clicks")
    desk.start("clicks")
    return desk.waiting("clicks")


def open_form(browser: WebDriver, desk: Desk, run: Run) -> WebElement:
    """The run's page, and its form."""
    address = desk.clone.settings.prefect_api_url.removesuffix("/api")
    browser.get(f"{address}/runs/flow-run/{run.flow_run_id}")
    browser.find_element(By.XPATH, "//button[contains(., 'Resume')]").click()
    form = browser.find_element(By.CSS_SELECTOR, "[role=dialog]")
    form.find_element(By.XPATH, ".//*[contains(@class, 'schema-form-property__label')][contains(., 'Reason')]")
    return form


def field(form: WebElement, label: str, tag: str = "textarea") -> WebElement:
    """The control under a label."""
    block = "*[contains(concat(' ', @class, ' '), ' schema-form-property ')]"
    return form.find_element(By.XPATH, f".//{block}[.//span[starts-with(., '{label}')]]//{tag}")


def submit(form: WebElement, browser: WebDriver) -> None:
    """Press the button and wait until the form is gone."""
    form.find_element(By.XPATH, ".//button[contains(., 'Submit')]").click()
    WebDriverWait(browser, 20).until(lambda _: not browser.execute_script("return document.querySelector('.p-modal')"))


def test_an_empty_form_is_refused_and_the_run_goes_on_waiting(desk: Desk, waiting: Run, browser: WebDriver) -> None:
    submit(open_form(browser, desk, waiting), browser)
    refused = wait_for(desk.clone, "clicks", lambda run: run.attempts > waiting.attempts, limit_s=60)
    assert refused.refusal == "the form is not filled in right: approver"
    assert desk.waiting("clicks").state == "awaiting"


def test_a_person_approves_in_the_browser(desk: Desk, waiting: Run, browser: WebDriver, tmp_path: Path) -> None:
    form = open_form(browser, desk, desk.waiting("clicks"))
    assert str(waiting.release_id).removeprefix("rel_") in form.text
    Select(field(form, "Decision", "select")).select_by_value("approve")
    typed = {"Approver": "zoe", "Digest": str(waiting.release_id)[4:16], "Code": desk.code(), "Reason": "looks right"}
    for label, text in typed.items():
        field(form, label).send_keys(text)
    assert browser.save_screenshot(str(tmp_path / "approval-form.png"))
    submit(form, browser)
    done = wait_for(desk.clone, "clicks", lambda run: run.state == "done", limit_s=60)
    assert (done.decision, done.version) == ("approve", "v2.0.0")
    assert desk.clone.git("rev-parse", "clicks@v2.0.0^{commit}") == done.commit

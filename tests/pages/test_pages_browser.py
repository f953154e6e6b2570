"""Every page in a real browser: nothing is refused by its own policy, all fits a phone, evidence comes in by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from ratchet.rollouts import Rollout
from tests.browser import chromium
from tests.people_pages import ROUTING, House, opened, placed

pytestmark = pytest.mark.slow
RELEASE = "rel_" + "5e6f7a8b" * 8
REPORT = (
    "<!doctype html><style>h1 { color: rgb(1, 2, 3) }</style><h1>Better</h1><script>document.title='owned'</script>"
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    """Headless Chromium; what its console says at the end is an error of the page."""
    with chromium(tmp_path / "profile", size="1280,1000") as browser:
        yield browser
        told = [entry["message"] for entry in browser.get_log("browser")]
        assert [line for line in told if "favicon" not in line and "422" not in line and "sandboxed" not in line] == []


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with placed(tmp_path / "home") as place:
        place.serve(place.release("Name the team.", "v1.0.0"))
        place.run(
            "run-1", report=REPORT, state="awaiting", outcome="accept", release_id=RELEASE, reasons=("+4 points",)
        )
        with opened(place) as running:
            yield running


@pytest.fixture
def rollout(house: House) -> Rollout:
    return house.place.roll_out(house.place.release("Name the right team.", "v2.0.0"))


def log_in(browser: WebDriver, house: House) -> None:
    browser.get(f"{house.address}/login#{house.logins.invite('ana')}")
    WebDriverWait(browser, 10).until(lambda _: browser.current_url.endswith("/home"))


def wait_for(browser: WebDriver, selector: str, text: str) -> None:
    def is_there(_: WebDriver) -> bool:
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return text in browser.execute_script(script, selector)

    WebDriverWait(browser, 20).until(is_there, f"no {text!r} in {selector}")


def test_every_page_keeps_its_policy_and_fits_a_phone(browser: WebDriver, house: House, rollout: Rollout) -> None:
    house.place.ask("CSSSS" * 20, rollout)
    log_in(browser, house)
    paths = ["/home", "/review", "/approvals", "/approvals/run-1", "/rollouts", f"/rollouts/{rollout.rollout_id}"]
    phone = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for path in [*paths, "/reports", "/prompts", f"/prompts/{ROUTING}"]:
        browser.get(house.address + path)
        assert browser.find_elements(By.TAG_NAME, "h1"), path
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360, path
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        assert all(name.startswith(house.address) for name in loaded), path


def test_evidence_comes_in_without_loading_the_page_again(browser: WebDriver, house: House, rollout: Rollout) -> None:
    log_in(browser, house)
    browser.get(f"{house.address}/rollouts/{rollout.rollout_id}")
    browser.execute_script("window.isSame = true")
    wait_for(browser, "#live", "No user’s outcome is decided yet")
    house.place.ask("cSSSS" * 30, rollout)
    wait_for(browser, ".tiles", "users on the canary")
    wait_for(browser, ".tiles", "30")
    house.place.tick(rollout)
    wait_for(browser, "#live", "taken back")
    assert browser.find_elements(By.CSS_SELECTOR, ".course .line.alarm") and browser.execute_script("return isSame")


def test_a_rollout_is_paused_with_the_keys_alone(browser: WebDriver, house: House, rollout: Rollout) -> None:
    log_in(browser, house)
    browser.get(f"{house.address}/rollouts/{rollout.rollout_id}")
    browser.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys("holidays", Keys.ENTER)
    wait_for(browser, "#told", "is paused")
    wait_for(browser, "h1", "paused by ana")
    assert house.place.session.ledger.entries(event="rollout paused")[0].facts["reason"] == "holidays"


def test_the_report_is_read_and_a_refused_answer_keeps_what_was_typed(browser: WebDriver, house: House) -> None:
    log_in(browser, house)
    browser.get(f"{house.address}/approvals/run-1")
    browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
    heading = browser.find_element(By.TAG_NAME, "h1")
    assert (heading.text, heading.value_of_css_property("color")) == ("Better", "rgba(1, 2, 3, 1)")
    browser.switch_to.default_content()
    browser.find_element(By.CSS_SELECTOR, "[value=reject]").click()
    for name, text in {"approver": "zoe", "digest_prefix": "5e6f7a8b", "code": "123456"}.items():
        browser.find_element(By.NAME, name).send_keys(text)
    browser.find_element(By.CSS_SELECTOR, ".ask button").click()
    wait_for(browser, "#trouble", "needs a reason")
    assert browser.find_element(By.NAME, "code").get_property("value") == "123456" and browser.title != "owned"


def test_a_key_logs_in_and_logging_out_leads_back(browser: WebDriver, house: House) -> None:
    browser.get(f"{house.address}/login?to=/rollouts")
    browser.find_element(By.NAME, "key").send_keys(house.key("operator"), Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda _: browser.current_url.endswith("/rollouts"))
    browser.find_element(By.CSS_SELECTOR, "[data-post='/logout'] button").send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda _: browser.current_url.endswith("/login"))

"""The review page used with the keys alone, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from ratchet.features import Feature, load_feature
from ratchet.records import Interaction, read_holdout
from ratchet.store import Store, open_store
from tests.browser import chromium
from tests.review_queue import Served, open_desk, queue_rows, serving, write_rows
from tests.routing_clone import target
from tests.tasks.batch import Batch

pytestmark = pytest.mark.slow
EVIL = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    """Headless Chromium."""
    with chromium(tmp_path / "profile", size="1280,900") as browser:
        yield browser
        assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []


@pytest.fixture
def press(browser: WebDriver) -> Callable[..., str | None]:
    """Press keys where the focus is; `then` waits for another item. Returns the id of the item shown."""

    def send(*keys: str, then: str = "") -> str | None:
        before = item_of(browser)
        ActionChains(browser).send_keys(*keys).perform()
        if then == "moves":
            WebDriverWait(browser, 10).until(lambda _: item_of(browser) != before)
        return item_of(browser)

    return send


def item_of(browser: WebDriver) -> str | None:
    found: str | None = browser.execute_script("return document.getElementById('item')?.dataset.item ?? null")
    return found


def open_page(browser: WebDriver, served: Served, person: str = "ana") -> str:
    """Follow the link that a terminal would show."""
    link = served.link(person)
    browser.get(link)
    WebDriverWait(browser, 10).until(lambda _: browser.find_elements(By.ID, "item"))
    assert link.split("#")[1] not in browser.current_url
    return link


def test_a_queue_is_gone_through_with_the_keys_alone_and_curate_uses_what_was_decided(
    browser: WebDriver, press: Callable[..., str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    batch = Batch(tmp_path)
    batch.correct(8)
    ids = [batch.ask(text, "cards") for text in ("is it this one", "a green door", "what else", f"mind {EVIL}")]
    for interaction_id in ids:
        batch.say(interaction_id, "thumb", False, by="user:u")
    feature = load_feature(tmp_path, "routing")
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.add_interactions([Interaction.model_validate(row) for row in batch.interactions])
        path = write_rows(tmp_path / "q.jsonl", [review_line(batch, interaction_id) for interaction_id in ids])
        with serving(open_desk(store, feature, path)) as served:
            go_through(browser, press, served, ids)
        batch.feedback += [one.model_dump(mode="json") for _, _, one in store.feedback("routing")]
    batch.run()
    labels = {row["interaction_id"]: row["label"] for row in batch.examples()}
    assert [labels.get(interaction_id) for interaction_id in ids] == ["loans", "cards", "loans", "cards"]


def review_line(batch: Batch, interaction_id: str) -> dict[str, Any]:
    """The queue's line of an interaction, with one suggestion."""
    row = next(row for row in batch.interactions if row["interaction_id"] == interaction_id)
    line = {"item_id": interaction_id, "interaction_id": interaction_id, "reason": "disagreement", "contexts": []}
    line |= {"messages": row["input"]["messages"], "output": row["output"]["content"], "uncertainty": 0.5}
    return line | {"suggestions": [{"target": target("loans"), "weight": 1.5, "sources": 2}]}


def go_through(browser: WebDriver, press: Callable[..., str | None], served: Served, ids: list[str]) -> None:
    """Decide loans, cards, loans, cards: accept, correct, skip, move, choose, undo, and the skipped one at the end."""
    link = open_page(browser, served)
    assert press("?") == ids[0] and browser.switch_to.active_element.text.startswith("Close")
    assert press(Keys.ENTER) == ids[0]  # closes the keys, and decides nothing
    assert press(Keys.ENTER, then="moves") == ids[1]  # accept the suggestion
    assert press("c", "car", Keys.ENTER, then="moves") == ids[2]  # correct by typing
    assert press("s", then="moves") == ids[3]  # skip
    assert "onerror" in browser.find_element(By.CSS_SELECTOR, ".talk").text and browser.title != "owned"
    assert press("k", then="moves") == ids[2] and press(Keys.ARROW_RIGHT, then="moves") == ids[3]
    assert press("2", then="moves") is None and "All looked at" in browser.find_element(By.ID, "item").text
    assert press("u", then="moves") == ids[3] and "stands until" in browser.find_element(By.ID, "item").text
    assert press("1", then="moves") is None  # another label, after the undo
    assert press(Keys.ENTER, then="moves") == ids[2]  # the skipped one again
    assert press("a", then="moves") is None and "All done" in browser.find_element(By.ID, "item").text
    browser.get(link)  # a used link leads back to the page of who is logged in
    WebDriverWait(browser, 10).until(lambda _: browser.find_elements(By.ID, "item"))
    assert served.desk.progress("ana") == (4, 0, 0, 0)


def test_free_text_is_edited_kept_as_a_draft_and_saved(
    browser: WebDriver, press: Callable[..., str | None], written: Served, demo_store: Store
) -> None:
    open_page(browser, written)
    first, second = written.desk.items[:2]
    press("c", " And more.", Keys.ESCAPE)
    assert press("j", then="moves") == second.item_id and press("k", then="moves") == first.item_id
    assert browser.find_element(By.ID, "text").get_property("value") == f"{first.output} And more."
    press("c")
    saved = ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL)
    saved.perform()
    WebDriverWait(browser, 10).until(lambda _: item_of(browser) == second.item_id)
    press("a", then="moves")
    values = {r.interaction_id: r.value for _, _, r in demo_store.feedback("help_answers") if r.source.type == "agent"}
    assert values[first.interaction_id] == f"{first.output} And more."
    assert values[second.interaction_id] == second.output


def test_a_held_key_decides_one_item(browser: WebDriver, press: Callable[..., str | None], served: Served) -> None:
    open_page(browser, served)
    held = {"key": "s", "code": "KeyS", "text": "s", "type": "keyDown"}
    browser.execute_cdp_cmd("Input.dispatchKeyEvent", held)
    WebDriverWait(browser, 10).until(lambda _: item_of(browser) == served.desk.items[1].item_id)
    for _ in range(5):
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", held | {"autoRepeat": True})
    assert press("j", then="moves") == served.desk.items[2].item_id
    assert served.desk.progress("ana").skipped == 1


def test_server_that_is_gone_is_said_and_nothing_is_lost(
    browser: WebDriver, press: Callable[..., str | None], demo_store: Store, routing_feature: Feature, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "q.jsonl", queue_rows(routing_feature))
    with serving(open_desk(demo_store, routing_feature, path)) as served:
        open_page(browser, served)
        press("1", then="moves")
    press("2")
    WebDriverWait(browser, 10).until(lambda _: "does not answer" in browser.find_element(By.ID, "trouble").text)
    assert open_desk(demo_store, routing_feature, path).progress("ana").done == 1
    browser.get_log("browser")  # the refused connection


def test_blind_labels_become_a_holdout_file(
    browser: WebDriver, press: Callable[..., str | None], blind: Served, routing_feature: Feature, tmp_path: Path
) -> None:
    open_page(browser, blind)
    for _ in blind.desk.items[1:]:
        press("8", then="moves")
    press(Keys.ENTER)  # accepts nothing: there is nothing to accept
    assert press("8", then="moves") is None
    blind.desk.book.write(tmp_path / "h.jsonl", blind.desk.items)  # type: ignore[attr-defined]
    expected = {json.loads(item.expected)["route"] for item in read_holdout(tmp_path / "h.jsonl", routing_feature)}
    assert expected == {"fraud_report"}

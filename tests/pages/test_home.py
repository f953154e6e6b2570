"""The overview and the list of queues: what waits, for whom, and a clone where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.features import load_feature
from tests.people_pages import CLONE, ROUTING, opened, placed
from tests.review_queue import demo_records, queue_rows, write_rows

PAGES = ("/home", "/review", "/approvals", "/rollouts", "/reports", "/prompts")


def test_every_page_works_where_there_is_nothing(tmp_path: Path) -> None:
    with placed(tmp_path / "home") as place, opened(place) as house:
        ana = house.visitor()
        pages = {path: ana.get(path) for path in PAGES}
        assert {answer.status_code for answer in pages.values()} == {200}
        assert "Nothing waits." in pages["/home"].text and "No release yet" in pages["/home"].text
        assert ana.client.get("/", follow_redirects=True).url.path == "/home"
        assert house.client().get("/home").status_code == 401


def test_a_queue_is_reviewed_on_the_same_server_and_a_newer_one_takes_its_place(tmp_path: Path) -> None:
    feature = load_feature(CLONE, ROUTING)
    asked, rows = demo_records(ROUTING)[0], queue_rows(feature)[:3]
    with placed(tmp_path / "home") as place, opened(place) as house:
        place.session.store.add_interactions(asked)
        place.run("run-1", state="done")
        queue = write_rows(place.home / "reports" / "run-1" / "review.jsonl", rows[:2])
        ana = house.visitor("reviewer", name="ana")
        assert "2 of 2 items are left" in ana.get("/home").text
        body = {"item": rows[0]["item_id"], "value": "fraud_report"}
        assert ana.post(f"/review/{ROUTING}/decide", body).status_code == 200
        assert "1 of 2 items are left" in ana.get("/home").text
        assert place.session.store.counts(ROUTING)["feedback"] == 1
        write_rows(queue, rows)
        assert "<b>2</b> left of 3" in ana.get("/review").text


@pytest.mark.parametrize(
    ("path", "told"), [("/review/nothing", "unknown feature"), (f"/blind/{ROUTING}", "no blind sample yet")]
)
def test_a_queue_that_is_not_there_is_said(tmp_path: Path, path: str, told: str) -> None:
    with placed(tmp_path / "home") as place, opened(place) as house:
        answer = house.visitor().get(path)
        assert answer.status_code == 422 and told in answer.text


def test_every_form_and_script_is_our_own_and_nothing_is_inline(tmp_path: Path) -> None:
    with placed(tmp_path / "home") as place, opened(place) as house:
        for path in PAGES:
            page = house.visitor().get(path).text
            assert " style=" not in page and "<style" not in page and "javascript:" not in page
            assert page.count("<script") == page.count('<script src="/static/') and "//" not in page.split("<body")[1]

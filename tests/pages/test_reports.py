"""Reports, release cards and prompts as pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.people_pages import ROUTING, House, opened, placed

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with placed(tmp_path_factory.mktemp("reports") / "home") as place:
        place.serve(place.release("Name the team of this bank that helps a customer who asks such a thing.", "v1.0.0"))
        place.release(f"Name the team of this bank that best helps a customer who asks such a thing. {EVIL}", "v2.0.0")
        place.run("run-1", report="<!doctype html><style>p{color:red}</style><p>Better", state="done", outcome="accept")
        (place.home / "reports" / "run-1" / "release_card.md").write_text(f"# Card {EVIL}")
        place.run("run-2", state="failed")
        (place.home / "secret.html").write_text("secret")
        with opened(place) as running:
            yield running


def test_reports_are_listed_and_a_run_without_one_is_not(house: House) -> None:
    page = house.visitor("approver").get("/reports").text
    assert 'href="/reports/run-1"' in page and 'href="/reports/run-1/card"' in page and "run-2" not in page
    assert house.visitor().get("/reports/run-2").status_code == 404


def test_a_report_is_framed_by_our_pages_alone_and_runs_nothing(house: House) -> None:
    answer = house.visitor().get("/reports/run-1")
    policy = answer.headers["content-security-policy"]
    assert "Better" in answer.text and policy.startswith("default-src 'none'") and "sandbox" in policy
    assert "script-src" not in policy and "frame-ancestors 'self'" in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN" and answer.headers["cache-control"] == "no-store"


def test_a_card_is_plain_text(house: House) -> None:
    answer = house.visitor().get("/reports/run-1/card")
    assert answer.headers["content-type"].startswith("text/plain") and EVIL in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("run", ["..", "%2e%2e", "..%2fsecret.html", "run-1%00", "run-9"])
def test_no_address_chooses_a_folder(house: House, run: str) -> None:
    answer = house.visitor().get(f"/reports/{run}")
    assert answer.status_code in (303, 404) and "secret" not in answer.text


def test_a_report_of_another_feature_is_not_there_for_a_key_of_one(house: House) -> None:
    kim = house.visitor("approver", features=("help_answers",))
    assert kim.get("/reports/run-1").status_code == 404 and "run-1" not in kim.get("/reports").text


def test_prompts_are_shown_with_what_changed_and_where_they_are_live(house: House) -> None:
    page = house.visitor("operator").get(f"/prompts/{ROUTING}").text
    assert page.index("v2.0.0") < page.index("v1.0.0") and "approved by ana" in page
    assert "best" in page.split("<ins>")[1].split("</ins>")[0] and "<img src=x" not in page
    assert f'<span class="badge good">{ROUTING}</span>' in page
    assert "2 versions" in house.visitor().get("/prompts").text

"""The rollouts' pages over real HTTP: what they show of a real rollout, and what an operator may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.rollouts import Rollout
from tests.people_pages import ROUTING, House, opened, placed

ACTS = f"/features/{ROUTING}/rollout"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with placed(tmp_path / "home") as place:
        place.serve(place.release("Name the team.", "v1.0.0"))
        with opened(place) as running:
            yield running


def begin(house: House, pattern: str = "") -> Rollout:
    rollout = house.place.roll_out(house.place.release("Name the right team.", "v2.0.0"))
    house.place.ask(pattern, rollout)
    return rollout


def test_without_a_rollout_it_says_so(house: House) -> None:
    page = house.visitor("operator").get("/rollouts").text
    assert "No rollout yet" in page and "v1.0.0" in page and "No release yet" in page  # of help_answers


def test_evidence_is_shown_as_it_comes_in_without_a_tick(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.watch.FRESH_S", 0.0)
    monkeypatch.setattr("pages.watch.REST", 0)
    rollout = begin(house)
    kim, path = house.visitor("operator"), f"/rollouts/{rollout.rollout_id}"
    assert path in kim.get("/rollouts").text and "20 % of the users" in kim.get("/rollouts").text
    assert "No user’s outcome is decided yet" in kim.get(path).text
    house.place.ask("CSSSS" * 6, rollout)
    page = kim.get(path).text
    assert "<b>6</b><span>users on the canary" in page and "<b>24</b><span>users on stable" in page
    assert "14 more canary users are needed at 20%" in page and 'class="line alarm"' in page
    assert "v2.0.0" in page and "now drawn with 20 %" in page and "more canary users until it is proven" in page


def test_a_rollback_is_shown_with_the_signal_that_crossed_its_line(house: House) -> None:
    rollout = begin(house, "cSSSS" * 40)
    assert house.place.tick(rollout) == "rollback"
    page = house.visitor().get(f"/rollouts/{rollout.rollout_id}").text
    assert "taken back" in page and "back to the old release" in page and "by the evidence" in page
    assert "Users on the canary fare worse, seen in <code>complaint</code>" in page
    complaint = page.split(">complaint</th>")[1].split("</tr>")[0]
    assert "gauge over" in complaint and "100.0 %" in complaint and "0.0 %" in complaint
    assert "Step in" not in page  # it is over


def test_an_operator_pauses_resumes_and_ends_a_rollout(house: House) -> None:
    rollout, kim = begin(house), house.visitor("operator", name="kim")
    path, told = f"/rollouts/{rollout.rollout_id}", {"reason": "holidays", "rollout": rollout.rollout_id}
    assert "is paused" in kim.post(ACTS, told | {"act": "pause"}).text
    assert "paused by kim" in kim.get(path).text and "Go on" in kim.get(path).text
    assert kim.post(ACTS, told | {"act": "resume"}).status_code == 200
    assert "serves" in kim.post(ACTS, told | {"act": "abort"}).text
    assert house.place.session.channels.read(ROUTING).canary is None
    entries = [(e.event, e.facts["by"]) for e in house.place.session.ledger.entries() if e.facts.get("by") == "kim"]
    assert entries == [("rollout paused", "kim"), ("rollout resumed", "kim"), ("rollback", "kim")]
    page = kim.get(path).text
    assert "rollout paused" in page and "holidays" in page


def test_rollback_without_a_rollout_takes_the_stable_release_back_or_says_why_not(house: House) -> None:
    kim = house.visitor("operator")
    refused = kim.post(ACTS, {"act": "rollback", "reason": "bad"})
    assert refused.status_code == 422 and "no earlier release" in refused.text


@pytest.mark.parametrize("role", ["reviewer", "approver"])
def test_other_roles_read_and_do_nothing(house: House, role: str) -> None:
    rollout, kim = begin(house), house.visitor(role)
    assert "Step in" not in kim.get(f"/rollouts/{rollout.rollout_id}").text
    assert kim.post(ACTS, {"act": "abort", "reason": "x"}).status_code == 403
    assert house.place.session.channels.read(ROUTING).canary is not None


@pytest.mark.parametrize(
    "body", [{}, {"act": "abort"}, {"act": "abort", "reason": "  "}, {"act": "promote", "reason": "x"},
             {"act": "abort", "reason": "x" * 301}, {"act": "abort", "reason": "x", "by": "ana"}]
)  # fmt: skip
def test_a_wish_without_a_reason_or_that_is_none_changes_nothing(house: House, body: dict[str, str]) -> None:
    begin(house)
    assert house.visitor("operator").post(ACTS, body).status_code == 422
    assert house.place.session.channels.read(ROUTING).canary is not None


def test_a_change_without_the_csrf_token_or_from_elsewhere_is_refused(house: House) -> None:
    begin(house)
    kim, wish = house.visitor("operator"), {"act": "abort", "reason": "x"}
    assert kim.client.post(ACTS, json=wish).status_code == 403
    assert kim.post(ACTS, wish, Origin="http://evil.example").status_code == 403
    assert house.place.session.channels.read(ROUTING).canary is not None


def test_reasons_and_segments_of_strangers_stay_text(house: House) -> None:
    rollout, evil = begin(house), "<img src=x onerror=alert(1)>"
    house.place.ask("CSSSS" * 4, rollout, segment=evil)
    kim = house.visitor("operator", name=evil)
    kim.post(ACTS, {"act": "pause", "reason": evil})
    page = kim.get(f"/rollouts/{rollout.rollout_id}").text
    assert page.count("&lt;img") >= 4 and "<img src=x" not in page


@pytest.mark.parametrize("path", ["/rollouts/ro_nothing", "/rollouts/..%2f..", "/rollouts/%00"])
def test_an_unknown_rollout_is_404(house: House, path: str) -> None:
    assert house.visitor().get(path).status_code == 404

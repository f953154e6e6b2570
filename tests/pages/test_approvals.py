"""The approvals' pages: what waits is shown with its report, and a form that is not filled in right decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.people_pages import House, opened, placed

RELEASE = "rel_" + "5e6f7a8b" * 8
REPORT = "<!doctype html><title>r</title><h1>Better</h1>"
ANSWER = {"decision": "approve", "approver": "zoe", "digest_prefix": "5e6f7a8b", "code": "123456", "reason": ""}
PATH = "/approvals/run-1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with placed(tmp_path_factory.mktemp("approvals") / "home") as place:
        place.run("run-1", report=REPORT, state="awaiting", outcome="accept", release_id=RELEASE, flow_run_id="f1",
                  reasons=("accept: +4 points",), refusal="the verifier refused <b>")  # fmt: skip
        place.run("run-2", state="done", outcome="accept", decision="reject", release_id=RELEASE)
        with opened(place) as running:
            yield running


def test_nothing_waiting_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    with placed(tmp_path_factory.mktemp("empty") / "home") as place, opened(place) as house:
        assert "Nothing waits for an approval" in house.visitor("approver").get("/approvals").text


def test_a_waiting_run_is_listed_and_those_that_were_decided(house: House) -> None:
    zoe = house.visitor("approver")
    page, overview = zoe.get("/approvals").text, zoe.get("/home").text
    assert f'href="{PATH}"' in page and "accept: +4 points" in page and "rejected" in page
    assert f'href="{PATH}"' in overview and "Nothing waits." not in overview


def test_the_form_stands_beside_the_report_and_fills_in_neither_digest_nor_code(house: House) -> None:
    page = house.visitor("approver").get(PATH).text
    assert '<iframe class="report" src="/reports/run-1"' in page and RELEASE.removeprefix("rel_") in page
    assert "refused &lt;b&gt;" in page
    form = page.split('data-post="/approvals/run-1"')[1].split("</form>")[0]
    assert 'name="code"' in form and 'value="5e6f' not in form and 'value="1' not in form and "checked" not in form


def test_a_decided_run_has_no_form(house: House) -> None:
    page = house.visitor("approver").get("/approvals/run-2").text
    assert "It is decided: rejected" in page and 'data-post="/approvals' not in page


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decision": "maybe"}, "decision"),
        ({"approver": ""}, "approver"),
        ({"code": "1" * 17}, "code"),
        ({"digest_prefix": ""}, "digest prefix"),
        ({"extra": "x"}, "extra"),
        ({"reason": 7}, "reason"),
        ({"decision": "reject"}, "needs a reason"),
    ],
)
def test_a_form_that_is_not_filled_in_right_says_what_is_wrong(
    house: House, change: dict[str, object], told: str
) -> None:
    answer = house.visitor("approver").post(PATH, ANSWER | change)
    assert answer.status_code == 422 and told in answer.text


def test_what_the_command_would_say_the_page_says(house: House) -> None:
    zoe = house.visitor("approver")
    gone = zoe.post("/approvals/run-2", ANSWER)
    assert gone.status_code == 422 and "does not wait for an approval" in gone.text


@pytest.mark.parametrize("role", ["reviewer", "operator"])
def test_only_an_approver_decides(house: House, role: str) -> None:
    assert house.visitor(role).post(PATH, ANSWER).status_code == 403


def test_the_answer_needs_the_csrf_token(house: House) -> None:
    assert house.visitor("approver").client.post(PATH, json=ANSWER).status_code == 403


def test_the_code_reaches_no_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        house.visitor("approver").post("/approvals/run-2", ANSWER | {"code": "867530"})
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("http")]
    assert "867530" not in "".join(ours)

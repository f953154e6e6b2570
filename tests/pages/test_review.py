import re
from pathlib import Path

import httpx
import pytest

from pages.review import KEYS, choices_of
from ratchet.features import Feature
from ratchet.store import Store
from tests.review_queue import HOME, Served, demo_records, open_desk, queue_rows, serving, write_rows

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>\u202e{{ 7*7 }}</textarea><h1>'


def decided(store: Store, feature: str = "support_routing") -> dict[str, object]:
    found = [record for _, _, record in store.feedback(feature) if record.feedback_id.startswith("review_")]
    return {record.interaction_id: record.value for record in found}


def test_decision_is_stored_as_feedback_and_the_next_item_shown(served: Served, demo_store: Store) -> None:
    ana, items = served.log_in(), served.desk.items
    shown = ana.post("decide", {"item": items[0].item_id, "value": "loan_mortgage"})
    assert shown.status_code == 200 and ana.shown(shown) == items[1].item_id
    assert decided(demo_store) == {items[0].interaction_id: "loan_mortgage"}


def test_skip_undo_and_the_end(served: Served) -> None:
    ana, ids = served.log_in(), [item.item_id for item in served.desk.items]
    assert ana.shown(ana.post("skip", {"item": ids[0]})) == ids[1]
    for item_id in ids[1:-1]:
        ana.post("decide", {"item": item_id, "value": "fraud_report"})
    end = ana.post("decide", {"item": ids[-1], "value": "fraud_report"})
    assert ana.shown(end) is None and "All looked at" in end.text and "ratchet run support_routing" in end.text
    assert ana.shown(ana.client.get(f"{HOME}?skipped=1")) == ids[0]
    again = ana.post("undo", {})
    assert ana.shown(again) == ids[-1] and "stands until you decide anew" in again.text


def test_undo_of_nothing_says_so(served: Served) -> None:
    answer = served.log_in().post("undo", {})
    assert answer.status_code == 409 and "nothing before this" in answer.text


def test_only_the_item_that_is_shown_is_in_the_page(served: Served) -> None:
    ana = served.log_in()
    whole, part = ana.client.get(HOME), ana.client.get(HOME, headers={"X-Part": "1"})
    assert "<html" in whole.text and "<html" not in part.text
    for answer in (whole, part):
        shown = [item.item_id for item in served.desk.items if item.item_id in answer.text]
        assert shown == [item.item_id for item in served.desk.items[:2]]  # itself, and the link to the next
        assert served.desk.items[1].messages[0].content[:30] not in answer.text


def test_label_keys_are_no_commands_and_stay_with_their_label(served: Served) -> None:
    assert not set(KEYS) & set("acsujk") and len(set(KEYS)) == len(KEYS)
    pages = [served.log_in().client.get(f"{HOME}?item={item.item_id}").text for item in served.desk.items]
    for page in pages:
        assert (
            'data-value="card_lost_stolen" data-key="1"' in page and 'data-value="loan_mortgage" data-key="b"' in page
        )


def test_heaviest_suggestion_stands_first_and_the_answer_where_there_is_none(served: Served) -> None:
    item, feature = served.desk.items[0], served.desk.feature
    weights = {"fraud_report": 0.5, "account_admin": 2.0}
    targets = [{"target": feature.wrap_target(label), "weight": w, "sources": 1} for label, w in weights.items()]
    suggested = type(item).model_validate(item.model_dump() | {"suggestions": targets})
    assert [c.text for c in choices_of(served.desk, suggested)] == ["account_admin", "fraud_report"]
    (alone,) = choices_of(served.desk, item)
    assert (alone.text, alone.weight, alone.is_answer) == (feature.label_of(item.output or ""), None, True)
    assert choices_of(served.desk, type(item).model_validate(item.model_dump() | {"output": "no label"})) == []


@pytest.mark.parametrize("value", ["boats", "", '{"route": "boats"}', EVIL])
def test_label_outside_the_schema_is_refused_with_what_is_allowed(served: Served, value: str) -> None:
    ana = served.log_in()
    answer = ana.post("decide", {"item": served.desk.items[0].item_id, "value": value})
    assert answer.status_code == 422 and answer.headers["content-type"].startswith("text/plain")
    assert served.desk.progress("ana").done == 0


def test_text_of_users_is_inert_everywhere_in_the_page(
    demo_store: Store, routing_feature: Feature, tmp_path: Path
) -> None:
    row = queue_rows(routing_feature)[0]
    row |= {"reason": EVIL, "output": EVIL, "messages": [{"role": "user", "content": EVIL}], "variables": {EVIL: EVIL}}
    row |= {"suggestions": [{"target": EVIL, "weight": 1}], "contexts": [{"id": EVIL, "text": EVIL}], "item_id": EVIL}
    for feature in (routing_feature, routing_feature.model_copy(update={"output_schema": None})):
        path = write_rows(tmp_path / "q.jsonl", [row])
        with serving(open_desk(demo_store, feature, path)) as served:
            ana = served.log_in(EVIL)
            ana.post("skip", {"item": EVIL})
            page = ana.client.get(f"{HOME}?skipped=1").text
        assert page.count("onerror") >= 8 and "<img src=x" not in page and "<script>" not in page
        assert "49" not in page.replace("&#34;", "") and page.count("<h1") == 1
        assert "\u202e" not in re.sub(r'="[^"]*"|<textarea.*?</textarea>', "", page, flags=re.DOTALL)


def test_item_of_an_unknown_interaction_can_only_be_taken_along(
    demo_store: Store, routing_feature: Feature, tmp_path: Path
) -> None:
    row = queue_rows(routing_feature)[0] | {"interaction_id": "int_1f3a"}
    with serving(open_desk(demo_store, routing_feature, write_rows(tmp_path / "q.jsonl", [row]))) as served:
        ana = served.log_in()
        page = ana.client.get(f"{HOME}?item={row['item_id']}").text
        refused = ana.post("decide", {"item": row["item_id"], "value": "fraud_report"})
        assert "Nothing can be decided" in page and "--export" in page and page.count(" disabled") > 12
        assert refused.status_code == 422 and "1 cannot be decided here" in ana.client.get(HOME).text


def test_free_text_is_prefilled_edited_and_stored(written: Served, demo_store: Store) -> None:
    ana, item = written.log_in(), written.desk.items[0]
    assert "<textarea" in ana.client.get(written.home).text
    better = "It costs £5.\r\nFree if the chip failed."
    assert ana.post("decide", {"item": item.item_id, "value": better}).status_code == 200
    assert decided(demo_store, "help_answers")[item.interaction_id] == better
    assert "Free if the chip failed." in ana.client.get(f"{written.home}?item={item.item_id}").text


def test_what_another_reviewer_wrote_is_shown(written: Served) -> None:
    ana, ben, item = written.log_in("ana"), written.log_in("<b>ben"), written.desk.items[0]
    ben.post("decide", {"item": item.item_id, "value": "It is <i>free</i>."})
    page = ana.client.get(f"{written.home}?item={item.item_id}").text
    assert "&lt;b&gt;ben wrote:" in page and "It is &lt;i&gt;free&lt;/i&gt;." in page and "You decided" not in page


def test_accepted_answer_is_the_answer_to_the_letter(written: Served, demo_store: Store) -> None:
    ana, item = written.log_in(), written.desk.items[1]
    ana.post("decide", {"item": item.item_id, "value": f" {item.output}\n"})
    assert decided(demo_store, "help_answers")[item.interaction_id] == item.output


def test_blind_page_shows_neither_answer_nor_suggestion(blind: Served) -> None:
    ana = blind.log_in()
    for item in blind.desk.items:
        page = ana.client.get(f"{blind.home}?item={item.item_id}").text
        assert not any(
            word in page for word in ("the answer", "Suggested", "weight", "unsure", "data-first", "answered")
        )


def test_blind_labels_of_two_are_independent_and_their_agreement_is_shown_at_the_end(blind: Served) -> None:
    ana, ben = blind.log_in("ana"), blind.log_in("ben")
    labels = {"ana": ["fraud_report", "fraud_report", "card_delivery", "card_delivery"]}
    labels["ben"] = ["fraud_report", "fraud_report", "card_delivery", "fraud_report"]
    for item, one in zip(blind.desk.items, labels["ana"], strict=True):
        end = ana.post("decide", {"item": item.item_id, "value": one})
    assert "kappa" not in end.text
    assert "decided" not in ben.client.get(f"{blind.home}?item={blind.desk.items[0].item_id}").text.split("<main")[1]
    for item, one in zip(blind.desk.items, labels["ben"], strict=True):
        end = ben.post("decide", {"item": item.item_id, "value": one})
    assert (
        "ana, ben" in end.text and ">75 %<" in end.text and ">0.50<" in end.text and "1 item with as many" in end.text
    )


def test_a_thousand_items_make_no_page_longer(demo_store: Store, routing_feature: Feature, tmp_path: Path) -> None:
    row = queue_rows(routing_feature)[0]
    rows = [row | {"item_id": f"n{n}", "interaction_id": f"{row['interaction_id']}_{n}"} for n in range(1000)]
    asked = demo_records("support_routing")[0][0]
    demo_store.add_interactions([asked.model_copy(update={"interaction_id": r["interaction_id"]}) for r in rows])
    with serving(open_desk(demo_store, routing_feature, write_rows(tmp_path / "q.jsonl", rows))) as served:
        ana = served.log_in()
        answer = ana.post("decide", {"item": "n998", "value": "fraud_report"})
        assert ana.shown(answer) == "n999" and len(answer.content) < 20_000
        assert "<b>1</b> decided" in answer.text and "<b>999</b> left" in answer.text


def test_pages_need_no_other_server(served: Served) -> None:
    ana = served.log_in()
    for path in (HOME, "/login", "/static/pages.css", "/static/review.js", "/static/login.js"):
        text = ana.client.get(path).text
        assert "http://" not in text and "https://" not in text and "//cdn" not in text
    assert httpx.get(served.address + "/static/mark.svg").headers["content-type"] == "image/svg+xml"

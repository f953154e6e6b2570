import json
import random

import httpx
import pytest

from pages.app import LONGEST_BODY
from tests.review_queue import CSRF, HOME, Reviewer, Served

VALUES = [None, True, 0, -1, 1e308, "", "x", "\x00", "\ud800", "é" * 300, [], {}, [[[]]], {"item": {}}, "a" * 100_001]


@pytest.mark.parametrize("path", ["decide", "skip", "undo"])
@pytest.mark.parametrize("csrf", ["", "x", "é"])
def test_wrong_csrf_token_is_refused_and_nothing_happens(shown: Served, path: str, csrf: str) -> None:
    ana, item = shown.log_in(), shown.desk.items[0]
    sent = {CSRF: csrf.encode("latin-1"), "Content-Type": "application/json"}
    body = json.dumps({"item": item.item_id, "value": "fraud_report"}).encode()
    answer = ana.client.post(f"{HOME}/{path}", content=body, headers=sent)
    assert answer.status_code == 403 and not any(shown.desk.is_skipped(item, "ana") for item in shown.desk.items)


def test_token_of_another_session_is_wrong(shown: Served) -> None:
    ana, ben = shown.log_in("ana"), shown.log_in("ben")
    mixed = Reviewer(ana.client, ben.csrf)
    assert mixed.post("skip", {"item": shown.desk.items[0].item_id}).status_code == 403


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"1" * 5000, b"[" * 100_000, b'{"a":' * 50_000])
def test_body_that_is_no_json_object_is_refused(shown: Served, content: bytes) -> None:
    ana = shown.log_in()
    assert ana.client.post(f"{HOME}/skip", content=content, headers={CSRF: ana.csrf}).status_code == 400


def test_body_that_is_too_long_is_refused_also_in_pieces(shown: Served) -> None:
    ana = shown.log_in()
    piece = b" " * (LONGEST_BODY // 4)
    for content in (piece * 5, iter([piece] * 5)):
        answer = ana.client.post(f"{HOME}/skip", content=content, headers={CSRF: ana.csrf})
        assert answer.status_code == 413


def test_unknown_address_or_method_is_a_page_with_nothing_in_it(shown: Served) -> None:
    ana = shown.log_in()
    assert ana.client.get("/<script>").status_code == 404 and "<script>" not in ana.client.get("/<script>").text
    assert ana.client.request("DELETE", HOME).status_code == 405
    assert ana.client.get(f"{HOME}?item=%00%ff<b>").status_code == 404
    assert httpx.get(shown.address + "/static/../app.py").status_code == 404
    assert ana.client.get("/static/%2e%2e/app.py").status_code == 404


def fuzz(served: Served, cases: int) -> None:
    drawn, ana = random.Random(5), served.log_in()
    for _ in range(cases):
        path = drawn.choice(["decide", "skip", "undo"])
        keys = drawn.sample(["item", "value", "extra", ""], drawn.randint(0, 4))
        body = {key: drawn.choice([*VALUES, served.desk.items[0].item_id]) for key in keys}
        sent = json.dumps(drawn.choice([body, body, drawn.choice(VALUES)])).encode()
        if drawn.random() < 0.1:
            sent = sent[: drawn.randint(0, len(sent))] + drawn.randbytes(4)
        answer = ana.client.post(f"{HOME}/{path}", content=sent, headers={CSRF: ana.csrf})
        assert answer.status_code in (200, 400, 404, 409, 413, 422), (path, body)


def test_no_body_breaks_a_page(served: Served) -> None:
    fuzz(served, 150)


@pytest.mark.slow
def test_no_body_of_many_breaks_a_page(served: Served) -> None:
    fuzz(served, 10_000)

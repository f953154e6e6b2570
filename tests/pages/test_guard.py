import http.client
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.testclient import TestClient

from pages.guard import HEADERS, Guard, why_refused
from tests.review_queue import CSRF, HOME, Served

ADDRESSES = ["/", "/login", HOME, "/static/pages.css", "/static/review.js", "/healthz", "/nothing"]


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_answer_carries_the_headers_that_allow_nothing_else(shown: Served, path: str) -> None:
    headers = shown.log_in().client.get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_foreign_host_is_refused(shown: Served, host: str) -> None:
    ana = shown.log_in()
    del ana.client.headers["Origin"]  # a page that is only opened sends none
    assert ana.client.get(HOME).status_code == 200
    assert {ana.client.get(path, headers={"Host": host}).status_code for path in ADDRESSES} <= {400, 403}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://[", ""])
def test_change_of_a_foreign_page_is_refused(served: Served, origin: str) -> None:
    ana = served.log_in()
    item_id = served.desk.items[0].item_id
    answer = ana.post("decide", {"item": item_id, "value": "fraud_report"}, Origin=origin)
    assert answer.status_code == 403 and served.desk.progress("ana").done == 0


def test_change_without_an_origin_or_from_a_site_beside_is_refused(served: Served) -> None:
    ana = served.log_in()
    headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in ana.client.cookies.items()), CSRF: ana.csrf}
    body = {"item": served.desk.items[0].item_id}
    assert httpx.post(f"{served.address}{HOME}/skip", json=body, headers=headers).status_code == 403
    assert ana.post("skip", body, **{"Sec-Fetch-Site": "same-site"}).status_code == 403
    assert ana.post("skip", body, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_localhost_is_as_good_as_the_number(shown: Served) -> None:
    port = shown.address.rsplit(":", 1)[1]
    host = f"localhost:{port}"
    assert httpx.get(f"{shown.address}/healthz", headers={"Host": host, "Origin": f"http://{host}"}).text == "ok"
    assert why_refused("POST", httpx.Headers({"host": "[::1]:80", "origin": "http://[::1]:80"})) is None  # type: ignore[arg-type]


def test_error_inside_a_page_tells_where_and_not_what(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: object) -> None:
        raise ValueError("what a user wrote")

    client = TestClient(
        Starlette(routes=[Route("/", broken)], middleware=[Middleware(Guard)]), base_url="http://localhost"
    )
    with caplog.at_level(logging.INFO):
        answer = client.get("/")
    assert answer.status_code == 500 and "what a user wrote" not in answer.text + caplog.text
    assert "test_guard.py" in caplog.text and answer.headers["x-frame-options"] == "DENY"


def test_websocket_gets_no_further(shown: Served) -> None:
    host = shown.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    asked = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAA",
        "Sec-WebSocket-Version": "13",
    }
    connection.request("GET", HOME, headers=asked)
    assert connection.getresponse().status == 401

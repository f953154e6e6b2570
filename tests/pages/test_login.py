import logging

import httpx
import pytest

from pages.login import Logins, Session
from tests.review_queue import HOME, Served


def log_in(shown: Served, token: object) -> httpx.Response:
    return httpx.post(f"{shown.address}/login", json={"token": token}, headers={"Origin": shown.address})


def test_link_works_once(shown: Served) -> None:
    token = shown.logins.invite("ana")
    first, second = log_in(shown, token), log_in(shown, token)
    assert (first.status_code, second.status_code) == (200, 403)
    assert "set-cookie" not in second.headers and "Start the command again" in second.text


def test_cookie_is_out_of_reach_of_scripts_and_of_other_sites_and_names_the_port(shown: Served) -> None:
    cookie = log_in(shown, shown.logins.invite("ana")).headers["set-cookie"]
    assert cookie.startswith(f"ratchet_{shown.address.rsplit(':', 1)[1]}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize("token", ["", "x", "A" * 43, None, 7, ["a"], {"a": 1}, "\u0000", "é"])
def test_forged_token_is_refused(shown: Served, token: object) -> None:
    shown.logins.invite("ana")
    answer = log_in(shown, token)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_asking_for_the_login_page_uses_no_token_up(shown: Served) -> None:
    link = shown.link()
    assert httpx.get(link).status_code == 200  # as a prefetch or a preview of the link would
    assert log_in(shown, link.split("#")[1]).status_code == 200


def test_who_is_logged_in_goes_on_from_the_login_page(shown: Served) -> None:
    answer = shown.log_in().client.get("/login", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, HOME)


@pytest.mark.parametrize("cookie", ["", "x", "é", "A" * 43])
def test_without_a_session_nothing_is_shown_or_done(shown: Served, cookie: str) -> None:
    port = shown.address.rsplit(":", 1)[1]
    headers = {"Origin": shown.address, "Cookie": f"ratchet_{port}={cookie}".encode()}
    page = httpx.get(shown.address + HOME, headers=headers)
    assert page.status_code == 401 and shown.desk.items[0].messages[0].content[:20] not in page.text
    for path in ("decide", "skip", "undo"):
        assert httpx.post(f"{shown.address}{HOME}/{path}", json={}, headers=headers).status_code == 401


def test_secrets_reach_no_log(shown: Served, caplog, capfd) -> None:
    with caplog.at_level(logging.DEBUG):
        token = shown.logins.invite("ana")
        log_in(shown, token), log_in(shown, token)
        ana = shown.log_in()
        ana.post("skip", {"item": shown.desk.items[0].item_id})
        ana.client.get(HOME, headers={"Host": "evil.example"})
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("http")]  # httpx is the browser here
    told = "".join(ours) + "".join(capfd.readouterr())
    secrets = [token, ana.csrf, *ana.client.cookies.values()]
    assert "foreign_host" in told and not any(secret in told for secret in secrets)
    assert ana.csrf not in repr(Session("ana", csrf=ana.csrf))


def test_sessions_are_each_ones_own() -> None:
    logins = Logins()
    ids = [logins.redeem(logins.invite(person)).session_id for person in ("ana", "ben")]
    sessions = [logins.session(session_id or "") for session_id in ids]
    assert [s.person if s else None for s in sessions] == ["ana", "ben"]
    assert sessions[0] != sessions[1] and logins.session("") is None and logins.redeem("").session_id is None

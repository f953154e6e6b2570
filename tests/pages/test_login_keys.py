"""Logging in with a key of the gateway: who gets in, what a role may do, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pages.app import OWN_PATH
from pages.login import INVITED_FOR, LOGGED_IN_FOR, Logins, invitation, is_proof
from tests.people_pages import House, opened, placed


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with placed(tmp_path_factory.mktemp("keys") / "home") as place, opened(place) as running:
        yield running


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        ("reviewer", {"/approvals"}),
        ("operator", {"/approvals", "/review", "/reports"}),
        ("approver", {"/review"}),
        ("admin", set()),
    ],
)
def test_a_role_opens_its_pages_and_its_menu_names_no_other(house: House, role: str, refused: set[str]) -> None:
    kim = house.visitor(role)
    paths = {"/home", "/review", "/approvals", "/rollouts", "/reports", "/prompts"}
    assert {path for path in paths if kim.get(path).status_code == 403} == refused
    menu = kim.get("/home").text.split("<nav")[1].split("</nav>")[0]
    assert {path for path in paths if f'href="{path}"' not in menu} == refused


@pytest.mark.parametrize(
    ("role", "tenant", "told"), [("app", "*", "for an application"), ("admin", "acme", "one tenant")]
)
def test_a_key_that_is_no_persons_or_one_tenants_is_not_let_in(house: House, role: str, tenant: str, told: str) -> None:
    answer = house.enter({"key": house.key(role, tenant=tenant)})
    assert answer.status_code == 403 and told in answer.text and "set-cookie" not in answer.headers


@pytest.mark.parametrize("key", ["", "x", "rk_" + "0" * 12 + "_" + "A" * 43, "\x00", "é" * 300])
def test_a_forged_key_is_refused(house: House, key: str) -> None:
    assert house.enter({"key": key}).status_code == 403


def test_a_revoked_key_ends_its_session(house: House) -> None:
    kim = house.visitor("operator", name="gone")
    key = next(k for k in house.keys.all() if k.name == "gone")
    house.keys.revoke(key.key_id, at=datetime.now(UTC))
    assert kim.get("/rollouts").status_code == 401


def test_a_key_for_one_feature_sees_no_other(house: House) -> None:
    kim = house.visitor("admin", features=("help_answers",))
    pages = kim.get("/home").text + kim.get("/rollouts").text + kim.get("/prompts").text
    assert "help_answers" in pages and "support_routing" not in pages
    assert kim.get("/prompts/support_routing").status_code == 403
    wish = {"act": "rollback", "reason": "x"}
    assert kim.post("/features/support_routing/rollout", wish).status_code == 403


def test_who_logs_out_is_out(house: House) -> None:
    ana = house.visitor()
    cookies = dict(ana.client.cookies)
    assert ana.client.post("/logout", json={}).status_code == 403  # without the token of the page
    assert ana.post("/logout", {}).status_code == 200
    ana.client.cookies.update(cookies)
    assert ana.get("/home").status_code == 401


def test_a_session_and_a_link_end_with_their_time() -> None:
    clock = Clock()
    logins = Logins("s", now=clock)
    entry, late = logins.redeem(logins.invite("ana")), logins.invite("ben")
    clock.now += INVITED_FOR + timedelta(seconds=1)
    assert logins.redeem(late).session_id is None and logins.session(str(entry.session_id)) is not None
    clock.now += LOGGED_IN_FOR
    assert logins.session(str(entry.session_id)) is None


def test_a_link_is_signed_and_not_of_an_earlier_server() -> None:
    clock = Clock()
    earlier = invitation("s", "ana", clock.now - timedelta(seconds=1))
    logins = Logins("s", now=clock)
    body, mac = logins.invite("ana").split(".")
    forged = [earlier, invitation("t", "ana", clock.now), f"{body}x.{mac}", f"{body}.{mac[:-1]}x", f"{body}.é"]
    assert all(logins.redeem(token).session_id is None for token in forged)
    assert logins.redeem(f"{body}.{mac}").session_id is not None


def test_a_server_proves_whose_it_is(house: House) -> None:
    answer = house.client().get("/healthz/abc").text
    assert is_proof("secret", "abc", answer) and not is_proof("other", "abc", answer)
    assert not is_proof("secret", "abd", answer)


@pytest.mark.parametrize("way", ["//evil.example", "/\\evil.example", "https://evil.example", "/a//b", "javascript:x"])
def test_a_login_leads_to_no_other_server(way: str) -> None:
    assert OWN_PATH.fullmatch(way) is None and OWN_PATH.fullmatch("/review/support_routing") is not None

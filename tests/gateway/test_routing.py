"""Who is served by which channel: the tenant's, the segment's, or the feature's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ratchet.channels import Canary, Holdback
from ratchet.keys import Keys
from ratchet.outcomes import drawn_on, is_held_back
from ratchet.store import open_store
from tests.gateway.conftest import AT, Gateway


def served(gateway: Gateway, **fields: Any) -> str:
    answer = gateway.ask(ratchet=fields)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-ratchet-release"]


@pytest.fixture
def pinned(gateway: Gateway) -> dict[str, str]:
    """A release for each kind of channel."""
    found = {"": gateway.shop.stable}
    for name in ("routing@acme", "routing@@vip", "routing@acme@vip"):
        found[name.removeprefix("routing")] = gateway.shop.put(text=f"For {name}.")
        gateway.shop.begin(name, found[name.removeprefix("routing")])
    return found


@pytest.mark.parametrize(
    ("tenant", "segment", "channel"),
    [
        (None, None, ""),
        ("other", "cheap", ""),
        ("acme", None, "@acme"),
        ("acme", "cheap", "@acme"),
        ("other", "vip", "@@vip"),
        ("acme", "vip", "@acme@vip"),
        ("other", "../vip", ""),
    ],
)
def test_the_most_specific_channel_answers(gateway, pinned, tenant, segment, channel) -> None:
    fields = {"tenant": tenant} if tenant else {}
    assert served(gateway, **fields, **({"segment": segment} if segment else {})) == pinned[channel]


def test_a_move_of_a_tenants_channel_is_seen_by_the_next_request(gateway: Gateway, pinned) -> None:
    channels, other = gateway.shop.channels, gateway.shop.put(text="Another.")
    assert served(gateway, tenant="acme") == pinned["@acme"]
    told = {"at": AT, "by": "ana", "reason": "why"}
    channels.move("routing@acme", stable=other, canary=None, expected_version=1, **told)
    assert served(gateway, tenant="acme") == other
    channels.move("routing@acme", stable=other, canary=None, expected_version=2, inherits=True, **told)
    assert served(gateway, tenant="acme") == gateway.shop.stable


def test_only_features_are_models(gateway: Gateway, pinned) -> None:
    assert [m["id"] for m in gateway.http.get("/v1/models").json()["data"]] == ["routing"]
    answer = gateway.ask(model="routing@acme")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_prompts_are_listed_with_where_they_are_live(gateway: Gateway, pinned) -> None:
    found = gateway.http.get("/v1/prompts", params={"feature": "routing"}).json()["data"]
    assert {(p["text"], *p["live_on"]) for p in found} >= {
        ("Name the team.", "routing"),
        ("For routing@@vip.", "routing@@vip"),
    }
    assert gateway.http.get("/v1/prompts", params={"feature": "nothing"}).json()["data"] == []


def test_a_tenants_key_sees_no_channel_of_another_tenant(gateway: Gateway, pinned) -> None:
    with open_store(gateway.shop.settings.database_url) as store:
        issued = Keys(store.engine).add("k", role="reviewer", tenant="other", at=datetime.now(UTC))
    listed = gateway.http.get("/v1/prompts", headers={"Authorization": f"Bearer {issued.token}"}).json()["data"]
    assert "acme" not in str(listed) and "routing" in {name for p in listed for name in p["live_on"]}
    assert "routing@acme" in str(gateway.http.get("/v1/prompts").json())


def test_decide_knows_a_tenants_channel(gateway: Gateway, pinned) -> None:
    asked = {"feature": "routing", "user": "u1"}
    told = [
        gateway.http.get("/v1/decide", params=asked | more).json()["release_id"] for more in ({}, {"tenant": "acme"})
    ]
    assert told == [gateway.shop.stable, pinned["@acme"]]


def test_a_record_says_whose_channel_drew(gateway: Gateway, pinned) -> None:
    for fields in ({}, {"tenant": "acme"}, {"segment": "vip"}, {"tenant": "acme", "segment": "vip"}):
        served(gateway, **fields)
    records = gateway.shop.interactions()
    assert [record.attributes.get("drawn_for") for record in records] == [None, "tenant", "segment", "both"]
    assert [drawn_on(record) for record in records] == ["routing", "routing@acme", "routing@@vip", "routing@acme@vip"]


def test_who_is_held_back_gets_the_first_release_and_no_canary(gateway: Gateway) -> None:
    shop = gateway.shop
    new, tried = shop.put(text="New."), shop.put(text="Tried.")
    held = Holdback(release_id=shop.stable, share=0.5, salt="holdback routing")
    canary = Canary(release_id=tried, share=0.5, salt="s", rollout_id="ro1")
    told = {"at": AT, "by": "ana", "reason": "x", "expected_version": 1}
    shop.channels.move("routing", stable=new, canary=canary, holdback=held, **told)
    for number in range(12):
        gateway.ask(user=f"u{number}")
    drawn = {(r.channel, r.release_id, r.propensity, r.attributes["canary_share"]) for r in shop.interactions()}
    expected = {("holdback", shop.stable, 0.5, 0.5), ("canary", tried, 0.25, 0.5), ("stable", new, 0.25, 0.5)}
    assert drawn == expected
    decided = [gateway.http.get("/v1/decide", params={"feature": "routing", "user": f"u{n}"}).json() for n in range(12)]
    assert [d["channel"] for d in decided] == [r.channel for r in sorted(shop.interactions(), key=lambda r: r.at)]


def test_where_the_held_back_release_fails_stable_answers_and_the_record_says_so(gateway: Gateway, fake) -> None:
    shop, old, new = gateway.shop, gateway.shop.put(text="Old.", weights=b"w1"), gateway.shop.put(text="New.")
    fake.broken[old] = 500
    held = Holdback(release_id=old, share=0.999999, salt="holdback routing")
    told = {"at": AT, "by": "ana", "reason": "x", "expected_version": 1}
    shop.channels.move("routing", stable=new, canary=None, holdback=held, **told)
    assert gateway.ask().headers["x-ratchet-release"] == new
    (record,) = shop.interactions()
    assert record.fallback and is_held_back(record) and record.attributes["assigned_release_id"] == old

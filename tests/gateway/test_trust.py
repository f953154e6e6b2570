"""With a trust file the gateway serves what pipeline and verifier signed, and nothing else."""

from __future__ import annotations

import dataclasses

from ratchet.channels import Canary
from ratchet.trust import trust_document
from tests.gateway.conftest import Serving, Shop
from tests.released import AT, Machine


def trusting(shop: Shop) -> tuple[Shop, Machine]:
    """The shop, whose gateway is given a trust file, and the machine that signs."""
    machine = Machine(shop.settings)
    path = shop.root / "trust.yaml"
    path.write_text(trust_document(shop.settings))
    shop.settings = dataclasses.replace(shop.settings, trust_file=path)
    return shop, machine


def test_an_unsigned_release_is_503_and_says_what_to_look_at(shop: Shop, limits) -> None:
    shop, _ = trusting(shop)
    with Serving(shop, limits) as gateway:
        answer = gateway.ask()
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (503, "release_unusable")
    assert "ReleaseUntrusted" in told["message"] and "ratchet release verify" in told["message"]
    assert shop.interactions() == []


def test_a_signed_release_is_served(shop: Shop, limits) -> None:
    shop, machine = trusting(shop)
    signed = machine.release("Name the team!")
    shop.channels.move("routing", stable=signed, canary=None, expected_version=1, at=AT, by="ana", reason="signed")
    with Serving(shop, limits) as gateway:
        answer = gateway.ask()
    assert (answer.status_code, answer.headers["x-ratchet-release"]) == (200, signed)


def test_an_unapproved_canary_falls_back_to_stable(shop: Shop, limits) -> None:
    shop, machine = trusting(shop)
    signed, proposed = machine.release("Name the team!"), machine.release("Hm.", version=None, approve=False)
    trial = Canary(release_id=proposed, share=0.999999, salt="s", rollout_id="ro")
    shop.channels.move("routing", stable=signed, canary=trial, expected_version=1, at=AT, by="ana", reason="trial")
    with Serving(shop, limits) as gateway:
        answer = gateway.ask()
    assert (answer.status_code, answer.headers["x-ratchet-release"]) == (200, signed)

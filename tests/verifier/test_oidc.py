"""The page behind an authenticating proxy: whose token counts, and what a page of another site can do."""

from __future__ import annotations

import dataclasses
import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from ratchet.approvals import Envelope, verify_approval
from ratchet.errors import SettingsInvalid
from tests.conftest import POLICY
from tests.released import Machine
from tests.verifier.conftest import Desk
from verifier.identity import load_identities

KEYS = {
    "RS256": RSAKey.generate_key(2048, {"kid": "a", "alg": "RS256"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "b", "alg": "ES256"}),
}
STRANGER = ECKey.generate_key("P-256", {"kid": "b", "alg": "ES256"})
ORIGIN = "https://approve.example.com"


class ProxyDesk(Desk):
    """A verifier behind a proxy, and a release that ana@example.com may approve."""

    def __init__(self, settings, clock):
        folder = settings.repo / "features" / "routing"
        folder.mkdir(parents=True)
        approval = {"approvers": ["ana@example.com"], "identity": "oidc-proxy"}
        (folder / "feature.yaml").write_text(json.dumps(POLICY | {"approval": approval}))
        self.machine = Machine(settings)
        self.release = self.machine.release(version=None, run="r1", approve=False, claims={"card": "<b>+5 points</b>"})
        (settings.repo / "jwks.json").write_text(json.dumps(KeySet(list(KEYS.values())).as_dict(private=False)))
        told = {"jwks": "jwks.json", "issuer": "https://login", "audience": "ratchet", "origin": ORIGIN}
        identity = settings.repo / "identity.yaml"
        identity.write_text(json.dumps({"oidc_proxy": told}))
        super().__init__(dataclasses.replace(settings, identity_file=identity), clock)

    def id_token(self, key=KEYS["ES256"], alg="ES256", **changes):
        claims = {"iss": "https://login", "aud": "ratchet", "exp": self.clock.now + 60, "email": "ana@example.com"}
        claims |= changes
        return jwt.encode({"alg": alg, "kid": key.kid}, {k: v for k, v in claims.items() if v is not None}, key)

    def submit(self, token, origin=ORIGIN, **changes):
        form = {"run_id": "r1", "subject": self.release, "digest_prefix": self.release[4:14], "decision": "approve"}
        headers = {"Authorization": f"Bearer {token}"} | ({"Origin": origin} if origin else {})
        return self.client.post("/decide", data=form | changes, headers=headers)

    def signed(self):
        return self.client.get("/v1/approvals", params={"run_id": "r1"}).json()


@pytest.fixture
def proxy(desk):
    return ProxyDesk(desk.settings, desk.clock)


@pytest.mark.parametrize("alg", KEYS)
def test_whom_the_provider_names_approves(proxy, alg):
    assert "approve: signed for ana@example.com" in proxy.submit(proxy.id_token(KEYS[alg], alg)).text
    [kept] = proxy.signed()
    envelope, trust = Envelope.model_validate(kept["envelope"]), proxy.settings.trust_dir
    approval = verify_approval(envelope, trust_dir=trust, subject=proxy.release, run_id="r1")
    assert (approval.approver, approval.identity, approval.approver_kind) == ("ana@example.com", "oidc-proxy", "person")


def test_the_page_shows_who_one_is_and_escapes_the_card(proxy):
    asked = {"run_id": "r1", "subject": proxy.release}
    page = proxy.client.get("/decide", params=asked, headers={"Authorization": f"Bearer {proxy.id_token()}"})
    assert "You are ana@example.com" in page.text and "&lt;b&gt;+5 points&lt;/b&gt;" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere"},
        {"aud": "another-app"},
        {"exp": 1_799_999_000},
        {"exp": None},
        {"aud": None},
        {"email": None},
        {"email": "ana@example.com\nX"},
        {"email_verified": False},
        {"nbf": 1_800_001_000},
    ],
)
def test_a_token_that_is_not_for_us_or_not_of_now_does_not_count(proxy, changes):
    answer = proxy.submit(proxy.id_token(**changes))
    assert (answer.status_code, answer.json()["reason"], proxy.signed()) == (401, "wrong_token", [])


def test_a_token_that_the_provider_did_not_sign_does_not_count(proxy):
    public = json.dumps(KEYS["RS256"].as_dict(private=False)).encode()
    body = proxy.id_token().split(".")[1]
    forged = [
        proxy.id_token(STRANGER),
        jwt.encode({"alg": "HS256", "kid": "a"}, {"email": "ana@example.com"}, OctKey.import_key(public)),
        f"eyJhbGciOiJub25lIn0.{body}.",
        "",
        "x.y.z",
    ]
    assert [proxy.submit(token).status_code for token in forged] == [401] * 5
    assert proxy.signed() == []


def test_a_header_that_names_somebody_proves_nothing(proxy):
    names = {"X-Forwarded-Email": "ana@example.com", "X-Auth-Request-User": "ana@example.com", "Origin": ORIGIN}
    assert proxy.client.post("/decide", data={}, headers=names).status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", None])
def test_a_page_of_another_site_cannot_press_the_button(proxy, origin):
    answer = proxy.submit(proxy.id_token(), origin)
    assert (answer.status_code, answer.json()["reason"], proxy.signed()) == (403, "browser", [])


def test_who_feature_yaml_does_not_name_approves_nothing_however_well_proven(proxy):
    assert proxy.submit(proxy.id_token(email="bob@example.com")).json()["reason"] == "may_not_approve"


def test_a_one_time_code_approves_nothing_where_the_feature_asks_for_the_proxy(proxy):
    """So a flow that sees what is typed into its form has nothing that it could use for another release."""
    code = proxy.code(proxy.enrol("ana@example.com"))
    answer = proxy.send(
        code, approver="ana@example.com", run_id="r1", subject=proxy.release, digest_prefix=proxy.release
    )
    assert "takes approvals by oidc-proxy" in answer.json()["message"] and proxy.signed() == []


def test_a_wrong_digest_or_a_rejection_without_a_reason_is_refused(proxy):
    assert proxy.submit(proxy.id_token(), digest_prefix="00000000").json()["reason"] == "wrong_digest_prefix"
    assert "needs a reason" in proxy.submit(proxy.id_token(), decision="reject").json()["message"]
    assert proxy.submit(proxy.id_token(), decision="reject", reason="tone").status_code == 200
    assert proxy.signed()[0]["reason"] == "tone"


def test_without_a_proxy_set_up_there_is_no_page(desk):
    assert desk.client.get("/decide", params={"run_id": "r1", "subject": "rel_" + "0" * 64}).status_code == 404


@pytest.mark.parametrize(
    ("jwks", "told"),
    [
        ('{"keys": []}', "Key Set"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}', "public keys"),
        ("[]", "Key Set"),
    ],
)
def test_keys_that_are_not_public_stop_the_start(tmp_path, jwks, told):
    (tmp_path / "jwks.json").write_text(jwks)
    proxy = {"jwks": "jwks.json", "issuer": "i", "audience": "a", "origin": ORIGIN}
    (tmp_path / "identity.yaml").write_text(json.dumps({"oidc_proxy": proxy}))
    with pytest.raises(SettingsInvalid, match=told):
        load_identities(tmp_path / "identity.yaml")

import json


def test_key_is_shown_once_and_its_changes_stand_in_the_ledger(ratchet) -> None:
    made = json.loads(ratchet("key", "add", "shop", "--tenant", "acme", "--feature", "routing", "--json").out)
    shown = ratchet("key", "list", "--json").out
    assert made["token"] not in shown and json.loads(shown)[0]["state"] == "live"
    assert ratchet("key", "revoke", made["key_id"]).status == 0
    assert json.loads(ratchet("key", "list", "--json").out)[0]["state"] == "revoked"
    log = ratchet("audit", "log", "--json").out
    assert "key_added" in log and "key_revoked" in log and made["token"] not in log


def test_unknown_role_and_unknown_key_end_with_2(ratchet) -> None:
    assert ratchet("key", "add", "x", "--role", "king").status == 2
    assert ratchet("key", "revoke", "nosuch").status == 2

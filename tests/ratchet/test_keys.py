from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ratchet.errors import BadInput
from ratchet.keys import Keys, find_key
from ratchet.store import Store, open_store

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url) as opened:
        yield opened


def test_a_token_finds_its_key_and_stands_nowhere_in_the_database(store: Store, tmp_path: Path) -> None:
    keys = Keys(store.engine)
    issued = keys.add("shop", role="app", tenant="acme", features=("routing",), at=NOW)
    known = {key.key_id: key for key in keys.all()}
    assert find_key(issued.token, known, NOW) == issued.key
    secret = issued.token.split("_", 2)[2].encode()
    assert not any(secret in path.read_bytes() for path in tmp_path.iterdir())
    assert len(secret) == 43  # 256 bits


def test_two_keys_share_no_token(store: Store) -> None:
    tokens = {Keys(store.engine).add("a", role="app", tenant="*", at=NOW).token for _ in range(20)}
    assert len(tokens) == 20


def test_a_key_ends_at_its_expiry(store: Store) -> None:
    end = NOW + timedelta(days=1)
    issued = Keys(store.engine).add("a", role="app", tenant="*", at=NOW, expires_at=end)
    known = {issued.key.key_id: issued.key}
    assert find_key(issued.token, known, end - timedelta(seconds=1))
    assert find_key(issued.token, known, end) is None


def test_a_revoked_key_is_not_found_and_revoking_again_says_so(store: Store) -> None:
    keys = Keys(store.engine)
    issued = keys.add("a", role="app", tenant="*", at=NOW)
    assert [keys.revoke(issued.key.key_id, at=NOW) for _ in range(2)] == [True, False]
    assert find_key(issued.token, {key.key_id: key for key in keys.all()}, NOW) is None


@pytest.mark.parametrize("wrong", [{"role": "king"}, {"tenant": "../x"}, {"expires_at": NOW}])
def test_what_makes_no_sense_is_refused(store: Store, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Keys(store.engine).add("a", **({"role": "app", "tenant": "acme", "at": NOW} | wrong))  # type: ignore[arg-type]


def test_an_unknown_key_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(BadInput, match="ratchet key list"):
        Keys(store.engine).revoke("nosuch", at=NOW)

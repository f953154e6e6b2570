"""ratchet.tenants: who is learned from, and who is pooled."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.errors import SettingsInvalid
from ratchet.tenants import Tenant, find_left_out, load_tenants


def write(tmp_path: Path, content: str) -> Path:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "tenants.yaml").write_text(content)
    return tmp_path


def test_without_a_file_there_is_no_policy(tmp_path: Path) -> None:
    assert load_tenants(tmp_path) == {}
    assert load_tenants(write(tmp_path, "")) == {}


def test_what_a_tenant_allows_is_read(tmp_path: Path) -> None:
    found = load_tenants(write(tmp_path, "acme: {train: no}\nglobex: {pool: yes, regions: [eu]}\n"))
    assert found == {"acme": Tenant(train=False), "globex": Tenant(pool=True, regions=("eu",))}


@pytest.mark.parametrize("content", ["acme: {trian: no}", "acme: {train: perhaps}", "- acme", "{"])
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, content: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"tenants\.yaml"):
        load_tenants(write(tmp_path, content))


def test_pooling_is_opt_in() -> None:
    policies = {"acme": Tenant(pool=True), "globex": Tenant(train=False, pool=True)}
    assert find_left_out(["default", "acme", "initech", "globex"], policies) == {
        "globex": "tenant does not allow training",
        "initech": "tenant not pooled",
    }


def test_one_tenant_by_itself_is_no_pool() -> None:
    assert find_left_out(["initech"], {}) == {}
    assert find_left_out(["initech", "globex"], {"globex": Tenant(train=False)}) == {
        "globex": "tenant does not allow training"
    }
    assert find_left_out(["initech", "globex"], {}) == {"globex": "tenant not pooled", "initech": "tenant not pooled"}

"""features/tenants.yaml: what each tenant allows to be done with its data. The file is optional, and so is a tenant.

acme: {train: false}                   # nothing of acme is learned from
globex: {pool: true, regions: [eu]}    # may be learned from together with others' data
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from ratchet.errors import SettingsInvalid
from ratchet.params import Section, explain

DEFAULT = "default"  # the tenant of who has none: its data is the owner's own
NOT_TRAINED = "tenant does not allow training"
NOT_POOLED = "tenant not pooled"


class Tenant(Section):
    """What a tenant allows: to train on its data; to pool it with other tenants'; the regions it may lie in."""

    train: bool = True
    pool: bool = False
    regions: tuple[str, ...] = ()


POLICIES = TypeAdapter(dict[str, Tenant])


def load_tenants(repo: Path) -> dict[str, Tenant]:
    """Read features/tenants.yaml; empty where there is none.

    Raises:
        SettingsInvalid: a key is unknown or its value not allowed.
    """
    path = repo / "features" / "tenants.yaml"
    if not path.is_file():
        return {}
    try:
        return POLICIES.validate_python(yaml.safe_load(path.read_bytes()) or {})
    except yaml.YAMLError as error:
        raise SettingsInvalid(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise SettingsInvalid(explain(path, error)) from error


def find_left_out(present: Iterable[str], policies: Mapping[str, Tenant]) -> dict[str, str]:
    """The tenants of a batch that are not learned from, each with the reason.

    What a release learns from several tenants, each of them can get to see: so data is pooled from those alone that
    opted in, and from the default tenant. The data of one tenant by itself is no pool.
    """
    left_out = {name: NOT_TRAINED for name in present if not policies.get(name, Tenant()).train}
    trained = sorted(set(present) - set(left_out))
    if len(trained) > 1:
        left_out |= {name: NOT_POOLED for name in trained if name != DEFAULT and not policies.get(name, Tenant()).pool}
    return dict(sorted(left_out.items()))

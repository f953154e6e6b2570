"""features/tenants.yaml: what each tenant allows to be done with its data. The file is optional, and so is a tenant.

acme: {train: false}                   # nothing of acme is learned from, nor sent to who might
globex: {pool: true, regions: [eu]}    # may be learned from together with others' data; is sent to no other region
initech: {requests_per_minute: 600, tokens_per_day: 2000000, usd_per_day: 25}
umbrella: {trials: false}              # its users get what is stable, and nothing that is on trial
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from ratchet.errors import SettingsInvalid
from ratchet.params import Section, explain

DEFAULT = "default"  # the tenant of who has none: its data is the owner's own
NOT_TRAINED = "tenant does not allow training"
NOT_POOLED = "tenant not pooled"


class Tenant(Section):
    """What a tenant allows: to train on its data; to pool it with other tenants'; the regions it may lie in; to try
    releases on its users (`trials`; else no canary, no holdback, and nothing is mirrored).

    And how much it may ask of the gateway: requests a minute, tokens (read and written) and money a day (UTC).
    """

    train: bool = True
    pool: bool = False
    trials: bool = True
    regions: tuple[str, ...] = ()
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_day: int | None = Field(default=None, ge=1)
    usd_per_day: float | None = Field(default=None, gt=0)


class Destination(NamedTuple):
    """Where a tenant's data would go: a model server, a judge, a teacher, a bucket. None where it does not say.

    `is_ours`: on this machine, where the data lies in any case.
    """

    name: str
    region: str | None = None
    trains: bool | None = None
    is_ours: bool = False


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


def refusal_of(tenant: Tenant, destination: Destination) -> str | None:
    """Why a tenant's data may not be sent somewhere; None where it may. To be asked before every outbound call.

    A destination that does not say where it is, or whether it trains, is refused to a tenant that cares.
    """
    if destination.is_ours:
        return None
    if tenant.regions and destination.region not in tenant.regions:
        return f"{destination.name} is in {destination.region or 'no named region'}, not in {', '.join(tenant.regions)}"
    if not tenant.train and destination.trains is not False:
        return f"{destination.name} does not promise that it trains on nothing"
    return None


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

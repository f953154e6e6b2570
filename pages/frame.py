"""The frame around every page of facts: where this person may go, and what the pages read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.responses import HTMLResponse

from pages.app import Refusal, Visit
from pages.render import page
from ratchet.channels import Channels
from ratchet.features import feature_names
from ratchet.keys import Role
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.runs import KIND, Run
from ratchet.settings import Settings
from ratchet.store import Store

TEXT_READERS: frozenset[Role] = frozenset(("reviewer", "approver"))  # reports quote users
APPROVERS: frozenset[Role] = frozenset(("approver",))


@dataclass(frozen=True)
class Sources:
    """What the pages read. Several threads may."""

    settings: Settings
    store: Store
    ledger: Ledger
    channels: Channels
    releases: ReleaseStore


class Way(NamedTuple):
    """An entry of the menu; `roles` empty is for everybody."""

    path: str
    label: str
    roles: frozenset[Role]


WAYS = (
    Way("/home", "Overview", frozenset()),
    Way("/review", "Review", frozenset(("reviewer",))),
    Way("/approvals", "Approvals", APPROVERS),
    Way("/rollouts", "Rollouts", frozenset()),
    Way("/reports", "Reports", TEXT_READERS),
    Way("/prompts", "Prompts", frozenset()),
)


def framed(visit: Visit, template: str, here: str, **facts: Any) -> HTMLResponse:
    """A page with the menu.

    Args:
        visit: who asks.
        template: of the page.
        here: the path of the entry of the menu that it belongs to.
        facts: what the template shows.
    """
    ways = [way for way in WAYS if not way.roles or visit.session.may(*way.roles)]
    return page(template, ways=ways, here=here, session=visit.session, **facts)


def features_of(sources: Sources, visit: Visit) -> list[str]:
    """The features that the person's key is for."""
    return [name for name in feature_names(sources.settings.repo) if visit.session.sees(name)]


def check_sees(visit: Visit, feature: str, what: str) -> None:
    """Refuse what belongs to a feature that the person's key is not for, in the words for what does not exist."""
    if not visit.session.sees(feature):
        raise Refusal(404, f"There is no {what} of this name.")


def run_named(sources: Sources, visit: Visit) -> Run:
    """The run of an address: one that the store knows (so no address chooses a folder), of a feature that is seen."""
    document = sources.store.document(KIND, visit.names["run"])
    if document is None:
        raise Refusal(404, "There is no run of this name.")
    run = Run.model_validate(document.body)
    check_sees(visit, run.feature, "run")
    return run

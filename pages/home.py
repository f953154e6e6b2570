"""The first page: what waits for this person, and what each feature serves."""

from __future__ import annotations

from typing import NamedTuple

from starlette.responses import Response

from pages.app import Page, Visit
from pages.approvals import is_waiting
from pages.desks import Desks
from pages.frame import Sources, features_of, framed
from pages.review import REVIEWERS, address_of
from pages.rollouts import Serving, serving
from ratchet.errors import RatchetError
from ratchet.runs import Run, runs_of

HOME = "/home"


class Queue(NamedTuple):
    """A review queue or blind sample; `left` are the items that the reviewer has not met."""

    feature: str
    address: str
    is_blind: bool
    done: int
    skipped: int
    left: int
    total: int


class Standing(NamedTuple):
    """Where a feature stands; `waiting` are the runs that wait for a person."""

    serving: Serving
    run: Run | None
    waiting: list[Run]


def home_pages(sources: Sources, desks: Desks) -> list[Page]:
    """The addresses of the first page and of the list of queues."""

    def show(visit: Visit) -> Response:
        names = features_of(sources, visit)
        queues = _queues(desks, visit, names) if visit.session.may(*REVIEWERS) else []
        standing = [_standing(sources, name) for name in names]
        return framed(visit, "home.html.j2", HOME, queues=queues, standing=standing)

    def show_queues(visit: Visit) -> Response:
        queues = _queues(desks, visit, features_of(sources, visit))
        return framed(visit, "queues.html.j2", "/review", queues=queues)

    return [Page(HOME, "GET", show), Page("/review", "GET", show_queues, REVIEWERS)]


def _queues(desks: Desks, visit: Visit, names: list[str]) -> list[Queue]:
    found = []
    for name in names:
        for is_blind in (False, True):
            try:
                desk = desks.find(name, is_blind)
            except RatchetError:  # there is none yet, or it is empty
                continue
            progress = desk.progress(visit.session.person)
            counts = (progress.done, progress.skipped, progress.left, len(desk.items))
            found.append(Queue(name, address_of(name, is_blind=is_blind), is_blind, *counts))
    return found


def _standing(sources: Sources, name: str) -> Standing:
    runs = runs_of(sources.store, name)
    return Standing(serving(sources, name), runs[-1] if runs else None, [run for run in runs if is_waiting(run)])

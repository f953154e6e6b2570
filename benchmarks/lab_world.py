"""The world of bench_lab: customers whose questions drift, who complain rather than praise, and some of whom lie.

Six routes of four banking77 intents each. At first people ask about two intents of a route, at the end about the other
two. Everything random is drawn from the seed, the cycle and a purpose, so that loops that differ in a defence meet the
same people in the same mood.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.features import Feature
from ratchet.feedback import Claim, SourceType
from ratchet.params import CurateParams
from ratchet.questions import normalise
from tasks.decontaminate import Held, cluster
from tasks.embeddings import embed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Right = NDArray[np.bool_]

START = datetime(2026, 3, 2, tzinfo=UTC)
CYCLES, TURN = 20, 10.0  # cycles; the middle of the drift
ROUTES = {
    "card": ("card_arrival", "card_delivery_estimate", "order_physical_card", "get_physical_card"),
    "cash": (
        "pending_cash_withdrawal",
        "wrong_amount_of_cash_received",
        "cash_withdrawal_not_recognised",
        "declined_cash_withdrawal",
    ),
    "identity": ("why_verify_identity", "unable_to_verify_identity", "verify_my_identity", "verify_source_of_funds"),
    "payment": (
        "card_payment_not_recognised",
        "declined_card_payment",
        "pending_card_payment",
        "reverted_card_payment?",
    ),
    "top_up": ("pending_top_up", "top_up_failed", "top_up_reverted", "top_up_by_card_charge"),
    "transfer": ("transfer_not_received_by_recipient", "failed_transfer", "declined_transfer", "transfer_timing"),
}
NAMES = tuple(ROUTES)
INTENTS = tuple(intent for intents in ROUTES.values() for intent in intents)
ROUTE_OF = np.repeat(np.arange(len(NAMES)), 4)  # of each intent
IS_EARLY = np.tile([True, True, False, False], len(NAMES))
KNOWN_TEXTS = 1  # of each early intent, that the first release has learned from

ASKED, USERS = 80, 60  # questions a cycle, and people who ask them
COMPLAIN, BY_AGENT, WRITES = 0.4, 0.3, 0.75  # of wrong answers; of those, by an agent; of the rest, with a correction
PRAISE, SLIP, TAKES_OVER = 0.04, 0.05, 0.1  # of right answers: a thumb up, up to here a false complaint; of all: accept
USER_NOISE, AGENT_NOISE = 0.1, 0.02  # of what they write, wrong
ATTACK, LIES, PER_ACCOUNT = range(4, 16), 5, 3  # the cycles under attack, lies a cycle, lies an account tells
AGENTS = ("ana", "ben", "chi")


@dataclass(frozen=True)
class Texts:
    """Questions with their intents (positions in INTENTS); vectors (n, 256); near-duplicates share a cluster."""

    texts: tuple[str, ...]
    intents: Ints
    vectors: Floats
    clusters: tuple[int, ...]


@dataclass(frozen=True)
class World:
    """One loop's people: `learn` is what they ask the application, `judge` where holdouts and the truth come from."""

    seed: int
    texts: Texts
    learn: tuple[Ints, ...]  # positions in texts by intent
    judge: Ints
    known: Ints  # what the first release learned from

    def draw(self, purpose: str, cycle: int) -> np.random.Generator:
        """Random numbers of one purpose in one cycle; -1 is the time before the first."""
        return np.random.default_rng([self.seed, cycle + 1, *purpose.encode()])

    def weights(self, cycle: int) -> Floats:
        """How probable each question of `judge` is in a cycle; sums to 1."""
        intents = self.texts.intents[self.judge]
        found: Floats = mix(cycle)[intents] / np.bincount(intents, minlength=len(INTENTS))[intents]
        return found


def mix(cycle: int) -> Floats:
    """The share of each intent in a cycle's traffic: from the early ones of each route to the late ones."""
    late = 1 / (1 + np.exp(-(cycle - TURN) / 2.5))
    share: Floats = np.where(IS_EARLY, 1 - late, late) + 0.05
    mixed: Floats = share / float(share.sum())
    return mixed


def read_texts(folder: Path, params: CurateParams, cache: Path) -> Texts:
    """The questions of banking77 that are about the intents here, embedded and clustered once for all loops."""
    place = {name: k for k, name in enumerate(INTENTS)}
    rows = [json.loads(line) for name in ("train", "test") for line in (folder / f"{name}.jsonl").open("rb")]
    kept = {normalise(row["text"]): place[row["label"]] for row in rows if row["label"] in place}
    texts = tuple(sorted(kept))
    clusters = cluster(texts, Held([], []), params, cache).clusters
    intents = np.array([kept[text] for text in texts])
    return Texts(texts, intents, embed(texts, cache).astype(np.float64), tuple(clusters))


def make_world(texts: Texts, seed: int) -> World:
    """Half of the near-duplicate clusters of each intent are asked, the other half judge."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(max(texts.clusters) + 1)
    is_judge = order[list(texts.clusters)] % 2 == 1
    learn = tuple(rng.permutation(np.flatnonzero(~is_judge & (texts.intents == k))) for k in range(len(INTENTS)))
    known = np.concatenate([found[:KNOWN_TEXTS] for k, found in enumerate(learn) if IS_EARLY[k]])
    return World(seed, texts, learn, np.flatnonzero(is_judge), known)


def lab_feature() -> Feature:
    """The feature whose answers are one of the routes."""
    schema = {"type": "object", "properties": {"route": {"type": "string", "enum": list(NAMES)}}}
    fields = {"name": "lab", "intent": "route", "owners": ["bench"], "scorer": "label_accuracy"}
    return Feature.model_validate({**fields, "output_schema": schema})


@dataclass(frozen=True)
class _Asked:
    """One question with the answer it got."""

    name: str
    text: str
    user: str
    at: datetime
    own: int


def ask(world: World, cycle: int) -> Ints:
    """The questions of a cycle, as positions in the texts."""
    rng = world.draw("ask", cycle)
    intents = rng.choice(len(INTENTS), ASKED, p=mix(cycle))
    return np.array([rng.choice(world.learn[k]) for k in intents])


def said_in(world: World, cycle: int, asked: Ints, answers: Ints, targets: Sequence[str]) -> list[dict[str, Any]]:
    """What is said of a cycle's answers, attackers' lies among it, as rows that curate reads.

    Args:
        asked: of `ask`.
        answers: the route that the live release gave each, aligned.
        targets: each route as it would be served.
    """
    rng = world.draw("say", cycle)
    moods, others = rng.random((ASKED, 5)), rng.integers(0, len(NAMES), ASKED)
    users = rng.choice(USERS, ASKED, p=_busy())
    claims = []
    for n, position in enumerate(asked.tolist()):
        at = START + timedelta(days=7 * cycle, minutes=60 * n)
        what = _Asked(f"c{cycle}-{n}", world.texts.texts[position], f"user-{users[n]}", at, int(answers[n]))
        truth = int(ROUTE_OF[world.texts.intents[position]])
        claim = _honest(what, truth, moods[n].tolist(), int(others[n]), targets)
        claims += [(claim, position)] if claim else []
    claims += _lies(world, cycle, targets)
    return [_row(claim, position, world.texts.clusters[position]) for claim, position in claims]


def victim_and_goal(world: World) -> tuple[int, int]:
    """The route that is attacked, and the one that attackers call it."""
    victim, goal = np.random.default_rng([world.seed, 7]).choice(len(NAMES), 2, replace=False).tolist()
    return victim, goal


def _busy() -> Floats:
    busy = 1 / np.sqrt(np.arange(USERS) + 1.0)
    shares: Floats = busy / float(busy.sum())
    return shares


def _honest(what: _Asked, truth: int, moods: list[float], other: int, targets: Sequence[str]) -> Claim | None:
    speaks, who, writes, errs, takes = moods
    is_right = what.own == truth
    if (not is_right and speaks < COMPLAIN) or (is_right and PRAISE <= speaks < SLIP):
        if not is_right and who < BY_AGENT:
            seen = other if errs < AGENT_NOISE else truth
            return _claim(what, targets, seen, "correction", ("agent", AGENTS[other % len(AGENTS)]), 1.0)
        if writes >= WRITES:
            return _claim(what, targets, None, "thumb", ("user", what.user), 0.5)
        return _claim(what, targets, other if is_right or errs < USER_NOISE else truth, "correction", None, 0.8)
    if is_right and speaks < PRAISE:
        return _claim(what, targets, what.own, "thumb", None, 0.5)
    return _claim(what, targets, what.own, "accept", None, 0.5) if takes < TAKES_OVER else None


def _lies(world: World, cycle: int, targets: Sequence[str]) -> list[tuple[Claim, int]]:
    if cycle not in ATTACK:
        return []
    rng = world.draw("lie", cycle)
    victim, goal = victim_and_goal(world)
    pool = np.concatenate([found for k, found in enumerate(world.learn) if ROUTE_OF[k] == victim])
    found = []
    for n, position in enumerate(rng.choice(pool, LIES, replace=False).tolist()):
        account = f"other-{(cycle * LIES + n) // PER_ACCOUNT}"
        at = START + timedelta(days=7 * cycle, hours=int(rng.integers(0, 150)))
        what = _Asked(f"a{cycle}-{n}", world.texts.texts[position], account, at, victim)
        found.append((_claim(what, targets, goal, "correction", None, 0.8), position))
    return found


def _claim(
    what: _Asked,
    targets: Sequence[str],
    target: int | None,
    kind: str,
    source: tuple[SourceType, str] | None,
    weight: float,
) -> Claim:
    asker: tuple[SourceType, str] = ("user", what.user)
    source_type, source_id = source or asker
    return Claim(
        interaction_id=what.name,
        tenant="default",
        session_id=f"{what.user}-{what.at:%y%m%d}",
        user_id=what.user,
        source_type=source_type,
        source_id=source_id,
        at=what.at + timedelta(minutes=1),
        text=what.text,
        own=targets[what.own],
        target=None if target is None else targets[target],
        is_written=kind == "correction",
        weight=weight,
        kind=kind,
    )


def _row(claim: Claim, position: int, cluster_id: int) -> dict[str, Any]:
    ids = {name: getattr(claim, name) for name in ("interaction_id", "tenant", "user_id", "session_id")}
    said = {"claims": [claim], "feedback_ids": [claim.interaction_id]}
    return {**ids, **said, "cluster_id": cluster_id, "position": position}

"""One closed loop of bench_lab: feedback, curate, train, gate, rollout, cycle after cycle, and the truth beside them.

What decides is the product's own code: functions of tasks.curate, tasks.gate.decide and ratchet.rollouts.decide_tick.
In place of a language model stands a linear head on sentence embeddings: the first release's weights, plus a ridge
regression on what is left to learn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.lab_world import (
    AGENT_NOISE,
    ATTACK,
    COMPLAIN,
    NAMES,
    ROUTE_OF,
    SLIP,
    START,
    USER_NOISE,
    Floats,
    Ints,
    Right,
    World,
    ask,
    lab_feature,
    said_in,
    victim_and_goal,
)
from ratchet.evidence import UserOutcome
from ratchet.features import GatePolicy
from ratchet.params import Params
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import Rollout, decide_tick
from tasks.balance import Row, balance, split
from tasks.curate import Ledger, one_per_cluster, reliability_in, to_examples, without_label_noise, without_suspects
from tasks.gate import Looks, PairedScores, decide
from tasks.look import MOST_LOOKS

LABELLED, ENOUGH = 75, 150  # random questions labelled blind a cycle, and items that make a holdout
RIDGE = (0.3, 1.0, 5.0)  # an arm each
POLICY = GatePolicy(alpha=0.05, min_items=100, anchor_margin=0.02)
ROLLOUT = RolloutPolicy(steps=(0.2, 0.5), alpha=0.05, margin=0.05, outcome_window_s=0, min_users=20)
TICK, MOST_USERS = 200, 2000  # users between two ticks, and in a cycle
FEATURE = lab_feature()
TARGETS = tuple(FEATURE.wrap_target(name) for name in NAMES)
PLACE = {name: k for k, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Defences:
    """Which defences a loop has."""

    poisoning: bool = True  # tasks.poison sets lies aside
    rehearsal: bool = True  # answers confirmed right are trained on too
    blind_holdout: bool = True  # else the holdout is made of complaints
    looks: bool = True  # the gate with its count of looks; else one holdout for ever, on which the higher mean wins
    rollout: bool = True  # else what the gate accepts goes live at once


@dataclass(frozen=True)
class Release:
    """Weights (256, n_routes) and what they answer to every question there is."""

    name: str
    weights: Floats
    answers: Ints

    def right(self, world: World) -> Right:
        """On which questions of `judge` it is right."""
        found: Right = self.answers[world.judge] == ROUTE_OF[world.texts.intents[world.judge]]
        return found


class Curated(NamedTuple):
    """Examples with the `position` of their question in the texts."""

    train: list[Row]
    validation: list[Row]


class Holdout(NamedTuple):
    """Items as positions in `judge`, the routes they were labelled, and how probable each question was in drawing."""

    items: Ints
    labels: Ints
    population: Floats


@dataclass
class Told:
    """What became of a loop: by cycle the live release's true quality and what is claimed of it; and counts."""

    true: list[float] = field(default_factory=list)
    claimed: list[float | None] = field(default_factory=list)
    anchor: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Loop:
    """One feature's loop in one world under some defences."""

    def __init__(self, world: World, defences: Defences, params: Params, memory: dict[Any, Curated]) -> None:
        """Begin with the first release, and a holdout as large as any later one.

        Args:
            memory: what curate made of which claims; loops of one world that have diverged in nothing share it.
        """
        self.world, self.defences, self.params, self.memory = world, defences, params, memory
        self.live = self.anchor = first_release(world)
        self.rows: list[Row] = []
        self.waiting: list[Holdout] = [self._label(0), self._label(-1)]
        self.holdout: Holdout | None = None
        self.looks = 0
        self.claim: float | None = None  # of the live release; the first one's is nobody's claim
        self.told = Told()

    def run(self, cycles: int) -> Told:
        """Go round so many times."""
        for cycle in range(cycles):
            asked = ask(self.world, cycle)
            self.rows += said_in(self.world, cycle, asked, self.live.answers[asked], TARGETS)
            if cycle:
                self.waiting.append(self._label(cycle))
            if self._has_holdout():
                self._improve(cycle)
            weights = self.world.weights(cycle)
            self.told.true.append(float(weights @ self.live.right(self.world)))
            self.told.anchor.append(float(weights @ self.anchor.right(self.world)))
            self.told.claimed.append(self.claim)
        return self.told

    def _has_holdout(self) -> bool:
        """Whether there is one to look at; a new one is made of all that was labelled since the last."""
        if self.holdout is None or (self.defences.looks and self.looks >= MOST_LOOKS):
            if sum(len(part.items) for part in self.waiting) < ENOUGH:
                return False
            self.holdout, self.waiting, self.looks = _joined(self.waiting), [], 0
            self.told.counts["holdouts"] += 1
        return True

    def _improve(self, cycle: int) -> None:
        """A run: curate, train the arms, gate one, roll it out."""
        examples = self._curated()
        arms = [train(self.world, self.anchor, examples.train, alpha, f"{cycle}/{alpha}") for alpha in RIDGE]
        candidate = max(arms, key=lambda arm: self._chosen_by(arm, examples.validation))
        claim = self._judged(candidate)
        if claim is None:
            return
        counts, holdout = self.told.counts, self.holdout
        assert holdout is not None
        counts["accepted"] += 1
        gain = candidate.right(self.world).astype(float) - self.live.right(self.world)
        counts["false_accepts"] += bool(holdout.population @ gain <= 0)
        if self.defences.looks:
            self.holdout = None  # its numbers are out
        if self.defences.rollout and not self._rolled_out(candidate, cycle):
            counts["taken_back"] += 1
            counts["better_taken_back"] += bool(self.world.weights(cycle) @ gain > 0)
            return
        counts["promoted"] += 1
        counts["false_promotions"] += bool(self.world.weights(cycle) @ gain <= 0)
        self.live, self.claim = candidate, claim

    def _chosen_by(self, arm: Release, validation: list[Row]) -> float:
        """What the arm is chosen by: validation, or, where looks are not counted, the holdout itself."""
        if not self.defences.looks:
            assert self.holdout is not None
            return float(np.mean(self._scores(arm)))
        places = [row["position"] for row in validation]
        return float(np.sum(arm.answers[places] == [PLACE[row["label"]] for row in validation]))

    def _curated(self) -> Curated:
        """What the stage curate makes of all claims so far: train and validation."""
        said = tuple((row["claims"][0].interaction_id, row["claims"][0].target) for row in self.rows)
        key = (said, self.defences.poisoning, self.defences.rehearsal)
        if key not in self.memory:
            self.memory[key] = curate(self.rows, self.params, self.defences)
        return self.memory[key]

    def _scores(self, release: Release) -> Floats:
        assert self.holdout is not None
        found: Floats = (release.answers[self.world.judge[self.holdout.items]] == self.holdout.labels).astype(float)
        return found

    def _judged(self, candidate: Release) -> float | None:
        """The quality that is claimed of a candidate that may go on; None where it may not."""
        champion, anchor, new = (self._scores(release) for release in (self.live, self.anchor, candidate))
        self.looks += 1
        if not self.defences.looks:
            return float(new.mean()) if new.mean() > champion.mean() else None
        scores = PairedScores(
            champion_id=self.live.name,
            anchor_id=self.anchor.name,
            candidate_id=candidate.name,
            champion=_by_item(champion),
            anchor=_by_item(anchor),
            candidate=_by_item(new),
        )
        decision = decide(scores, POLICY, Looks(self.looks, advisory=False))
        return float(decision.facts["paired_means"]["candidate"]) if decision.verdict == "accept" else None

    def _rolled_out(self, candidate: Release, cycle: int) -> bool:
        """Whether users bear it out: a tick each so many users, until one decides; unproven is taken back."""
        rng, world = self.world.draw("rollout", cycle), self.world
        asked = rng.choice(len(world.judge), MOST_USERS, p=world.weights(cycle))
        moods, share = rng.random(MOST_USERS), rng.random(MOST_USERS)
        right = {"stable": self.live.right(world)[asked], "canary": candidate.right(world)[asked]}
        record = Rollout(
            rollout_id="lab",
            feature="lab",
            champion_id=self.live.name,
            candidate_id=candidate.name,
            salt="",
            policy=ROLLOUT,
            started_at=START,
            step_started_at=START,
        )
        outcomes: list[UserOutcome] = []
        for begin in range(0, MOST_USERS, TICK):
            for n in range(begin, begin + TICK):
                channel: Literal["stable", "canary"] = "canary" if share[n] < record.share else "stable"
                complains = SLIP - 0.04 if right[channel][n] else COMPLAIN
                at, shares = START + timedelta(seconds=n), {"complaint": float(moods[n] < complains)}
                outcomes.append(UserOutcome(f"u{n}", channel, at, at, shares, chance=record.share))
            action = decide_tick(record, outcomes).action
            if action in ("promote", "rollback"):
                return action == "promote"
            if action == "advance":
                stepped_at = START + timedelta(seconds=begin + TICK)
                record = record.model_copy(update={"step": record.step + 1, "step_started_at": stepped_at})
        return False

    def _label(self, cycle: int) -> Holdout:
        """Questions of a cycle, labelled: a random sample of them, or, without that defence, complaints."""
        rng, world = self.world.draw("label", cycle), self.world
        weights = world.weights(max(cycle, 0))
        items = rng.choice(len(world.judge), 20 * LABELLED, p=weights)
        truth = ROUTE_OF[world.texts.intents[world.judge[items]]]
        noise, other = rng.random(len(items)), rng.integers(0, len(NAMES), len(items))
        if self.defences.blind_holdout:
            labels = np.where(noise < AGENT_NOISE, other, truth)
            return Holdout(items[:LABELLED], labels[:LABELLED], weights)
        labels = np.where(noise < USER_NOISE, other, truth)
        victim, goal = victim_and_goal(world)
        is_lie = (truth == victim) & (rng.random(len(items)) < 0.2) & (cycle in ATTACK)
        is_complaint = (self.live.answers[world.judge[items]] != truth) | is_lie
        kept = np.flatnonzero(is_complaint)[:LABELLED]
        return Holdout(items[kept], np.where(is_lie, goal, labels)[kept], weights)


def curate(rows: list[Row], params: Params, defences: Defences) -> Curated:
    """The stage curate's own functions on rows whose near-duplicates are known."""
    out, own = Ledger(Counter()), params.curate
    if not defences.rehearsal:
        own = own.model_copy(update={"rehearsal_share": 0.0})
    kept = without_suspects(rows, params.poison, out) if defences.poisoning else rows
    examples = one_per_cluster(to_examples(kept, FEATURE, reliability_in(kept, FEATURE, own), own, out), out)
    parts = split(without_label_noise(examples, own, out), validation_share=own.validation_share, seed=own.seed)
    return Curated(balance(parts.train, own).rows, balance(parts.validation, own).rows)


def first_release(world: World) -> Release:
    """What the application began with: a head that has seen a few questions of those that are asked at first."""
    return _fitted(world, world.known, ROUTE_OF[world.texts.intents[world.known]], None, 0.1, "first")


def train(world: World, base: Release, rows: list[Row], alpha: float, name: str) -> Release:
    """An adapter on the first release, from examples with their weights."""
    places = np.array([row["position"] for row in rows], dtype=np.int64)
    if not len(places):
        return replace(base, name=name)
    labels, weights = np.array([PLACE[row["label"]] for row in rows]), np.array([row["weight"] for row in rows])
    return _fitted(world, places, labels, base, alpha, name, weights)


def _fitted(
    world: World,
    places: Ints,
    labels: Ints,
    base: Release | None,
    alpha: float,
    name: str,
    weights: Floats | None = None,
) -> Release:
    from sklearn.linear_model import Ridge

    vectors = world.texts.vectors
    start = np.zeros((vectors.shape[1], len(NAMES))) if base is None else base.weights
    left = np.eye(len(NAMES))[labels] - 1 / len(NAMES) - vectors[places] @ start
    found = Ridge(alpha=alpha, fit_intercept=False).fit(vectors[places], left, sample_weight=weights).coef_.T + start
    return Release(name, found, (vectors @ found).argmax(axis=1))


def _joined(parts: list[Holdout]) -> Holdout:
    sizes = np.array([len(part.items) for part in parts]) / sum(len(part.items) for part in parts)
    population = sum(size * part.population for size, part in zip(sizes, parts, strict=True))
    return Holdout(
        np.concatenate([part.items for part in parts]), np.concatenate([part.labels for part in parts]), population
    )


def _by_item(scores: Floats) -> dict[str, float]:
    return {str(n): score for n, score in enumerate(scores.tolist())}

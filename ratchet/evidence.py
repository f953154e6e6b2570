"""The evidence of a rollout: every user moves all signals at once; one wealth raises the alarm, one proves.

docs/decisions/0006-online-evidence.md has the reasons and the sources.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np

from ratchet.betting import MEMORY, Expectation, Floats, Ranks, Wealths
from ratchet.rollout_policy import OUTCOME, SPLIT, RolloutPolicy, SignalPolicy

RESERVE = 0.1  # of the capital, for signals and segments that nobody has seen yet
LATER_SHARE = 0.25  # of the reserve, for each of them
MOST_SEGMENTS = 30
GRID: Floats = np.round(np.arange(-0.3, 0.3001, 0.02), 2)  # effects that the confidence sequence is read from
POOLED = ""

Action = Literal["rollback", "hold"]
Key = tuple[str, str]  # signal and segment


class UserOutcome(NamedTuple):
    """One user: the channel and the time of their first answer, and what their answers were like by `at`.

    `chance` is the probability of the canary that the user had; None where nobody logged it. A signal is a share (of
    answers, for signals that hold or not) or a number; one that is missing is not in `shares` or `numbers`.
    """

    user_id: str
    channel: Literal["stable", "canary"]
    met_at: datetime
    at: datetime
    shares: Mapping[str, float]
    numbers: Mapping[str, float] = {}
    chance: float | None = None
    segment: str = POOLED
    answers: int = 1


class Alarm(NamedTuple):
    """What raised the alarm, when, after how many canary users, and what it asks for."""

    action: Action
    signal: str
    segment: str
    at: datetime
    canary_users: int


class _Test(NamedTuple):
    """A row of the wealths: `scale` divides the canary's numbers; a row without `capital` proves, and alarms nobody."""

    signal: str
    segment: str
    is_number: bool
    is_rising: bool
    side: float
    shift: float
    scale: float
    capital: float = 0.0


class Evidence:
    """What the users so far say about a canary; give it their outcomes in the order in which they were decided."""

    def __init__(self, policy: RolloutPolicy, *, alarms_from: datetime | None = None) -> None:
        """Begin without evidence.

        Args:
            policy: signals, alpha, margin.
            alarms_from: users met before prove, but raise no alarm (they met an earlier try of the same release).
        """
        self.policy = policy
        self.alarms: dict[Action, Alarm] = {}
        self.users = {"stable": 0, "canary": 0}
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None
        self._alarms_from = alarms_from
        self._tests: list[_Test] = []
        self._ranks: dict[int, Ranks] = {}
        self._wealths, self._grid = Wealths(), Wealths()
        self._grid.add(np.repeat([1.0, -1.0], len(GRID)).tolist(), np.tile(GRID, 2).tolist())
        self._expected: dict[str, Expectation] = {}
        self._chances: dict[str, float] = {}
        self._capital: dict[Key, float] = {}
        self._cash = 1.0
        self._proof_rows: dict[str, list[int]] = {}
        self._sums: dict[str, dict[str, list[float]]] = {}
        self._see_tests()

    def add(self, user: UserOutcome) -> None:
        """Take in the next user."""
        self.users[user.channel] += 1
        self.first_at, self.last_at = self.first_at or user.at, user.at
        self._open_tests(user)
        stratum = user.segment if user.segment in self._expected or len(self._expected) <= MOST_SEGMENTS else POOLED
        expected = self._expected.setdefault(stratum, Expectation())
        expected.grow(len(self._wealths))
        is_canary, chance = float(user.channel == "canary"), self._chance(user, stratum)
        y = self._outcomes(user, is_canary)
        is_early = self._alarms_from is not None and user.met_at < self._alarms_from
        played = np.where(self._is_alarm, np.nan, y) if is_early else y
        mean = np.where(self._is_split, 0.0, expected.mean)
        variance = np.where(self._is_split, 1.0, expected.variance)
        self._wealths.play(played, is_canary=is_canary, p=chance, mean=mean, variance=variance)
        if OUTCOME in self._proof_rows and OUTCOME in user.shares:
            row = self._proof_rows[OUTCOME][0]
            same = [np.full(len(self._grid), x) for x in (y[row], expected.mean[row], expected.variance[row])]
            self._grid.play(same[0], is_canary=is_canary, p=chance, mean=same[1], variance=same[2])
        expected.learn(y)
        self._sound(user)

    @property
    def needed(self) -> float:
        """The log wealth of an alarm, and of a proof."""
        return math.log(1 / self.policy.alpha)

    @property
    def proofs(self) -> dict[str, float]:
        """By signal, the log wealth now of `the canary loses less than the margin`; the outcome's is always there."""
        logs = self._wealths.logs
        found = {name: float(min(logs[row] for row in rows)) for name, rows in self._proof_rows.items()}
        return {OUTCOME: 0.0, **found}

    @property
    def is_proven(self) -> bool:
        """Whether every proof that is asked for stands now; of a signal that was never seen none does."""
        asked = {OUTCOME, *(n for n, s in self.policy.signals.items() if s.margin is not None and s.weight)}
        proofs = self.proofs
        return all(proofs.get(name, 0.0) >= self.needed for name in asked)

    def effect(self) -> tuple[float | None, float | None]:
        """The confidence sequence now, of how much the canary changes the share of answers without a complaint.

        Each end is right for all users and moments at once with probability 1 - alpha; None where it is open.
        """
        above, below = np.split(self._grid.logs >= self.needed, 2)
        return (
            float(GRID[above].max()) if above.any() else None,
            float(GRID[below].min()) if below.any() else None,
        )

    def missing(self) -> int | None:
        """About how many more canary users prove the outcome at the present rates; None where they never will.

        The wealth grows by p (1 - p) gap^2 / (2 var) a user, where `gap` is how far the effect lies above -margin.
        """
        rates = self.rates(OUTCOME)
        canary, stable = rates["canary"], rates["stable"]
        n = sum(self.users.values())
        if canary is None or stable is None:
            return None
        gap = stable - canary + self.policy.margin
        p = self.users["canary"] / n
        mean = p * canary + (1 - p) * stable
        variance = max(mean * (1 - mean), 0.25 / n)
        if gap <= 0:
            return None
        best = min(gap / variance, 1 / max(1 - mean, mean))  # no bet is larger than what one user may cost
        growth = p * (1 - p) * best * (gap - best * variance / 2)
        left = max(self.needed - self.proofs[OUTCOME], 0.0)
        return math.ceil(left / growth * p) if growth > 0 else None

    def rates(self, signal: str) -> dict[str, float | None]:
        """The mean of a signal over the users of each channel who have it."""
        found = {}
        for channel in ("stable", "canary"):
            n, total = self._sums.get(signal, {}).get(channel, [0, 0.0])
            found[channel] = total / n if n else None
        return found

    def standing(self) -> list[dict[str, Any]]:
        """Every signal and segment that is tested: its log wealth, what it would need by itself, the rates."""
        wealths = self._wealth_of_each()
        found = []
        for (signal, segment), capital in self._capital.items():
            rates = {} if segment or signal == SPLIT else self.rates(signal)
            wealth = wealths[signal, segment] - math.log(capital)
            fact = {"signal": signal, "segment": segment, "alarm": self.policy.signals[signal].alarm}
            found.append({**fact, "log_wealth": wealth, "needed_alone": self.needed - math.log(capital), **rates})
        return found

    def log_wealth(self, action: Action) -> float:
        """The joint log wealth of the signals whose alarm asks for this action."""
        return self._log_wealths(self._wealths.logs)[action]

    def _log_wealths(self, logs: Floats) -> dict[Action, float]:
        weighted = logs + self._log_capital
        rollback = np.logaddexp.reduce([*weighted[self._is_rollback], math.log(self._cash)])
        hold = np.logaddexp.reduce(weighted[~self._is_rollback], initial=-math.inf)
        return {"rollback": float(rollback), "hold": float(hold)}

    def _wealth_of_each(self) -> dict[Key, float]:
        """By signal and segment, the log of its capital and what it has grown to."""
        found: dict[Key, float] = {}
        for test, wealth in zip(self._tests, self._wealths.logs + self._log_capital, strict=True):
            if test.capital:
                key = (test.signal, test.segment)
                found[key] = float(np.logaddexp(found.get(key, -math.inf), wealth))
        return found

    def _sound(self, user: UserOutcome) -> None:
        for action, wealth in self._log_wealths(self._wealths.logs).items():
            if action not in self.alarms and wealth >= self.needed:
                parts = self._wealth_of_each()
                asking = [key for key in parts if self.policy.signals[key[0]].alarm == action]
                signal, segment = max(asking, key=lambda key: parts[key])
                self.alarms[action] = Alarm(action, signal, segment, user.at, self.users["canary"])

    def _chance(self, user: UserOutcome, stratum: str) -> float:
        """As it was logged, or the share of the canary among the last users of the stratum."""
        known = self._chances.get(stratum, 0.5)
        gain = max(1 / (10 + sum(self.users.values())), 1 / MEMORY)
        self._chances[stratum] = known + gain * (float(user.channel == "canary") - known)
        return min(max(user.chance if user.chance is not None else known, 0.01), 0.99)

    def _open_tests(self, user: UserOutcome) -> None:
        """Begin the tests of what this user is the first to have, paid from the cash."""
        signals = self.policy.signals
        here = [(n, POOLED) for n in (*user.shares, *user.numbers) if n in signals]
        here += [(SPLIT, POOLED)] if user.chance is not None and SPLIT in signals else []
        if user.segment and self.policy.test_segments and OUTCOME in user.shares and OUTCOME in signals:
            segments = {segment for _, segment in self._capital if segment}
            here += [(OUTCOME, user.segment)] if len(segments) < MOST_SEGMENTS else []
        new = [key for key in here if key not in self._capital and signals[key[0]].weight > 0]
        if not new:
            return
        spent = self._cash * (LATER_SHARE if self._capital else 1 - RESERVE)
        weights = {key: 1.0 if key[1] else signals[key[0]].weight for key in new}
        self._cash -= spent
        for (signal, segment), weight in weights.items():
            policy, is_number = signals[signal], signal in user.numbers
            capital = self._capital[signal, segment] = spent * weight / sum(weights.values())
            self._append(_alarm_tests(signal, segment, policy, is_number=is_number, capital=capital))
            margin = self.policy.margin if signal == OUTCOME else policy.margin
            if margin is not None and not segment:
                tests = _proof_tests(signal, policy, margin, is_number=is_number)
                self._proof_rows[signal] = self._append(tests)
        self._see_tests()

    def _append(self, tests: list[_Test]) -> list[int]:
        rows = list(range(len(self._tests), len(self._tests) + len(tests)))
        self._tests += tests
        self._wealths.add([t.side for t in tests], [t.shift for t in tests])
        self._ranks |= {row: Ranks() for row in rows if self._tests[row].is_number}
        return rows

    def _see_tests(self) -> None:
        """What of the tests every user needs, as arrays."""
        capital = np.array([t.capital for t in self._tests], dtype=np.float64)
        self._is_alarm = capital > 0
        self._log_capital = np.log(capital, out=np.full(len(capital), -np.inf), where=self._is_alarm)
        self._is_split = np.array([t.signal == SPLIT for t in self._tests], dtype=np.bool_)
        alarms = [self.policy.signals[t.signal].alarm == "rollback" for t in self._tests]
        self._is_rollback = np.array(alarms, dtype=np.bool_)

    def _outcomes(self, user: UserOutcome, is_canary: float) -> Floats:
        """y of every test: high is good, or high is high where either change is harm; nan where it is missing."""
        for name, value in (*user.shares.items(), *user.numbers.items()):
            sums = self._sums.setdefault(name, {}).setdefault(user.channel, [0, 0.0])
            sums[0] += 1
            sums[1] += value
        return np.array([self._outcome(row, test, user, is_canary) for row, test in enumerate(self._tests)])

    def _outcome(self, row: int, test: _Test, user: UserOutcome, is_canary: float) -> float:
        if test.segment and test.segment != user.segment:
            return math.nan
        if test.signal == SPLIT:
            return 1.0 if user.chance is not None else math.nan
        value = (user.numbers if test.is_number else user.shares).get(test.signal)
        if value is None:
            return math.nan
        if test.is_number:
            value = self._ranks[row].rank(value / test.scale if is_canary else value)
        return value if test.is_rising else 1 - value


def weigh(policy: RolloutPolicy, users: Iterable[UserOutcome], *, alarms_from: datetime | None = None) -> Evidence:
    """The evidence of these users, who come in the order in which their outcomes were decided."""
    evidence = Evidence(policy, alarms_from=alarms_from)
    for user in users:
        evidence.add(user)
    return evidence


def _alarm_tests(signal: str, segment: str, policy: SignalPolicy, *, is_number: bool, capital: float) -> list[_Test]:
    """That the canary is worse than what is tolerated; two tests where either change is harm."""
    if signal == SPLIT:  # its y is always 1: the canary has too few users, or too many
        return [_Test(signal, segment, False, True, side, 0.0, 1.0, capital / 2) for side in (-1.0, 1.0)]
    directions = _good_directions(policy)
    tests = []
    for is_rising in directions:
        shift, scale = _slack(policy.tolerance, is_rising=is_rising, is_number=is_number)
        tests.append(_Test(signal, segment, is_number, is_rising, -1.0, shift, scale, capital / len(directions)))
    return tests


def _proof_tests(signal: str, policy: SignalPolicy, margin: float, *, is_number: bool) -> list[_Test]:
    """That the canary loses less than the margin."""
    tests = []
    for is_rising in _good_directions(policy):
        shift, scale = _slack(margin, is_rising=is_rising, is_number=is_number)
        tests.append(_Test(signal, POOLED, is_number, is_rising, 1.0, shift, scale))
    return tests


def _good_directions(policy: SignalPolicy) -> tuple[bool, ...]:
    """Whether higher values are good: of what is worse lower, higher is; of what is worse either way, both."""
    return {"lower": (True,), "higher": (False,), "either": (True, False)}[policy.worse]


def _slack(amount: float, *, is_rising: bool, is_number: bool) -> tuple[float, float]:
    if not is_number:
        return -amount, 1.0
    return 0.0, 1 / (1 + amount) if is_rising else 1 + amount

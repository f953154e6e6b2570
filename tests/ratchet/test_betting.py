"""ratchet.betting: known answers by hand, fair games that stay fair, and speed against the information bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ratchet.betting import EFFECTS, KEPT, Expectation, Floats, Ranks, Wealths

RUNS = 400
LINE = math.log(20)


def wealths(k: int, side: float = -1.0, shift: float = 0.0) -> Wealths:
    found = Wealths()
    found.add([side] * k, [shift] * k)
    return found


def play(good: Floats, canary: Floats, p: float, side: float = -1.0, shift: float = 0.0) -> Floats:
    """Outcomes (users, runs) -> the highest log wealth after each user, (users, runs)."""
    game, expected = wealths(good.shape[1], side, shift), Expectation(good.shape[1])
    path = []
    for y, c in zip(good, canary, strict=True):
        game.play(y, is_canary=c, p=p, mean=expected.mean, variance=expected.variance)
        expected.learn(y)
        path.append(game.logs)
    return np.maximum.accumulate(np.array(path))


def drawn(seed: int, users: int, p: float, base: float | Floats, effect: float) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    canary = (rng.random((users, RUNS)) < p).astype(np.float64)
    return (rng.random((users, RUNS)) < np.asarray(base) + effect * canary).astype(np.float64), canary


def test_one_user_by_hand() -> None:
    """A bad canary user, p = 1/2, nothing known: z = 1/2 (0 - 1/2) = -1/4, and a bet on "worse" wins bet / 4."""
    game = wealths(1)
    game.play(np.array([0.0]), is_canary=1.0, p=0.5, mean=np.array([0.5]), variance=np.array([0.25]))
    fresh = KEPT / 1000 / 4
    bet = ((1 - KEPT) / 4 + fresh) * sum(1 + min(e / 0.25, 0.8 / 0.25) / 4 for e in EFFECTS)
    assert game.logs[0] == pytest.approx(math.log(bet + KEPT * (1 - 1 / 1000)))


def test_what_is_missing_moves_nothing() -> None:
    game, expected = wealths(1), Expectation(1)
    before = expected.mean[0]
    game.play(np.array([np.nan]), is_canary=1.0, p=0.5, mean=expected.mean, variance=expected.variance)
    expected.learn(np.array([np.nan]))
    assert game.logs[0] == pytest.approx(0) and expected.mean[0] == before


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["steady", "rare harm", "daily cycle", "falls for both"])
def test_without_an_effect_the_line_is_seldom_reached(kind: str, p: float) -> None:
    t = np.arange(2000)[:, None]
    base = {
        "steady": 0.8,
        "rare harm": 0.99,
        "daily cycle": 0.75 + 0.2 * np.sin(t / 100),
        "falls for both": 0.9 - 0.6 * (t > 1000),
    }[kind]
    alarms = (play(*drawn(1, 2000, p, base, 0.0), p)[-1] >= LINE).mean()
    assert alarms <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)


def test_an_effect_at_the_shift_is_seldom_taken_for_a_better_one() -> None:
    game = play(*drawn(2, 2000, 0.3, 0.8, -0.05), 0.3, side=1.0, shift=-0.05)
    assert (game[-1] >= LINE).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)


def test_ten_points_are_found_near_the_information_bound() -> None:
    path = play(*drawn(3, 2500, 0.5, 0.8, -0.1), 0.5)
    delay = np.where((path >= LINE).any(axis=0), (path >= LINE).argmax(axis=0) + 1, 2500).mean() / 2
    bound = LINE / (kl(0.7, 0.75) + kl(0.8, 0.75))
    assert bound < delay < 1.3 * bound


def kl(a: float, b: float) -> float:
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


def test_a_canary_that_breaks_late_is_found() -> None:
    good, canary = drawn(4, 3000, 0.5, 0.9, 0.0)
    good[2000:] *= 1 - canary[2000:] * 0.5
    assert (play(good, canary, 0.5)[-1] >= LINE).all()


def test_ranks_by_hand() -> None:
    ranks = Ranks()
    assert [ranks.rank(x) for x in (5.0, 7.0, 1.0, 5.0, 6.0)] == [0.5, 1.0, 0.0, 0.5, 0.75]


def test_ranks_forget_what_is_long_past() -> None:
    ranks = Ranks()
    for _ in range(1500):
        ranks.rank(1.0)
    for _ in range(1000):
        ranks.rank(9.0)
    assert ranks.rank(5.0) == 0.0

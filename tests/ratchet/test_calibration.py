"""ratchet.calibration: planted biases are found, absent ones are not; figures by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from ratchet.calibration import Verdict, calibrate
from ratchet.judge import AnswerPair, JudgedAnswer, LabelledPair


def answer(item: int, role: str, length: int, judge: float) -> JudgedAnswer:
    """One release's answer."""
    return JudgedAnswer.model_validate({"item_id": f"i{item}", "role": role, "output": "x" * length, "judge": judge})


@dataclass(frozen=True)
class Judge:
    """How often it is right, and what it likes; a length of 100 is usual."""

    right: float = 0.85
    likes_long: float = 0.0
    likes_candidate: float = 0.0

    def score(self, human: float, length: int, role: str, rng: np.random.Generator) -> float:
        """0 or 1."""
        good = self.right if human else 1 - self.right
        good += self.likes_long * np.log(length / 100) + self.likes_candidate * (role == "candidate")
        return float(rng.random() < good)


def labelled(judge: Judge, seed: int, n: int = 300) -> list[LabelledPair]:
    """Items whose good answers are longer, all labelled, drawn with two probabilities."""
    rng, found = np.random.default_rng(seed), []
    for i in range(n):
        human = (rng.random(2) < 0.6).astype(float).tolist()
        lengths = [int(np.exp(rng.normal(4.6 + 0.5 * (h - 0.6), 0.6))) + 1 for h in human]
        roles = ("champion", "candidate")
        answers = [answer(i, r, k, judge.score(h, k, r, rng)) for r, h, k in zip(roles, human, lengths, strict=True)]
        found.append(LabelledPair(AnswerPair(*answers), (human[0], human[1]), 0.5 if i % 3 else 1.0))
    return found


def test_length_bias_is_found_where_it_was_planted() -> None:
    bias = calibrate(labelled(Judge(likes_long=0.2), seed=1)).length_bias
    assert bias is not None
    assert bias.low > 0


def test_an_honest_judge_shows_no_bias_although_good_answers_are_longer() -> None:
    found = [calibrate(labelled(Judge(), seed)) for seed in range(20)]
    flagged = sum(one.length_bias is not None and one.length_bias.is_found for one in found)
    assert flagged <= 4  # 1 of 20 is expected
    assert sum(one.release_bias.is_found for one in found) <= 4


def test_release_bias_is_found_where_it_was_planted_and_the_difference_put_right() -> None:
    found = calibrate(labelled(Judge(likes_candidate=0.15), seed=3))
    assert found.release_bias.low > 0
    assert found.judge_alone > 0.08
    assert found.difference.low < 0 < found.difference.high
    assert found.refused is None


def test_agreement_and_kappa_by_hand() -> None:
    # judge and people agree on 3 of 4; each calls 2 and 3 good: chance 0.5 * 0.75 + 0.5 * 0.25 = 0.5
    rows = [((1.0, 1.0), (1.0, 1.0)), ((0.0, 0.0), (0.0, 1.0))]
    pairs = [
        LabelledPair(AnswerPair(answer(i, "champion", 9, j[0]), answer(i, "candidate", 9, j[1])), h, 1.0)
        for i, (j, h) in enumerate(rows)
    ]
    found = calibrate(pairs)
    assert found.agreement.estimate == 0.75
    assert found.kappa is not None
    assert found.kappa.estimate == pytest.approx(0.5)
    assert found.kappa.low < 0.5 < found.kappa.high
    assert found.length_bias is None
    assert [(b.answers, b.judge, b.human) for b in found.bins] == [(2, 0.0, 0.5), (2, 1.0, 1.0)]
    assert found.refused is not None
    json.dumps(found.as_dict(), allow_nan=False)


def test_an_item_counts_for_all_that_were_as_seldom_drawn() -> None:
    rows = [((1.0, 0.0), (1.0, 0.0), 1.0), ((1.0, 0.0), (0.0, 1.0), 0.25)]
    pairs = [
        LabelledPair(AnswerPair(answer(i, "champion", 9, j[0]), answer(i, "candidate", 9, j[1])), h, inclusion)
        for i, (j, h, inclusion) in enumerate(rows)
    ]
    found = calibrate(pairs)
    assert found.agreement.estimate == pytest.approx(0.2)
    assert [b.human for b in found.bins] == [pytest.approx(0.8), pytest.approx(0.2)]


def test_full_agreement_is_not_told_as_certain() -> None:
    found = calibrate(labelled(Judge(right=1.0), seed=5, n=40))
    assert found.agreement.estimate == 1.0
    assert 0.8 < found.agreement.low < 0.95
    assert found.kappa is not None
    assert found.kappa.low < 0.95


def verdicts(first_wins: float, seed: int, n: int = 80) -> list[Verdict]:
    """Verdicts in both orders by a judge that takes the first answer so often; else the candidate, if it is better."""
    rng, found = np.random.default_rng(seed), []
    for i in range(n):
        better = "candidate" if rng.random() < 0.7 else "champion"
        for first in ("champion", "candidate"):
            said = "first" if rng.random() < first_wins or first == better else "second"
            found.append(Verdict.model_validate({"item_id": f"i{i}", "first": first, "verdict": said}))
    return found


def test_position_bias_is_found_where_it_was_planted_and_only_there() -> None:
    pairs = labelled(Judge(), seed=1, n=40)
    planted, honest = (calibrate(pairs, verdicts(share, seed=2)) for share in (0.3, 0.0))
    assert planted.position_bias is not None
    assert planted.position_bias.low > 0
    assert planted.same_in_both_orders is not None
    assert 0.5 < planted.same_in_both_orders < 0.9
    assert honest.position_bias is not None
    assert not honest.position_bias.is_found
    assert honest.same_in_both_orders == 1.0


def test_items_judged_in_one_order_say_nothing_of_position() -> None:
    pairs = labelled(Judge(), seed=1, n=40)
    one_order = [v for v in verdicts(0.5, seed=3) if v.first == "champion"]
    assert calibrate(pairs, one_order).position_bias is None
    assert calibrate(pairs).same_in_both_orders is None

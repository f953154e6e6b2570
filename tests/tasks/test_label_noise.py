"""tasks.label_noise: wrong labels are found where the right ones can be predicted, and nowhere else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ratchet.params import CurateParams, load_params
from tasks.label_noise import find_label_issues
from tests.routing_clone import PARAMS

SUBJECTS = {"cards": ["card", "pin", "chip", "plastic"], "loans": ["loan", "rate", "debt", "mortgage"]}
FILLERS = "please tell me why the of my is so and what can i do about it today before we go on holiday"


def params(**changes: Any) -> CurateParams:
    return load_params(PARAMS).curate.model_copy(update=changes)


def questions(count: int, seed: int = 3) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    labels = [("cards", "loans")[n % 2] for n in range(count)]
    texts = [" ".join([*draw.choices(FILLERS.split(), k=8), *draw.sample(SUBJECTS[label], 2)]) for label in labels]
    return texts, labels


def flipped(labels: list[str], positions: set[int]) -> list[str]:
    return [{"cards": "loans", "loans": "cards"}[x] if i in positions else x for i, x in enumerate(labels)]


def test_wrong_labels_are_found_with_the_label_that_fits() -> None:
    texts, labels = questions(300)
    wrong = set(random.Random(4).sample(range(300), 15))
    found = find_label_issues(texts, flipped(labels, wrong), params())
    hits = {issue.position for issue in found}
    assert len(hits & wrong) >= 13 and len(hits - wrong) <= 3
    assert all(
        issue.suggested == labels[issue.position] and issue.fit < 0.5 for issue in found if issue.position in wrong
    )


def test_sound_labels_are_not_doubted() -> None:
    assert find_label_issues(*questions(300), params()) == []


def test_of_few_examples_none_is_doubted() -> None:
    texts, labels = questions(100)
    assert find_label_issues(texts, flipped(labels, {1, 2, 3}), params()) == []
    assert find_label_issues(texts, flipped(labels, {1, 2, 3}), params(label_noise_min_items=50)) != []
    assert find_label_issues([], [], params()) == []


def test_a_model_that_cannot_tell_the_labels_doubts_none() -> None:
    texts, labels = questions(300)
    random.Random(1).shuffle(labels)
    assert find_label_issues(texts, labels, params()) == []


@pytest.mark.parametrize("most", [150, 20000])
def test_a_bounded_fit_gives_the_same_each_time(most: int) -> None:
    texts, labels = questions(400)
    noisy = flipped(labels, set(range(0, 400, 25)))
    found = find_label_issues(texts, noisy, params(label_noise_max_items=most))
    assert found and found == find_label_issues(texts, noisy, params(label_noise_max_items=most))

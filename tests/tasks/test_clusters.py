"""tasks.clusters: copies and near-copies are found, and little else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.questions import normalise
from tasks.clusters import components, near_pairs, shingles

BASE = "my card was swallowed by the machine at the station this morning and now I cannot pay"


def pairs(*texts: str, jaccard: float = 0.8) -> list[tuple[int, int]]:
    return near_pairs([normalise(text) for text in texts], jaccard=jaccard, seed=17)


@pytest.mark.parametrize("copy", [BASE.upper(), f"  {BASE} !!", BASE.replace(" ", ",  "), BASE.replace("c", "\uff43")])
def test_case_spaces_punctuation_and_width_make_no_difference(copy: str) -> None:
    assert pairs(BASE, copy) == [(0, 1)]


def test_two_pseudonyms_of_one_kind_make_no_difference() -> None:
    assert normalise("I am <EMAIL_1f3a>") == normalise("I am <EMAIL_0000>") == normalise("I am ana@example.com")


def test_a_text_with_one_word_more_is_near_and_another_text_is_not() -> None:
    assert pairs(BASE, BASE + " please", "what does a loan cost", BASE[:40]) == [(0, 1)]


def test_equal_texts_pair_with_the_first_and_only_the_first_with_near_ones() -> None:
    assert pairs(BASE, BASE, BASE + " please", BASE) == [(0, 1), (0, 2), (0, 3)]


def test_texts_without_letters_are_told_apart() -> None:
    assert pairs("👍", "👎", "?", "👍") == [(0, 3)]


@pytest.mark.parametrize("jaccard", [0.0, 0.5, 0.8, 1.0])
def test_few_pairs_at_the_threshold_are_missed(jaccard: float) -> None:
    draw = random.Random(3)
    texts = ["".join(draw.choices("abcdefgh ", k=80)) for _ in range(60)]
    texts += [text[: draw.randrange(60, 80)] for text in texts]
    sets = [shingles(text) for text in texts]
    index = {(i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for j in range(120) for i in range(j)}
    true = {pair for pair, value in index.items() if value >= max(jaccard, 0.3)}
    found = {pair for pair in near_pairs(texts, jaccard=jaccard, seed=17) if index[pair] >= 0.3}
    assert found <= true if jaccard else True
    assert len(true - found) <= 0.02 * len(true)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_components_join_exactly_what_hangs_together(edges: list[tuple[int, int]]) -> None:
    found = components(10, edges)
    assert all(found[i] == found[j] for i, j in edges)
    assert all(found[i] <= i and found[found[i]] == found[i] for i in range(10))
    assert len(set(found)) >= 10 - len(edges)

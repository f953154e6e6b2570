"""tasks.clusters: copies and near-copies are found, and little else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.questions import normalise
from tasks.clusters import components, near_pairs

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


def shingles(text: str) -> frozenset[str]:
    """The definition: the character 5-shingles of a text; a shorter text is one shingle."""
    return frozenset(text[i : i + 5] for i in range(max(1, len(text) - 4)))


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
    together = components(120, found)
    assert sum(together[i] != together[j] for i, j in true) <= 0.02 * len(true)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_components_join_exactly_what_hangs_together(edges: list[tuple[int, int]]) -> None:
    found = components(10, edges)
    assert all(found[i] == found[j] for i, j in edges)
    assert all(found[i] <= i and found[found[i]] == found[i] for i in range(10))
    assert len(set(found)) >= 10 - len(edges)


def test_texts_of_a_template_hang_together_however_many_they_are() -> None:
    texts = [f"where is my parcel with the long tracking number {n} which i sent to my sister" for n in range(3000)]
    found = near_pairs([*texts, "what does a loan cost"], jaccard=0.8, seed=17)
    assert len(found) <= 2 * len(texts)
    assert set(components(3001, found)) == {0, 3000}


def test_nothing_is_near_to_nothing() -> None:
    assert near_pairs([], jaccard=0.8, seed=17) == []
    assert near_pairs(["", "", "a"], jaccard=0.8, seed=17) == [(0, 1)]


def test_half_a_character_is_a_text_like_others() -> None:
    assert near_pairs(["\ud800 lone", "\ud800 lone", "\ud801 lone"], jaccard=0.9, seed=17) == [(0, 1)]

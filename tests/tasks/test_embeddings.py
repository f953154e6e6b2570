"""tasks.embeddings: vectors of the distilled model, and a folder that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ratchet.settings import Settings
from tasks.embeddings import DIMENSIONS, NAME, distil, embed

CACHE = Settings.from_env().cache


def test_texts_alike_are_near_and_others_are_not() -> None:
    one, same, other = embed(["i lost my card", "my card is lost", "what does a mortgage cost"], CACHE)
    assert one @ same > 0.8 > 0.5 > one @ other


def test_vectors_have_length_one_and_what_says_nothing_is_zero() -> None:
    found = embed(["my card", ""], CACHE)
    assert found.shape == (2, DIMENSIONS) and np.linalg.norm(found, axis=1) == pytest.approx([1.0, 0.0], abs=1e-5)
    assert embed([], CACHE).shape == (0, DIMENSIONS)


def test_a_model_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "models" / NAME
    folder.mkdir(parents=True)
    assert distil(folder) == folder and list(folder.iterdir()) == []


@pytest.mark.slow
def test_the_model_is_distilled_the_same_again(tmp_path: Path) -> None:
    embed(["one"], CACHE)
    assert distil(tmp_path / NAME) == tmp_path / NAME
    files = [folder / "model.safetensors" for folder in (tmp_path / NAME, CACHE / "models" / NAME)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]

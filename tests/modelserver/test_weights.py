from __future__ import annotations

from pathlib import Path

import pytest

from modelserver.engine import Engine
from modelserver.weights import convert
from ratchet.errors import BadInput
from ratchet.files import canonical_json, digest_tree, read_json, sha256_text, write_json


def test_a_converted_model_is_left_as_it_is(tmp_path: Path) -> None:
    write_json(tmp_path / "model" / "ratchet.json", {"digest": "x"})
    assert convert(tmp_path / "model") == tmp_path / "model"
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["ratchet.json"]


def test_the_digest_is_that_of_the_files(model_path: str) -> None:
    files = digest_tree(Path(model_path))
    del files["NOTICE"], files["ratchet.json"]
    assert read_json(Path(model_path) / "ratchet.json")["digest"] == sha256_text(canonical_json(files))


def test_no_system_prompt_is_made_up(engine: Engine) -> None:
    ids = engine.text.encode_chat([{"role": "user", "content": "Hello"}])
    text = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert list(ids) == engine.text.encode(text)


@pytest.mark.slow
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(BadInput, match="no converted model"):
        convert(tmp_path / "mine")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.slow
def test_conversion_is_deterministic(tmp_path: Path, model_path: str) -> None:
    made = convert(tmp_path / "made")
    assert (made / "ratchet.json").read_text() == (Path(model_path) / "ratchet.json").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["made"]

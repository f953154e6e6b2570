import json
from pathlib import Path

import pytest

from ratchet.base_models import LocalModel, resolve_base_model
from ratchet.errors import ModelMissing
from ratchet.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_CACHE": str(tmp_path / "cache")})


def local_model(folder: Path, weights: str = "w") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def test_embedded_model_is_found_in_the_cache(tmp_path: Path, settings: Settings) -> None:
    folder = local_model(tmp_path / "cache" / "models" / "tiny")
    (folder / "ratchet.json").write_text(json.dumps({"digest": "d1"}))
    assert resolve_base_model("embedded:tiny", settings) == LocalModel("tiny", str(folder), "d1")


def test_missing_embedded_model_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(ModelMissing, match=r"embedded:tiny is not in .*run `make setup`"):
        resolve_base_model("embedded:tiny", settings)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_half_converted_model_is_missing(tmp_path: Path, settings: Settings, content: str) -> None:
    folder = local_model(tmp_path / "cache" / "models" / "tiny")
    (folder / "ratchet.json").write_text(content)
    with pytest.raises(ModelMissing, match="run `make setup`"):
        resolve_base_model("embedded:tiny", settings)


def test_folder_is_taken_under_its_name_and_known_by_its_files(tmp_path: Path, settings: Settings) -> None:
    first = resolve_base_model(str(local_model(tmp_path / "a" / "mine")), settings)
    same = resolve_base_model(str(local_model(tmp_path / "b" / "mine")), settings)
    other = resolve_base_model(str(local_model(tmp_path / "c" / "mine", weights="v")), settings)
    assert first.name == "mine" and first.digest == same.digest != other.digest


def test_folder_without_a_config_is_no_model(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ModelMissing, match=r"holds no config\.json"):
        resolve_base_model(str(tmp_path), settings)


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "../nowhere"])
def test_path_that_does_not_exist_is_not_taken_for_a_hub_id(settings: Settings, name: str) -> None:
    with pytest.raises(ModelMissing, match=f"no folder {name}"):
        resolve_base_model(name, settings)


def test_anything_else_is_a_hub_id(settings: Settings) -> None:
    found = resolve_base_model("org/model", settings)
    assert (found.name, found.path) == ("org/model", "org/model") and found.digest

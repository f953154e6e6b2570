from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.errors import SettingsInvalid
from ratchet.params import CurateParams, load_params

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"


def changed(tmp_path: Path, key: str, value: Any) -> Path:
    """The shipped params.yaml with one key, given by its dotted path, set to a value."""
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    *parents, last = key.split(".")
    section = document
    for parent in parents:
        section = section[parent]
    section[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_shipped_params_are_valid_and_know_their_folders() -> None:
    params = load_params(SHIPPED)
    assert params.inputs == Path("data/demo/support_routing") and params.outputs == Path("data/support_routing")


@pytest.mark.parametrize("key", ["colour", "curate.colour", "tune.sft.colour", "validate.colour", "tune.dpo"])
def test_unknown_key_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsInvalid, match=rf"params.yaml: {key}: unknown key: remove or correct it"):
        load_params(changed(tmp_path, key, 1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validate.min_rows", 0),
        ("validate.max_quarantine_share", 1.5),
        ("curate.seed", "seventeen"),
        ("tune.sft.dtype", "int4"),
        ("tune.sft.learning_rate", -1),
        ("evaluate.concurrency", None),
        ("data_root", "/etc"),
        ("arms", []),
        ("arms.0", "magic"),
    ],
)
def test_wrong_value_is_named_with_what_was_given(tmp_path: Path, key: str, value: Any) -> None:
    wanted, given = (key, value) if key != "arms.0" else ("arms", [value])
    with pytest.raises(SettingsInvalid, match=rf"params.yaml: {key}: .*\(given: "):
        load_params(changed(tmp_path, wanted, given))


def test_every_wrong_key_is_told_at_once(tmp_path: Path) -> None:
    path = changed(tmp_path, "curate", {"seed": 1})
    with pytest.raises(SettingsInvalid) as caught:
        load_params(path)
    told = str(caught.value)
    missing = len(CurateParams.model_fields) - 1
    assert len(told.splitlines()) == missing and "curate.max_user_share: Field required" in told


@pytest.mark.parametrize("content", [b"a: [1", b"a: \xe9", b"a: \x00", b"", b"- 1", b"text"])
def test_file_that_is_no_params_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"params\.yaml"):
        load_params(tmp_path / "params.yaml")


def test_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="run from the root of the clone"):
        load_params(tmp_path / "params.yaml")

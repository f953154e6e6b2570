import json
import threading
from pathlib import Path

import pytest

from ratchet.files import canonical_json, digest_tree, read_json, sha256_file, sha256_text, write_json, write_whole


def test_write_whole_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_whole(path, "old")
    write_whole(path, b"new")
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_failed_write_keeps_the_target_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "taken", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_reader_beside_a_writer_sees_whole_contents_only(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", {"a" * 50_000, "b" * 50_000}
    write_whole(path, "a" * 50_000)
    writer = threading.Thread(target=lambda: [write_whole(path, c * 50_000) for c in "ba" * 10])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_text())
    assert seen <= contents


def test_canonical_json_is_the_same_for_equal_values() -> None:
    assert canonical_json({"b": 1, "a": [True, None]}) == canonical_json({"a": [True, None], "b": 1})
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_numbers_that_json_does_not_know(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"score": value})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "scores.json", {"score": value})
    assert not (tmp_path / "scores.json").exists()


def test_json_document_is_stable_and_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": 1}


def test_digests_of_text_and_file_agree_with_the_known_answer(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    (tmp_path / "abc").write_text("abc")
    assert sha256_text("abc") == sha256_file(tmp_path / "abc") == known


def test_digest_of_a_tree_names_each_file_by_its_relative_path(tmp_path: Path) -> None:
    write_whole(tmp_path / "b" / "c.txt", "abc")
    write_whole(tmp_path / "a.txt", json.dumps(1))
    found = digest_tree(tmp_path)
    assert list(found) == ["a.txt", "b/c.txt"] and found["b/c.txt"] == sha256_text("abc")

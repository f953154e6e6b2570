import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.jsonl import MAX_DEPTH, MAX_LINE_BYTES, Unreadable, is_array, load_json, read_elements, read_lines


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": NaN', "malformed JSON"),
        ('{"a": [NaN, "\\ud800"]}', "malformed JSON"),
        (b'{"a": 1e999}', "malformed JSON"),
        ('{"a": "\\ud800"}', "not Unicode"),
        (b"\xff", "not UTF-8"),
        (b"[" * 65 + b"]" * 65, "nested too deeply"),
        ("[" * 5000, "nested too deeply"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested too deeply"),
        (b"", "malformed JSON"),
    ],
)
def test_json_that_could_not_be_stored_again_is_refused(data: bytes | str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        load_json(data)


def test_numbers_that_json_lacks_are_null() -> None:
    assert load_json(b'{"a": NaN, "b": [-Infinity, 1], "NaN": "Infinity"}') == {
        "a": None,
        "b": [None, 1],
        "NaN": "Infinity",
    }


def test_json_up_to_the_limit_and_wide_is_read() -> None:
    assert load_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) and len(load_json(json.dumps([[]] * 1000))) == 1000


def test_lines_are_numbered_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfa\n\nb")
    assert list(read_lines(path)) == [(1, b"a\n"), (2, b"\n"), (3, b"b")]
    assert list(read_lines(written(tmp_path, gzip.compress(b"a\nb\n")))) == [(1, b"a\n"), (2, b"b\n")]


def test_gzip_bomb_is_left_in_time_and_memory(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b"x" * (200 << 20), compresslevel=1))
    tracemalloc.start()
    found = list(read_lines(path))
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert isinstance(found[-1][1], Unreadable) and "200 times" in found[-1][1].reason and len(found) == 1


@pytest.mark.parametrize("pad", [0, 1 << 12, 1 << 16])
def test_array_gives_its_elements_wherever_its_chunks_end(tmp_path: Path, pad: int) -> None:
    rows = [{"a": "é" * (n % 7) + '"]},\\', "n": n} for n in range(3000)] + [{"big": "x" * pad}]
    for content in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False), json.dumps(rows) + "\n"):
        path = written(tmp_path, content.encode())
        found = list(read_elements(path))
        assert is_array(path) and [number for number, _ in found] == list(range(1, 3002))
        assert [json.loads(element) for _, element in found if isinstance(element, bytes)] == rows


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (b'[{"a": 1}, {"b": ', 1),
        (b'[{"a": 1}', 1),
        (b'[{"a": 1}, {b}, {"c": 1}]', 1),
        (b'[{"a": 1}, {"b": "\xff"}]', 0),
        (b"[", 0),
        (b"[" * 90_000, 0),
        (b'[{"a": "' + b"x" * (2 * MAX_LINE_BYTES) + b'"}]', 0),
        (b"[" + b"9" * 5000 + b"]", 0),
        (gzip.compress(b'[{"a": 1}, {"b": 2}]', mtime=0)[:-9], 0),
    ],
)
def test_array_that_goes_wrong_ends_with_a_reason(tmp_path: Path, content: bytes, whole: int) -> None:
    found = list(read_elements(written(tmp_path, content)))
    assert len(found) == whole + 1 and [type(item) for _, item in found[:-1]] == [bytes] * whole
    assert isinstance(found[-1][1], Unreadable) and "what follows was" in found[-1][1].reason


@pytest.mark.parametrize("content", [b"[]", b" [ ]\n", b"[ ,]"])
def test_empty_array_has_no_elements(tmp_path: Path, content: bytes) -> None:
    assert list(read_elements(written(tmp_path, content))) == []


@pytest.mark.parametrize(("content", "expected"), [(b"", False), (b'{"a": 1}', False), (b"\n [", True)])
def test_file_is_an_array_by_its_first_character(tmp_path: Path, content: bytes, expected: Any) -> None:
    assert is_array(written(tmp_path, content)) is expected
    assert is_array(written(tmp_path, gzip.compress(content))) is expected

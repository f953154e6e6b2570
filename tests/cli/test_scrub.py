"""cli.scrub: a row out for each row in, places in the input, and the policy of a feature."""

import json
from pathlib import Path
from typing import Any

ROWS = [
    {"text": "My name is Zbigniew, mail ana@example.com", "session_id": "s1"},
    {"text": "again ana@example.com é ana@example.com", "session_id": "s1"},
    {"text": "ana@example.com", "session_id": "s2"},
]


def write(tmp_path: Path, *lines: Any) -> str:
    path = tmp_path / "rows.jsonl"
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_each_row_gives_a_row_with_its_text_and_the_places_of_what_was_replaced(ratchet, tmp_path: Path) -> None:
    ended = ratchet("scrub", write(tmp_path, *ROWS), "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.status == 0 and len(found) == len(ROWS)
    for row, out in zip(ROWS, found, strict=True):
        data = [row["text"][span["start"] : span["end"]] for span in out["replaced"]]
        assert data and not any(datum in out["text"] for datum in data)
    assert [span["type"] for span in found[0]["replaced"]] == ["PERSON", "EMAIL"]


def test_pseudonyms_are_the_same_inside_a_session(ratchet, tmp_path: Path) -> None:
    found = [json.loads(line)["text"] for line in ratchet("scrub", write(tmp_path, *ROWS), "--json").out.splitlines()]
    assert found[0].split()[-1] == found[1].split()[1] == found[1].split()[3] != found[2]


def test_a_row_without_a_text_is_told_by_line_and_keeps_its_place(ratchet, tmp_path: Path) -> None:
    ended = ratchet("scrub", write(tmp_path, "{", {"question": "ana@example.com"}, ROWS[0]), "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.status == 0 and ["error" in row for row in found] == [True, True, False]
    assert found[0]["error"].startswith("rows.jsonl:1") and "ana@" not in ended.out


def test_another_field_and_patterns_alone(ratchet, tmp_path: Path) -> None:
    file = write(tmp_path, {"question": ROWS[0]["text"]})
    found = json.loads(ratchet("scrub", file, "--field", "question", "--no-ner", "--json").out)
    assert found["text"].startswith("My name is Zbigniew, mail <EMAIL_")


def test_a_features_policy_holds(ratchet, routing, tmp_path: Path) -> None:
    policy = routing.repo / "features/routing/feature.yaml"
    policy.write_text(policy.read_text() + "privacy: {entities: [EMAIL], allow: [ana@example.com]}\n")
    ended = ratchet("scrub", write(tmp_path, *ROWS), "--feature", "routing", "--json")
    assert [json.loads(line)["text"] for line in ended.out.splitlines()] == [row["text"] for row in ROWS]


def test_without_json_it_counts(ratchet, tmp_path: Path) -> None:
    ended = ratchet("scrub", write(tmp_path, *ROWS))
    assert "3 rows, 0 without a text; found 4 x EMAIL, 1 x PERSON" in ended.out


def test_a_file_without_any_text_ends_with_2(ratchet, tmp_path: Path) -> None:
    ended = ratchet("scrub", write(tmp_path, {"q": "x"}), "--json")
    assert ended.status == 2 and "no row of" in ended.err and "--field" in ended.err
    assert ratchet("scrub", str(tmp_path / "nothing.jsonl")).status == 2

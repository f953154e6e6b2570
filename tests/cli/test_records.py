import json
from pathlib import Path

import pytest

ASKED = {"interaction_id": "i1", "feature": "routing", "at": "2026-01-01T00:00:00Z", "output": {"content": "x"}}
ASKED |= {"input": {"messages": [{"role": "user", "content": "hi"}]}}


def log(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


def test_import_counts_new_and_known_rows(ratchet, tmp_path: Path) -> None:
    file = log(tmp_path, json.dumps(ASKED))
    assert "1 rows: 1 new, 0 known, 0 rejected" in ratchet("import", file).out
    ended = ratchet("import", file)
    assert ended.status == 0 and "1 rows: 0 new, 1 known, 0 rejected" in ended.out


def test_import_goes_on_after_a_bad_row_and_lists_it(ratchet, routing, tmp_path: Path) -> None:
    ended = ratchet("import", log(tmp_path, "{", json.dumps(ASKED)))
    assert ended.status == 0 and "1 new, 0 known, 1 rejected" in ended.out and "1 x malformed JSON" in ended.out
    (rejects,) = (routing.home / "imports").glob("log.jsonl.*.rejects.jsonl")
    assert str(rejects) in ended.out and json.loads(rejects.read_text())["where"] == "log.jsonl:1"


def test_import_of_nothing_but_bad_rows_ends_with_2_and_the_line(ratchet, tmp_path: Path) -> None:
    ended = ratchet("import", log(tmp_path, "", '{"a":'))
    assert ended.status == 2 and "no row of" in ended.err and "log.jsonl:2: malformed JSON" in ended.err


def test_import_of_an_empty_file_adds_nothing(ratchet, tmp_path: Path) -> None:
    ended = ratchet("import", log(tmp_path))
    assert ended.status == 0 and "0 rows" in ended.out


def test_import_of_a_missing_file_ends_with_2(ratchet) -> None:
    ended = ratchet("import", "nothing.jsonl")
    assert ended.status == 2 and ended.err.endswith("\nerror: nothing.jsonl: no such file\n")


def test_import_prints_one_json_value(ratchet, tmp_path: Path) -> None:
    facts = json.loads(ratchet("import", log(tmp_path, "{", json.dumps(ASKED)), "--json").out)
    assert (facts[0]["rows"], facts[0]["accepted"], sum(facts[0]["rejected"].values())) == (2, 1, 1)


def test_import_takes_the_format_and_a_feature_of_this_clone(ratchet, tmp_path: Path) -> None:
    row = {"messages": [*ASKED["input"]["messages"], {"role": "assistant", "content": "x"}]}  # type: ignore[index]
    file = log(tmp_path, json.dumps(row))
    assert "1 rows: 1 could be used, 0 rejected" in ratchet("import", file, "--feature", "routing", "--dry-run").out
    told = ratchet(
        "import", file, "--feature", "routing", "--format", "openai-chat", "--at", "2026-01-01", "--json"
    ).out
    assert json.loads(told)[0]["accepted"] == 1
    assert "give it with --feature" in ratchet("import", file).err
    assert "unknown feature 'nowhere'" in ratchet("import", file, "--feature", "nowhere").err


@pytest.mark.parametrize(
    "row", [{"a": 1}, {"messages": [], "output_message": {}, "id": "x", "request": 1, "response": 1}]
)
def test_import_of_an_unknown_or_ambiguous_format_ends_with_2_and_says_what_to_do(ratchet, tmp_path: Path, row) -> None:
    ended = ratchet("import", log(tmp_path, json.dumps(row)))
    assert ended.status == 2 and "name one with --format" in ended.err


def test_import_of_formats_that_do_not_exist_ends_with_2(ratchet, tmp_path: Path) -> None:
    ended = ratchet("import", log(tmp_path, json.dumps(ASKED)), "--format", "xml")
    assert ended.status == 2 and "there are auto, ratchet, openai-chat" in ended.err


@pytest.mark.parametrize(("line", "problem"), [("{", "m.jsonl:1"), ('{"text": "x"}', "m.jsonl:1"), ("", "m.jsonl")])
def test_replay_of_unusable_messages_ends_with_2_and_the_line(ratchet, tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    ended = ratchet("replay", "routing", str(tmp_path / "m.jsonl"))
    assert ended.status == 2 and problem in ended.err


def test_replay_without_a_gateway_says_how_to_start_it(ratchet, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"text": "x", "label": "cards"}\n')
    ended = ratchet("replay", "routing", str(tmp_path / "m.jsonl"))
    assert ended.status == 1 and "http://127.0.0.1:9" in ended.err and "make up" in ended.err

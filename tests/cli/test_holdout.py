import json
from pathlib import Path

import pytest


def labelled(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "h.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


def test_holdout_is_added_with_a_showcase(ratchet, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"text {n}", "expected": "cards"}) for n in range(10)]
    ended = ratchet("holdout", "add", "routing", labelled(tmp_path, *rows), "--share", "0.2")
    assert ended.status == 0 and "8 items in the holdout, 2 in the showcase" in ended.out


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "h.jsonl:2: malformed JSON"),
        ('{"text": "x", "expected": "boats"}', "h.jsonl:2: routing: label 'boats' is not in the schema"),
        ('{"text": "x"}', 'h.jsonl:2: needs "text" or "messages", and "expected"'),
        ('{"text": "a", "expected": "cards"}', "h.jsonl:2: the same item stands twice"),
    ],
)
def test_bad_line_ends_with_2_and_adds_nothing(ratchet, routing, tmp_path: Path, line: str, problem: str) -> None:
    ended = ratchet("holdout", "add", "routing", labelled(tmp_path, '{"text": "a", "expected": "cards"}', line))
    assert ended.status == 2 and problem in ended.err
    assert not (routing.repo / "data" / "routing").exists()


def test_missing_file_ends_with_2(ratchet) -> None:
    ended = ratchet("holdout", "add", "routing", "nothing.jsonl")
    assert ended.status == 2 and "nothing.jsonl" in ended.err


def test_share_beyond_a_half_is_refused(ratchet, tmp_path: Path) -> None:
    assert ratchet("holdout", "add", "routing", labelled(tmp_path), "--share", "0.9").status == 2


def test_status_tells_how_far_a_holdout_is_used_up(ratchet, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"text {n}", "expected": "cards"}) for n in range(10)]
    ratchet("holdout", "add", "routing", labelled(tmp_path, *rows), "--share", "0.2")
    facts = json.loads(ratchet("holdout", "status", "routing", "--json").out)
    assert (facts["items"], facts["showcase"], facts["looks"], facts["is_retired"]) == (8, 2, 0, False)
    ended = ratchet("holdout", "status", "routing")
    assert ended.status == 0 and "looks: 0; of an error of 0.05 there is 0.05 left" in ended.out


def test_status_without_a_holdout_and_refresh_without_a_sample_end_with_2(ratchet) -> None:
    assert "ratchet holdout add routing FILE" in ratchet("holdout", "status", "routing").err
    ended = ratchet("holdout", "refresh", "routing")
    assert ended.status == 2 and "no blind sample yet" in ended.err

"""ratchet.scorers.outside: a team's own function and command, also broken ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ratchet.errors import BadInput
from ratchet.features import ScorerSpec
from ratchet.scorers import Item, score_items

ITEMS = [Item(output="one"), Item(output="three"), Item(output="")]
READ = "import json, sys\nrows = [json.loads(line) for line in sys.stdin]\n"


def clone(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "features" / "x"
    folder.mkdir(parents=True)
    (folder / "scorers.py").write_text(source)
    return tmp_path


def test_a_function_of_the_clone_scores_and_its_exception_is_that_item_alone(tmp_path: Path) -> None:
    repo = clone(tmp_path, "def short(item):\n    return 1 / len(item.output) if item.output != 'three' else 9\n")
    scores = score_items(ScorerSpec(python="features/x/scorers.py:short"), ITEMS, repo=repo)
    assert [s.score for s in scores] == [pytest.approx(1 / 3), None, None]
    assert scores[1].reason == "the scorer gave no number from 0 to 1"
    assert scores[2].reason == "the scorer raised ZeroDivisionError"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("x = 1", "features/x/scorers.py:missing"),
        ("x = 1", "features/x/scorers.py:x"),
        ("raise ValueError('secret words')", "features/x/scorers.py:fn"),
        ("x = 1", "features/y/scorers.py:fn"),
        ("x = 1", "features/../features/../outside.py:fn"),
    ],
)
def test_what_cannot_be_loaded_is_said_before_any_item(tmp_path: Path, source: str, named: str) -> None:
    repo = clone(tmp_path, source)
    (tmp_path / "outside.py").write_text("def fn(item):\n    return 1\n")
    with pytest.raises(BadInput) as told:
        score_items(ScorerSpec(python=named), ITEMS, repo=repo)
    assert "secret" not in str(told.value)


def command(program: str, **options: object) -> ScorerSpec:
    return ScorerSpec.model_validate({"command": [sys.executable, "-c", READ + program], **options})


def test_a_command_scores_all_items_in_any_order() -> None:
    program = "for r in reversed(rows): print(json.dumps({'index': r['index'], 'score': len(r['output']) / 5}))"
    assert [s.score for s in score_items(command(program), ITEMS)] == [pytest.approx(0.6), 1.0, 0.0]


FIRST = 'print(\'{"index": 0, "score": 1}\')'
NOTHING = "the command said nothing about it"


@pytest.mark.parametrize(
    ("program", "scores", "reason"),
    [
        (f"{FIRST}; sys.exit(3)", [1.0, None, None], "the command ended with status 3"),
        (FIRST, [1.0, None, None], NOTHING),
        ("print('nonsense'); print('[1]'); print('{}')", [None] * 3, NOTHING),
        (f"{FIRST}; {FIRST}", [None] * 3, NOTHING),
        (FIRST.replace("1}", "7}"), [None] * 3, NOTHING),
        (FIRST.replace("0,", "99,") + ";" + FIRST.replace("0,", "true,"), [None] * 3, NOTHING),
    ],
)
def test_what_a_command_does_not_score_is_unscored(program: str, scores: list[float | None], reason: str) -> None:
    found = score_items(command(program), ITEMS)
    assert [s.score for s in found] == scores and found[2].reason == reason


def test_a_bad_score_and_one_given_twice_say_so() -> None:
    assert score_items(command(f"{FIRST}; {FIRST}"), ITEMS)[0].reason == "the command scored it twice"
    bad = score_items(command(FIRST.replace("1}", "7}")), ITEMS)[0]
    assert bad.reason == "the scorer gave no number from 0 to 1"


def test_a_command_that_hangs_is_ended_with_its_children_and_keeps_what_it_said(tmp_path: Path) -> None:
    program = 'import subprocess, time\nprint(\'{"index": 0, "score": 1}\', flush=True)\n'
    program += "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(57)'])\ntime.sleep(57)"
    found = score_items(command(program, timeout_s=3), ITEMS)
    assert (found[0].score, found[1].reason) == (1.0, "the command took more than 3 s")
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"time.sleep(57)" in _read(p)]


def test_a_command_gets_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RATCHET_JUDGE_KEY", "plant")
    program = f"import os\nopen({str(tmp_path / 'env')!r}, 'w').write(json.dumps(dict(os.environ)))"
    score_items(command(program), ITEMS)
    seen = json.loads((tmp_path / "env").read_text())
    assert set(seen) <= {"PATH", "LANG", "HOME", "LC_CTYPE"} and not Path(seen["HOME"]).exists()


def test_a_program_that_is_not_there_is_bad_input() -> None:
    with pytest.raises(BadInput, match="name a program"):
        score_items(ScorerSpec(command=("/nowhere/at/all",)), ITEMS)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_example_of_the_docs_scores() -> None:
    script = Path(__file__).resolve().parents[3] / "docs" / "examples" / "command_scorer.py"
    items = [Item(output="the card is lost", expected="lost card"), Item(output="x", expected="lost card"), ITEMS[0]]
    spec = ScorerSpec(command=("python3", str(script)))
    assert [s.score for s in score_items(spec, items)] == [1.0, 0.0, None]

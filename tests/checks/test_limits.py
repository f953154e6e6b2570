import subprocess
import sys
from pathlib import Path

import pytest

from tests import limits

CLONE = Path(__file__).resolve().parents[2]


def findings(root: Path, source: str, name: str = "tasks/step.py") -> list[limits.Finding]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return limits.examine(path, root)


def function(length: int, name: str = "act", waiver: str = "") -> str:
    return f"def {name}():{waiver}\n" + "    x = 1\n" * (length - 1)


def test_this_clone_keeps_its_limits() -> None:
    assert limits.main([str(CLONE)]) == 0


@pytest.mark.parametrize(("length", "breaches"), [(40, []), (41, [False]), (60, [False]), (61, [True])])
def test_function_is_asked_about_above_40_and_refused_above_60_lines(
    tmp_path: Path, length: int, breaches: list[bool]
) -> None:
    assert [f.is_breach for f in findings(tmp_path, "\n\n" + function(length))] == breaches


@pytest.mark.parametrize(("length", "breaches"), [(300, []), (301, [False]), (500, [False]), (501, [True])])
def test_file_is_asked_about_above_300_and_refused_above_500_lines(
    tmp_path: Path, length: int, breaches: list[bool]
) -> None:
    assert [f.is_breach for f in findings(tmp_path, "x = 1\n" * length)] == breaches


def test_breach_names_file_and_line(tmp_path: Path) -> None:
    found = findings(tmp_path, "\n\n" + function(70))
    assert [str(f) for f in found] == ["tasks/step.py:3: act() has 70 lines; the limit is 60"]


@pytest.mark.parametrize(
    "name", ["RunManager", "event_handler", "HTTPHelper", "utils", "do_it", "process", "Base", "BaseStage", "data2"]
)
def test_name_that_says_nothing_is_a_breach(tmp_path: Path, name: str) -> None:
    keyword = "class" if name[0].isupper() else "def"
    found = findings(tmp_path, f"{keyword} {name}{'' if keyword == 'class' else '()'}: ...\n")
    assert [f.is_breach for f in found] == [True] and name in found[0].what


@pytest.mark.parametrize("name", ["BaseModelRef", "resolve_base_model", "processes", "commonly", "undo_it", "database"])
def test_words_that_only_contain_a_banned_one_are_fine(tmp_path: Path, name: str) -> None:
    assert findings(tmp_path, f"def {name}(): ...\n") == []


@pytest.mark.parametrize("name", ["tasks/utils.py", "tasks/common/step.py", "ratchet/base.py"])
def test_module_or_folder_with_a_banned_name_is_a_breach(tmp_path: Path, name: str) -> None:
    assert [f.line for f in findings(tmp_path, "", name)] == [1]


def test_waiver_beside_the_line_says_why(tmp_path: Path) -> None:
    assert findings(tmp_path, function(70, waiver="  # limits: a table")) == []
    assert findings(tmp_path, "def do_GET(): ...  # limits: http.server asks for this name\n") == []


def test_command_ends_with_1_and_prints_warnings_only_when_asked(tmp_path: Path) -> None:
    findings(tmp_path, function(70) + function(50, "b"))
    command = [sys.executable, limits.__file__, str(tmp_path)]
    quiet, verbose = (
        subprocess.run(c, capture_output=True, text=True, check=False) for c in (command, [*command, "--verbose"])
    )
    assert (quiet.returncode, verbose.returncode) == (1, 1)
    assert "act()" in quiet.stdout and "b()" not in quiet.stdout and "b()" in verbose.stdout

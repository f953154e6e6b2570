from pathlib import Path

import typer.main

from cli.docs import PAGE, commands, is_stale, page
from cli.main import app
from ratchet.settings import KEYS


def test_page_has_every_command_and_every_setting() -> None:
    names = [name for name, _ in commands(typer.main.get_command(app), "ratchet")]
    assert [line[4:-1] for line in page().splitlines() if line.startswith("## `")] == names
    assert "ratchet audit verify" in names and all(f"| `{key}` |" in page() for key in KEYS)


def test_page_is_plain_markdown() -> None:
    assert "[bold]" not in page() and "[/bold]" not in page()
    assert all(line.count("`") % 2 == 0 for line in page().splitlines())


def test_arguments_and_options_are_told_with_their_defaults() -> None:
    text = page().split("## `ratchet holdout add`")[1].split("\n## ")[0]
    assert "- `FEATURE`: the feature (required)" in text and "(default: 0.15)" in text and "`--json`" in text


def test_changed_or_missing_page_is_stale(tmp_path: Path) -> None:
    (tmp_path / "cli.md").write_text(page())
    assert not is_stale(tmp_path / "cli.md") and is_stale(tmp_path / "nothing.md")
    (tmp_path / "cli.md").write_text(page() + "by hand\n")
    assert is_stale(tmp_path / "cli.md")


def test_page_of_this_clone_is_current() -> None:
    assert not is_stale(PAGE)

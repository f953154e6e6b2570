from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from cli.main import app


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its words."""
    for word, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name.strip(), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example(ratchet, name: str) -> None:
    ended = ratchet(*name.split(), "--help")
    assert ended.status == 0 and "Example" in ended.out and f"ratchet {name}" in ended.out.split("Example", 1)[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained(name: str) -> None:
    unexplained = [p.name for p in COMMANDS[name].params if p.name != "help" and not getattr(p, "help", None)]
    assert unexplained == []


@pytest.mark.parametrize("name", ["status", "run", "approve", "reject", "releases", "doctor", "import", "audit verify"])
def test_commands_that_tell_facts_can_tell_them_as_json(name: str) -> None:
    assert "--json" in [option for p in COMMANDS[name].params for option in p.opts]


def test_no_arguments_show_the_help(ratchet) -> None:
    ended = ratchet()
    assert "Usage: " in ended.out and "import" in ended.out


@pytest.mark.parametrize("words", [["nothing"], ["status", "--nothing"], ["holdout", "add"], ["feature"]])
def test_wrong_use_ends_with_2(ratchet, words: list[str]) -> None:
    assert ratchet(*words).status == 2


def test_unknown_setting_ends_with_2_and_its_name(ratchet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_GATWAY_URL", "http://x")
    ended = ratchet("status")
    assert ended.status == 2 and ended.err.startswith("error: unknown setting RATCHET_GATWAY_URL")


FEATURE_COMMANDS = ("status nothing", "run nothing", "rollback nothing", "releases nothing", "rollout status nothing")


@pytest.mark.parametrize(
    "words", [*FEATURE_COMMANDS, "holdout add nothing h.jsonl", "import log.jsonl --feature nothing"]
)
def test_unknown_feature_ends_with_2_and_lists_those_that_exist(ratchet, words: str) -> None:
    ended = ratchet(*words.split())
    assert (ended.status, ended.err.strip()) == (2, "error: unknown feature 'nothing'; there are: routing")


def test_error_is_one_message_and_no_traceback(ratchet, routing) -> None:
    (routing.repo / "features" / "routing" / "feature.yaml").write_text("name: [")
    ended = ratchet("status", "routing")
    assert ended.status == 2 and "is not valid YAML" in ended.err and "Traceback" not in ended.err

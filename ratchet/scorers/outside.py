"""Scorers of a team's own: a Python function in the clone, or a command in an environment of its own.

The command reads one JSON object a line, {"index", "messages", "output", "contexts", "expected", "variables"}, and
writes {"index", "score"} a line, in any order. Its environment holds nothing of ours: no secret, no address.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ratchet.errors import BadInput
from ratchet.scorers.item import Item, ItemScorer, Score, as_score

MAX_OUTPUT_BYTES = 64 << 20


def load_function(repo: Path, named: str) -> ItemScorer:
    """The function that `features/<name>/scorers.py:fn` names; it takes an Item.

    Raises:
        BadInput: there is no such file or function in the clone, or the file fails to load.
    """
    file, _, name = named.rpartition(":")
    path = (repo / file).resolve()
    if not path.is_relative_to((repo / "features").resolve()) or not path.is_file():
        raise BadInput(f"scorer {named}: there is no such file in features/ of the clone")
    spec = importlib.util.spec_from_file_location(f"ratchet_scorer_{path.parent.name}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BadInput(f"scorer {named}: the file is not Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(f"scorer {named}: the file fails to load ({type(error).__name__})") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"scorer {named}: the file has no function {name}")
    return function  # type: ignore[no-any-return]


def call_function(function: ItemScorer, item: Item) -> Score:
    """What a team's function says of one item; it returns a number from 0 to 1, a bool, None or a Score."""
    return as_score(function(item), "by the team's own scorer")


def run_command(command: Sequence[str], items: Sequence[Item], repo: Path, *, timeout_s: float = 600.0) -> list[Score]:
    """Give a command all items, in order; one that it says nothing usable about is unscored.

    It runs in the clone's root, without a shell, in a session of its own that ends with it.

    Raises:
        BadInput: there is no such program.
    """
    with tempfile.TemporaryDirectory(prefix="ratchet-scorer-") as home, tempfile.TemporaryFile() as answers:
        with tempfile.TemporaryFile() as asked:
            for index, item in enumerate(items):
                row = {"index": index, **item.model_dump(mode="json")}
                asked.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            asked.seek(0)
            ended = _run(command, repo, home, asked, answers, timeout_s)
        answers.seek(0)
        said = _read_answers(answers.read(MAX_OUTPUT_BYTES), len(items))
    return [said.get(index, Score(None, ended, is_failure=True)) for index in range(len(items))]


def _run(command: Sequence[str], repo: Path, home: str, asked: IO[bytes], answers: IO[bytes], timeout_s: float) -> str:
    """Run it to its end. Returns why an item that it did not name has no score."""
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": home}
    try:
        process = subprocess.Popen(
            list(command),
            cwd=repo,
            env=environment,
            stdin=asked,
            stdout=answers,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise BadInput(f"scorer command {command[0]}: {error.strerror}; name a program of this machine") from error
    try:
        status = process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"the command took more than {timeout_s:g} s"
    finally:
        _end_session(process)
    return f"the command ended with status {status}" if status else "the command said nothing about it"


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End what the command left behind; its session is its own, so nothing else is met."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_answers(said: bytes, n: int) -> dict[int, Score]:
    scores: dict[int, Score] = {}
    for line in said.splitlines():
        row = _parse(line)
        index = row.get("index")
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < n:
            is_known = index in scores
            score = as_score(row.get("score"), "by the command")
            scores[index] = Score(None, "the command scored it twice", is_failure=True) if is_known else score
    return scores


def _parse(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}

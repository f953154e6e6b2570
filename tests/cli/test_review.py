import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratchet.records import Interaction
from ratchet.settings import Settings
from ratchet.store import Store
from tests.review_queue import CLONE, Reviewer, write_rows

ASKED = [{"role": "user", "content": "=cmd: my card is lost"}]


@pytest.fixture
def queue(routing: Settings, store: Store) -> Path:
    """A queue of three items in the clone, the last of which the store does not know, and a blind sample."""
    given = {
        "feature": "routing",
        "at": "2026-01-01T00:00:00Z",
        "input": {"messages": ASKED},
        "output": {"content": "x"},
    }
    store.add_interactions([Interaction.model_validate(given | {"interaction_id": f"i{n}"}) for n in range(2)])
    asked = [{"item_id": f"n{n}", "messages": [{"role": "user", "content": f"{n} is lost"}]} for n in range(4)]
    write_rows(routing.repo / "data/routing/blind.jsonl", asked)
    rows = [
        row | {"messages": ASKED, "interaction_id": f"i{n}", "reason": "disagreement"} for n, row in enumerate(asked)
    ]
    return write_rows(routing.repo / "data/routing/review.jsonl", rows[:3])


def fill(path: Path, decisions: list[str]) -> Path:
    """Fill in a sheet as a spreadsheet would."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(row | {"decision": said} for row, said in zip(rows, decisions, strict=True))
    return path


def values(store: Store) -> dict[str, Any]:
    return {said.interaction_id: (said.value, said.source.id) for _, _, said in store.feedback("routing")}


def test_without_a_queue_says_what_writes_one(ratchet) -> None:
    ended = ratchet("review", "routing")
    assert ended.status == 2 and "no review queue yet; `ratchet run routing`" in ended.err


def test_empty_queue_ends_with_3(ratchet, routing: Settings) -> None:
    write_rows(routing.repo / "data/routing/review.jsonl", [])
    ended = ratchet("review", "routing")
    assert ended.status == 3 and "nothing to review" in ended.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nothing",), "unknown feature 'nothing'"),
        (("routing", "--as", "  "), "--as needs a name"),
        (("routing", "--as", "a\nb"), "--as needs a name"),
        (("routing", "--file", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
        (("routing", "--import", "nowhere.csv"), "nowhere.csv: no such file"),
        (("routing", "--export", "o.xlsx"), "name it .csv or .jsonl"),
        (("routing", "--export", "o.csv", "--import", "o.csv"), "not both"),
    ],
)
def test_bad_input_ends_with_2(ratchet, queue: Path, arguments: tuple[str, ...], problem: str) -> None:
    ended = ratchet("review", *arguments)
    assert ended.status == 2 and problem in ended.err


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_sheet_goes_out_and_decisions_come_in_once(
    ratchet, queue: Path, store: Store, tmp_path: Path, suffix: str
) -> None:
    sheet = tmp_path / f"o.{suffix}"
    ended = ratchet("review", "routing", "--export", str(sheet))
    assert ended.status == 0 and f"{sheet}: 3 items" in ended.out and f"--import {sheet}" in ended.out
    if suffix == "csv":
        fill(sheet, ["cards", "boats", "loans"])
    else:
        rows = [json.loads(line) for line in sheet.read_text().splitlines()]
        write_rows(
            sheet, [row | {"decision": said} for row, said in zip(rows, ["cards", "boats", "loans"], strict=True)]
        )
    ended = ratchet("review", "routing", "--as", "ana", "--import", str(sheet))
    assert ended.status == 0 and "3 rows: 1 new, 0 known, 0 empty, 2 rejected" in ended.out
    head = suffix == "csv"  # its line is the first
    assert f"o.{suffix}:{2 + head}: the decision is nothing that the feature could serve" in ended.out
    assert (
        f"o.{suffix}:{3 + head}: the store does not know its interaction" in ended.out
        and "next: ratchet run" in ended.out
    )
    assert "1 known" in ratchet("review", "routing", "--as", "ana", "--import", str(sheet)).out
    assert values(store) == {"i0": ("cards", "ana")}
    rejects = (Settings.from_env().home / "imports" / f"o.{suffix}.rejects.jsonl").read_text()
    assert len(rejects.splitlines()) == 2 and "boats" not in rejects + ended.out


def test_decisions_of_an_older_queue_still_count(ratchet, queue: Path, store: Store, tmp_path: Path) -> None:
    ratchet("review", "routing", "--export", str(tmp_path / "o.csv"))
    queue.unlink()
    ended = ratchet("review", "routing", "--import", str(fill(tmp_path / "o.csv", ["cards", "loans", ""])), "--json")
    assert json.loads(ended.out) == {
        "rows": 3,
        "stored": 2,
        "known": 0,
        "empty": 1,
        "rejected": {},
        "rejects_file": None,
        "next": "ratchet run routing",
    }
    assert values(store) == {"i0": ("cards", "Ana Test"), "i1": ("loans", "Ana Test")}  # the name that git knows


def test_what_is_decided_is_not_exported_again(ratchet, queue: Path, tmp_path: Path) -> None:
    ratchet("review", "routing", "--export", str(tmp_path / "o.csv"))
    ratchet("review", "routing", "--import", str(fill(tmp_path / "o.csv", ["cards", "", ""])))
    assert json.loads(ratchet("review", "routing", "--export", str(tmp_path / "p.csv"), "--json").out)["rows"] == 2


def test_file_of_nothing_but_bad_rows_ends_with_2(ratchet, queue: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "i.jsonl", [{"item_id": "n0", "interaction_id": "i0", "decision": "boats"}])
    ended = ratchet("review", "routing", "--import", str(tmp_path / "i.jsonl"))
    assert ended.status == 2 and "no row of" in ended.err and "i.jsonl:1" in ended.err


def test_blind_labels_become_the_holdout(ratchet, queue: Path, routing: Settings, store: Store, tmp_path: Path) -> None:
    for name, labels in (("ana", ["cards", "loans", "cards", "loans"]), ("ben", ["cards", "loans", "loans", ""])):
        ratchet("review", "routing", "--blind", "--export", str(tmp_path / "o.csv"), "--as", name)
        fill(tmp_path / "o.csv", labels)
        ended = ratchet("review", "routing", "--blind", "--import", str(tmp_path / "o.csv"), "--as", name)
        assert ended.status == 0
    command = re.search(r"next: ratchet (holdout add routing \S+)", ended.out)
    assert command is not None and values(store) == {}
    added = ratchet(*command.group(1).split(), "--share", "0")
    assert added.status == 0 and "3 items in the holdout" in added.out  # the fourth is in dispute


@pytest.mark.slow
def test_agreement_of_two_is_told_at_the_end(ratchet, queue: Path, routing: Settings, tmp_path: Path) -> None:
    for name, labels in (("ana", ["cards", "loans", "cards", "loans"]), ("ben", ["cards", "loans", "loans", ""])):
        ratchet("review", "routing", "--blind", "--export", str(tmp_path / "o.csv"), "--as", name)
        fill(tmp_path / "o.csv", labels)
        ratchet("review", "routing", "--blind", "--import", str(tmp_path / "o.csv"), "--as", name)
    process, _ = start(routing, "--blind", "--as", "eve")
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=20)[0]
    assert "routing: 0 decided, 0 skipped, 4 left" in out
    assert "  ana and ben on 3 items: 67% the same, Cohen's kappa 0.40\n  1 items stay out" in out


def test_blind_row_that_the_sample_does_not_hold_is_named(ratchet, queue: Path, tmp_path: Path) -> None:
    rows = [{"item_id": i, "decision": "cards"} for i in ("n0", "gone")]
    ended = ratchet("review", "routing", "--blind", "--import", str(write_rows(tmp_path / "i.jsonl", rows)))
    assert "1 new, 0 known, 0 empty, 1 rejected" in ended.out and "i.jsonl:2: the sample has no such item" in ended.out


def start(routing: Settings, *arguments: str, **display: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command as a person would; the process and the link it shows."""
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")} | display
    environ = kept | {"RATCHET_REPO": str(routing.repo), "RATCHET_HOME": str(routing.home), "PYTHONPATH": str(CLONE)}
    command = [sys.executable, "-m", "cli.main", "review", "routing", "--port", "0", *arguments]
    process = subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"open (http://127\.0\.0\.1:\d+/login#\S+)", line):
            return process, found.group(1)
    raise AssertionError("no link was shown")


def log_in(link: str) -> Reviewer:
    address, token = link.split("/login#")
    client = httpx.Client(base_url=address, headers={"Origin": address})
    assert client.post("/login", json={"token": token}).status_code == 200
    page = client.get("/", follow_redirects=True)
    return Reviewer(client, page.text.split('name="csrf" content="')[1].split('"')[0], page.url.path)


def test_command_serves_until_ctrl_c_and_tells_how_far_it_came(queue: Path, routing: Settings, store: Store) -> None:
    process, link = start(routing, "--as", "ana")
    ana = log_in(link)
    ana.post("decide", {"item": "n0", "value": "loans"}), ana.post("skip", {"item": "n1"})
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in err
    assert "routing: 1 decided, 1 skipped, 0 left (1 decided in all)\nnext: ratchet run routing\n" in out
    assert values(store) == {"i0": ("loans", "ana")}


@pytest.mark.slow
def test_browser_gets_the_link_by_a_file_that_only_its_user_reads(
    queue: Path, routing: Settings, tmp_path: Path
) -> None:
    script = tmp_path / "browser.sh"
    script.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/told\ncp -p "${{1#file://}}" {tmp_path}/page\n')
    script.chmod(0o755)
    process, link = start(routing, "--as", "ana", DISPLAY=":9", BROWSER=f"{script} %s")
    deadline = time.monotonic() + 20
    while not (tmp_path / "page").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    told, page = (tmp_path / "told").read_text().strip(), tmp_path / "page"
    assert link.split("#")[1] not in told and link in page.read_text() and page.stat().st_mode & 0o777 == 0o600
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert not Path(told.removeprefix("file://")).exists()


@pytest.mark.slow
def test_killed_command_loses_no_label(queue: Path, routing: Settings) -> None:
    process, link = start(routing, "--blind", "--as", "ana")
    log_in(link).post("decide", {"item": "n2", "value": "loans"})
    process.kill()
    process.communicate()
    process, _ = start(routing, "--blind", "--as", "ana", "--json")
    process.send_signal(signal.SIGINT)
    facts = json.loads(process.communicate(timeout=20)[0])
    assert (facts["decided"], facts["done"], facts["left"], facts["disputed"]) == (0, 1, 3, 0)
    assert json.loads(Path(facts["labelled_file"]).read_text())["messages"][0]["content"] == "2 is lost"

"""`ratchet eval`: which releases, which items, which exit status."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from benchmarks.scratch import free_port
from cli.main import app
from ratchet.channels import Channels
from ratchet.errors import BadInput, HoldoutTouched, ReleaseNotFound
from ratchet.prompts import Demonstration, Prompt
from ratchet.release import ReleaseStore, write_candidate
from ratchet.settings import Settings
from tasks.compare_releases import read_items
from tasks.contenders import request_of
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone, right_if_shown, target


class EvalClone(RoutingClone):
    """A clone with v2 in its release store, whose answers are right, and a fake model server."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.port = free_port()
        self.write_holdout("showcase", 40)
        shown = Prompt(text="Name the team.", demonstrations=(Demonstration(input="my loan", output=target("loans")),))
        write_candidate(root / "made", self.champion.model_copy(update={"prompt": shown}))
        self.v2 = ReleaseStore(root / "home/releases").put(root / "made")
        ReleaseStore(root / "home/releases").attest(self.v2, {"version": "v2.0.0", "feature": "routing"})
        self.write("features/routing/prompts/default.md", "Name the right team.\n")
        self.write("features/routing/cases/a.yaml", "{name: loans, text: my loan, expect: {label: loans}}\n")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalClone:
    made = EvalClone(tmp_path)
    url = f"http://127.0.0.1:{made.port}"
    places = {"RATCHET_REPO": tmp_path, "RATCHET_HOME": tmp_path / "home", "RATCHET_CACHE": tmp_path / "cache"}
    for key, value in (places | {"RATCHET_MODELSERVER_URL": url}).items():
        monkeypatch.setenv(key, str(value))
    return made


def run(clone: EvalClone, *arguments: str) -> tuple[Result, int]:
    with FakeModelServer(right_if_shown, port=clone.port) as server:
        found = CliRunner().invoke(app, ["eval", "routing", *arguments])
    return found, len(server.bodies)


def test_a_better_release_is_accepted_and_the_facts_hold_no_text(clone: EvalClone) -> None:
    found, _ = run(clone, "--release", "v2.0.0", "--json")
    facts = json.loads(found.stdout)
    assert found.exit_code == 0 and facts["verdict"] == "accept"
    assert (facts["baseline"]["score"], facts["candidate"]["score"], facts["items"]) == (0.5, 1.0, 40)
    assert facts["difference"]["estimate"] == 0.5 and len(facts["changed"]) == 20
    assert facts["harmed_slices"] == {} and "showcase" not in found.stdout and "card number" not in found.stdout


def test_a_worse_one_is_rejected_and_a_table_is_printed(clone: EvalClone) -> None:
    found, _ = run(clone, "--release", clone.v2[:12], "--release", "live")
    assert found.exit_code == 4 and "20 of 40 answers differ" in found.stdout and "reject" in found.stdout


def test_without_names_the_prompt_on_disk_meets_what_is_live(clone: EvalClone) -> None:
    channels = Channels(clone.root / "home/channels")
    channels.begin("routing", clone.v2, at=datetime.now(UTC), by="test", reason="live")
    found, asked = run(clone, "--json")
    facts = json.loads(found.stdout)
    assert facts["baseline"]["release_id"] == clone.v2 != facts["candidate"]["release_id"]
    assert found.exit_code == 3 and asked == 80  # the live demonstrations stay, so it is as good and not better
    assert run(clone)[1] == 0  # and nothing is asked twice


def test_the_holdout_is_refused_even_in_part(clone: EvalClone) -> None:
    held = (clone.root / "data/demo/routing/holdout/holdout.jsonl").read_text().splitlines()[0]
    clone.write("mine.jsonl", held + "\n" + json.dumps({"text": "new", "expected": "cards"}) + "\n")
    found, asked = run(clone, "--release", "v2.0.0", "--file", str(clone.root / "mine.jsonl"))
    assert isinstance(found.exception, HoldoutTouched) and asked == 0 and "1 of the 2 items" in str(found.exception)


@pytest.mark.parametrize(
    ("name", "kind"), [("v9.0.0", ReleaseNotFound), ("rel_zz", ReleaseNotFound), ("prompt:no.md", BadInput)]
)
def test_an_unknown_name_is_told(clone: EvalClone, name: str, kind: type[Exception]) -> None:
    found, asked = run(clone, "--release", name)
    assert isinstance(found.exception, kind) and asked == 0


def test_cases_give_the_exit_status_and_junit(clone: EvalClone) -> None:
    found, _ = run(clone, "--cases", "--junit", str(clone.root / "j.xml"))
    assert found.exit_code == 4 and "label cards, not loans" in found.stdout
    assert 'failures="1"' in (clone.root / "j.xml").read_text()
    assert run(clone, "--cases", "--release", "v2.0.0")[0].exit_code == 0


def test_recorded_answers_stand_in_for_a_server_that_is_gone(clone: EvalClone) -> None:
    items = read_items(Settings.from_env(), clone.feature, None)
    rows = [
        {"request": request_of(clone.champion, item, 0), "output": item.expected, "input_tokens": 1, "output_tokens": 1}
        for item in items
    ]
    pq.write_table(pa.Table.from_pylist([row | {"finish_reason": "stop"} for row in rows]), clone.root / "a.parquet")
    arguments = [
        "eval",
        "routing",
        "--release",
        "live",
        "--recorded",
        str(clone.root / "a.parquet"),
        "--release",
        "live",
    ]
    found = CliRunner().invoke(app, arguments)  # nothing listens there
    assert found.exit_code == 3 and "40 recorded answers" in found.stdout and "1.000" in found.stdout

import json

import pytest
import sqlalchemy as sa

from cli.session import neutral
from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.runs import Run, change_run, open_run
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.first_release import ensure_first_release


@pytest.fixture
def first(routing: Settings, store: Store) -> str:
    """The first release of `routing`."""
    channels = Channels(routing.channels_dir)
    return ensure_first_release(routing, store, Ledger(store.engine), channels, "routing")


def test_status_of_a_feature_without_a_release_says_how_to_get_one(ratchet) -> None:
    ended = ratchet("status")
    assert ended.status == 0 and "no release yet: `make up` or `ratchet run` makes v1" in ended.out


def test_status_tells_what_is_live(ratchet, first: str) -> None:
    assert first[:16] in ratchet("status", "routing").out
    facts = json.loads(ratchet("status", "routing", "--json").out)["routing"]
    assert (facts["live"], facts["version"], facts["main_differs_from_live"]) == (first, "v1.0.0", False)


def test_status_tells_when_main_differs_from_live(ratchet, routing: Settings, first: str) -> None:
    (routing.repo / "features" / "routing" / "prompts" / "default.md").write_text("Another prompt.")
    assert "main differs from live" in ratchet("status", "routing").out


@pytest.mark.parametrize("error", ["see [/tmp/log]", "[bold", "[red]x[/blue]", "\x1b[31mred"])
def test_error_of_a_run_is_printed_as_it_is_without_control_characters(
    ratchet, store: Store, first: str, error: str
) -> None:
    open_run(store, Run(run_id="r1", feature="routing", started_at="2026-01-01T00:00:00+00:00"))
    change_run(store, "r1", state="failed", now="", error=error)
    ended = ratchet("status", "routing")
    assert ended.status == 0 and error.replace("\x1b", " ") in ended.out


def test_text_from_outside_is_neutral() -> None:
    assert neutral("a\x1b[31m\nb") == "a \\[31m b" and len(neutral("x" * 999)) == 300


def test_releases_are_listed_and_shown(ratchet, first: str) -> None:
    rows = json.loads(ratchet("releases", "routing", "--json").out)
    assert [(row["release_id"], row["version"], row["live"]) for row in rows] == [(first, "v1.0.0", True)]
    assert first[:16] in ratchet("releases", "routing").out
    assert "every file verified" in ratchet("release", "show", first[4:12]).out


def test_feature_without_releases_has_an_empty_list(ratchet) -> None:
    assert json.loads(ratchet("releases", "routing", "--json").out) == []


def test_unknown_release_is_told(ratchet, first: str) -> None:
    ended = ratchet("release", "show", "rel_0")
    assert ended.status == 1 and "0 releases begin with 'rel_0'" in ended.err


def test_changed_release_is_told(ratchet, routing: Settings, first: str) -> None:
    manifest = routing.releases_dir / first / "candidate.json"
    manifest.write_text(manifest.read_text().replace("Name the team", "Leak"))
    ended = ratchet("release", "show", first)
    assert ended.status == 1 and "its content has the id" in ended.err


def test_no_rollout_is_no_error(ratchet) -> None:
    assert "no rollout yet" in ratchet("rollout", "status").out
    assert "no rollout is running" in ratchet("rollout", "tick").out


def test_rollback_of_a_feature_that_never_served_is_told(ratchet) -> None:
    ended = ratchet("rollback", "routing")
    assert ended.status != 0 and ended.err.startswith("error: ") and "routing" in ended.err


def test_rollback_of_the_first_release_has_nowhere_to_go(ratchet, first: str) -> None:
    ended = ratchet("rollback", "routing")
    assert ended.status != 0 and ended.err.startswith("error: ")


def test_whole_ledger_is_verified(ratchet, first: str) -> None:
    ended = ratchet("audit", "verify")
    assert ended.status == 0 and "the ledger is whole" in ended.out
    assert json.loads(ratchet("audit", "log", "--json").out)[0]["event"] == "first release"


def test_changed_ledger_ends_with_1_and_names_the_entry(ratchet, store: Store, first: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE ledger SET subject = 'rel_forged' WHERE seq = 1"))
    ended = ratchet("audit", "verify")
    assert ended.status == 1 and "1" in ended.err and "Traceback" not in ended.err

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet import git
from ratchet.errors import BadInput, BadRecord, HoldoutTouched
from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.records import read_holdout
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.add_holdout import Added, add_holdout

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def labelled(folder: Path, name: str, numbers: range, **changes: Any) -> Path:
    path = folder / name
    rows = [{"text": f"text {n}", "expected": ("cards", "loans")[n % 2]} | changes for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def add(settings: Settings, store: Store, file: Path, *, showcase: Path | None = None, share: float = 0.25) -> Added:
    feature, ledger = load_feature(settings.repo, "routing"), Ledger(store.engine)
    return add_holdout(settings, ledger, feature, file, showcase=showcase, share=share, now=NOW)


def test_share_of_the_file_becomes_the_showcase_and_all_items_are_kept(
    routing: Settings, store: Store, tmp_path: Path
) -> None:
    added = add(routing, store, labelled(tmp_path, "h.jsonl", range(20)))
    folder = routing.repo / "data" / "routing" / "holdout"
    feature = load_feature(routing.repo, "routing")
    kept, shown = (read_holdout(folder / f"{name}.jsonl", feature) for name in ("holdout", "showcase"))
    assert (added.holdout, added.showcase) == (len(kept), len(shown)) == (15, 5)
    assert len({item.item_id for item in kept + shown}) == 20
    assert json.loads((folder / "meta.json").read_text()) == {"labelled_at": "2026-03-04T05:06:07+00:00"}


def test_where_an_item_comes_from_is_kept(routing: Settings, store: Store, tmp_path: Path) -> None:
    origin = {"session": "s1", "tenant": "acme", "segment": "gold", "at": "2026-03-01T00:00:00+00:00"}
    add(routing, store, labelled(tmp_path, "h.jsonl", range(4), **origin))
    kept = read_holdout(routing.repo / "data/routing/holdout/holdout.jsonl", load_feature(routing.repo, "routing"))
    assert {(i.session, i.tenant, i.segment) for i in kept} == {("s1", "acme", "gold")}
    assert kept[0].at == datetime(2026, 3, 1, tzinfo=UTC)


def test_holdout_is_tracked_pushed_and_in_the_ledger_once(routing: Settings, store: Store, tmp_path: Path) -> None:
    file = labelled(tmp_path, "h.jsonl", range(8))
    first, second = add(routing, store, file), add(routing, store, file)
    assert first == second and git.run(routing.repo, "status", "-s") == "A  data/routing/holdout.dvc"
    entries = Ledger(store.engine).entries(event="holdout", subject=first.digest)
    assert [entry.facts for entry in entries] == [{"feature": "routing", "items": 6}]


def test_given_showcase_leaves_the_whole_file_for_the_holdout(routing: Settings, store: Store, tmp_path: Path) -> None:
    shown = labelled(tmp_path, "s.jsonl", range(100, 103))
    assert add(routing, store, labelled(tmp_path, "h.jsonl", range(8)), showcase=shown)[:2] == (8, 3)


def test_item_in_holdout_and_showcase_is_refused_before_anything_is_written(
    routing: Settings, store: Store, tmp_path: Path
) -> None:
    shown = labelled(tmp_path, "s.jsonl", range(7, 9))
    with pytest.raises(HoldoutTouched, match="1 items stand in the holdout and in the showcase"):
        add(routing, store, labelled(tmp_path, "h.jsonl", range(8)), showcase=shown)
    assert not (routing.repo / "data" / "routing").exists()


def test_label_outside_the_schema_stops_with_file_and_line(routing: Settings, store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match=r"^h\.jsonl:1: .*'boats' is not in the schema"):
        add(routing, store, labelled(tmp_path, "h.jsonl", range(2), expected="boats"))
    assert not (routing.repo / "data" / "routing").exists()


def test_empty_file_is_refused(routing: Settings, store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no items"):
        add(routing, store, labelled(tmp_path, "h.jsonl", range(0)))


def test_missing_file_is_named(routing: Settings, store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.jsonl"):
        add(routing, store, tmp_path / "nothing.jsonl")


def test_expected_answers_never_enter_git(routing: Settings, store: Store, tmp_path: Path) -> None:
    add(routing, store, labelled(tmp_path, "h.jsonl", range(8)))
    commit = git.commit_working_tree(routing.repo, "m")
    assert subprocess.run(["git", "grep", "-q", "text 1", commit], cwd=routing.repo, check=False).returncode == 1

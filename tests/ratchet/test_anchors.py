"""A checkpoint outside finds what the owner of the ledger did to it, also with the machine's own key in hand."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ratchet import git
from ratchet.anchors import anchored, checkpoint_and_anchor, read_anchor, write_anchor
from ratchet.errors import BadInput, LedgerBroken
from ratchet.ledger import Ledger, read_export, table, write_export
from ratchet.settings import Settings
from ratchet.store import Store
from tests.released import AT


class Desk:
    """A ledger of five entries, and the settings with an S3 and a clone whose remote is `outside`."""

    def __init__(self, settings: Settings, store: Store, folder: Path) -> None:
        self.settings, self.store, self.folder = settings, store, folder
        self.ledger = Ledger(store.engine)
        for number in range(5):
            self.ledger.append("moved", "rollout_1", number=number)
        bucket = str(settings.store_uri).split("/")[2]
        self.targets = {"file": f"file:{folder / 'usb'}", "s3": f"s3://{bucket}/audit", "git": "git-tag:outside"}

    def checkpoint(self, target: str) -> str:
        path = self.ledger.checkpoint(self.settings.ledger_key, self.settings.checkpoints_dir)
        return write_anchor(target, path, self.settings)

    def verify(self, target: str) -> int:
        folder = self.folder / "read"
        shutil.rmtree(folder, ignore_errors=True)
        read_anchor(target, self.settings, folder)
        return self.ledger.verify(folder, self.settings.ledger_key.with_suffix(".pub")).checkpoints

    def change(self, *statements: sa.Executable) -> None:
        with self.store.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    def rewrite(self) -> None:
        """Somebody with the database and the machine's key makes a new history, checkpoints and all."""
        self.change(sa.delete(table))
        shutil.rmtree(self.settings.checkpoints_dir)
        for number in range(7):
            self.ledger.append("moved", "rollout_1", number=number * 2)
        self.ledger.checkpoint(self.settings.ledger_key, self.settings.checkpoints_dir)
        assert self.ledger.verify(self.settings.checkpoints_dir, self.settings.ledger_key.with_suffix(".pub"))


@pytest.fixture
def desk(s3: Settings, tmp_path: Path) -> Iterator[Desk]:
    git.run(tmp_path, "init", "-q", "--bare", str(tmp_path / "remote.git"))
    git.run(tmp_path, "init", "-q", "-b", "main", ".")
    git.run(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    git.run(tmp_path, "remote", "add", "outside", str(tmp_path / "remote.git"))
    store = Store(s3.database_url)
    yield Desk(s3, store, tmp_path)
    store.close()


@pytest.mark.parametrize("kind", ["file", "s3", "git"])
def test_a_whole_ledger_agrees_with_its_anchor(desk: Desk, kind: str) -> None:
    target = desk.targets[kind]
    assert desk.checkpoint(target) == desk.checkpoint(target)  # nothing new is no error
    desk.ledger.append("moved", "rollout_1", number=9)
    desk.checkpoint(target)
    assert desk.verify(target) == 2


@pytest.mark.parametrize("kind", ["file", "s3", "git"])
def test_entries_cut_off_are_found(desk: Desk, kind: str) -> None:
    desk.checkpoint(desk.targets[kind])
    desk.change(sa.delete(table).where(table.c.seq > 3))
    shutil.rmtree(desk.settings.checkpoints_dir)
    assert desk.ledger.verify().entries == 3  # by itself the chain looks whole
    with pytest.raises(LedgerBroken, match="entry 4 is missing"):
        desk.verify(desk.targets[kind])


@pytest.mark.parametrize("kind", ["file", "s3", "git"])
def test_a_ledger_rewritten_with_the_machines_own_key_is_found(desk: Desk, kind: str) -> None:
    desk.checkpoint(desk.targets[kind])
    desk.rewrite()
    with pytest.raises(LedgerBroken, match="entry 5 is not the one"):
        desk.verify(desk.targets[kind])


def test_a_rewritten_checkpoint_cannot_take_an_anchors_place(desk: Desk) -> None:
    for kind in ("file", "s3", "git"):
        desk.checkpoint(desk.targets[kind])
    path = desk.settings.checkpoints_dir / "checkpoint-000000000005.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "0" * 64}))
    for target in desk.targets.values():
        with pytest.raises(LedgerBroken, match="another checkpoint of the same number"):
            write_anchor(target, path, desk.settings)


def test_a_local_tag_that_was_deleted_is_still_on_the_remote(desk: Desk) -> None:
    desk.checkpoint("git-tag:outside")
    git.run(desk.folder, "tag", "-d", "ratchet-ledger/000000000005")
    assert desk.verify("git-tag:outside") == 1


@pytest.mark.parametrize("kind", ["file", "s3", "git"])
def test_an_empty_anchor_is_no_success(desk: Desk, kind: str) -> None:
    with pytest.raises(LedgerBroken, match="holds no checkpoint"):
        desk.verify(desk.targets[kind])


@pytest.mark.parametrize("target", ["", "ftp://x", "file:", "s3:", "git-tag:--upload-pack=x", "usb"])
def test_what_is_no_anchor_is_told(desk: Desk, target: str) -> None:
    with pytest.raises(BadInput):
        read_anchor(target, desk.settings, desk.folder / "read")


def test_an_export_is_verified_elsewhere_and_against_an_anchor(desk: Desk, tmp_path: Path) -> None:
    desk.checkpoint(desk.targets["file"])
    assert write_export(desk.ledger, tmp_path / "l.jsonl").entries == 5
    desk.store, desk.ledger = Store("sqlite://"), read_export(tmp_path / "l.jsonl", Store("sqlite://").engine)
    assert desk.verify(desk.targets["file"]) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[:3] + lines[4:], "entry 4 is missing"),
        (lambda lines: [lines[0].replace('"number":0', '"number":7'), *lines[1:]], "entry 1 is broken"),
        (lambda lines: [*lines, lines[0]], "twice"),
    ],
)
def test_an_export_that_was_changed_is_found(desk: Desk, tmp_path: Path, change, told: str) -> None:
    write_export(desk.ledger, tmp_path / "l.jsonl")
    (tmp_path / "l.jsonl").write_text("\n".join(change((tmp_path / "l.jsonl").read_text().splitlines())))
    with pytest.raises(LedgerBroken, match=told):
        read_export(tmp_path / "l.jsonl", Store("sqlite://").engine).verify()


def test_each_checkpoint_goes_to_every_anchor_that_lacks_it(desk: Desk) -> None:
    settings = dataclasses.replace(desk.settings, anchors=tuple(desk.targets.values()))
    assert checkpoint_and_anchor(desk.ledger, settings, now=AT) == {}
    desk.ledger.append("moved", "rollout_1", number=9)
    assert checkpoint_and_anchor(desk.ledger, settings, now=AT) == {}
    assert [desk.verify(target) for target in desk.targets.values()] == [2, 2, 2]


def test_an_anchor_that_fails_is_told_stops_no_other_and_is_tried_again(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "away").write_text("a file where a folder should be")
    settings = dataclasses.replace(desk.settings, anchors=(f"file:{tmp_path}/away", desk.targets["file"]))
    failed = checkpoint_and_anchor(desk.ledger, settings, now=AT)
    assert list(failed) == [f"file:{tmp_path}/away"] and desk.verify(desk.targets["file"]) == 1
    assert anchored(settings)[f"file:{tmp_path}/away"].error
    (tmp_path / "away").unlink()
    assert checkpoint_and_anchor(desk.ledger, settings, now=AT) == {}
    assert desk.verify(f"file:{tmp_path}/away") == 1

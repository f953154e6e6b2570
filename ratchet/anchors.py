"""Anchors: places outside where signed checkpoints of the ledger are kept, so that its owner cannot take them back.

`file:FOLDER` (another machine's disk, mounted), `s3://bucket/prefix` (with object lock on the bucket, nobody can
replace one before its time), `git-tag` (annotated tags ratchet-ledger/<entry> in the clone), `git-tag:REMOTE` (pushed).
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from ratchet import git
from ratchet.buckets import open_bucket
from ratchet.errors import BadInput, LedgerBroken, RatchetError, StaleRecord
from ratchet.files import read_json, write_json, write_whole
from ratchet.ledger import Ledger
from ratchet.settings import Settings

TAGS = "refs/tags/ratchet-ledger/"
FETCHED = "refs/ratchet/anchors/"


class Anchored(BaseModel):
    """How the last copy to an anchor went: which checkpoint lies there since when, and why a newer one does not."""

    checkpoint: str | None = None
    at: datetime | None = None
    error: str | None = None


def checkpoint_and_anchor(ledger: Ledger, settings: Settings, *, now: datetime) -> dict[str, str]:
    """Sign the ledger's newest entry and copy the checkpoint to every anchor of the settings that lacks it.

    An anchor that cannot be written stops nothing: it is told here and by `ratchet status`, and tried again next time.

    Returns:
        Why, by anchor, for those that failed.

    Raises:
        LedgerBroken, NothingNew: as `Ledger.checkpoint`.
    """
    path = ledger.checkpoint(settings.ledger_key, settings.checkpoints_dir)
    known = anchored(settings)
    found = {target: _copy(target, path, settings, known.get(target, Anchored()), now) for target in settings.anchors}
    if found != known:
        write_json(_standing(settings), {name: one.model_dump(mode="json") for name, one in found.items()})
    return {target: one.error for target, one in found.items() if one.error is not None}


def anchored(settings: Settings) -> dict[str, Anchored]:
    """How the last copy to each anchor went; empty where none was tried yet."""
    path = _standing(settings)
    return {name: Anchored.model_validate(one) for name, one in read_json(path).items()} if path.is_file() else {}


def write_anchor(target: str, checkpoint: Path, settings: Settings) -> str:
    """Copy a checkpoint out. Returns where it is now; one that is there already is left, and must be the same.

    Raises:
        BadInput: the target is none of those above.
        LedgerBroken: another checkpoint of the same number is there.
    """
    content = checkpoint.read_bytes()
    kind, where = _parse(target)
    if kind == "file":
        path = Path(where) / checkpoint.name
        if not path.exists():
            write_whole(path, content)
        return _same(str(path), path.read_bytes(), content)
    if kind == "s3":
        bucket = open_bucket(target, settings)
        try:
            bucket.swap(checkpoint.name, content, before=None)
        except StaleRecord:
            found = bucket.get(checkpoint.name)
            return _same(bucket.uri(checkpoint.name), found.content if found else b"", content)
        return bucket.uri(checkpoint.name)
    tag = f"{TAGS}{checkpoint.stem.removeprefix('checkpoint-')}"
    if not git.run(settings.repo, "for-each-ref", tag):
        short = tag.removeprefix("refs/tags/")
        git.run(settings.repo, "tag", "-a", "-m", json.dumps(json.loads(content)), short, "HEAD")
    _same(tag, _tagged(settings.repo, tag), content)
    if where:
        git.run(settings.repo, "push", "-q", where, tag)
    return f"{where + ': ' if where else ''}{tag}"


def read_anchor(target: str, settings: Settings, folder: Path) -> int:
    """Bring an anchor's checkpoints into a folder, for `Ledger.verify`. Returns how many.

    Raises:
        LedgerBroken: it holds none, which would let any ledger pass.
    """
    kind, where = _parse(target)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, bytes] = {}
    if kind == "file":
        found = {path.name: path.read_bytes() for path in Path(where).glob("checkpoint-*.json")}
    elif kind == "s3":
        bucket = open_bucket(target, settings)
        objects = {key: bucket.get(key) for key in bucket.list("checkpoint-")}
        found = {key: one.content for key, one in objects.items() if one}
    else:
        refs = TAGS
        if where:  # what the remote has, not what this clone has
            refs = f"{FETCHED}{where}/"
            git.run(settings.repo, "fetch", "-q", "--no-tags", where, f"+{TAGS}*:{refs}*")
        for ref in git.run(settings.repo, "for-each-ref", "--format=%(refname)", refs).splitlines():
            found[f"checkpoint-{ref.rpartition('/')[2]}.json"] = _tagged(settings.repo, ref)
    for name, content in found.items():
        write_whole(folder / name, content)
    if not found:
        raise LedgerBroken(f"{target} holds no checkpoint: it was emptied, or nothing was anchored there yet")
    return len(found)


def _copy(target: str, path: Path, settings: Settings, before: Anchored, now: datetime) -> Anchored:
    if before.checkpoint == path.name and before.error is None:
        return before
    try:
        write_anchor(target, path, settings)
    except (RatchetError, OSError) as error:
        return before.model_copy(update={"error": str(error)[:300]})
    return Anchored(checkpoint=path.name, at=now)


def _standing(settings: Settings) -> Path:
    return settings.checkpoints_dir / "anchored.json"


def _parse(target: str) -> tuple[str, str]:
    kind, _, where = target.partition(":")
    if kind in ("file", "s3") and where:
        return kind, where
    if kind == "git-tag" and not where.startswith("-"):
        return kind, where
    raise BadInput(f"{target!r} is no anchor; give file:FOLDER, s3://bucket/prefix, git-tag or git-tag:REMOTE")


def _same(where: str, there: bytes, content: bytes) -> str:
    if json.loads(there or b"null") != json.loads(content):
        raise LedgerBroken(f"{where} is another checkpoint of the same number: a ledger was rewritten, here or there")
    return where


def _tagged(repo: Path, ref: str) -> bytes:
    return git.run(repo, "for-each-ref", "--format=%(contents)", ref).encode()

"""Anchors: places outside where signed checkpoints of the ledger are kept, so that its owner cannot take them back.

`file:FOLDER` (another machine's disk, mounted), `s3://bucket/prefix` (with object lock on the bucket, nobody can
replace one before its time), `git-tag` (annotated tags ratchet-ledger/<entry> in the clone), `git-tag:REMOTE` (pushed).
"""

from __future__ import annotations

import json
from pathlib import Path

from ratchet import git
from ratchet.buckets import open_bucket
from ratchet.errors import BadInput, LedgerBroken, StaleRecord
from ratchet.files import write_whole
from ratchet.settings import Settings

TAGS = "refs/tags/ratchet-ledger/"
FETCHED = "refs/ratchet/anchors/"


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

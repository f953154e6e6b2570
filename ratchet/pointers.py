"""Where channels are kept: pointer files in a folder, or objects on S3. Both swap a pointer as one step, or not at all.

A pointer is changed inside `changing(name)`, which says what is there and writes what comes after it, with the move
that led there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from ratchet.buckets import Bucket, Found
from ratchet.errors import StaleChannel, StaleRecord
from ratchet.files import canonical_json, locked, sync_folder, write_whole

FORMER = "history/"


class Move(NamedTuple):
    """One entry of a channel's history; `share` is the canary's, `inherits` says that it was let go again.

    `shadow` is the release that requests were mirrored to, `held_back` the one that a share of the users stayed on.
    """

    version: int
    stable: str
    canary: str | None
    by: str
    reason: str
    at: str
    share: float | None = None
    inherits: bool = False
    shadow: str | None = None
    held_back: tuple[str, float] | None = None


class Change(NamedTuple):
    """A pointer as it was found (JSON; None where there is none), and the way to write what comes after it."""

    before: str | None
    write: Callable[[str, Move | None], None]


class Pointers(Protocol):
    """Pointers by the name of their channel."""

    def names(self) -> list[str]:
        """The channels that have a pointer, sorted."""

    def read(self, name: str) -> str | None:
        """A pointer's JSON."""

    def changing(self, name: str) -> AbstractContextManager[Change]:
        """Change a pointer; `write` raises StaleChannel where another process came first."""

    def moves(self, name: str) -> list[Move]:
        """What was written as moves, oldest first; perhaps with one at the end that never came to be."""


class FolderPointers:
    """<name>.json, and <name>.history.jsonl beside it; a lock file keeps a second writer waiting."""

    def __init__(self, folder: Path) -> None:
        """The folder is made on the first change."""
        self.folder = folder

    def path(self, name: str) -> Path:
        """A pointer's file; each change replaces it, so inode and time tell a reader that it moved."""
        return self.folder / f"{name}.json"

    def names(self) -> list[str]:
        """The channels that have a pointer file."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    def read(self, name: str) -> str | None:
        """A pointer file's text."""
        try:
            return self.path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    @contextmanager
    def changing(self, name: str) -> Iterator[Change]:
        """Hold the lock, as long as the block lasts."""
        with locked(self.folder / f".{name}.lock"):
            yield Change(self.read(name), lambda text, move: self._write(name, text, move))

    def moves(self, name: str) -> list[Move]:
        """The lines of the history file that are whole."""
        path = self.folder / f"{name}.history.jsonl"
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
        return [move for move in map(_parse, lines) if move]

    def _write(self, name: str, text: str, move: Move | None) -> None:
        # History first, then the pointer. A crash in between leaves an entry with a version that never came to be;
        # the channel's history leaves it out, and the next move of that version replaces it.
        if move is not None:
            with (self.folder / f"{name}.history.jsonl").open("a", encoding="utf-8") as file:
                # It begins a line of its own: one torn by a kill has no end, and would swallow this one.
                file.write("\n" + canonical_json(move._asdict()) + "\n")
                file.flush()
                os.fsync(file.fileno())
        write_whole(self.path(name), text)
        sync_folder(self.folder)


class BucketPointers:
    """<name>.json on S3, swapped by conditional PUT; a pointer that is replaced was archived under its version first.

    So the history is whole whatever dies when: what a version was is settled before anybody can come after it, and
    two writers that archive it write the same.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def names(self) -> list[str]:
        """The channels that have an object."""
        return sorted(self.etags())

    def etags(self) -> dict[str, str]:
        """The channels with the ETags of their pointers."""
        found = self._bucket.list()
        return {key.removesuffix(".json"): etag for key, etag in found.items() if "/" not in key}

    def read(self, name: str) -> str | None:
        """The pointer inside the object."""
        found = self._bucket.get(f"{name}.json")
        return _pointer_in(found) if found else None

    @contextmanager
    def changing(self, name: str) -> Iterator[Change]:
        """Nothing is held: `write` fails where the object has changed since it was read."""
        found = self._bucket.get(f"{name}.json")
        before = _pointer_in(found) if found else None
        yield Change(before, lambda text, move: self._write(name, found, text, move))

    def moves(self, name: str) -> list[Move]:
        """The archived moves, then the present one."""
        keys = [*self._bucket.list(f"{FORMER}{name}/"), f"{name}.json"]
        found = [self._bucket.get(key) for key in keys]
        return [Move(**json.loads(one.content)["move"]) for one in found if one]

    def _write(self, name: str, found: Found | None, text: str, move: Move | None) -> None:
        former = json.loads(found.content)["move"] if found else {}
        if found is not None and move is not None:
            self._bucket.put(f"{FORMER}{name}/{former['version']:010d}.json", found.content)
        document = {"pointer": json.loads(text), "move": move._asdict() if move else former}
        try:
            content = canonical_json(document).encode()
            self._bucket.swap(f"{name}.json", content, before=found.etag if found else None)
        except StaleRecord as error:
            raise StaleChannel(f"channel {name} was moved by another process; read it again") from error


def mirror(source: BucketPointers, folder: Path, seen: dict[str, str]) -> int:
    """Bring pointers that changed from S3 into a folder, for readers that cannot wait for S3. Returns how many.

    Args:
        seen: the ETags of the last call; changed in place.
    """
    changed = 0
    target = FolderPointers(folder)
    for name, etag in source.etags().items():
        if seen.get(name) != etag:
            pointer = source.read(name)
            if pointer is not None:
                write_whole(target.path(name), pointer)
                seen[name] = etag  # of the listing: a change since then is seen by the next call
                changed += 1
    return changed


def _pointer_in(found: Found) -> str:
    return json.dumps(json.loads(found.content)["pointer"])


def _parse(line: str) -> Move | None:
    try:
        return Move(**json.loads(line))
    except (ValueError, TypeError):  # the torn line of a writer that was killed
        return None

"""Recorded answers: what a model server said to a request, kept by content so that nothing is asked twice.

One append-only JSONL file per server and feature in RATCHET_HOME/answers. Only answers stand in it, under the digest of
what was asked.
The folder may be deleted at any time, and must be where another model came to stand behind the same address.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ratchet.files import canonical_json, digest_tree, sha256_text
from ratchet.llm import ROOT, Answer
from ratchet.release import Release
from ratchet.settings import Settings

FIELDS = ("text", "input_tokens", "output_tokens", "latency_ms", "finish_reason")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class AnswerLog:
    """The folder of recorded answers of one model server.

    Attributes:
        folder: where its files lie; made on the first answer.
        recalls: False asks everything anew, and still records it.
    """

    folder: Path
    recalls: bool = True

    def recall(self, feature: str, requests: Collection[str]) -> dict[str, Answer]:
        """The recorded answers to requests, by their digest; a line that a crash tore is as good as none."""
        path, wanted, found = self._path(feature), frozenset(requests), {}
        if not self.recalls or not path.is_file():
            return {}
        with path.open("rb") as file:
            for line in file:
                request, answer = _parse(line)
                if answer is not None and request in wanted:
                    found[request] = answer
        return found

    @contextmanager
    def recording(self, feature: str) -> Iterator[Callable[[str, Answer], None]]:
        """Yield a function that appends the answer to a request at once; a failed one is not recorded."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(feature)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # or the next line would be lost with the torn one
                os.write(descriptor, b"\n")

            def keep(request: str, answer: Answer) -> None:
                if not answer.error:
                    os.write(descriptor, _line(request, answer))  # one write: lines of two processes never mix

            yield keep
        finally:
            os.close(descriptor)

    def adopt(self, feature: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Record the answers of an evaluation elsewhere (rows of its answers.parquet). Returns how many were new."""
        given = {row["request"]: row for row in rows if row["output"] is not None}
        known = self.recall(feature, given)
        with self.recording(feature) as keep:
            for request in sorted(given.keys() - known.keys()):
                row = given[request]
                tokens = row["input_tokens"], row["output_tokens"]
                keep(request, Answer(row["output"], *tokens, row.get("latency_ms", 0.0), row["finish_reason"]))
        return len(given) - len(known)

    def _path(self, feature: str) -> Path:
        return self.folder / f"{feature}.jsonl"


def answer_log(settings: Settings, *, recalls: bool = True) -> AnswerLog:
    """The log of this clone, for the model server that the settings name or that a stage starts."""
    address = settings.modelserver_url if settings.modelserver_is_given else "embedded"
    is_ours = address == "embedded" or urlsplit(address).hostname in LOOPBACK
    # What our own server answers changes with its code; a hosted one's answers must outlive a new version of it.
    code = {name: digest for name, digest in digest_tree(ROOT / "modelserver").items() if name.endswith(".py")}
    server = sha256_text(canonical_json([address, code if is_ours else None]))[:16]
    return AnswerLog(settings.home / "answers" / server, recalls)


def judge_log(settings: Settings) -> AnswerLog:
    """The log of the judge that the settings name."""
    return AnswerLog(settings.home / "answers" / sha256_text(canonical_json(["judge", settings.judge_url]))[:16])


def request_digest(release: Release, body: Mapping[str, Any], repeat: int) -> str:
    """The digest of what decides an answer: the weights, the request but the model's name, the repeat number."""
    weights = [release.base_model.digest, release.adapter.digest if release.adapter else None]
    asked = {name: value for name, value in body.items() if name != "model"}
    return sha256_text(canonical_json([weights, asked, repeat]))


def _line(request: str, answer: Answer) -> bytes:
    said = {name: value for name, value in asdict(answer).items() if name in FIELDS}
    return (json.dumps({"request": request, **said}, separators=(",", ":")) + "\n").encode()


def _parse(line: bytes) -> tuple[str, Answer | None]:
    try:
        row = json.loads(line)
        return row["request"], Answer(**{name: row[name] for name in FIELDS})
    except (ValueError, KeyError, TypeError):
        return "", None

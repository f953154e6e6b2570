"""Action: interactions and feedback from the objects below an S3 prefix, in any format that `ratchet import` knows.

An object is noted by key and etag once all of it is stored, so the next pull reads only what is new or changed; one
that cannot be read is counted, and tried again by the next pull. Objects go through a temporary file one at a time, so
memory stays bounded whatever their size.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.buckets import s3_client
from ratchet.errors import BadInput, SourceUnreachable
from ratchet.features import Feature
from ratchet.files import sha256_text
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.import_records import import_file
from tasks.pull import OnProgress, PullReport, move_progress, progress_of

URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
CHUNK = 1 << 20


class _Pull(NamedTuple):
    client: Any
    store: Store
    feature: str
    format: str
    rejects: Path


class _Object(NamedTuple):
    bucket: str
    key: str
    etag: str

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def pull_s3(
    settings: Settings,
    store: Store,
    feature: Feature,
    uri: str | None = None,
    *,
    format: str = "auto",
    on_progress: OnProgress = lambda n: None,
) -> PullReport:
    """Read each new object below `uri` (the feature's own source unless given).

    Raises:
        BadInput: no uri is given or known, or it is none.
        SourceUnreachable: S3 does not answer or refuses us; objects read before are stored and noted.
    """
    source = feature.sources.s3
    uri, format = uri or (source.uri if source else ""), source.format if source and uri is None else format
    match = URI.fullmatch(uri)
    if match is None:
        raise BadInput(f"{uri!r} is no s3://bucket/prefix; give one, or set sources.s3.uri in feature.yaml")
    from botocore.exceptions import BotoCoreError, ClientError

    pull = _Pull(s3_client(settings), store, feature.name, format, settings.home / "imports" / f"{feature.name}.s3")
    report = PullReport()
    try:
        for found in _objects(pull.client, match[1], match[2] or ""):
            noted = progress_of(store, found.place, feature.name)
            if noted is not None and noted.body == {"etag": found.etag}:
                report.unchanged += 1
            elif _take(pull, found, report):
                move_progress(store, found.place, feature.name, noted, {"etag": found.etag})
            on_progress(report.read)
    except (BotoCoreError, ClientError) as error:
        raise SourceUnreachable(f"{uri}: {_problem(error)}; objects read before are stored") from error
    return report


def _objects(client: Any, bucket: str, prefix: str) -> Iterator[_Object]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):  # a folder's marker, which holds nothing
                yield _Object(bucket, item["Key"], item["ETag"])


def _take(pull: _Pull, found: _Object, report: PullReport) -> bool:
    """Store an object's records. False where it cannot be read as a whole, which is counted."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", found.key.rpartition("/")[2])[-120:]
    rejects = pull.rejects / f"{sha256_text(found.place)[:12]}-{name}.rejects.jsonl"
    with tempfile.TemporaryDirectory(prefix="ratchet-s3-") as folder:
        path = Path(folder) / name
        try:
            _download(pull.client, found, path)
            done = import_file(
                pull.store,
                path,
                feature=pull.feature,
                rejects=rejects,
                format=pull.format,
                on_progress=lambda rows: None,
            )
        except BadInput as error:
            report.read += 1
            report.rejected["object: " + str(error).replace(f"{path}: ", "")] += 1
            return False
    report.add(done.records, done.accepted, done.known, done.rejected)
    report.rejects = pull.rejects if done.rejected else report.rejects
    return True


def _download(client: Any, found: _Object, path: Path) -> None:
    from botocore.exceptions import ClientError

    try:
        answer = client.get_object(Bucket=found.bucket, Key=found.key, IfMatch=found.etag)
    except ClientError as error:
        if _problem(error) in ("PreconditionFailed", "NoSuchKey"):
            raise BadInput("changed or removed while it was read; the next pull tries again") from error
        raise
    with path.open("wb") as file:
        for chunk in answer["Body"].iter_chunks(CHUNK):
            file.write(chunk)


def _problem(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)

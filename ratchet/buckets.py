"""S3 as releases, channels and anchors use it: objects below a prefix, written on a condition where it matters."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.errors import BadInput, SourceUnreachable, StaleRecord
from ratchet.outbound import choose_address
from ratchet.settings import Settings

URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
LOST = ("PreconditionFailed", "ConditionalRequestConflict")  # 412, and 409 where two conditional writes met
MISSING = ("NoSuchKey", "404")
WRITE_ID = "ratchet-write"  # of an object's metadata: which conditional write made it


class Found(NamedTuple):
    """An object and its ETag, which a conditional write names."""

    content: bytes
    etag: str


class Bucket:
    """The objects below a prefix; keys are given without it."""

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def below(self, folder: str) -> Bucket:
        """The objects of a folder of this prefix."""
        return Bucket(self._client, self._bucket, self._prefix + folder)

    def uri(self, key: str = "") -> str:
        """Where an object lies, for messages."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def get(self, key: str) -> Found | None:
        """An object; None where there is none."""
        with self._told(key, swallowed=MISSING):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return Found(answer["Body"].read(), answer["ETag"])
        return None

    def put(self, key: str, content: bytes) -> None:
        """Write an object, whatever was there."""
        with self._told(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def swap(self, key: str, content: bytes, *, before: str | None) -> None:
        """Write an object if its ETag is still `before`; None: if there is still no object.

        Raises:
            StaleRecord: somebody else wrote it first.
        """
        write_id = uuid.uuid4().hex
        fields: dict[str, Any] = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before}
        fields |= {"Bucket": self._bucket, "Key": self._prefix + key, "Metadata": {WRITE_ID: write_id}}
        try:
            with self._told(key, lost=LOST + MISSING):
                self._client.put_object(Body=content, **fields)
        except StaleRecord:
            # The client tries again where the answer to its first try got lost, and is told that it comes too late: by
            # itself. A caller that believed it would make its move a second time.
            if not self._is_of(key, write_id):
                raise

    def list(self, folder: str = "") -> dict[str, str]:
        """Keys that begin with `folder`, with their ETags, sorted."""
        found: dict[str, str] = {}
        with self._told(folder):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + folder):
                for item in page.get("Contents", []):
                    found[item["Key"].removeprefix(self._prefix)] = item["ETag"]
        return dict(sorted(found.items()))

    def download(self, key: str, path: Path) -> None:
        """Bring an object, however large, into a file."""
        with self._told(key):
            self._client.download_file(self._bucket, self._prefix + key, str(path))

    def upload(self, path: Path, key: str) -> None:
        """Write a file, however large, to an object."""
        with self._told(key):
            self._client.upload_file(str(path), self._bucket, self._prefix + key)

    def _is_of(self, key: str, write_id: str) -> bool:
        with self._told(key, swallowed=MISSING):
            answer = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            return bool(answer["Metadata"].get(WRITE_ID) == write_id)
        return False

    @contextmanager
    def _told(self, key: str, *, swallowed: Sequence[str] = (), lost: Sequence[str] = LOST) -> Iterator[None]:
        """Errors of S3 as ours; those `swallowed` end the block without one."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in lost:
                raise StaleRecord(f"{self.uri(key)} was written by another process first") from error
            if code not in swallowed:
                raise SourceUnreachable(f"{self.uri(key)}: {code}") from error
        except (BotoCoreError, Boto3Error) as error:
            raise SourceUnreachable(f"{self.uri(key)}: {type(error).__name__}") from error


def open_bucket(uri: str, settings: Settings) -> Bucket:
    """The objects below s3://bucket/prefix.

    Raises:
        BadInput: it is no such address.
    """
    match = URI.fullmatch(uri)
    if match is None:
        raise BadInput(f"{uri!r} is not allowed; give s3://bucket/prefix")
    return Bucket(s3_client(settings), match[1], match[2] or "")


def s3_client(settings: Settings) -> Any:
    """A client of the S3 that the settings name; thread-safe, as boto3's clients are."""
    import boto3
    from botocore.config import Config

    if settings.s3_endpoint is not None:
        choose_address(settings.s3_endpoint, allow_private=settings.private_is_allowed)
    config = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
    return boto3.client("s3", endpoint_url=settings.s3_endpoint, config=config)

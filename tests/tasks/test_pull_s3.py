from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ratchet.errors import AddressRefused, BadInput, SourceUnreachable
from ratchet.features import Feature
from ratchet.settings import Settings
from ratchet.store import Store, open_store
from tasks.pull import PullReport
from tasks.pull_s3 import pull_s3
from tests.conftest import POLICY

FEATURE = Feature.model_validate(POLICY | {"sources": {"s3": {"uri": "s3://logs/chat/"}}})


def line(number: int, text: str = "hi") -> bytes:
    asked = {"messages": [{"role": "user", "content": text}]}
    row = {"interaction_id": f"i{number}", "at": "2026-01-01T00:00:00Z", "input": asked, "output": {"content": "x"}}
    return json.dumps(row).encode() + b"\n"


@pytest.fixture
def settings(s3_environ: dict[str, str]) -> Settings:
    return Settings.from_env(s3_environ)


@pytest.fixture
def bucket(settings: Settings) -> Iterator[Any]:
    made = boto3.resource("s3", endpoint_url=settings.s3_endpoint).create_bucket(Bucket="logs")
    yield made
    made.objects.delete()
    made.delete()


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings.database_url) as opened:
        yield opened


def pull(settings: Settings, store: Store, uri: str | None = None, **more: Any) -> PullReport:
    return pull_s3(settings, store, FEATURE, uri, **more)


def test_each_object_is_read_once(settings: Settings, bucket: Any, store: Store) -> None:
    bucket.put_object(Key="chat/", Body=b"")
    bucket.put_object(Key="chat/a.jsonl", Body=line(1) + line(2))
    bucket.put_object(Key="chat/2026/b.jsonl.gz", Body=gzip.compress(line(3)))
    bucket.put_object(Key="other/c.jsonl", Body=line(4))
    first, again = pull(settings, store), pull(settings, store)
    assert (first.read, first.accepted, first.unchanged) == (3, 3, 0)
    assert (again.read, again.unchanged) == (0, 2)
    assert [i.interaction_id for _, i in store.interactions("routing")] == ["i3", "i1", "i2"]


def test_a_changed_object_adds_what_is_new_in_it(settings: Settings, bucket: Any, store: Store) -> None:
    bucket.put_object(Key="chat/a.jsonl", Body=line(1))
    pull(settings, store)
    bucket.put_object(Key="chat/a.jsonl", Body=line(1) + line(2))
    report = pull(settings, store)
    assert (report.accepted, report.known, report.unchanged) == (1, 1, 0)


def test_bad_rows_and_bad_objects_are_counted_and_the_rest_goes_on(
    settings: Settings, bucket: Any, store: Store
) -> None:
    bucket.put_object(Key="chat/a.jsonl", Body=b"{\n" + line(1))
    bucket.put_object(Key="chat/b.bin", Body=b'{"colour": "red"}\n')
    bucket.put_object(Key="chat/c.jsonl.gz", Body=gzip.compress(line(2) * 50)[:-9])
    bucket.put_object(Key="chat/\u00e9 ?.jsonl", Body=line(3))
    report = pull(settings, store)
    assert report.read == report.accepted + report.known + sum(report.rejected.values())
    assert report.rejected["object: its first rows are like no format that is known; name one with --format"] == 1
    assert {"i1", "i3"} <= {i.interaction_id for _, i in store.interactions("routing")}
    assert report.rejects is not None and len(list(report.rejects.iterdir())) == 2
    assert pull(settings, store).unchanged == 3  # what could not be read as a whole is tried again


def test_a_pull_that_ends_between_storing_and_noting_adds_nothing_twice(
    settings: Settings, bucket: Any, store: Store
) -> None:
    bucket.put_object(Key="chat/a.jsonl", Body=line(1))

    def killed(read: int) -> None:
        raise KeyboardInterrupt

    bucket.put_object(Key="chat/b.jsonl", Body=line(2))
    with pytest.raises(KeyboardInterrupt):
        pull(settings, store, on_progress=killed)
    report = pull(settings, store)
    assert (report.accepted, report.unchanged) == (1, 1)


@pytest.mark.parametrize("uri", ["", "http://logs/x", "s3://UPPER/x", "s3://"])
def test_what_is_no_uri_is_refused(settings: Settings, store: Store, uri: str) -> None:
    with pytest.raises(BadInput, match="s3://bucket/prefix"):
        pull_s3(settings, store, Feature.model_validate(POLICY), uri or None)


def test_a_bucket_that_is_not_there_is_told(settings: Settings, store: Store) -> None:
    with pytest.raises(SourceUnreachable, match="NoSuchBucket"):
        pull(settings, store, "s3://nothing-here/")


def test_a_private_endpoint_is_refused_unless_allowed(tmp_path: Path, s3_endpoint: str, store: Store) -> None:
    environ = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path), "RATCHET_S3_ENDPOINT": s3_endpoint}
    with pytest.raises(AddressRefused):
        pull(Settings.from_env(environ), store)

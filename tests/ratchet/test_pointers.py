"""Channels on S3 behave as those in a folder do, and come to a folder for readers that cannot wait."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

import pytest

from benchmarks.faulty_s3 import FaultyProxy
from ratchet.buckets import open_bucket
from ratchet.channels import Canary, Channels, Freeze
from ratchet.errors import ChannelFrozen, ReleaseNotFound, SourceUnreachable, StaleChannel, StaleRecord
from ratchet.pointers import BucketPointers, FolderPointers, mirror
from ratchet.settings import Settings
from tests.released import AT

TOLD = {"at": AT, "by": "ana", "reason": "why"}


def canary(share: float) -> Canary:
    return Canary(release_id="rel_b", share=share, salt="s", rollout_id="ro")


@pytest.fixture
def channels(s3: Settings) -> Channels:
    found = Channels.of(s3)
    found.begin("routing", "rel_a", **TOLD)
    return found


def test_moves_count_the_version_and_the_history_is_whole(channels: Channels) -> None:
    channels.move("routing", stable="rel_a", canary=canary(0.2), expected_version=1, **TOLD)
    channels.move("routing", stable="rel_b", canary=None, expected_version=2, **TOLD)
    assert (channels.read("routing").stable, channels.read("routing").version) == ("rel_b", 3)
    assert [(m.version, m.stable, m.canary) for m in channels.history("routing")] == [
        (1, "rel_a", None),
        (2, "rel_a", "rel_b"),
        (3, "rel_b", None),
    ]


def test_begin_twice_keeps_what_is_there(channels: Channels) -> None:
    assert channels.begin("routing", "rel_z", **TOLD).stable == "rel_a"
    assert (channels.features(), channels.names()) == (["routing"], ["routing"])


def test_a_feature_without_a_channel_is_release_not_found(channels: Channels) -> None:
    with pytest.raises(ReleaseNotFound, match="other has no release"):
        channels.read("other")


def test_a_writer_that_read_before_another_wrote_is_stale(s3: Settings, channels: Channels) -> None:
    pointers = BucketPointers(open_bucket(str(s3.store_uri), s3).below("channels"))
    with pytest.raises(StaleChannel, match="read it again"), pointers.changing("routing") as late:
        channels.move("routing", stable="rel_b", canary=None, expected_version=1, **TOLD)
        late.write('{"stable": "rel_late", "version": 2}', channels.history("routing")[-1])
    assert channels.read("routing").stable == "rel_b"
    assert [m.stable for m in channels.history("routing")] == ["rel_a", "rel_b"]


def test_of_six_threads_that_race_one_wins_each_version(s3: Settings, channels: Channels) -> None:
    wins: list[int] = []

    def race() -> None:
        while (version := channels.read("routing").version) < 6:
            try:
                channels.move("routing", stable=f"rel_{version}", canary=None, expected_version=version, **TOLD)
                wins.append(version + 1)
            except StaleChannel:
                continue

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(2, 7))
    assert [m.version for m in channels.history("routing")] == list(range(1, 7))


def test_a_mover_that_dies_after_archiving_leaves_no_trace_in_the_history(s3: Settings, channels: Channels) -> None:
    bucket = open_bucket(str(s3.store_uri), s3).below("channels")
    present = bucket.get("routing.json")
    assert present is not None
    bucket.put("history/routing/0000000001.json", present.content)
    assert [m.version for m in channels.history("routing")] == [1]
    channels.move("routing", stable="rel_b", canary=None, expected_version=1, **TOLD)
    assert [m.stable for m in channels.history("routing")] == ["rel_a", "rel_b"]


def test_frozen_on_s3_refuses_moves_and_takes_the_way_back(channels: Channels) -> None:
    channels.move("routing", stable="rel_b", canary=None, expected_version=1, **TOLD)
    channels.freeze("routing", Freeze(by="bob", reason="sale", at="2026"))
    with pytest.raises(ChannelFrozen):
        channels.move("routing", stable="rel_c", canary=None, expected_version=2, **TOLD)
    back = channels.move("routing", stable="rel_a", canary=None, expected_version=2, **TOLD)
    assert back.frozen is not None and [m.stable for m in channels.history("routing")] == ["rel_a", "rel_b", "rel_a"]


def test_pointers_come_to_a_folder_once_for_each_move(s3: Settings, channels: Channels) -> None:
    source, seen = BucketPointers(open_bucket(str(s3.store_uri), s3).below("channels")), {}
    copy = Channels(s3.channels_dir)
    assert (mirror(source, s3.channels_dir, seen), mirror(source, s3.channels_dir, seen)) == (1, 0)
    channels.move("routing", stable="rel_b", canary=canary(0.5), expected_version=1, **TOLD)
    assert mirror(source, s3.channels_dir, seen) == 1
    assert copy.read("routing") == channels.read("routing")
    assert FolderPointers(s3.channels_dir).names() == ["routing"]


def test_an_s3_that_does_not_answer_is_told(s3: Settings) -> None:
    gone = dataclasses.replace(s3, s3_endpoint="http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match="s3://"):
        Channels.of(gone).read("routing")


def test_a_conditional_write_to_an_object_that_is_gone_is_stale(s3: Settings) -> None:
    bucket = open_bucket(str(s3.store_uri), s3)
    with pytest.raises(StaleRecord):
        bucket.swap("nothing", b"x", before='"0123"')
    bucket.swap("something", b"x", before=None)
    with pytest.raises(StaleRecord):
        bucket.swap("something", b"y", before=None)
    assert bucket.get("nothing") is None and bucket.get("something") is not None


@pytest.fixture
def losing(s3: Settings) -> Iterator[Settings]:
    """The same S3 through a network that loses the answer to the first write that it carries out."""
    faults = iter(["lost"])
    proxy = FaultyProxy(str(s3.s3_endpoint), lambda method: next(faults, "passed") if method == "PUT" else "passed")
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield dataclasses.replace(s3, s3_endpoint=proxy.url)
    proxy.shutdown()
    thread.join()
    proxy.server_close()
    assert proxy.counts["lost"] == 1


def test_a_write_whose_answer_was_lost_is_no_other_writers(s3: Settings, losing: Settings) -> None:
    begun = Channels.of(losing).begin("routing", "rel_a", **TOLD)
    assert begun.version == Channels.of(s3).read("routing").version == 1
    with pytest.raises(StaleChannel):
        Channels.of(losing).move("routing", stable="rel_b", canary=None, expected_version=0, **TOLD)


def test_a_conditional_write_that_was_sent_twice_is_made_once(s3: Settings, losing: Settings) -> None:
    bucket, late = (open_bucket(str(one.store_uri), one).below("x") for one in (s3, losing))
    bucket.put("one", b"1")
    found = bucket.get("one")
    assert found is not None
    late.swap("one", b"2", before=found.etag)
    with pytest.raises(StaleRecord):
        late.swap("one", b"3", before=found.etag)
    now = bucket.get("one")
    assert now is not None and now.content == b"2"

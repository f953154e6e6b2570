import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratchet.channels import Canary, Channels, ChannelState, Freeze, assign, channel_name, channel_names
from ratchet.errors import BadInput, ChannelFrozen, ReleaseCorrupt, ReleaseNotFound, StaleChannel

AT = datetime(2026, 1, 2, tzinfo=UTC)


def canary(share: float = 0.2, salt: str = "s1") -> Canary:
    return Canary(release_id="rel_b", share=share, salt=salt, rollout_id="ro1")


def state(share: float, salt: str = "s1") -> ChannelState:
    return ChannelState(stable="rel_a", canary=canary(share, salt))


def move(channels: Channels, version: int, *, stable: str = "rel_a", by: str = "ana") -> ChannelState:
    return channels.move(
        "routing", stable=stable, canary=canary(), expected_version=version, at=AT, by=by, reason="why"
    )


@pytest.fixture
def channels(tmp_path: Path) -> Channels:
    found = Channels(tmp_path / "channels")
    found.begin("routing", "rel_a", at=AT, by="ana", reason="first")
    return found


def test_a_feature_without_a_channel_is_release_not_found(channels: Channels) -> None:
    with pytest.raises(ReleaseNotFound, match="other has no release"):
        channels.read("other")


def test_a_damaged_pointer_is_said_to_be_one(channels: Channels) -> None:
    channels.path("routing").write_text('{"stable": 1}')
    with pytest.raises(ReleaseCorrupt, match="is damaged"):
        channels.read("routing")


def test_a_move_counts_the_version(channels: Channels) -> None:
    assert move(channels, 1).version == 2
    assert channels.read("routing") == ChannelState(stable="rel_a", canary=canary(), version=2)


def test_a_move_from_an_old_version_is_stale(channels: Channels) -> None:
    move(channels, 1)
    with pytest.raises(StaleChannel, match="version 2, not 1"):
        move(channels, 1)


def test_begin_twice_keeps_what_is_there(channels: Channels) -> None:
    assert channels.begin("routing", "rel_z", at=AT, by="ana", reason="again").stable == "rel_a"
    assert channels.features() == ["routing"]


def test_of_eight_threads_that_race_one_wins_each_version(channels: Channels) -> None:
    wins: list[int] = []

    def race() -> None:
        while (version := channels.read("routing").version) < 8:
            try:
                wins.append(move(channels, version).version)
            except StaleChannel:
                continue

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(2, 9))
    assert [m.version for m in channels.history("routing")] == list(range(1, 9))


def test_history_tells_who_and_why(channels: Channels) -> None:
    move(channels, 1, by="bob")
    last = channels.history("routing")[-1]
    assert (last.version, last.by, last.reason, last.canary) == (2, "bob", "why", "rel_b")
    assert last.at == "2026-01-02T00:00:00+00:00"


def test_a_crash_between_history_and_pointer_is_harmless(channels: Channels) -> None:
    path = channels.folder / "routing.history.jsonl"
    lost = {"version": 2, "stable": "rel_lost", "canary": None, "at": "", "by": "x", "reason": "lost"}
    path.write_text(path.read_text() + json.dumps(lost))
    assert [m.stable for m in channels.history("routing")] == ["rel_a"]
    move(channels, 1, stable="rel_c")
    assert [m.stable for m in channels.history("routing")] == ["rel_a", "rel_c"]


def test_a_torn_history_line_swallows_no_other(channels: Channels) -> None:
    with (channels.folder / "routing.history.jsonl").open("ab") as file:
        file.write(b'{"version": 2, "stable": "rel_\xc3')
    move(channels, 1, stable="rel_c")
    assert [m.stable for m in channels.history("routing")] == ["rel_a", "rel_c"]


def test_assign_is_sticky_and_near_its_share() -> None:
    users = [f"u{i}" for i in range(10_000)]
    first = [assign(state(0.2), user) for user in users]
    assert first == [assign(state(0.2), user) for user in users]
    assert sum(a.channel == "canary" for a in first) / len(users) == pytest.approx(0.2, abs=0.015)


def test_propensity_is_that_of_the_channel_taken() -> None:
    found = {assign(state(0.2), f"u{i}")[:3] for i in range(100)}
    assert found == {("canary", "rel_b", 0.2), ("stable", "rel_a", 0.8)}


def test_a_growing_share_takes_no_user_off_the_canary() -> None:
    users = [f"u{i}" for i in range(1000)]
    early = {u for u in users if assign(state(0.2), u).channel == "canary"}
    assert early <= {u for u in users if assign(state(0.5), u).channel == "canary"}


def test_another_salt_draws_other_users() -> None:
    users = [f"u{i}" for i in range(200)]
    assert [assign(state(0.5), u) for u in users] != [assign(state(0.5, "s2"), u) for u in users]


def test_without_a_canary_everyone_is_on_stable() -> None:
    assert assign(ChannelState(stable="rel_a"), "u1")[:4] == ("stable", "rel_a", 1.0, None)


def test_the_most_specific_channel_serves_and_the_tenant_comes_before_the_segment(channels: Channels) -> None:
    names = ["routing@acme@vip", "routing@acme", "routing@@vip", "routing"]
    assert channel_names("routing", "acme", "vip") == names
    for name in reversed(names[:-1]):
        assert channels.resolve("routing", "acme", "vip")[0] == names[names.index(name) + 1]
        channels.begin(name, f"rel_{names.index(name)}", at=AT, by="ana", reason="pinned")
        assert channels.resolve("routing", "acme", "vip") == (name, channels.read(name))
    assert channels.resolve("routing", "other", "vip")[0] == "routing@@vip"
    assert channels.resolve("routing", "other")[0] == channels.resolve("routing")[0] == "routing"


def test_a_channel_that_inherits_is_passed_over_and_keeps_its_history(channels: Channels) -> None:
    channels.begin("routing@acme", "rel_b", at=AT, by="ana", reason="pinned")
    told = {"canary": None, "at": AT, "by": "ana", "reason": "let go"}
    channels.move("routing@acme", stable="rel_b", expected_version=1, inherits=True, **told)
    assert channels.resolve("routing", "acme")[0] == "routing"
    assert [m.inherits for m in channels.history("routing@acme")] == [False, True]


@pytest.mark.parametrize("part", ["../x", "a/b", "a@b", "", " ", "a\n", "é", "x" * 65, ".hidden"])
def test_a_tenant_that_is_no_safe_file_name_has_no_channel(channels: Channels, part: str) -> None:
    assert channel_names("routing", part, part) == ["routing"]
    for tenant, segment in ((part, None), (None, part)):
        with pytest.raises(BadInput, match="is no channel"):
            channel_name("routing", tenant, segment)
    if part != "a@b":  # which, whole, is the name of a tenant's segment
        with pytest.raises(BadInput, match="is no channel"):
            channels.begin(f"routing@{part}", "rel_b", at=AT, by="ana", reason="x")
    assert [path.name for path in channels.folder.parent.iterdir()] == ["channels"]


def test_features_are_told_from_their_tenants_channels(channels: Channels) -> None:
    channels.begin("routing@acme", "rel_b", at=AT, by="ana", reason="pinned")
    assert (channels.features(), channels.names()) == (["routing"], ["routing", "routing@acme"])


FREEZE = Freeze(by="bob", reason="sale", at="2026-01-02")


def test_a_frozen_channel_refuses_a_move_and_says_who_and_why(channels: Channels) -> None:
    assert channels.freeze("routing", FREEZE).version == 1
    with pytest.raises(ChannelFrozen, match="frozen by bob at 2026-01-02: sale"):
        move(channels, 1)
    assert channels.read("routing") == ChannelState(stable="rel_a", version=1, frozen=FREEZE)
    channels.freeze("routing", None)
    assert move(channels, 1).version == 2


def back(channels: Channels, stable: str) -> ChannelState:
    version = channels.read("routing").version
    told = {"at": AT, "by": "ana", "reason": "back"}
    return channels.move("routing", stable=stable, canary=None, expected_version=version, **told)


def test_the_way_back_is_open_while_frozen(channels: Channels) -> None:
    back(channels, "rel_c")  # rel_c is stable now
    move(channels, 2, stable="rel_c")  # and rel_b on the canary
    channels.freeze("routing", FREEZE)
    with pytest.raises(ChannelFrozen):
        back(channels, "rel_b")  # promoting the canary is no way back
    with pytest.raises(ChannelFrozen):
        back(channels, "rel_new")
    assert back(channels, "rel_c").canary is None
    assert back(channels, "rel_a") == ChannelState(stable="rel_a", version=5, frozen=FREEZE)


def test_promoting_a_canary_that_was_stable_once_is_no_way_back(channels: Channels) -> None:
    back(channels, "rel_b")
    back(channels, "rel_a")
    move(channels, 3)  # rel_b on the canary, once more
    channels.freeze("routing", FREEZE)
    with pytest.raises(ChannelFrozen):
        back(channels, "rel_b")


def test_history_knows_the_share_of_the_canary(channels: Channels) -> None:
    move(channels, 1)
    assert [m.share for m in channels.history("routing")] == [None, 0.2]

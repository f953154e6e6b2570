import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from ratchet.buckets import open_bucket
from ratchet.errors import ReleaseCorrupt, ReleaseNotFound
from ratchet.features import Decoding, Feature, Privacy
from ratchet.prompts import Prompt
from ratchet.records import Message
from ratchet.release import (
    BaseModelRef,
    Release,
    ReleasePolicy,
    ReleaseStore,
    adapter_ref,
    policy_of,
    read_candidate,
    read_manifest,
    request_body,
    write_candidate,
)
from ratchet.settings import Settings

ASKED = (Message(role="user", content="hi"),)


def release(**changes: Any) -> Release:
    fields: dict[str, Any] = {
        "feature": "routing",
        "base_model": BaseModelRef(name="tiny", digest="d1"),
        "prompt": Prompt(text="Route."),
        "decoding": Decoding(),
        "policy": ReleasePolicy(scorer="label_accuracy"),
    }
    return Release(**(fields | changes))


def candidate(folder: Path, weights: bytes = b"weights", **changes: Any) -> Path:
    """A candidate folder with an adapter."""
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    (adapter / "adapter_config.json").write_text("{}")
    write_candidate(folder, release(adapter=adapter_ref(adapter), **changes))
    return folder


def test_same_content_has_the_same_id_wherever_it_lies(tmp_path: Path) -> None:
    first, second = candidate(tmp_path / "a"), candidate(tmp_path / "b")
    assert read_candidate(first).release_id == read_candidate(second).release_id


@pytest.mark.parametrize(
    "changes",
    [
        {"feature": "other"},
        {"prompt": Prompt(text="Route it.")},
        {"decoding": Decoding(temperature=0.5)},
        {"base_model": BaseModelRef(name="tiny", digest="d2")},
        {"output_schema": {"type": "object"}},
        {"policy": ReleasePolicy(scorer="exact_match")},
        {"policy": ReleasePolicy(scorer="label_accuracy", privacy=Privacy(scrub_in_gateway=True))},
    ],
)
def test_any_other_content_has_another_id(changes: dict[str, Any]) -> None:
    assert release(**changes).release_id != release().release_id


def test_a_policy_without_privacy_has_the_id_that_it_had_before_there_was_any() -> None:
    document = release().model_dump(mode="json")
    assert document["policy"] == {"mode": "managed", "scorer": "label_accuracy"}
    assert release().release_id == "rel_1ab7e42911005d712d63a5ddb2a8cd229ecbd4629290bf153dbc6801003c2cab"


def test_a_release_carries_the_privacy_that_the_gateway_is_to_keep() -> None:
    fields = {"name": "routing", "intent": "route", "owners": ["a"], "scorer": "label_accuracy"}
    assert policy_of(Feature.model_validate(fields)).privacy is None
    wanted = Feature.model_validate(fields | {"privacy": {"scrub_in_gateway": True, "allow": ["help@shop.com"]}})
    kept = release(policy=policy_of(wanted))
    again = Release.model_validate_json(kept.model_dump_json())
    assert again.policy.privacy == wanted.privacy and again.release_id == kept.release_id


def test_id_does_not_depend_on_the_order_of_keys() -> None:
    document = release().model_dump(mode="json")
    assert Release.model_validate(dict(reversed(document.items()))).release_id == release().release_id


def test_changed_byte_in_an_adapter_is_found(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases")
    release_id = store.put(candidate(tmp_path / "a"))
    (store.folder / release_id / "adapter" / "adapter_model.safetensors").write_bytes(b"weightz")
    for read in (store.get, store.adapter_path):
        with pytest.raises(ReleaseCorrupt, match="do not match"):
            read(release_id)


def test_changed_prompt_in_the_store_is_found(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases")
    release_id = store.put(candidate(tmp_path / "a"))
    manifest = store.folder / release_id / "candidate.json"
    manifest.write_text(manifest.read_text().replace("Route.", "Leak."))
    with pytest.raises(ReleaseCorrupt, match="its content has the id rel_"):
        store.get(release_id)


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pkl", "modeling.py", "sub/adapter_config.json"])
def test_pickle_or_any_extra_file_in_an_adapter_is_refused(tmp_path: Path, name: str) -> None:
    folder = candidate(tmp_path / "a")
    (folder / "adapter" / name).parent.mkdir(exist_ok=True)
    (folder / "adapter" / name).write_bytes(b"x")
    with pytest.raises(ReleaseCorrupt, match="must hold exactly"):
        ReleaseStore(tmp_path / "releases").put(folder)
    assert not (tmp_path / "releases").exists()


def test_adapter_without_its_weights_is_refused(tmp_path: Path) -> None:
    folder = candidate(tmp_path / "a")
    (folder / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ReleaseCorrupt, match="must hold exactly"):
        read_candidate(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"feature": "x", "code": "y"}'])
def test_manifest_that_is_no_release_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "champion.json").write_text(content)
    with pytest.raises(ReleaseCorrupt, match=r"champion\.json is not a release's content"):
        read_manifest(tmp_path / "champion.json")


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseNotFound, match=r"champion\.json is missing"):
        read_manifest(tmp_path / "champion.json")


def test_put_is_idempotent_and_leaves_no_temporary_folder(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases")
    assert store.put(candidate(tmp_path / "a")) == store.put(candidate(tmp_path / "b"))
    assert [p.name[:4] for p in store.folder.iterdir()] == ["rel_"]


def test_two_puts_at_once_store_one_release(tmp_path: Path) -> None:
    store, folder = ReleaseStore(tmp_path / "releases"), candidate(tmp_path / "a", weights=b"x" * 4_000_000)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store.put(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and [p.name for p in store.folder.iterdir()] == [found[0]]


def test_what_is_not_part_of_a_release_is_not_stored(tmp_path: Path) -> None:
    folder = candidate(tmp_path / "a")
    (folder / "report.json").write_text("{}")
    store = ReleaseStore(tmp_path / "releases")
    found = store.folder / store.put(folder)
    assert {p.name for p in found.rglob("*")} == {
        "candidate.json",
        "adapter",
        "adapter_config.json",
        "adapter_model.safetensors",
    }


@pytest.mark.parametrize("release_id", ["rel_" + "0" * 64, "rel_../x", "../releases", "", "rel_", "x\x00y"])
def test_unknown_release_is_told_by_its_id(tmp_path: Path, release_id: str) -> None:
    store = ReleaseStore(tmp_path / "releases")
    store.put(candidate(tmp_path / "a"))
    with pytest.raises(ReleaseNotFound, match="is not in"):
        store.get(release_id)


def test_release_is_found_by_an_unambiguous_beginning(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases")
    one = store.put(candidate(tmp_path / "a"))
    store.put(candidate(tmp_path / "b", weights=b"other"))
    assert store.find(one[:16]) == store.find(one[4:16]) == one
    with pytest.raises(ReleaseNotFound, match="2 releases begin with"):
        store.find("rel_")


def test_attestation_grows_and_leaves_the_release_as_it_is(tmp_path: Path) -> None:
    store = ReleaseStore(tmp_path / "releases")
    release_id = store.put(candidate(tmp_path / "a"))
    assert store.attestation(release_id) == {}
    store.attest(release_id, {"commit": "c1"})
    store.attest(release_id, {"version": "v2.0.0"})
    assert store.attestation(release_id) == {"commit": "c1", "version": "v2.0.0"}
    assert store.get(release_id).release_id == release_id


def test_request_names_the_adapter_by_the_release_and_asks_for_the_schema(tmp_path: Path) -> None:
    found = read_candidate(candidate(tmp_path / "a", output_schema={"type": "object"}))
    body = request_body(found, ASKED, variables={}, contexts=())
    assert body["model"] == found.release_id and body["messages"][0] == {"role": "system", "content": "Route."}
    asked = body["response_format"]["json_schema"]
    assert asked == {"name": "routing", "schema": {"type": "object"}, "strict": True}
    assert json.loads(json.dumps(body)) == body


def test_request_without_adapter_and_schema_asks_the_base_model() -> None:
    body = request_body(release(), ASKED, variables={}, contexts=())
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0.0, 64)
    assert "response_format" not in body


def test_passthrough_leaves_the_messages_as_they_are() -> None:
    found = release(policy=ReleasePolicy(mode="passthrough", scorer="exact_match"))
    assert request_body(found, ASKED, variables={}, contexts=())["messages"] == [{"role": "user", "content": "hi"}]


def test_a_release_on_s3_is_brought_and_verified_on_another_machine(s3: Settings, tmp_path: Path) -> None:
    here, there = ReleaseStore.of(s3), ReleaseStore.of(dataclasses.replace(s3, home=tmp_path / "other"))
    found = here.put(candidate(tmp_path / "a"))
    here.attest(found, {"commit": "c1"})
    there.attest(found, {"version": "v2.0.0"})
    assert there.ids() == [found] and there.find(found[4:12]) == found
    assert there.get(found) == here.get(found) and there.adapter_path(found) is not None
    assert here.attestation(found) == there.attestation(found) == {"commit": "c1", "version": "v2.0.0"}


@pytest.mark.parametrize("name", ["candidate.json", "adapter/adapter_model.safetensors"])
def test_a_release_that_was_changed_on_s3_is_refused(s3: Settings, tmp_path: Path, name: str) -> None:
    found = ReleaseStore.of(s3).put(candidate(tmp_path / "a"))
    bucket = open_bucket(str(s3.store_uri), s3).below("releases")
    before = bucket.get(f"{found}/{name}")
    assert before is not None
    bucket.put(f"{found}/{name}", before.content.replace(b"Route.", b"Leak.").replace(b"weights", b"weightz"))
    there = ReleaseStore.of(dataclasses.replace(s3, home=tmp_path / "other"))
    with pytest.raises(ReleaseCorrupt):
        there.get(found)
    assert not (there.folder / found).exists()


def test_attestations_that_grow_at_once_lose_nothing(s3: Settings, tmp_path: Path) -> None:
    here, there = ReleaseStore.of(s3), ReleaseStore.of(dataclasses.replace(s3, home=tmp_path / "other"))
    found = here.put(candidate(tmp_path / "a"))
    facts = [(store, number) for number in range(3) for store in (here, there)]
    threads = [threading.Thread(target=s.attest, args=(found, {f"k{n}-{i}": n})) for i, (s, n) in enumerate(facts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(here.attestation(found)) == 6
    assert json.loads((here.folder / "attestations" / f"{found}.json").read_text()) == there.attestation(found)

from pathlib import Path

import pytest

from ratchet import git
from ratchet.channels import Channels
from ratchet.errors import BadInput, ModelMissing, UnknownFeature
from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.settings import Settings
from ratchet.store import Store, open_store
from tasks.first_release import build_first, ensure_first_release


def ensure(settings: Settings, store: Store, name: str = "routing") -> str:
    return ensure_first_release(settings, store, Ledger(store.engine), Channels(settings.channels_dir), name)


def test_first_release_is_stored_tagged_attested_and_on_channel_stable(routing: Settings, store: Store) -> None:
    release_id = ensure(routing, store)
    releases = ReleaseStore(routing.releases_dir)
    assert releases.get(release_id).prompt.text == "Name the team."
    assert git.tags(routing.repo, "routing@v*") == {"routing@v1.0.0": git.run(routing.repo, "rev-parse", "HEAD")}
    assert releases.attestation(release_id)["version"] == "v1.0.0"
    assert Channels(routing.channels_dir).read("routing").stable == release_id


def test_first_release_is_made_once(routing: Settings, store: Store) -> None:
    first = ensure(routing, store)
    (routing.repo / "features" / "routing" / "prompts" / "default.md").write_text("Another prompt.")
    assert ensure(routing, store) == first
    assert len(Ledger(store.engine).entries(event="first release")) == 1


def test_crash_before_the_last_line_is_mended_by_the_next_try(routing: Settings, tmp_path: Path) -> None:
    found = []
    for name in ("lost.db", "kept.db"):  # the store is written last: without it the rest is there already
        with open_store(f"sqlite:///{tmp_path / name}") as store:
            found.append(ensure(routing, store))
    assert found[0] == found[1] and list(git.tags(routing.repo, "routing@v*")) == ["routing@v1.0.0"]
    assert len(Channels(routing.channels_dir).history("routing")) == 1


def test_content_is_prompt_schema_and_decoding_on_the_base_model(routing: Settings) -> None:
    feature = load_feature(routing.repo, "routing")
    release = build_first(routing, feature)
    assert (release.base_model.name, release.base_model.digest, release.adapter) == ("tiny", "d1", None)
    assert (release.output_schema, release.decoding) == (feature.output_schema, feature.decoding)


def test_unknown_feature_and_missing_model_leave_nothing_behind(routing: Settings, store: Store) -> None:
    with pytest.raises(UnknownFeature, match="there are: routing"):
        ensure(routing, store, "nothing")
    (routing.cache / "models" / "tiny" / "ratchet.json").unlink()
    with pytest.raises(ModelMissing, match="make setup"):
        ensure(routing, store)
    assert not git.tags(routing.repo, "*") and not routing.releases_dir.exists()


def test_clone_without_a_commit_is_told_to_commit(routing: Settings, store: Store) -> None:
    git.run(routing.repo, "checkout", "-q", "--orphan", "empty")
    with pytest.raises(BadInput, match="has no commit yet"):
        ensure(routing, store)

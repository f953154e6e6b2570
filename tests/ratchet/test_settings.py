import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from ratchet.errors import SettingsInvalid
from ratchet.settings import Settings, find_repo, read_secret


def settings_in(folder: Path, **environ: str) -> Settings:
    return Settings.from_env({"RATCHET_REPO": str(folder), **environ})


def test_defaults_lie_in_the_clone_and_on_loopback(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert settings.home == tmp_path / ".ratchet"
    assert settings.database_url == f"sqlite:///{tmp_path}/.ratchet/store.db"
    assert {settings.gateway_url[:17], settings.verifier_url[:17]} == {"http://127.0.0.1:"}
    assert not settings.modelserver_is_given and not settings.remote_is_allowed


def test_unknown_key_stops_with_its_name_and_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"RATCHET_GATEWAY_ADDRESS.*known:.*RATCHET_GATEWAY_URL"):
        settings_in(tmp_path, RATCHET_GATEWAY_ADDRESS="http://x")


@pytest.mark.parametrize("value", ["localhost:8600", "ftp://x", "http://", "http://127.0.0.1:many", "http://h:99999"])
def test_bad_address_stops_with_key_value_and_what_is_allowed(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"RATCHET_GATEWAY_URL=.*http://host:port"):
        settings_in(tmp_path, RATCHET_GATEWAY_URL=value)


def test_empty_value_counts_as_not_set(tmp_path: Path) -> None:
    assert settings_in(tmp_path, RATCHET_GATEWAY_URL="", RATCHET_HOME="") == settings_in(tmp_path)


def test_slash_at_the_end_of_an_address_is_dropped(tmp_path: Path) -> None:
    assert settings_in(tmp_path, PREFECT_API_URL="http://p:1/api/").prefect_api_url == "http://p:1/api"


def test_given_model_server_is_told_from_the_default(tmp_path: Path) -> None:
    assert settings_in(tmp_path, RATCHET_MODELSERVER_URL="http://gpu:8000").modelserver_is_given


def test_outside_sources_are_unset_until_named_and_keys_are_never_shown(tmp_path: Path) -> None:
    unset = settings_in(tmp_path)
    assert (unset.langfuse_url, unset.langfuse_keys, unset.s3_endpoint, unset.private_is_allowed) == (None,) * 3 + (
        False,
    )
    keys = {"RATCHET_LANGFUSE_PUBLIC_KEY": "pk", "RATCHET_LANGFUSE_SECRET_KEY": "sk-hush"}
    known = settings_in(tmp_path, RATCHET_LANGFUSE_URL="https://lf.example/", RATCHET_ALLOW_PRIVATE="1", **keys)
    assert (known.langfuse_url, known.langfuse_keys) == ("https://lf.example", ("pk", "sk-hush"))
    assert known.private_is_allowed and "sk-hush" not in repr(known)
    with pytest.raises(SettingsInvalid, match="RATCHET_S3_ENDPOINT"):
        settings_in(tmp_path, RATCHET_S3_ENDPOINT="minio:9000")


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        settings_in(tmp_path).home = tmp_path  # type: ignore[misc]


def test_repo_is_found_from_a_folder_inside_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_repo(tmp_path / "a" / "b") == tmp_path


def test_folder_outside_any_clone_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_repo(tmp_path) == tmp_path


def test_secret_is_256_bit_private_and_the_same_each_time(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    secret = read_secret(settings, "gateway")
    assert len(bytes.fromhex(secret)) == 32 and read_secret(settings, "gateway") == secret
    assert stat.S_IMODE((settings.secrets_dir / "gateway").stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.secrets_dir.stat().st_mode) == 0o700


def test_two_secrets_differ(tmp_path: Path) -> None:
    assert read_secret(settings_in(tmp_path), "a") != read_secret(settings_in(tmp_path), "b")


def test_processes_that_start_together_read_one_secret(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        for name in map(str, range(20)):
            found = set(pool.map(lambda _, n=name: read_secret(settings, n), range(16)))
            assert len(found) == 1 and len(found.pop()) == 64
    assert len(list(settings.secrets_dir.iterdir())) == 20


@pytest.mark.parametrize("uri", ["/tmp/store", "s3://", "s3://b", "s3://Bucket/x", "s3://bucket/x?y", "http://bucket"])
def test_a_store_that_is_no_s3_address_is_refused(uri: str) -> None:
    with pytest.raises(SettingsInvalid, match="RATCHET_STORE"):
        Settings.from_env({"RATCHET_STORE": uri})


def test_store_and_trust_file_are_unset_by_default_and_taken_as_given(tmp_path: Path) -> None:
    assert (Settings.from_env({}).store_uri, Settings.from_env({}).trust_file) == (None, None)
    given = Settings.from_env({"RATCHET_STORE": "s3://bucket/a/b/", "RATCHET_TRUST": str(tmp_path / "t.yaml")})
    assert (given.store_uri, given.trust_file) == ("s3://bucket/a/b", tmp_path / "t.yaml")

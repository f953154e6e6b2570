"""What all tests share: a git identity, and clones with real git and DVC in temporary folders."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from ratchet import git
from ratchet.settings import Settings
from ratchet.store import Store, open_store
from tests.postgres import Postgres, postgres_server

CLONE = Path(__file__).resolve().parents[1]
POLICY = {
    "name": "routing",
    "intent": "choose a team",
    "owners": ["a"],
    "scorer": "label_accuracy",
    "output_schema": {"type": "object", "properties": {"route": {"enum": ["cards", "loans"]}}},
    "decoding": {"temperature": 0, "max_tokens": 16},
    "consent": "unless_refused",
    "licence": None,
}
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ana Test",
    "GIT_AUTHOR_EMAIL": "ana@example.com",
    "GIT_COMMITTER_NAME": "Ana Test",
    "GIT_COMMITTER_EMAIL": "ana@example.com",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "DVC_NO_ANALYTICS": "1",
}


SHARE_A_CLONE = ("tests/e2e/test_approval", "tests/e2e/test_help_answers")  # `desk` is too dear to be made twice


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run on one worker, and so do the end-to-end files that share a clone."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return SHARE_A_CLONE[0] if path.startswith(SHARE_A_CLONE) else path

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def git_identity() -> Iterator[dict[str, str]]:
    """An author through the environment, so that no test depends on the configuration of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        yield IDENTITY


@pytest.fixture
def no_git_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose git does not know who commits."""
    for key in IDENTITY:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(scope="session")
def template(git_identity: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with DVC initialised, made once; `repo` copies it."""
    folder = tmp_path_factory.mktemp("template") / "clone"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    for command in (["init", "-q"], ["remote", "add", "-q", "-d", "local", ".ratchet/remote"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=folder, check=True)
    shutil.copy(CLONE / ".gitignore", folder)  # the shipped one: DVC does not see a pointer that git ignores
    (folder / "tracked.txt").write_text("one\n")
    git.run(folder, "add", "-A")
    git.run(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def repo(template: Path, tmp_path: Path) -> Path:
    """A clone of one commit with DVC and a remote folder (.ratchet/remote, made on the first push)."""
    return Path(shutil.copytree(template, tmp_path / "clone"))


@pytest.fixture
def settings(repo: Path) -> Settings:
    """The settings of `repo`; everything lies inside it."""
    return Settings.from_env({"RATCHET_REPO": str(repo), "RATCHET_CACHE": str(repo / ".ratchet" / "cache")})


@pytest.fixture
def write(repo: Path) -> Callable[[str, str], Path]:
    """Write a file of `repo` by its path inside it."""

    def write_file(name: str, content: str) -> Path:
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def routing(settings: Settings, write: Callable[[str, str], Path]) -> Settings:
    """`repo` with a committed feature `routing` of two labels on a base model `tiny`, and the shipped graph."""
    params = (CLONE / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("feature: support_routing", "feature: routing").replace("smollm2-135m-instruct", "tiny")
    write("params.yaml", params)
    write("dvc.yaml", (CLONE / "dvc.yaml").read_text(encoding="utf-8"))
    write("features/routing/feature.yaml", yaml.safe_dump(POLICY))
    write("features/routing/prompts/default.md", "Name the team.\n")
    write("features/tenants.yaml", "{}\n")
    write("features/_safety/README.md", "Suites.\n")
    write(".ratchet/cache/models/tiny/ratchet.json", json.dumps({"digest": "d1"}))
    git.run(settings.repo, "add", "-A")
    git.run(settings.repo, "commit", "-q", "-m", "feature routing")
    return settings


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """The store of `repo`."""
    with open_store(settings.database_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One real PostgreSQL for all tests of this process; each has a schema of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database of each kind; the test runs once on either."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server, name = request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}"
    engine = sa.create_engine(server.address.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))  # a database would be 300 files
    engine.dispose()
    return f"{server.address.format('postgres')}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 protocol on a port of this machine."""
    from moto.server import ThreadedMotoServer  # slow to import, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environ(tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What settings are read from where S3 is that server; boto3 finds its credentials in the environment."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    places = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}
    return {**places, "RATCHET_S3_ENDPOINT": s3_endpoint, "RATCHET_ALLOW_PRIVATE": "1"}

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo import lend_identity
from ratchet import git
from ratchet.settings import Settings


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("key", ["PREFECT_API_URL", "RATCHET_GATEWAY_URL"])
def test_port_in_use_ends_with_2_before_anything_starts(
    ratchet, routing: Settings, monkeypatch: pytest.MonkeyPatch, taken_port: int, key: str
) -> None:
    urls = ("GATEWAY", "MODELSERVER", "VERIFIER", "PAGES")
    for name in ("PREFECT_API_URL", *(f"RATCHET_{url}_URL" for url in urls)):
        monkeypatch.setenv(name, f"http://127.0.0.1:{taken_port if name == key else free_port()}")
    ended = ratchet("up")
    assert ended.status == 2 and f"port {taken_port} of " in ended.err and "`ratchet doctor`" in ended.err
    assert "starting" not in ended.out and not (routing.home / "prefect").exists()


def test_up_without_the_model_says_what_to_run(ratchet, routing: Settings) -> None:
    (routing.cache / "models" / "tiny" / "ratchet.json").unlink()
    ended = ratchet("up")
    assert ended.status == 2 and "make setup" in ended.err


def test_doctor_tells_what_to_mend_and_how(ratchet, routing: Settings, no_git_identity: None) -> None:
    (routing.cache / "models" / "tiny" / "ratchet.json").unlink()
    ended = ratchet("doctor")
    assert ended.status == 2 and "model" in ended.err and "git identity" in ended.err
    assert "run `make setup`" in ended.out and "git config --global user.name" in ended.out


def test_doctor_lists_every_setting_with_its_meaning(ratchet) -> None:
    facts = json.loads(ratchet("doctor", "--json").out)
    assert "RATCHET_HOME" in facts["settings"]
    checks = {check["name"]: check["is_fine"] for check in facts["checks"]}
    assert checks["python"] and checks["git identity"] and checks["dvc remote"] and checks["model"]


def test_doctor_tells_a_malformed_feature(ratchet, routing: Settings) -> None:
    (routing.repo / "features" / "routing" / "feature.yaml").write_text("colour: red")
    ended = ratchet("doctor")
    assert ended.status == 2 and "to mend: features" in ended.err and "colour: unknown key" in ended.out


def test_reset_forgets_state_tags_and_run_branches_and_keeps_the_clone(ratchet, routing: Settings, write) -> None:
    head = git.run(routing.repo, "rev-parse", "HEAD")
    for ref in ("refs/heads/run/r1", "refs/ratchet/routing/latest", "refs/tags/routing@v1.0.0", "refs/tags/mine"):
        git.run(routing.repo, "update-ref", ref, head)
    write("data/routing/holdout/holdout.jsonl", "x")
    write("data/demo/routing/traffic.jsonl", "x")
    assert ratchet("reset", "--yes").status == 0
    refs = git.run(routing.repo, "for-each-ref", "--format=%(refname)").splitlines()
    assert refs == ["refs/heads/main", "refs/tags/mine"] and not routing.home.exists()
    assert not (routing.repo / "data" / "routing").exists() and (routing.repo / "data" / "demo" / "routing").exists()


@pytest.mark.parametrize(("answer", "status"), [("n\n", 2), ("", 1)])
def test_reset_without_a_yes_removes_nothing(
    ratchet, routing: Settings, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert ratchet("reset").status == status and routing.home.exists()


def test_demo_without_a_terminal_says_how_to_run_it(ratchet, routing: Settings, tmp_path) -> None:
    rows = [json.dumps({"text": f"{label} {n}", "label": label}) for n in range(15) for label in ("cards", "loans")]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    git.run(routing.repo, "mv", "features/routing", "features/support_routing")
    policy = routing.repo / "features" / "support_routing" / "feature.yaml"
    policy.write_text(policy.read_text().replace("name: routing", "name: support_routing"))
    ended = ratchet("demo", "--source", str(tmp_path / "mine.jsonl"))
    assert ended.status == 2 and "make demo YES=1" in ended.err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"text": "x", "label": "a"}\n{', "mine.jsonl:2: malformed JSON"),
        ('{"text": "x"}', 'mine.jsonl:1: needs "text" and "label"'),
        ('{"text": "x", "label": "a"}', "0 labels have 12 messages or more"),
    ],
)
def test_demo_on_unusable_data_ends_with_2(ratchet, tmp_path, content: str, problem: str) -> None:
    (tmp_path / "mine.jsonl").write_text(content)
    ended = ratchet("demo", "--source", str(tmp_path / "mine.jsonl"), "--yes")
    assert ended.status == 2 and problem in ended.err


def test_demo_lends_its_runs_an_identity(repo: Path, no_git_identity: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "")
    lend_identity(repo)
    assert git.identity(repo) == ("Ratchet demo", "demo@localhost")

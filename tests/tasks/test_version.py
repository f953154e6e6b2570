"""tasks.version against real git and DVC: a clone with a tiny graph of its own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ratchet import git
from ratchet.errors import BadInput, SettingsInvalid, StageFailed
from ratchet.settings import Settings
from tasks import version

Write = Callable[[str, str], Path]
GRAPH = """
stages:
  gate:
    cmd: python gate.py
    deps: ["data/${feature}/count.txt", gate.py]
    metrics: ["data/${feature}/metrics/gate.json": {cache: false}]
  tune:
    matrix: {arm: "${arms}"}
    cmd: echo ${item.arm} > data/${feature}/${item.arm}.txt
    deps: ["data/${feature}/count.txt"]
    outs: ["data/${feature}/${item.arm}.txt"]
  count:
    cmd: python count.py data/${feature}
    deps: ["data/${feature}/raw", count.py]
    outs: ["data/${feature}/count.txt"]
"""
PARAMS = "# numbers\nfeature: toy   # the feature\ndata_root: data/demo\narms: [fewshot, sft]\n"
COUNT = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
print("counting", flush=True)
(folder / "count.txt").write_text(str(len((folder / "raw" / "log.jsonl").read_text().splitlines())))
"""
GATE = """
import json, pathlib
metrics = pathlib.Path("data/toy/metrics")
metrics.mkdir(exist_ok=True)
(metrics / "gate.json").write_text(json.dumps({"n": int(pathlib.Path("data/toy/count.txt").read_text())}))
"""
BROKEN = "import sys\nprint('first')\nprint('the data is wrong in line 7')\nsys.exit(2)\n"
SLEEPER = """
import os, pathlib, time
from ratchet.process import die_with_parent
die_with_parent()
pathlib.Path({marker!r}).write_text(str(os.getpid()))
time.sleep(120)
"""
RUNNER = """
import os, pathlib, sys
from tasks.version import run_stage
run_stage(pathlib.Path(sys.argv[1]), "count", on_line=print, environ=dict(os.environ))
"""


@pytest.fixture
def graph(repo: Path, write: Write) -> Path:
    """`repo` with the tiny graph, committed."""
    for name, content in {"dvc.yaml": GRAPH, "params.yaml": PARAMS, "count.py": COUNT, "gate.py": GATE}.items():
        write(name, content)
    git.run(repo, "add", "-A")
    git.run(repo, "commit", "-q", "-m", "graph")
    return repo


def harvest(settings: Settings, content: str) -> str:
    """Bring raw data of feature `toy` into DVC history. Returns the commit."""
    with version.harvest_worktree(settings, "toy") as tree:
        (tree / "data" / "toy" / "raw" / "log.jsonl").write_text(content)
        (tree / "data" / "toy" / "harvest.json").write_text('{"after_seq": 1}')
        return version.seal_harvest(settings, tree, "toy", "harvest")


@pytest.fixture
def tree(graph: Path, settings: Settings) -> Path:
    """The worktree of a run of `toy` on three harvested rows."""
    harvest(settings, "1\n2\n3\n")
    return version.open_worktree(settings, "r1", "toy", None)


def environ() -> dict[str, str]:
    here = str(Path(__file__).resolve().parents[2])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": here}


def run_stage(tree: Path, name: str) -> tuple[str, list[str]]:
    lines: list[str] = []
    return version.run_stage(tree, name, on_line=lines.append, environ=environ()).state, lines


def dvc(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, cwd=folder, env=environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def clone_at(settings: Settings, commit: str, folder: Path) -> Path:
    """A clone of `settings.repo` at a commit, with an empty cache and the same remote."""
    subprocess.run(["git", "clone", "-q", str(settings.repo), str(folder)], check=True)
    git.run(folder, "checkout", "-q", commit)
    lines = ["['remote \"local\"']", f"    url = {settings.home / 'remote'}", "[core]"]
    lines += [f"    site_cache_dir = {folder.parent / 'site'}", ""]
    (folder / ".dvc" / "config.local").write_text("\n".join(lines))
    return folder


def test_set_params_keeps_comments_and_other_keys() -> None:
    changed = version.set_params(PARAMS, {"feature": "other", "data_root": "data", "arms": "[sft]"})
    assert changed == "# numbers\nfeature: other   # the feature\ndata_root: data\narms: [sft]\n"


@pytest.mark.parametrize("text", ["", "# feature: x\n", "  feature: x\n", "feature: a\nfeature: b\n"])
def test_set_params_needs_its_key_once(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="the key 'feature' must stand once"):
        version.set_params(text, {"feature": "x"})


@pytest.mark.parametrize("arms", ["[a, b]", "\n  [a,\n   b]", "\n  - a\n  - b", "\n- a\n- b  # last", "[]"])
def test_arms_are_set_however_they_are_written(arms: str) -> None:
    assert version.set_params(f"arms: {arms}\nx: [1]\n", {"arms": "[c]"}) == "arms: [c]\nx: [1]\n"


def test_stage_names_follow_the_graph(graph: Path) -> None:
    names = version.stage_names(graph)
    assert set(names) == {"count", "gate", "tune@fewshot", "tune@sft"} and names[0] == "count"


def test_harvest_moves_latest_and_leaves_the_users_branch(graph: Path, settings: Settings) -> None:
    head = git.resolve(graph, "HEAD")
    first = harvest(settings, "1\n")
    with version.harvest_worktree(settings, "toy") as tree:
        assert (tree / "data" / "toy" / "raw" / "log.jsonl").read_text() == "1\n"
    second = harvest(settings, "1\n2\n")
    assert git.resolve(graph, version.latest_ref("toy")) == second != first
    assert git.resolve(graph, "HEAD") == head and git.run(graph, "status", "-s") == ""
    assert not (settings.runs_dir / "harvest-toy").exists()


def test_raw_data_is_in_the_remote_and_not_in_git(graph: Path, settings: Settings) -> None:
    commit = harvest(settings, "user text\n")
    assert "data/toy/raw.dvc" in git.run(graph, "ls-tree", "-r", "--name-only", commit)
    assert "user text" not in git.run(graph, "log", "-p", "--all")
    stored = [p.read_text() for p in (graph / ".ratchet" / "remote").rglob("*") if p.is_file()]
    assert "user text\n" in stored


def test_failed_harvest_leaves_no_worktree(graph: Path, settings: Settings) -> None:
    with pytest.raises(RuntimeError), version.harvest_worktree(settings, "toy"):
        raise RuntimeError
    assert len(git.run(graph, "worktree", "list").splitlines()) == 1


def test_run_works_in_a_worktree_of_its_own(graph: Path, settings: Settings, write: Write) -> None:
    harvest(settings, "1\n")
    write("tracked.txt", "not committed\n")
    before = git.run(graph, "rev-parse", "HEAD"), git.run(graph, "status", "-s")
    tree = version.open_worktree(settings, "r1", "toy", ("sft",))
    assert (tree / "tracked.txt").read_text() == "not committed\n"
    assert (tree / "data" / "toy" / "raw" / "log.jsonl").read_text() == "1\n"
    assert (
        tree / "params.yaml"
    ).read_text() == "# numbers\nfeature: toy   # the feature\ndata_root: data\narms: [sft]\n"
    assert (git.run(graph, "rev-parse", "HEAD"), git.run(graph, "status", "-s")) == before
    version.remove_worktree(settings, version.run_folder(settings, "r1"))
    assert not tree.exists() and git.resolve(graph, "run/r1")


def test_run_that_is_opened_again_starts_anew(tree: Path, settings: Settings) -> None:
    (tree / "tracked.txt").write_text("half done")
    assert version.open_worktree(settings, "r1", "toy", None) == tree
    assert (tree / "tracked.txt").read_text() == "one\n"


def test_stage_is_run_then_unchanged_then_cached(tree: Path) -> None:
    state, lines = run_stage(tree, "count")
    assert state == "ran" and "counting" in lines and (tree / "data" / "toy" / "count.txt").read_text() == "3"
    assert run_stage(tree, "count")[0] == "unchanged"
    (tree / "data" / "toy" / "count.txt").unlink()
    (tree / "dvc.lock").unlink()
    assert run_stage(tree, "count")[0] == "cached" and (tree / "data" / "toy" / "count.txt").exists()


def test_next_run_takes_the_stage_from_the_cache(tree: Path, settings: Settings) -> None:
    run_stage(tree, "count")
    assert run_stage(version.open_worktree(settings, "r2", "toy", None), "count")[0] == "cached"


def test_failed_stage_carries_its_last_lines(tree: Path) -> None:
    (tree / "count.py").write_text(BROKEN)
    with pytest.raises(StageFailed, match=r"stage count failed: .*the data is wrong in line 7"):
        run_stage(tree, "count")


def test_unknown_stage_is_named(tree: Path) -> None:
    with pytest.raises(StageFailed, match=r"stage nothing failed: .*nothing"):
        run_stage(tree, "nothing")


def test_killed_run_leaves_no_stage_behind(tree: Path, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    (tree / "count.py").write_text(SLEEPER.format(marker=str(marker)))
    bare = {name: value for name, value in environ().items() if name != "SHELL"}  # as under cron or in a container
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tree)], env=bare, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    family = psutil.Process(runner.pid).children(recursive=True)
    assert int(marker.read_text()) in {process.pid for process in family}
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_sealed_run_holds_lock_and_metrics_but_no_data(tree: Path, settings: Settings) -> None:
    for name in ("count", "gate"):
        run_stage(tree, name)
    (tree / "data" / "toy" / "champion.json").write_text("{}")
    commit = version.seal_run(settings, tree, "r1", "toy", "run r1")
    kept = set(git.run(settings.repo, "ls-tree", "-r", "--name-only", commit).splitlines())
    expected = {"dvc.lock", "data/toy/metrics/gate.json", "data/toy/raw.dvc", "data/toy/champion.json"}
    assert expected <= kept and "data/toy/count.txt" not in kept
    assert git.resolve(settings.repo, "run/r1") == commit
    assert json.loads(git.show(settings.repo, commit, "data/toy/metrics/gate.json") or "") == {"n": 3}


def test_run_whose_data_cannot_be_pushed_is_not_sealed(tree: Path, settings: Settings) -> None:
    run_stage(tree, "count")
    before = git.resolve(settings.repo, "run/r1")
    digest = hashlib.md5(b"3").hexdigest()  # DVC names its objects so
    (settings.repo / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).unlink()
    (tree / "data" / "toy" / "count.txt").unlink()
    with pytest.raises(StageFailed):
        version.seal_run(settings, tree, "r1", "toy", "run r1")
    assert git.resolve(settings.repo, "run/r1") == before


def test_sealed_run_is_whole_in_a_clone_with_an_empty_cache(tree: Path, settings: Settings, tmp_path: Path) -> None:
    for name in ("count", "gate"):
        run_stage(tree, name)
    commit = version.seal_run(settings, tree, "r1", "toy", "run r1")
    clone = clone_at(settings, commit, tmp_path / "c")
    assert dvc(clone, "pull", "-q", "--allow-missing") == ""
    assert "didn't change, skipping" in dvc(clone, "repro", "-s", "count")


def test_fingerprint_changes_with_working_tree_and_harvested_data(
    graph: Path, settings: Settings, write: Write
) -> None:
    found = [version.fingerprint(settings, "toy"), version.fingerprint(settings, "toy")]
    write("tracked.txt", "changed\n")
    found.append(version.fingerprint(settings, "toy"))
    harvest(settings, "1\n")
    found.append(version.fingerprint(settings, "toy"))
    assert found[0] == found[1] and len(set(found)) == 3


def test_releases_are_tagged_counting_up_by_feature(graph: Path) -> None:
    commits = [git.run(graph, "rev-parse", "HEAD~1"), git.run(graph, "rev-parse", "HEAD")]
    assert [version.tag_release(graph, "toy", c) for c in commits] == ["v1.0.0", "v2.0.0"]
    assert version.tag_release(graph, "toy", commits[0]) == "v1.0.0"
    assert version.tag_release(graph, "other", commits[1]) == "v1.0.0"
    assert set(git.tags(graph, "toy@v*")) == {"toy@v1.0.0", "toy@v2.0.0"}


def test_version_after_the_ninth_is_the_tenth(graph: Path) -> None:
    for major in (9, 2):
        git.run(graph, "tag", f"toy@v{major}.0.0", "HEAD~1")
    assert version.tag_release(graph, "toy", git.run(graph, "rev-parse", "HEAD")) == "v10.0.0"


def test_holdout_is_pushed_and_its_pointer_staged(graph: Path, settings: Settings, write: Write) -> None:
    write("data/toy/holdout/holdout.jsonl", "expected\n")
    assert version.track_holdout(settings, "toy") == graph / "data" / "toy" / "holdout.dvc"
    assert git.run(graph, "status", "-s") == "A  data/toy/holdout.dvc"
    tree = version.open_worktree(settings, "r1", "toy", None)
    assert (tree / "data" / "toy" / "holdout" / "holdout.jsonl").read_text() == "expected\n"


def test_clone_without_a_commit_cannot_be_harvested(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    settings = Settings.from_env({"RATCHET_REPO": str(tmp_path)})
    with pytest.raises(BadInput, match="has no commit yet"), version.harvest_worktree(settings, "toy"):
        pass

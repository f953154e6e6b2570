"""Versions: a run's worktree, the stages that DVC runs in it, pushes and tags. The only file that imports dvc.

Why a worktree per run, and every trap that this file steps round: docs/decisions/0001-the-loop.md.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ratchet import git
from ratchet.errors import BadInput, SettingsInvalid, StageFailed
from ratchet.files import canonical_json, sha256_text
from ratchet.process import die_with_parent
from ratchet.runs import StageTiming
from ratchet.settings import Settings

POINTERS = ("raw.dvc", "harvest.json")  # what refs/ratchet/<feature>/latest hands from one run to the next
SUMMARIES = ("dvc.lock", "params.yaml")
TUNED_KEYS = {"feature": r"\S+", "data_root": r"\S+", "arms": r"(?:\[[^\]]*\]|-[^\n]*(?:\n[ \t]*-[^\n]*)*)"}


def latest_ref(feature: str) -> str:
    """The ref that names the newest commit with harvested data of a feature."""
    return f"refs/ratchet/{feature}/latest"


def fingerprint(settings: Settings, feature: str) -> str:
    """The digest of all that a run starts from but the champion: the working tree and the harvested data."""
    tree = git.working_tree(settings.repo)
    raw = git.show(settings.repo, latest_ref(feature), f"data/{feature}/raw.dvc")
    return sha256_text(canonical_json([tree, feature, raw]))


@contextlib.contextmanager
def harvest_worktree(settings: Settings, feature: str) -> Iterator[Path]:
    """A worktree on the newest harvested data, with its raw/ folder checked out; removed at the end."""
    base = git.resolve(settings.repo, latest_ref(feature)) or git.resolve(settings.repo, "HEAD")
    if base is None:
        raise BadInput(f"{settings.repo} has no commit yet; commit your work first")
    folder = _run_folder(settings, f"harvest-{feature}")
    remove_worktree(settings, folder)
    git.add_worktree(settings.repo, folder / "tree", base)
    try:
        _configure_dvc(settings, folder)
        if (folder / "tree" / "data" / feature / "raw.dvc").exists():
            _dvc(folder / "tree", "pull", "-q", f"data/{feature}/raw.dvc")
        (folder / "tree" / "data" / feature / "raw").mkdir(parents=True, exist_ok=True)
        yield folder / "tree"
    finally:
        remove_worktree(settings, folder)


def seal_harvest(settings: Settings, tree: Path, feature: str, message: str) -> str:
    """Track raw/ by DVC, push it, commit its pointers and move `latest` to the commit. Returns the commit."""
    data = f"data/{feature}"
    _dvc(tree, "add", "-q", f"{data}/raw")
    _dvc(tree, "push", "-q", f"{data}/raw.dvc")
    before = git.resolve(settings.repo, latest_ref(feature))
    commit = git.commit_paths(tree, [f"{data}/{name}" for name in POINTERS], message)
    git.move_ref(settings.repo, latest_ref(feature), commit, before)
    return commit


def open_worktree(settings: Settings, run_id: str, feature: str, arms: tuple[str, ...] | None) -> Path:
    """Make a run's branch and worktree out of the working tree as it is, set to one feature.

    Raises:
        BadInput: a changed file holds what looks like a secret.
    """
    folder = _run_folder(settings, run_id)
    remove_worktree(settings, folder)
    commit = git.commit_working_tree(settings.repo, f"{feature}: the working tree of run {run_id}")
    git.move_ref(settings.repo, f"refs/heads/run/{run_id}", commit, git.resolve(settings.repo, f"run/{run_id}"))
    git.add_worktree(settings.repo, folder / "tree", f"run/{run_id}")
    tree = folder / "tree"
    _configure_dvc(settings, folder)
    changes = {"feature": feature, "data_root": "data"}
    if arms:
        changes["arms"] = f"[{', '.join(arms)}]"
    params = (tree / "params.yaml").read_text(encoding="utf-8")
    (tree / "params.yaml").write_text(set_params(params, changes), encoding="utf-8")
    for name in POINTERS:
        content = git.show(settings.repo, latest_ref(feature), f"data/{feature}/{name}")
        if content is not None:
            (tree / "data" / feature).mkdir(parents=True, exist_ok=True)
            (tree / "data" / feature / name).write_text(content, encoding="utf-8")
    if (tree / "data" / feature / "raw.dvc").exists():
        _dvc(tree, "pull", "-q", f"data/{feature}/raw.dvc")
    if (tree / "data" / feature / "holdout.dvc").exists():
        _dvc(tree, "pull", "-q", "--allow-missing", f"data/{feature}/holdout.dvc")
    return tree


def set_params(text: str, changes: dict[str, str]) -> str:
    """Set top-level keys of params.yaml, keeping its comments.

    Raises:
        SettingsInvalid: a key does not stand exactly once at the beginning of a line.
    """
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^{key}:\s*{TUNED_KEYS[key]}", lambda _, k=key, v=value: f"{k}: {v}", text)  # type: ignore[misc]
        if count != 1:
            raise SettingsInvalid(f"params.yaml: the key {key!r} must stand once, on a line of its own")
    return text


def stage_names(tree: Path) -> list[str]:
    """The stages of the graph in an order that respects it, read from dvc.yaml by DVC itself."""
    import networkx
    from dvc.repo import Repo

    with Repo(str(tree)) as repo:
        ordered = reversed(list(networkx.topological_sort(repo.index.graph)))
        return [stage.name for stage in ordered if getattr(stage, "cmd", None)]


def run_stage(tree: Path, name: str, *, on_line: Callable[[str], None], environ: dict[str, str]) -> StageTiming:
    """Ask DVC for one stage in a run's worktree and wait; what it prints goes to `on_line`.

    The process dies with this one, and takes the stage's own process with it (ratchet/process.py).

    Raises:
        StageFailed: with the last lines of what the stage printed.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", "-s", "--pull", "--allow-missing", name]
    process = subprocess.Popen(
        command,
        cwd=tree,
        env={**environ, "SHELL": _shell()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - Linux, and nothing but prctl runs in it
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            on_line(line.rstrip())
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if status != 0:
        told = [line for line in lines if line and not line.startswith(("Running stage", "> python", "Verifying"))]
        raise StageFailed(f"stage {name} failed: " + " | ".join(told[-4:]))
    return StageTiming(stage=name, state=_stage_state(lines), seconds=round(time.monotonic() - began, 2))


def seal_run(settings: Settings, tree: Path, run_id: str, feature: str, message: str) -> str:
    """Push what the run computed, then commit lock, pointers and metrics on its branch. Returns the commit.

    Raises:
        StageFailed: the remote lacks an object after the push (an exit status alone does not tell).
    """
    data = Path("data") / feature
    _dvc(tree, "push", "-q")
    missing = _dvc(tree, "data", "status", "--not-in-remote", "--json")
    if "not_in_remote" in missing:
        raise StageFailed(f"run {run_id}: objects are missing in the DVC remote after the push: {missing[:300]}")
    inputs = (*POINTERS, "champion.json", "anchor.json", "looks.json", "reference.json")
    named = [*SUMMARIES, *(str(data / name) for name in inputs)]
    named += [str(p.relative_to(tree)) for p in sorted((tree / data / "metrics").glob("*.json"))]
    named += [str(p.relative_to(tree)) for p in sorted((tree / data).glob("*.dvc"))]
    return git.commit_paths(tree, sorted({n for n in named if (tree / n).exists()}), message)


def fetch_curated(settings: Settings, commit: str, feature: str, into: Path) -> Path:
    """The curated examples that a run's commit names, brought from cache or remote. Returns their folder."""
    folder = into / "curated"
    _dvc(settings.repo, "get", str(settings.repo), f"data/{feature}/curated", "--rev", commit, "-o", str(folder))
    return folder


def tag_release(repo: Path, feature: str, commit: str) -> str:
    """Tag a commit as the feature's next major version by GTO; a commit that has its tag already keeps it.

    Returns the version, as `v2.0.0`.
    """
    import gto

    taken = git.tags(repo, f"{feature}@v*")
    for tag, tagged in taken.items():
        if tagged == commit:
            return tag.partition("@")[2]
    majors = [int(tag.partition("@v")[2].split(".")[0]) for tag in taken]
    version = f"v{max(majors, default=0) + 1}.0.0"
    name, email = git.identity(repo)
    message = f"{feature} {version}"
    gto.api.register(str(repo), feature, commit, version=version, message=message, author=name, author_email=email)
    return version


def track_holdout(settings: Settings, feature: str) -> Path:
    """Track data/<feature>/holdout by DVC, push it and stage its pointer. Returns the pointer's path."""
    folder = f"data/{feature}/holdout"
    _dvc(settings.repo, "add", "-q", folder)
    _dvc(settings.repo, "push", "-q", f"{folder}.dvc")
    git.run(settings.repo, "add", f"{folder}.dvc")
    return settings.repo / f"{folder}.dvc"


def remove_worktree(settings: Settings, folder: Path) -> None:
    """Remove a run's folder with its worktree; one that is not there is fine."""
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    git.run(settings.repo, "worktree", "prune")


def run_folder(settings: Settings, run_id: str) -> Path:
    """Where a run's worktree, DVC site cache and log lie while it works."""
    return _run_folder(settings, run_id)


def _run_folder(settings: Settings, run_id: str) -> Path:
    return settings.runs_dir / run_id


def _configure_dvc(settings: Settings, folder: Path) -> None:
    """Share the clone's DVC cache and remotes with a worktree; a relative remote would lead elsewhere from there."""
    from dvc.repo import Repo

    with Repo(str(settings.repo)) as repo:
        cache = Path(repo.cache.local.path)
        remotes = {name: remote.get("url", "") for name, remote in repo.config["remote"].items()}
    lines = ["[cache]", f"    dir = {cache.parent.parent if cache.name == 'md5' else cache}"]
    lines += ['    type = "reflink,hardlink,copy"', "[core]", f"    site_cache_dir = {folder / 'site'}"]
    for name, url in remotes.items():
        if "://" not in url:
            absolute = (settings.repo / ".dvc" / url).resolve()
            lines += [f"['remote \"{name}\"']", f"    url = {absolute}"]
    (folder / "tree" / ".dvc" / "config.local").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shell() -> str:
    """The shell that DVC runs a stage's command in: one that becomes the command.

    Without SHELL (cron, systemd, a container) DVC takes /bin/sh, and dash stays between the two: it outlives a killed
    DVC, and then its child, which only dies with its own parent, does too.
    """
    return shutil.which("bash") or "/bin/sh"


def _dvc(cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise StageFailed(f"dvc {' '.join(arguments)} failed in {cwd}: {done.stderr.strip()[-600:]}")
    return done.stdout


def _stage_state(lines: list[str]) -> str:
    if any("is cached - skipping run" in line for line in lines):
        return "cached"
    return "unchanged" if any("didn't change, skipping" in line for line in lines) else "ran"

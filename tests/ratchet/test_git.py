import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ratchet import git
from ratchet.errors import BadInput, GitIdentityMissing, StaleRecord

Write = Callable[[str, str], Path]
TOKEN = "ghp_" + "a1B2" * 9  # a shape, not a token
PLANTED = {
    "aws": "AKIA" + "ABCDEFGHIJKLMNOP",
    "github": TOKEN,
    "key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "openai": "sk-" + "proj-" + "x1" * 20,
    "slack": "xoxb-" + "1234567890-abcdefghij",
}


def files_of(repo: Path, commit: str) -> set[str]:
    return set(git.run(repo, "ls-tree", "-r", "--name-only", "-z", commit).split("\0")) - {""}


def state_of(repo: Path) -> list[str]:
    """Branch, HEAD, index and working tree as the user sees them."""
    return [
        git.run(repo, *command.split())
        for command in ("symbolic-ref HEAD", "rev-parse HEAD", "status -s", "ls-files -s")
    ]


def test_run_takes_changed_tracked_files_features_and_holdout_pointers_only(repo: Path, write: Write) -> None:
    for name in ("tracked.txt", "features/new/feature.yaml", "data/f/holdout.dvc", "notes.txt", "data/f/raw.dvc"):
        write(name, "changed\n")
    commit = git.commit_working_tree(repo, "the working tree")
    taken = files_of(repo, commit) - files_of(repo, "HEAD")
    assert taken == {"features/new/feature.yaml", "data/f/holdout.dvc"}
    assert git.show(repo, commit, "tracked.txt") == "changed\n"


def test_run_takes_new_files_that_the_user_added_to_the_index(repo: Path, write: Write) -> None:
    write("tasks/new.py", "x = 1\n")
    git.run(repo, "add", "tasks/new.py")
    write("tasks/new.py", "x = 2\n")
    assert git.show(repo, git.commit_working_tree(repo, "m"), "tasks/new.py") == "x = 2\n"


def test_run_takes_a_file_that_changed_in_the_moment_in_which_the_index_was_written(repo: Path, write: Write) -> None:
    git.run(repo, "config", "core.checkStat", "minimal")  # no inode, no ctime: a test cannot set those back
    moment = (1_700_000_000, 1_700_000_000)
    write("tasks/new.py", "x = 1\n")
    os.utime(repo / "tasks/new.py", moment)
    git.run(repo, "add", "tasks/new.py")
    write("tasks/new.py", "x = 2\n")
    for path in ("tasks/new.py", ".git/index"):
        os.utime(repo / path, moment)
    assert git.show(repo, git.commit_working_tree(repo, "m"), "tasks/new.py") == "x = 2\n"


def test_run_leaves_deleted_files_out(repo: Path) -> None:
    (repo / "tracked.txt").unlink()
    assert "tracked.txt" not in files_of(repo, git.commit_working_tree(repo, "m"))


def test_run_never_moves_head_branch_or_index(repo: Path, write: Write) -> None:
    write("tracked.txt", "staged\n")
    git.run(repo, "add", "tracked.txt")
    write("tracked.txt", "and changed\n")
    write("features/new/feature.yaml", "x\n")
    before = state_of(repo)
    commit = git.commit_working_tree(repo, "m")
    assert state_of(repo) == before and commit != git.resolve(repo, "HEAD")
    assert git.run(repo, "rev-parse", f"{commit}^") == git.resolve(repo, "HEAD")


def test_ignored_files_of_features_stay_out(repo: Path, write: Write) -> None:
    write("features/f/.gitignore", "private.md\n")
    write("features/f/private.md", "x")
    assert files_of(repo, git.commit_working_tree(repo, "m")) >= {"features/f/.gitignore"}
    assert "features/f/private.md" not in files_of(repo, git.commit_working_tree(repo, "m"))


@pytest.mark.parametrize("name", ["features/f/a file.md", "features/f/naïve.md", 'features/f/"quoted".md'])
def test_run_takes_files_with_any_name(repo: Path, write: Write, name: str) -> None:
    write(name, "x\n")
    assert name in files_of(repo, git.commit_working_tree(repo, "m"))


def test_link_to_nowhere_is_taken_as_a_link(repo: Path, write: Write) -> None:
    write("features/f/feature.yaml", "x\n")
    (repo / "features" / "f" / "link").symlink_to("/nowhere")
    assert "features/f/link" in files_of(repo, git.commit_working_tree(repo, "m"))


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_secret_is_refused_by_file_and_line_without_its_content(repo: Path, write: Write, kind: str) -> None:
    write("features/f/prompts/default.md", f"one\ntwo\nkey = {PLANTED[kind]}\n")
    with pytest.raises(BadInput, match=r"^features/f/prompts/default\.md:3 holds what looks like a secret") as caught:
        git.commit_working_tree(repo, "m")
    assert PLANTED[kind] not in str(caught.value)


def test_secret_in_a_changed_tracked_file_is_refused(repo: Path, write: Write) -> None:
    write("tracked.txt", TOKEN)
    with pytest.raises(BadInput, match=r"tracked\.txt:1"):
        git.working_tree(repo)


@pytest.mark.parametrize("name", ["notes.txt", "data/f/raw/log.jsonl"])
def test_secret_in_a_file_that_no_run_takes_is_nobodys_business(repo: Path, write: Write, name: str) -> None:
    write(name, TOKEN)
    assert git.working_tree(repo) == git.run(repo, "rev-parse", "HEAD^{tree}")


def test_long_hyphenated_words_are_no_secret(repo: Path, write: Write) -> None:
    write("tracked.txt", "risk-adjusted-return-on-capital-measurement and task-oriented-dialogue-systems-evaluation\n")
    git.working_tree(repo)


def test_clone_without_a_commit_is_told_so(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a").touch()
    assert git.resolve(tmp_path, "HEAD") is None
    with pytest.raises(BadInput, match="no commit yet"):
        git.commit_working_tree(tmp_path, "m")


def test_identity_comes_from_git(repo: Path) -> None:
    assert git.identity(repo) == ("Ana Test", "ana@example.com")


def test_missing_identity_says_how_to_set_it(repo: Path, no_git_identity: None) -> None:
    with pytest.raises(GitIdentityMissing, match=r"git config --global user\.name.*user\.email"):
        git.commit_working_tree(repo, "m")


def test_identity_that_git_makes_up_from_login_and_host_is_none(
    repo: Path, no_git_identity: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL", "somebody@example.com")
    with pytest.raises(GitIdentityMissing):
        git.identity(repo)


def test_commit_paths_takes_named_paths_only_even_ignored_ones(repo: Path, write: Write) -> None:
    write("data/f/harvest.json", "{}")
    write("data/f/snapshot.parquet", "user text")
    write("tracked.txt", "changed\n")
    before = files_of(repo, "HEAD")
    commit = git.commit_paths(repo, ["data/f/harvest.json"], "m")
    assert files_of(repo, commit) - before == {"data/f/harvest.json"}
    assert git.show(repo, commit, "tracked.txt") == "one\n"


def test_commit_of_nothing_new_is_the_present_one(repo: Path) -> None:
    assert git.commit_paths(repo, ["tracked.txt"], "m") == git.resolve(repo, "HEAD")


def test_commit_paths_refuses_a_secret(repo: Path, write: Write) -> None:
    write("data/f/harvest.json", TOKEN)
    with pytest.raises(BadInput, match=r"data/f/harvest\.json:1"):
        git.commit_paths(repo, ["data/f/harvest.json"], "m")


def test_ref_is_moved_by_who_read_it_last(repo: Path) -> None:
    first, second = git.run(repo, "rev-parse", "HEAD"), git.commit_working_tree(repo, "m")
    git.move_ref(repo, "refs/ratchet/f/latest", first, None)
    for before in (None, second):
        with pytest.raises(StaleRecord, match="refs/ratchet/f/latest was moved by another process"):
            git.move_ref(repo, "refs/ratchet/f/latest", second, before)
    git.move_ref(repo, "refs/ratchet/f/latest", second, first)
    assert git.resolve(repo, "refs/ratchet/f/latest") == second


def test_tags_are_listed_with_the_commits_they_name(repo: Path) -> None:
    head = git.run(repo, "rev-parse", "HEAD")
    git.run(repo, "tag", "f@v1.0.0")
    git.run(repo, "tag", "-a", "f@v2.0.0", "-m", "two")
    git.run(repo, "tag", "g@v1.0.0")
    assert git.tags(repo, "f@v*") == {"f@v1.0.0": head, "f@v2.0.0": head}


def test_failure_of_git_is_passed_on(repo: Path) -> None:
    with pytest.raises(BadInput, match=r"git checkout nothing failed in .*pathspec 'nothing'"):
        git.run(repo, "checkout", "nothing")


def test_missing_file_or_revision_shows_as_none(repo: Path) -> None:
    assert git.show(repo, "HEAD", "nothing") is git.show(repo, "nothing", "tracked.txt") is None
    assert git.show(repo, "HEAD", "tracked.txt") == "one\n" and git.resolve(repo, "nothing") is None

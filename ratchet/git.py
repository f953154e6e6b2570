"""git, as runs use it: commits that never touch the user's branch or index, refs moved by compare-and-swap."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ratchet.errors import BadInput, GitIdentityMissing, StaleRecord

SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}"
    rb"|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{32,}|xox[abp]-[0-9A-Za-z-]{20,}"
)
UNTRACKED_TAKEN = ("features/", "data/*/holdout.dvc")  # all else that git does not track stays out of a run


def run(repo: Path, *arguments: str, environ: dict[str, str] | None = None) -> str:
    """Run git and return what it printed.

    Raises:
        BadInput: git failed; its message is passed on.
    """
    done = subprocess.run(
        ["git", "-C", str(repo), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **(environ or {})},
    )
    if done.returncode != 0:
        raise BadInput(f"git {' '.join(arguments[:3])} failed in {repo}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def identity(repo: Path) -> tuple[str, str]:
    """The name and e-mail that commits and tags are made with.

    Raises:
        GitIdentityMissing: git knows none.
    """
    try:
        # useConfigOnly: or git makes one up out of login and host name
        author = run(repo, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
        run(repo, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except BadInput as error:
        raise GitIdentityMissing(
            "git does not know who you are, and a run commits: set it with "
            '`git config --global user.name "Your Name"` and `git config --global user.email you@example.com`'
        ) from error
    match = re.match(r"(.*) <(.*)> ", author)
    assert match is not None
    return match.group(1), match.group(2)


def resolve(repo: Path, revision: str) -> str | None:
    """The commit that a revision names; None where there is none."""
    try:
        return run(repo, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except BadInput:
        return None


def show(repo: Path, revision: str, path: str) -> str | None:
    """A file's content in a revision; None where there is none."""
    try:
        return run(repo, "show", f"{revision}:{path}") + "\n"
    except BadInput:
        return None


def tags(repo: Path, pattern: str) -> dict[str, str]:
    """Tags that match a pattern, with the commits they name."""
    listed = run(repo, "for-each-ref", "--format=%(refname:short) %(objectname) %(*objectname)", f"refs/tags/{pattern}")
    rows = [line.split() for line in listed.splitlines()]
    return {row[0]: row[-1] for row in rows}


def working_tree(repo: Path) -> str:
    """The tree object of the working tree as it is: tracked files, features/ and holdout pointers.

    Raises:
        BadInput: a changed file holds what looks like a secret, or there is no commit yet.
    """
    if resolve(repo, "HEAD") is None:
        raise BadInput(f"{repo} has no commit yet; commit your work first")
    with tempfile.TemporaryDirectory() as folder:
        environ = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        # A copy of the user's index: a file that was added and not yet committed is tracked too. Its time is kept: git
        # reads files that changed in the moment in which the index was written, as they may look unchanged.
        shutil.copy2(repo / run(repo, "rev-parse", "--git-path", "index"), environ["GIT_INDEX_FILE"])
        run(repo, "add", "-u", environ=environ)
        for pattern in UNTRACKED_TAKEN:
            if any(repo.glob(pattern)):
                run(repo, "add", "--", pattern, environ=environ)
        changed = run(repo, "diff", "--cached", "--name-only", "-z", "--diff-filter=d", "HEAD", environ=environ)
        refuse_secrets(repo, [path for path in changed.split("\0") if path])
        return run(repo, "write-tree", environ=environ)


def refuse_secrets(repo: Path, paths: list[str]) -> None:
    """Raise BadInput where a file holds what looks like a key or token; the message names file and line only."""
    for path in paths:
        if (repo / path).is_symlink() or (repo / path).is_dir():  # git keeps where a link leads, not what is there
            continue
        try:
            lines = (repo / path).read_bytes().splitlines()
        except OSError as error:
            raise BadInput(f"{path} cannot be read to look for secrets: {error.strerror}") from error
        for number, line in enumerate(lines, start=1):
            if SECRETS.search(line):
                raise BadInput(
                    f"{path}:{number} holds what looks like a secret; a run commits it, so take it out first"
                )


def commit_working_tree(repo: Path, message: str) -> str:
    """Commit the working tree as it is, on top of HEAD, without touching branch or index. Returns the commit."""
    name, email = identity(repo)
    tree = working_tree(repo)
    environ = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email}
    return run(repo, "commit-tree", tree, "-p", "HEAD", "-m", message, environ=environ)


def add_worktree(repo: Path, folder: Path, revision: str) -> None:
    """Check a revision out in a worktree of its own; a branch is checked out as that branch."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    run(repo, "worktree", "prune")
    run(repo, "worktree", "add", "--force", str(folder), revision)


def commit_paths(tree: Path, paths: list[str], message: str) -> str:
    """Commit named paths, ignored or not; with nothing changed, the commit is the present one. Returns the commit."""
    identity(tree)
    refuse_secrets(tree, [p for p in paths if (tree / p).is_file()])
    run(tree, "add", "-f", "--", *paths)
    if run(tree, "diff", "--cached", "--name-only"):
        run(tree, "commit", "-q", "--no-verify", "-m", message)
    return run(tree, "rev-parse", "HEAD")


def move_ref(repo: Path, ref: str, commit: str, before: str | None) -> None:
    """Move a ref by compare-and-swap; `before` None means that it must not exist yet.

    Raises:
        StaleRecord: somebody else moved it.
    """
    try:
        run(repo, "update-ref", ref, commit, before or "0" * 40)
    except BadInput as error:
        raise StaleRecord(f"{ref} was moved by another process; run again") from error

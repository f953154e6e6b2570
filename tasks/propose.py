"""Action: bring the prompt that is live back to people, as a branch that is ready for a pull request.

The branch is made of git objects only: no checkout, index or branch of the user's is touched.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ratchet import git
from ratchet.approvals import approved_by
from ratchet.channels import Channels
from ratchet.errors import BadInput, NothingNew
from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.pii import Selection, find_pii
from ratchet.prompts import load_prompt, split_front_matter
from ratchet.release import ReleaseStore
from ratchet.settings import Settings


class Proposal(NamedTuple):
    """A branch with the live prompt; `left_out` demonstrations stay in the release, as they are users' words."""

    feature: str
    release_id: str
    version: str | None
    branch: str
    commit: str
    onto: str
    left_out: int


def prompt_path(feature: str) -> str:
    """Where a feature's prompt lies in the clone."""
    return f"features/{feature}/prompts/default.md"


def differs_from_live(repo: Path, feature: str, live_text: str) -> bool:
    """Whether the prompt's text in the working tree is another one than the live release's."""
    return load_prompt(repo / prompt_path(feature)).text != live_text


def propose(
    settings: Settings, releases: ReleaseStore, channels: Channels, ledger: Ledger, *, feature: str, onto: str | None
) -> Proposal:
    """Commit the live prompt on top of `onto` (default: main, else HEAD) as branch promote/<feature>-<version>.

    The front matter stays that of `onto`. Called again, it is the same branch.

    Raises:
        NothingNew: `onto` has the live prompt already.
        BadInput: no such revision; a branch of that name with something else; a secret or personal data in the prompt.
    """
    repo = settings.repo
    release_id = channels.read(feature).stable
    text, facts = releases.get(release_id).prompt.text, releases.attestation(release_id)
    base_name = onto or ("main" if git.resolve(repo, "main") else "HEAD")
    base = git.resolve(repo, base_name)
    if base is None:
        raise BadInput(f"{repo} has no revision {base_name!r}; name one with --onto")
    path, version = prompt_path(feature), facts.get("version")
    before = git.show(repo, base, path) or ""
    head, body = split_front_matter(before, path)
    if body.strip() == text:
        raise NothingNew(f"{base_name} has the prompt of {version or release_id[:16]} already")
    content = (f"---\n{head}\n---\n" if head else "") + text + "\n"
    branch = f"promote/{feature}-{version or release_id[4:16]}"
    _refuse_what_git_must_not_hold(text, before, load_feature(repo, feature).privacy.selection)
    commit = _commit(repo, base, path, content, _message(feature, release_id, facts))
    commit = _place(repo, branch, commit)
    ledger.append_once("merge proposed", release_id, feature=feature, branch=branch, commit=commit)
    left_out = len(releases.content(release_id).prompt.demonstrations)
    return Proposal(feature, release_id, version, branch, commit, base_name, left_out)


def _refuse_what_git_must_not_hold(text: str, before: str, selection: Selection) -> None:
    """What `onto` holds already is people's own decision: a hotline's number, say."""
    if git.SECRETS.search(text.encode()):
        raise BadInput("the live prompt holds what looks like a secret, so it is not put into git; roll it back")
    kinds = {span.type for span in find_pii(text, selection) if text[span.start : span.end] not in before}
    if kinds:
        told = ", ".join(sorted(kinds))
        raise BadInput(f"the live prompt holds personal data ({told}), so it is not put into git; write it by hand")


def _commit(repo: Path, base: str, path: str, content: str, message: str) -> str:
    """A commit on `base` that changes one file; the time is the base's, so that the same change is the same commit."""
    name, email = git.identity(repo)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "content").write_text(content, encoding="utf-8")
        blob = git.run(repo, "hash-object", "-w", "--", str(Path(folder) / "content"))
        environ = {"GIT_INDEX_FILE": os.path.join(folder, "index")}
        git.run(repo, "read-tree", base, environ=environ)
        git.run(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environ=environ)
        tree = git.run(repo, "write-tree", environ=environ)
    at = git.run(repo, "show", "-s", "--format=%cI", base)
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    return git.run(repo, "commit-tree", tree, "-p", base, "-m", message, environ=author)


def _place(repo: Path, branch: str, commit: str) -> str:
    there = git.resolve(repo, f"refs/heads/{branch}")
    if there is None:
        git.move_ref(repo, f"refs/heads/{branch}", commit, None)
        return commit
    if git.run(repo, "rev-parse", f"{there}^{{tree}}") == git.run(repo, "rev-parse", f"{commit}^{{tree}}"):
        return there
    raise BadInput(f"branch {branch} exists and holds something else; merge or delete it first")


def _message(feature: str, release_id: str, facts: dict[str, Any]) -> str:
    named = {"Release": release_id, "Run": facts.get("run"), "Approved-by": approved_by(facts)}
    trailers = "\n".join(f"{key}: {value}" for key, value in named.items() if value)
    return f"{feature}: the prompt of {facts.get('version') or release_id[:16]}, which is live\n\n{trailers}"

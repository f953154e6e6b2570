"""Action: CODEOWNERS out of the owners in feature.yaml, so that git hosting asks them where their files change.

Who changes features/<name>/feature.yaml changes who may approve, so that file is what the block is for. Lines of your
own outside the two marks stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ratchet.features import feature_names, load_feature

BEGIN = "# ratchet: begin (written by `ratchet feature owners --write` from features/*/feature.yaml)"
END = "# ratchet: end"
PLACES = ("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
HANDLE = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*|[^\s@]+@[^\s@]+\.[^\s@]+")


class Owned(NamedTuple):
    """Where CODEOWNERS is, what it should hold, and owners that no git host knows by that name."""

    path: Path
    content: str
    nameless: list[str]

    @property
    def is_stale(self) -> bool:
        """Whether the file is not there, or holds something else."""
        return not self.path.is_file() or self.path.read_text(encoding="utf-8") != self.content


def plan_owners(repo: Path) -> Owned:
    """What CODEOWNERS has to hold; the file is the first that exists of those that GitHub and GitLab read."""
    lines, nameless = [BEGIN], []
    for name in feature_names(repo):
        owners = load_feature(repo, name).owners
        handles = [owner for owner in owners if HANDLE.fullmatch(owner)]
        nameless += [f"{name}: {owner}" for owner in owners if owner not in handles]
        if handles:
            written = " ".join(owner if "@" in owner else f"@{owner}" for owner in handles)
            lines += [f"/features/{name}/ {written}", f"/data/{name}/ {written}"]
    lines.append(END)
    path = next((repo / place for place in PLACES if (repo / place).is_file()), repo / PLACES[0])
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    block = "\n".join(lines) + "\n"
    pattern = rf"(?ms)^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n?"
    if re.search(pattern, before):
        return Owned(path, re.sub(pattern, lambda _: block, before), nameless)
    return Owned(path, before + ("\n" if before and not before.endswith("\n") else "") + block, nameless)

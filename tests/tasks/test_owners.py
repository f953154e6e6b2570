from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from ratchet.settings import Settings
from tasks.owners import plan_owners
from tests.conftest import POLICY

Write = Callable[[str, str], Path]


def test_owners_are_written_as_git_hosting_knows_them(routing: Settings, write: Write) -> None:
    owners = ["support-platform", "@acme/banking", "jo@example.com", "Ana Test"]
    write("features/routing/feature.yaml", yaml.safe_dump(POLICY | {"owners": owners}))
    found = plan_owners(routing.repo)
    handles = "@support-platform @acme/banking jo@example.com"
    assert f"\n/features/routing/ {handles}\n/data/routing/ {handles}\n" in found.content
    assert found.nameless == ["routing: Ana Test"]


def test_your_own_lines_stay_and_the_block_is_replaced(routing: Settings, write: Write) -> None:
    write("CODEOWNERS", "* @everyone\n")
    first = plan_owners(routing.repo)
    write("CODEOWNERS", first.content + "/docs/ @writers\n")
    write("features/routing/feature.yaml", yaml.safe_dump(POLICY | {"owners": ["zoe"]}))
    second = plan_owners(routing.repo)
    assert first.is_stale and second.is_stale
    assert second.content.startswith("* @everyone\n") and second.content.endswith("/docs/ @writers\n")
    assert "/features/routing/ @zoe\n" in second.content and "@a\n" not in second.content
    write("CODEOWNERS", second.content)
    assert not plan_owners(routing.repo).is_stale


def test_the_file_that_is_there_is_the_one(routing: Settings, write: Write) -> None:
    assert plan_owners(routing.repo).path == routing.repo / "CODEOWNERS"
    write(".github/CODEOWNERS", "* @everyone\n")
    assert plan_owners(routing.repo).path == routing.repo / ".github" / "CODEOWNERS"


def test_an_owner_that_would_break_out_of_its_line_is_nameless(routing: Settings, write: Write) -> None:
    write("features/routing/feature.yaml", yaml.safe_dump(POLICY | {"owners": ["x\n* @mallory", "a b"]}))
    found = plan_owners(routing.repo)
    assert "mallory" not in found.content and len(found.nameless) == 2

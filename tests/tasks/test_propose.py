"""A promoted prompt comes back as a branch, and nothing of the user's is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ratchet import git
from ratchet.errors import BadInput, NothingNew
from ratchet.prompts import Demonstration, Prompt
from ratchet.settings import Settings
from tasks.propose import Proposal, propose
from tests.released import AT, Machine

PATH = "features/routing/prompts/default.md"


class Desk(Machine):
    def live(self, text: str, **more: object) -> str:
        found = self.release(text, version="v2.0.0", run="r2", **more)  # type: ignore[arg-type]
        self.channels.begin("routing", found, at=AT, by="ana", reason="first")
        return found

    def propose(self, onto: str | None = None) -> Proposal:
        return propose(self.settings, self.releases, self.channels, self.ledger, feature="routing", onto=onto)

    def git(self, *words: str) -> str:
        return git.run(self.settings.repo, *words)


@pytest.fixture
def desk(routing: Settings, write: Callable[[str, str], Path]) -> Iterator[Desk]:
    write(PATH, "---\nintent: route\nowner: ana\n---\nName the team.\n")
    git.run(routing.repo, "commit", "-qam", "front matter")
    made = Desk(routing)
    yield made
    made.store.close()


def test_the_branch_holds_the_live_prompt_under_the_files_own_front_matter(desk: Desk) -> None:
    release_id = desk.live("Name the right team.\nBe brief.")
    found = desk.propose()
    assert (found.branch, found.onto) == ("promote/routing-v2.0.0", "main")
    content = desk.git("show", f"{found.branch}:{PATH}")
    assert content == "---\nintent: route\nowner: ana\n---\nName the right team.\nBe brief."
    assert desk.git("diff", "--name-only", "main", found.branch) == PATH
    message = desk.git("show", "-s", "--format=%B", found.branch)
    assert f"Release: {release_id}\nRun: r2\nApproved-by: ana" in message
    assert [e.subject for e in desk.ledger.entries(event="merge proposed")] == [release_id]


def test_the_users_checkout_index_and_branch_are_untouched(desk: Desk, write: Callable[[str, str], Path]) -> None:
    desk.live("Name the right team.")
    write("tracked.txt", "being worked on\n")
    write("staged.txt", "staged\n")
    desk.git("add", "staged.txt")
    state = [desk.git(*words) for words in (("status", "--porcelain"), ("rev-parse", "HEAD"), ("diff", "--cached"))]
    desk.propose()
    assert state == [desk.git(*w) for w in (("status", "--porcelain"), ("rev-parse", "HEAD"), ("diff", "--cached"))]
    assert desk.git("branch", "--show-current") == "main" and desk.git("worktree", "list").count("\n") == 0


def test_twice_is_the_same_branch_and_once_in_the_ledger(desk: Desk) -> None:
    desk.live("Name the right team.")
    assert desk.propose() == desk.propose()
    assert len(desk.ledger.entries(event="merge proposed")) == 1


def test_a_branch_that_holds_something_else_is_left_alone(desk: Desk) -> None:
    desk.live("Name the right team.")
    desk.git("branch", "promote/routing-v2.0.0", "main")
    with pytest.raises(BadInput, match="holds something else"):
        desk.propose()


def test_once_merged_there_is_nothing_new(desk: Desk) -> None:
    desk.live("Name the right team.")
    desk.git("merge", "-q", desk.propose().branch)
    with pytest.raises(NothingNew, match=r"main has the prompt of v2\.0\.0"):
        desk.propose()


def test_demonstrations_stay_in_the_release(desk: Desk) -> None:
    shown = (Demonstration(input="my secret story", output="x"),)
    desk.live("", prompt=Prompt(text="Name the right team.", demonstrations=shown))
    found = desk.propose()
    assert found.left_out == 1 and "secret story" not in desk.git("show", found.branch)


@pytest.mark.parametrize(
    ("text", "told"),
    [("Use sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD.", "secret"), ("Say jo.doe@example.org asked.", "EMAIL")],
)
def test_secrets_and_personal_data_do_not_get_into_git(desk: Desk, text: str, told: str) -> None:
    desk.live(text)
    with pytest.raises(BadInput, match=told) as caught:
        desk.propose()
    assert "jo.doe" not in str(caught.value) and desk.git("branch", "--list", "promote/*") == ""


def test_what_main_holds_already_is_peoples_own_decision(desk: Desk, write: Callable[[str, str], Path]) -> None:
    write(PATH, "Name the team, or send to help@shop.com.\n")
    desk.git("commit", "-qam", "the hotline")
    desk.live("Name the right team, or send to help@shop.com.")
    assert desk.propose().branch


def test_an_unknown_base_is_told(desk: Desk) -> None:
    desk.live("Name the right team.")
    with pytest.raises(BadInput, match="no revision 'nowhere'"):
        desk.propose("nowhere")

"""tasks.write_release: a release of a committed prompt, different from stable in the prompt alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.settings import Settings
from ratchet.trust import check_signatures
from tasks.write_release import EVENT, write_release
from tests.released import AT, Machine

FEATURE = Feature(name="routing", intent="route", owners=("ana",), scorer="exact_match")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}))
    stable = found.release(weights=b"w1")
    found.channels.begin("routing", stable, at=AT, by="ana", reason="first")
    (tmp_path / "short.md").write_text("---\nintent: shorter\n---\nName the team in a word.\n")
    (tmp_path / "live.md").write_text("Name the team.\n")
    commit(tmp_path)
    return found


def commit(repo: Path) -> None:
    who = ["-c", "user.name=ana", "-c", "user.email=ana@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
    subprocess.run(["git", "add", "short.md", "live.md"], cwd=repo, check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "prompts"], cwd=repo, check=True)


def write(machine: Machine, prompt: str = "short.md", feature: Feature = FEATURE) -> str:
    parts = (machine.settings, machine.releases, machine.channels, machine.ledger)
    told = {"now": AT, "by": "ana", "reason": "shorter answers"}
    return write_release(*parts, feature=feature, prompt=machine.settings.repo / prompt, **told)  # type: ignore[arg-type]


def test_only_the_prompt_differs_from_what_is_stable(machine: Machine) -> None:
    stable = machine.releases.get(machine.channels.read("routing").stable)
    made = machine.releases.get(write(machine))
    assert made.prompt.text == "Name the team in a word." and made.adapter == stable.adapter is not None
    assert made.model_copy(update={"prompt": stable.prompt}) == stable


def test_it_is_signed_by_the_pipeline_and_approved_by_nobody(machine: Machine) -> None:
    release_id = write(machine)
    facts = machine.releases.attestation(release_id)
    found = check_signatures(release_id, facts, machine.trust)
    assert (found.pipeline, found.approval) == (None, "no approval") and "gate" not in facts
    assert (facts["prompt_file"], facts["commit"]) == (
        "short.md",
        machine.ledger.entries(event=EVENT)[0].facts["commit"],
    )


def test_written_twice_it_is_the_same_release(machine: Machine) -> None:
    assert write(machine) == write(machine) and len(machine.ledger.entries(event=EVENT)) == 1


def test_what_is_not_committed_as_it_is_is_refused(machine: Machine) -> None:
    (machine.settings.repo / "short.md").write_text("Something else.\n")
    with pytest.raises(BadInput, match="is not committed as it is"):
        write(machine)
    (machine.settings.repo / "new.md").write_text("Never committed.\n")
    with pytest.raises(BadInput, match="is not committed as it is"):
        write(machine, "new.md")


def test_a_prompt_from_outside_the_clone_is_refused(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "short.md"
    outside.write_text("Name the team in a word.\n")
    with pytest.raises(BadInput, match="lies outside"):
        write(machine, str(outside))


def test_the_prompt_that_is_live_is_no_new_release(machine: Machine) -> None:
    with pytest.raises(BadInput, match="is the prompt that is live"):
        write(machine, "live.md")

from __future__ import annotations

import pytest

from ratchet.channels import Canary
from ratchet.errors import BadInput
from ratchet.prompt_registry import find_version, prompt_versions
from tests.released import AT, Machine

TOLD = {"at": AT, "by": "ana", "reason": "because"}


@pytest.fixture
def three(machine: Machine) -> tuple[str, str, str]:
    """v1 live, v2 on the canary and pinned for a segment, and one that was refused."""
    gate = {"verdict": "accept", "chosen_arm": "reflect", "reasons": ["+5 points"]}
    one = machine.release("One.")
    two = machine.release("Two.", version="v2.0.0", run="r2", claims={"gate": gate})
    refused = machine.release("Three.", version=None, run="r3", approve=False)
    machine.channels.begin("routing", one, **TOLD)
    trial = Canary(release_id=two, share=0.2, salt="s", rollout_id="ro")
    machine.channels.move("routing", stable=one, canary=trial, expected_version=1, **TOLD)
    machine.channels.begin("routing@@vip", two, **TOLD)
    return one, two, refused


def test_every_version_tells_where_it_is_live_who_and_why(machine: Machine, three) -> None:
    one, two = prompt_versions(machine.releases, machine.channels)
    assert (one.release_id, two.release_id) == three[:2]
    assert (one.text, one.live_on, one.made_by, one.why) == ("One.", ("routing",), "person", "because")
    assert two.live_on == ("routing (canary 20%)", "routing@@vip")
    assert (two.segments, two.made_by, two.approved_by, two.why) == (("vip",), "reflect", "ana", "+5 points")
    assert (two.intent, two.owners, two.run) == ("route", ("ana",), "r2")


def test_what_was_taken_back_stays_in_the_log_and_is_live_nowhere(machine: Machine, three) -> None:
    machine.channels.move("routing", stable=three[0], canary=None, expected_version=2, **TOLD)
    machine.channels.move("routing@@vip", stable=three[1], canary=None, expected_version=1, inherits=True, **TOLD)
    two = prompt_versions(machine.releases, machine.channels)[1]
    assert (two.live_on, two.was_on) == ((), ("routing", "routing@@vip"))


def test_versions_are_in_the_order_of_their_numbers(machine: Machine, three) -> None:
    machine.release("Ten.", version="v10.0.0")
    assert [v.version for v in prompt_versions(machine.releases, machine.channels, "routing")] == [
        "v1.0.0",
        "v2.0.0",
        "v10.0.0",
    ]
    assert prompt_versions(machine.releases, machine.channels, "other") == []


@pytest.mark.parametrize("wanted", ["v2.0.0", "v2", "id"])
def test_a_version_is_found_by_number_or_id(machine: Machine, three, wanted: str) -> None:
    versions = prompt_versions(machine.releases, machine.channels)
    assert find_version(versions, three[1][:16] if wanted == "id" else wanted).text == "Two."
    assert find_version(versions, "live").text == "One."


@pytest.mark.parametrize("wanted", ["v3", "rel_", "", "nothing"])
def test_an_unknown_version_is_told_with_those_that_exist(machine: Machine, three, wanted: str) -> None:
    with pytest.raises(BadInput, match=r"there are: v1\.0\.0, v2\.0\.0"):
        find_version(prompt_versions(machine.releases, machine.channels), wanted)

"""`ratchet plan`: what so many items can show."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from cli.main import app


def test_a_number_of_items_gives_gains_and_margins() -> None:
    told = CliRunner().invoke(app, ["plan", "100", "--margin", "pii_leak=0.05", "--look", "2", "--json"])
    facts = json.loads(told.stdout)
    assert (facts["items"], facts["alpha"], facts["to_rule_out"]["pii_leak"]) == (100, 0.0125, 124)
    assert "is found four times in five" in CliRunner().invoke(app, ["plan", "100"]).stdout

"""cli.backtest: what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app
from tests.tasks.test_backtest import made


def test_the_verdict_is_json_and_an_exit_status(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    for drop, verdict, status in ((0.3, "rollback", 4), (-0.15, "promote", 0), (0.0, "undecided", 3)):
        rows = made(1, 3000 if drop else 30, drop=drop)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found = CliRunner().invoke(app, ["rollout", "backtest", str(path), "--json", "--window-s", "0"])
        assert (json.loads(found.stdout)["verdict"], found.exit_code) == (verdict, status)

"""tasks.publish: what people read of a run outlives its worktree."""

from __future__ import annotations

from pathlib import Path

from ratchet.runs import Run
from ratchet.settings import Settings
from tasks.publish import keep_reports


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def test_a_blocked_run_keeps_the_data_report_and_its_counts(tmp_path: Path) -> None:
    settings = Settings.from_env({"RATCHET_HOME": str(tmp_path / "home")})
    run, data = Run(run_id="r1", feature="routing", started_at="2026-01-01"), tmp_path / "data"
    write(data / "data_report.html", "<p>first")
    write(data / "metrics" / "validate.json", "{}")
    keep_reports(settings, run, data)
    write(data / "data_report.html", "<p>second")
    folder = keep_reports(settings, run, data)
    kept = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert kept == {"data_report.html": "<p>second", "metrics/validate.json": "{}"}

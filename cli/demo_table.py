"""What the demo ends with: one table, ten changed answers, the verdict, and what to type next."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from cli.evidence import evidence_lines
from cli.session import Session, console, neutral, short
from ratchet.files import read_json
from ratchet.runs import Run

CHANGED_SHOWN = 10


def print_result(session: Session, run: Run) -> None:
    """Print what a finished cycle came to."""
    folder = session.settings.home / "reports" / run.run_id
    if not (folder / "metrics" / "gate.json").is_file():
        console.print(f"\n[bold]{run.feature}: {run.outcome}[/bold]")
        for reason in run.reasons:
            console.print(f"  {reason}", markup=False)
        return
    gate = read_json(folder / "metrics" / "gate.json")
    evaluated = read_json(folder / "metrics" / "evaluate.json")
    console.print()
    console.print(result_table(evaluated, gate, folder / "timings", is_accepted=run.outcome == "accept"))
    _print_changed(folder / "evaluation" / "showcase.jsonl")
    _print_online(session, run)
    console.print(f"\n[bold]{run.feature}: {gate['verdict']}[/bold]")
    for reason in gate["reasons"]:
        console.print(f"  {reason}", markup=False)
    console.print(f"\n  release   {run.release_id}", soft_wrap=True)
    console.print(f"  tag       {run.feature}@{run.version}" if run.version else "  tag       none: not approved")
    console.print(f"  report    {folder / 'report.html'}", soft_wrap=True)
    _print_next(run)


def result_table(evaluated: dict[str, Any], gate: dict[str, Any], timings: Path, *, is_accepted: bool) -> Table:
    """Champion and arms on validation; after an accept also champion and candidate on the holdout."""
    table = Table(
        "", "split", "n", f"{evaluated['scorer']} (95 %)", "difference (95 %)", "p95 latency", "tokens/answer"
    )
    arms = {name: arm for name, arm in sorted(evaluated["arms"].items()) if arm["score"] is not None}
    for name, arm in list(arms.items())[:1]:
        old = {key.removeprefix("champion_"): value for key, value in arm.items() if key.startswith("champion_")}
        latency = _latency(timings / f"validation-{name}.json", "champion")
        table.add_row("champion", "validation", str(arm["n"]), _score(old), "", latency, _tokens(old))
    for name, arm in arms.items():
        gain = f"{arm['score'] - arm['champion_score']:+.3f}"
        latency = _latency(timings / f"validation-{name}.json", name)
        table.add_row(f"arm {name}", "validation", str(arm["n"]), _score(arm), gain, latency, _tokens(arm))
    if is_accepted:
        for role in ("champion", "candidate"):
            found = gate[role]
            gain = _difference(gate) if role == "candidate" else ""
            latency = _latency(timings / "evaluate.json", role)
            table.add_row(
                f"[bold]{role}[/bold]", "holdout", str(found["n"]), _score(found), gain, latency, _tokens(found)
            )
    return table


def sabotage_table(facts: dict[str, Any]) -> Table:
    """What the second act came to."""
    live, back = datetime.fromisoformat(facts["live_at"]), datetime.fromisoformat(facts["back_at"])
    serves = "the former release only" if facts["serves_now"] == [facts["champion_id"]] else "NOT the former release"
    version = facts["champion_version"] or "-"
    prefect = "not killed: the evidence was faster"
    if facts["prefect_killed_at"]:
        killed = datetime.fromisoformat(facts["prefect_killed_at"])
        prefect = f"killed at {killed:%H:%M:%S}; {facts['ticks_without_prefect']} ticks without it"
    by_signal = f"by its signal `{facts['signal']}`" if facts["signal"] else f"by {facts['back_by']}"
    table = Table("the sabotaged release", short(facts["release_id"]))
    table.add_row("went live", f"{live:%H:%M:%S} UTC, on the canary")
    table.add_row("users who met it", f"{facts['users_met_it']} of {facts['users_all']} ({facts['answers']} answers)")
    table.add_row("taken back", f"{back:%H:%M:%S} UTC, after {(back - live).total_seconds():.0f} s, {by_signal}")
    table.add_row("Prefect", prefect)
    asked = f"{version} {short(facts['champion_id'])}, to {facts['users_asked']} new users"
    table.add_row("the gateway serves now", f"{serves}: {asked}")
    table.add_row("the ledger", f"whole, {facts['ledger_entries']} entries")
    return table


def _print_changed(path: Path) -> None:
    """Answers that changed, from the showcase: never from the holdout."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    changed = [row for row in rows if row["champion"] != row["candidate"]][:CHANGED_SHOWN]
    if not changed:
        return
    table = Table(
        "message (showcase)", "before", "after", "right", title=f"{len(changed)} changed answers", expand=True
    )
    for row in changed:
        table.add_row(*(neutral(str(row[key] or ""), 140) for key in ("text", "champion", "candidate", "expected")))
    console.print(table)


def _print_online(session: Session, run: Run) -> None:
    """The old release's numbers beside the new one's, as users saw them during the rollout."""
    document = session.store.document("rollout", run.rollout_id) if run.rollout_id else None
    if document is None:
        return
    console.print(f"\n  rollout: {document.body['state']}", markup=False)
    for line in evidence_lines(document.body.get("evidence") or {}):
        console.print(f"    {line}", markup=False)


def _print_next(run: Run) -> None:
    console.print("\n  next:")
    if run.version:
        console.print(f"    git checkout {run.feature}@{run.version} && .venv/bin/dvc pull && .venv/bin/dvc repro")
    console.print(f"    .venv/bin/ratchet status {run.feature} · .venv/bin/ratchet audit verify · make up · make reset")


def _score(found: dict[str, Any]) -> str:
    return "unscored" if found["score"] is None else f"{found['score']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _difference(gate: dict[str, Any]) -> str:
    found = gate.get("difference")
    return "-" if not found else f"{found['estimate']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def _tokens(found: dict[str, Any]) -> str:
    return "-" if found.get("tokens_per_answer") is None else f"{found['tokens_per_answer']:.1f}"


def _latency(path: Path, role: str) -> str:
    if not path.is_file():
        return "-"
    found = (read_json(path).get("p95_latency_ms") or {}).get(role)
    return "-" if found is None else f"{found:.0f} ms"

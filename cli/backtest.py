"""`ratchet rollout backtest`: what the rule would have decided on recorded traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.evidence import evidence_lines
from cli.records import bar
from cli.session import Json, console, neutral, print_json
from ratchet.errors import BadInput
from ratchet.rollout_policy import RolloutPolicy
from tasks.backtest import Backtest, backtest, read_policy

EXIT = {"promote": 0, "undecided": 3, "rollback": 4}
WINDOW_S = 3600.0


def backtest_(
    file: Annotated[
        Path, typer.Argument(help='JSONL of {"at", "user_id", "channel": "stable|canary", "signals": {…}}, by time')
    ],
    policy: Annotated[Path | None, typer.Option(help="a feature.yaml, of which `rollout` is read")] = None,
    alpha: Annotated[float | None, typer.Option(help="probability of a false rollback")] = None,
    margin: Annotated[float | None, typer.Option(help="loss that promotion must rule out, as 0.05")] = None,
    window_s: Annotated[float | None, typer.Option(help="a user is judged so long after the first answer")] = None,
    min_users: Annotated[int | None, typer.Option(help="canary users of each step")] = None,
    as_json: Json = False,
) -> None:
    """Run a rollout's rule over recorded traffic, from anywhere: what it would have decided, and when.

    Signals: thumb, rating, correction, rephrase, escalation (what people said), error, fallback, refusal, malformed,
    unsafe (true is bad), latency_ms, length, cost_usd, and those that a policy names. Rows may have a segment and a
    propensity. A missing signal is missing, never 0. Exit status: 0 promote, 3 undecided, 4 rollback.
    Example: [bold]ratchet rollout backtest traffic.jsonl --margin 0.05 --json[/bold]
    """
    given = {"alpha": alpha, "margin": margin, "outcome_window_s": window_s, "min_users": min_users}
    chosen = _policy(policy, {key: value for key, value in given.items() if value is not None})
    with bar() as progress:
        task = progress.add_task(neutral(file.name), total=None)
        found = backtest(file, chosen, lambda rows: progress.update(task, completed=rows))
    if as_json:
        print_json(found.facts())
    else:
        _tell(found)
    raise typer.Exit(EXIT[found.verdict])


def _policy(path: Path | None, given: dict[str, Any]) -> RolloutPolicy:
    known = read_policy(path).model_dump() if path else {"outcome_window_s": WINDOW_S}
    try:
        return RolloutPolicy.model_validate({**known, **given})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise BadInput(f"--{problem['loc'][0]}: {problem['msg']}") from error


def _tell(found: Backtest) -> None:
    facts = found.facts()
    evidence, rows = facts["evidence"], facts["rows"]
    where = f" of segment {facts['segment']!r}" if facts["segment"] else ""
    by = f" by {facts['signal']}{where}" if facts["signal"] else ""
    console.print(f"{found.verdict}{by}, {facts['at']}, after {facts['outcomes']} canary users", markup=False)
    for line in evidence_lines(evidence):
        console.print(f"  {line}", markup=False)
    if found.verdict == "undecided":
        held = f"held by {facts['held_by']}" if facts["held_by"] else "nothing is proven yet"
        console.print(f"  {held}", markup=False)
    console.print(
        f"  {rows['read']} rows, {rows['rejected']} rejected, {rows['late']} too late, {rows['after_window']} after"
        f" their user's window; {facts['users_on_both_channels']} users on both channels (the first counts)"
    )
    for line in facts["first_rejected"][:5]:
        console.print(f"    {neutral(line)}", markup=False)

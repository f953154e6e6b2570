"""`ratchet gate`: the gate's decision on anyone's paired scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.session import Json, console, print_json
from ratchet.errors import BadInput
from tasks.compare import ComparePolicy, compare, read_pairs

EXIT = {"accept": 0, "inconclusive": 3, "reject": 4}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gate")(gate_)


def gate_(
    file: Annotated[
        Path, typer.Argument(help='JSONL of {"id", "metric", "champion", "candidate", "session"?, "slice"?}')
    ],
    objective: Annotated[str | None, typer.Option(help="the metric that must improve, where there are several")] = None,
    margin: Annotated[list[str] | None, typer.Option(help="METRIC=NUMBER: the loss tolerated elsewhere")] = None,
    lower: Annotated[list[str] | None, typer.Option(help="a metric of which less is better, as cost")] = None,
    alpha: Annotated[float, typer.Option(help="one-sided error", min=1e-6, max=0.49)] = 0.05,
    min_items: Annotated[int, typer.Option(help="decide nothing on fewer pairs", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Decide whether a candidate beats a champion, on scores from anywhere; nothing is written.

    A judge's rows carry people's labels, "human_champion", "human_candidate" (0 to 1, null where nobody labelled) and
    "inclusion" (the probability with which the item was drawn for them), as `ratchet judge draw` gives it: then the
    judge counts by prediction-powered estimates alone, and below 30 labelled items nothing is decided by it.
    Exit status: 0 accept, 3 inconclusive, 4 reject. Nobody counts how often you look, so it promises nothing under
    reuse; a run of the loop does.
    Example: [bold]ratchet gate scores.jsonl --objective quality --lower cost --margin cost=0.001[/bold]
    """
    policy = ComparePolicy(objective, parse_margins(margin or []), frozenset(lower or []), alpha, min_items)
    decision = compare(read_pairs(file), policy)
    if as_json:
        facts: dict[str, Any] = {"verdict": decision.verdict, "reasons": decision.reasons, **decision.facts}
        print_json(facts)
    else:
        console.print(decision.verdict, style="bold")
        for reason in decision.reasons:
            console.print(f"  {reason}", markup=False)
    raise typer.Exit(EXIT[decision.verdict])


def parse_margins(given: list[str]) -> dict[str, float]:
    """METRIC=NUMBER, as people give them."""
    margins = {}
    for text in given:
        metric, _, number = text.rpartition("=")
        try:
            margins[metric] = float(number)
        except ValueError:
            raise BadInput(f"--margin {text}: needs METRIC=NUMBER, as --margin cost=0.001") from None
        if not metric or not margins[metric] >= 0:
            raise BadInput(f"--margin {text}: needs METRIC=NUMBER, a loss of 0 or more")
    return margins

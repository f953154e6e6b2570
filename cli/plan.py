"""`ratchet plan`: what a holdout can show, before anybody looks at it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.gate import parse_margins
from cli.session import Json, console, open_session, print_json
from ratchet.features import load_feature
from ratchet.power import MOST_ITEMS, items_to_rule_out
from ratchet.power import plan as plan_items
from tasks.gate import Looks
from tasks.plan_look import plan_look, told_of_plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan_)


def plan_(
    what: Annotated[str, typer.Argument(help="how many items (or sessions, where items name them), or a feature")],
    margin: Annotated[list[str] | None, typer.Option(help="METRIC=NUMBER: a loss that is to be ruled out")] = None,
    alpha: Annotated[float, typer.Option(help="one-sided error", min=1e-6, max=0.49)] = 0.05,
    look: Annotated[int, typer.Option(help="which look it is: each may err half as often", min=1, max=30)] = 1,
    as_json: Json = False,
) -> None:
    """Tell which true gain so many items find four times in five, and how many items a gain or a margin takes.

    For a feature: what its next look can show, with its own error, margins and looks so far. No score is read.
    Example: [bold]ratchet plan 300 --margin pii_leak=0.01[/bold] · [bold]ratchet plan support_routing[/bold]
    """
    if not what.isdecimal():
        with open_session() as session:
            known = load_feature(session.settings.repo, what)
            lines = plan_look(session.settings.repo, known, session.ledger) or [f"{what} has no holdout yet"]
        facts: dict[str, object] = {"feature": what, "told": lines}
    else:
        found = plan_items(int(what), Looks(look, advisory=True).spend(alpha))
        losses = parse_margins(margin or [])
        ruled_out = {metric: items_to_rule_out(loss, found.alpha) for metric, loss in losses.items()}
        facts = {**asdict(found), "to_rule_out": ruled_out}
        lines = [f"{what} items, error {found.alpha:.3g}: {told_of_plan(found)}"]
        lines += [f"  a gain of {100 * gain:.0f} points takes {_items(n)}" for gain, n in found.needed.items()]
        lines += [
            f"  {metric}: a loss of {losses[metric]:g} is ruled out by {_items(n)} if not one 0/1 score is lost"
            for metric, n in ruled_out.items()
        ]
    if as_json:
        print_json(facts)
        return
    for line in lines:
        console.print(line, markup=False)


def _items(count: int | None) -> str:
    return f"more than {MOST_ITEMS} items" if count is None else f"{count} items"

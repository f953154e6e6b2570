"""`ratchet evidence`: what a log says of a candidate before users meet it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.session import Json, console, open_session, print_json
from ratchet.errors import BadInput
from ratchet.features import feature_names
from tasks.log_evidence import LogEvidence, canary_log, read_log, weigh_log
from tasks.wording import points


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evidence)


def evidence(
    source: Annotated[
        str,
        typer.Argument(help='a feature, or JSONL of {"id", "logged", "candidate", "outcome", "propensity"?, "user"?}'),
    ],
    release: Annotated[str | None, typer.Option(help="of a feature: the release that is asked about")] = None,
    as_json: Json = False,
) -> None:
    """Tell what a log says of a candidate's gain: bounds, an estimate where the log was random, or why there is none.

    Of a feature's own log only canary traffic is random: it says how a release did that was on the canary.
    Example: [bold]ratchet evidence log.jsonl[/bold] · [bold]ratchet evidence support_routing --release 5e6f7a8b[/bold]
    """
    found = weigh_log(read_log(Path(source))) if release is None else _of_feature(source, release)
    if as_json:
        facts: dict[str, Any] = {
            "bounds": found.bounds._asdict() if found.bounds else None,
            "gain": found.gain._asdict() if found.gain else None,
            "told": found.told,
        }
        print_json(facts)
        return
    if found.bounds:
        bounds = found.bounds
        console.print(f"{bounds.n} answers, of which {bounds.differing} would have been others.")
        console.print(f"Worst and best case: {points(bounds.low)} to {points(bounds.high)} points.")
    console.print(found.told, markup=False)


def _of_feature(name: str, release: str) -> LogEvidence:
    with open_session() as session:
        if name not in feature_names(session.settings.repo):
            raise BadInput(f"{name[:80]!r} is no feature; --release asks about a feature's own log")
        release_id = session.releases.find(release)
        interactions = (i for _, i in session.store.interactions(name))
        rows = canary_log(release_id, interactions, (f for _, _, f in session.store.feedback(name)))
    return weigh_log(rows)

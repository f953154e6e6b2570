"""`ratchet status`: what is live, what runs, what waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli.session import Json, Session, console, neutral, open_session, print_json, short
from ratchet.anchors import anchored
from ratchet.errors import ReleaseNotFound
from ratchet.features import feature_names, load_feature
from ratchet.probes import changes_since
from ratchet.runs import runs_of
from ratchet.stops import stop_of
from tasks.propose import differs_from_live

WARNED = timedelta(days=7)  # how long a change of a hosted model is told


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    feature: Annotated[str | None, typer.Argument(help="one feature; the default is all of them")] = None,
    as_json: Json = False,
) -> None:
    """What is live, what runs and what waits, per feature.

    Examples: [bold]ratchet status[/bold] · [bold]ratchet status support_routing --json[/bold]
    """
    with open_session() as session:
        if feature is not None:
            load_feature(session.settings.repo, feature)
        names = [feature] if feature else feature_names(session.settings.repo)
        facts = {name: feature_status(session, name) for name in names}
        warned = warnings(session)
    if as_json:
        print_json(facts)
        return
    for name, found in facts.items():
        _print(name, found)
    for warning in warned:
        console.print(f"[bold]WARNING[/bold] {neutral(warning)}")


def warnings(session: Session) -> list[str]:
    """What somebody should look at: models that were changed, anchors that fail, canaries that a gateway stopped."""
    found = [
        f"{probe.subject} was changed by its provider: {'; '.join(probe.reasons)}"
        for probe in changes_since(session.store, datetime.now(UTC) - WARNED)
    ]
    found += [
        f"the ledger is not anchored at {target}: {one.error}"
        for target, one in anchored(session.settings).items()
        if one.error
    ]
    for name in session.channels.features():
        canary = session.channels.read(name).canary
        stop = stop_of(session.store, canary.rollout_id) if canary else None
        if stop is not None:
            found.append(f"{name}: {stop.why} `ratchet rollout tick` moves the channel.")
    return found


def feature_status(session: Session, name: str) -> dict[str, Any]:
    """The facts of one feature."""
    try:
        channels = session.channels.read(name)
    except ReleaseNotFound:
        return {"live": None, "counts": session.store.counts(name), "last_run": None, "rollouts": []}
    live = session.releases.get(channels.stable)
    runs = runs_of(session.store, name)
    return {
        "live": channels.stable,
        "version": session.releases.attestation(channels.stable).get("version"),
        "frozen": channels.frozen.model_dump() if channels.frozen else None,
        "canary": channels.canary.model_dump() if channels.canary else None,
        "main_differs_from_live": differs_from_live(session.settings.repo, name, live.prompt.text),
        "counts": session.store.counts(name),
        "last_run": runs[-1].model_dump(mode="json") if runs else None,
        "rollouts": [d.body for d in session.store.documents("rollout", name)],
    }


def answers_told(run: Mapping[str, Any]) -> list[str]:
    """What approvers said of a run, with their reasons, and how the wait ended where nobody decided."""
    said = [
        f"{answer['decision']} by {answer['approver']}: {neutral(answer['reason']) or 'no reason given'}"
        for answer in run["answers"]
    ]
    return said + ([f"{run['decision']}: {neutral(run['refusal'])}"] if run["decision"] in ("expired", "stale") else [])


def _print(name: str, found: dict[str, Any]) -> None:
    console.print(f"[bold]{name}[/bold]")
    if found["live"] is None:
        console.print("  no release yet: `make up` or `ratchet run` makes v1")
        return
    console.print(f"  stable    {found['version'] or '?'}  {short(found['live'])}")
    if found["canary"]:
        console.print(f"  canary    {short(found['canary']['release_id'])} for {found['canary']['share']:.0%} of users")
    if found["frozen"]:
        frozen = found["frozen"]
        console.print(f"  frozen    by {neutral(frozen['by'])} at {frozen['at'][:19]}: {neutral(frozen['reason'])}")
    if found["main_differs_from_live"]:
        console.print("  main differs from live: the prompt on disk is not the one that serves")
        console.print(
            f"    `ratchet prompts diff {name} main live` shows how; `ratchet release merge {name}` brings it back"
        )
    console.print(f"  records   {found['counts']['interactions']} interactions, {found['counts']['feedback']} feedback")
    run = found["last_run"]
    if run:
        doing = neutral(run["now"] or run["outcome"] or run["error"] or "")
        console.print(f"  last run  {run['run_id']}: {run['state']} {doing}")
        for line in answers_told(run):
            console.print(f"    {line}")

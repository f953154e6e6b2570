"""`ratchet prompts list|show|log|diff`: the registry of prompts, seen from a shell."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cli.release import print_prompt_diff
from cli.session import Json, Session, console, neutral, open_session, print_json, short
from ratchet import git
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.prompt_registry import PromptVersion, find_version, prompt_versions
from ratchet.prompts import load_prompt
from ratchet.release_diff import unified
from tasks.propose import differs_from_live, prompt_path

app = typer.Typer(no_args_is_help=True, help="The registry of prompts: every version, where it is live, who and why.")
FeatureName = Annotated[str, typer.Argument(help="the feature")]
MAIN = "main"


@app.callback()
def prompts() -> None:
    """Prompts."""


@app.command("list")
def list_(
    feature: Annotated[str | None, typer.Argument(help="one feature; the default is all of them")] = None,
    as_json: Json = False,
) -> None:
    """What is live, by channel: version, canary, intent, owners, who approved it, and whether main differs.

    Example: [bold]ratchet prompts list[/bold]
    """
    with open_session() as session:
        if feature is not None:
            load_feature(session.settings.repo, feature)
        versions = {v.release_id: v for v in prompt_versions(session.releases, session.channels, feature)}
        rows = [row for name in session.channels.names() if (row := _row(session, name, versions))]
    if as_json:
        print_json(rows)
        return
    table = Table("channel", "version", "canary", "intent", "owners", "approved by", "main")
    for row in rows:
        differs = "differs" if row["main_differs_from_live"] else ""
        told = [row["channel"], row["version"], row["canary"], row["intent"], ", ".join(row["owners"])]
        table.add_row(*(neutral(str(cell or "-"), 60) for cell in (*told, row["approved_by"])), differs)
    console.print(table)


@app.command()
def show(
    feature: FeatureName,
    version: Annotated[str, typer.Option(help="v2.0.0, the beginning of a release id, `live`, or `main`")] = "live",
    as_json: Json = False,
) -> None:
    """One version of a prompt, whole: the live one unless another is named; `main` is the file of the clone.

    Example: [bold]ratchet prompts show support_routing --version v1[/bold]
    """
    with open_session() as session:
        text, found = _text(session, feature, version)
    if as_json:
        print_json(found.model_dump() if found else {"feature": feature, "version": MAIN, "text": text})
        return
    for line in text.splitlines():
        console.print(neutral(line, 100_000), soft_wrap=True)
    if found and found.demonstrations:
        console.print(f"({found.demonstrations} demonstrations follow; `ratchet release show --json` holds them)")


@app.command()
def log(feature: FeatureName, as_json: Json = False) -> None:
    """Every version of a feature's prompt, newest first: who made it, who approved it, why, and what the ledger says.

    Example: [bold]ratchet prompts log support_routing[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        versions = prompt_versions(session.releases, session.channels, feature)
        rows = [_logged(session, version) for version in reversed(versions)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        live = f"  live on {', '.join(row['live_on'])}" if row["live_on"] else ""
        console.print(f"[bold]{row['version'] or '-'}[/bold] {short(row['release_id'])}{neutral(live)}")
        author = f", committed by {row['author']}" if row["author"] else ""
        told = f"made by {row['made_by']}{author}, approved by {row['approved_by'] or 'nobody'}"
        console.print(f"  {row['first_live_at'] or 'never live'}  {neutral(told)}")
        console.print(f"  {neutral(row['why'], 600)}")
        for entry in row["ledger"]:
            console.print(f"    {entry['seq']:>4} {entry['at'][:19]} {neutral(entry['event'] + ' ' + entry['told'])}")


@app.command()
def diff(
    feature: FeatureName,
    before: Annotated[str, typer.Argument(help="a version, a release id, `live` or `main`")],
    after: Annotated[str, typer.Argument(help="a version, a release id, `live` or `main`")],
    as_json: Json = False,
) -> None:
    """Two versions of a prompt as a unified diff.

    Example: [bold]ratchet prompts diff support_routing v1 live[/bold]
    """
    with open_session() as session:
        texts = [_text(session, feature, name)[0] for name in (before, after)]
    lines = unified(texts[0], texts[1], before, after)
    if as_json:
        print_json({"feature": feature, "from": before, "to": after, "diff": lines})
    else:
        print_prompt_diff(lines)


def _row(session: Session, name: str, versions: dict[str, PromptVersion]) -> dict[str, Any] | None:
    state = session.channels.read(name)
    live = versions.get(state.stable)
    if live is None or state.inherits:
        return None
    canary = versions.get(state.canary.release_id) if state.canary else None
    feature, tenant, segment = (*name.split("@"), "", "")[:3]
    try:
        differs = differs_from_live(session.settings.repo, feature, live.text)
    except BadInput:  # the clone has no such prompt (any more)
        differs = True
    return {
        "channel": name,
        "feature": feature,
        "tenant": tenant or None,
        "segment": segment or None,
        "version": live.version or live.release_id[:16],
        "release_id": live.release_id,
        "canary": canary.version or canary.release_id[:16] if canary else None,
        "intent": live.intent,
        "owners": list(live.owners),
        "approved_by": live.approved_by,
        "main_differs_from_live": differs,
    }


def _logged(session: Session, version: PromptVersion) -> dict[str, Any]:
    author = None
    if version.commit and git.resolve(session.settings.repo, version.commit):
        author = git.run(session.settings.repo, "show", "-s", "--format=%an", version.commit)
    entries = session.ledger.entries(subject=version.release_id)
    told = [
        {"seq": e.seq, "at": e.at, "event": e.event, "told": " ".join(f"{k}={v}" for k, v in sorted(e.facts.items()))}
        for e in entries
    ]
    return version.model_dump(exclude={"text"}) | {"author": author, "ledger": told}


def _text(session: Session, feature: str, wanted: str) -> tuple[str, PromptVersion | None]:
    load_feature(session.settings.repo, feature)
    if wanted == MAIN:
        return load_prompt(session.settings.repo / prompt_path(feature)).text, None
    found = find_version(prompt_versions(session.releases, session.channels, feature), wanted)
    return found.text, found

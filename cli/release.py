"""`ratchet releases` and `ratchet release show`: what was ever released, from what, by whom."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cli.session import Json, console, neutral, open_session, print_json, short
from ratchet.features import load_feature


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(releases)
    sub = typer.Typer(no_args_is_help=True, help="One release.")
    sub.callback()(lambda: None)
    sub.command()(show)
    app.add_typer(sub, name="release")


def releases(feature: Annotated[str, typer.Argument(help="the feature")], as_json: Json = False) -> None:
    """The releases of a feature that were approved or proposed, with their verdicts.

    Example: [bold]ratchet releases support_routing[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        found = []
        for path in sorted(session.settings.releases_dir.glob("rel_*")):
            if session.releases.get(path.name).feature == feature:
                found.append({"release_id": path.name, **session.releases.attestation(path.name)})
        live = session.channels.read(feature).stable if found else None
    rows = sorted(found, key=lambda r: (str(r.get("version") or "~"), r["release_id"]))
    if as_json:
        print_json([{**row, "live": row["release_id"] == live} for row in rows])
        return
    table = Table("version", "release", "verdict", "run", "live")
    for row in rows:
        verdict = (row.get("gate") or {}).get("verdict", "first")
        is_live = "stable" if row["release_id"] == live else ""
        table.add_row(row.get("version") or "-", short(row["release_id"]), verdict, row.get("run") or "-", is_live)
    console.print(table)


def show(
    release_id: Annotated[str, typer.Argument(help="the id, or its first characters")], as_json: Json = False
) -> None:
    """One release: its content, verified file by file, and what was attested of it.

    Example: [bold]ratchet release show 5e6f7a8b[/bold]
    """
    with open_session() as session:
        found = session.releases.find(release_id)
        release, attestation = session.releases.get(found), session.releases.attestation(found)
    content = release.model_dump(mode="json")
    facts: dict[str, Any] = {"release_id": found, "content": content, "attestation": attestation}
    if as_json:
        print_json(facts)
        return
    console.print(f"[bold]{found}[/bold] {attestation.get('version') or 'no version'}  (every file verified)")
    console.print(f"  feature   {release.feature}\n  base      {release.base_model.name}")
    console.print(f"  adapter   {release.adapter.digest[:16] if release.adapter else 'none'}")
    console.print(f"  prompt    {neutral(release.prompt.text, 200) or '(no system text)'}")
    if attestation.get("card"):
        console.print(f"  card      ratchet report {neutral(attestation['run'])} --card")
    console.print(f"  shown     {len(release.prompt.demonstrations)} demonstrations")
    console.print(f"  run       {attestation.get('run', '-')}  commit {str(attestation.get('commit', '-'))[:12]}")
    for reason in (attestation.get("gate") or {}).get("reasons", []):
        console.print(f"  {reason}", markup=False)

"""`ratchet releases` and `ratchet release ...`: what was ever released, from what, by whom, and what changed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cli import release_moves
from cli.session import Json, Session, console, neutral, open_session, print_json, short
from ratchet.errors import BadInput, RatchetError, ReleaseUntrusted
from ratchet.features import load_feature
from ratchet.release import Release, ReleaseStore
from ratchet.release_archive import is_safetensors
from ratchet.release_diff import diff_releases
from ratchet.trust import check_signatures, local_trust

ReleaseId = Annotated[str, typer.Argument(help="the id, or its first characters")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(releases)
    sub = typer.Typer(no_args_is_help=True, help="One release: its content, its signatures, what changed.")
    sub.callback()(lambda: None)
    for command in (show, verify, diff):
        sub.command()(command)
    release_moves.register(sub)
    app.add_typer(sub, name="release")


def releases(feature: Annotated[str, typer.Argument(help="the feature")], as_json: Json = False) -> None:
    """The releases of a feature that were approved or proposed, with their verdicts.

    Example: [bold]ratchet releases support_routing[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        found = [
            {"release_id": release_id, **session.releases.attestation(release_id)}
            for release_id in session.releases.ids()
            if session.releases.content(release_id).feature == feature
        ]
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


def show(release_id: ReleaseId, as_json: Json = False) -> None:
    """One release: its content, verified file by file, and what was attested of it.

    Example: [bold]ratchet release show 5e6f7a8b[/bold]
    """
    with open_session() as session:
        found = session.releases.find(release_id)
        release, attestation = session.releases.get(found), session.releases.attestation(found)
        signatures = check_signatures(found, attestation, local_trust(session.settings))
    content = release.model_dump(mode="json")
    facts: dict[str, Any] = {"release_id": found, "content": content, "attestation": attestation}
    if as_json:
        print_json(facts | {"approved_by": signatures.approver, "signature_faults": signatures.faults})
        return
    console.print(f"[bold]{found}[/bold] {attestation.get('version') or 'no version'}  (every file verified)")
    console.print(f"  feature   {release.feature}\n  base      {neutral(release.base_model.name)}")
    console.print(f"  adapter   {release.adapter.digest[:16] if release.adapter else 'none'}")
    console.print(f"  prompt    {neutral(release.prompt.text, 200) or '(no system text)'}")
    if attestation.get("card"):
        console.print(f"  card      ratchet report {neutral(attestation['run'])} --card")
    console.print(f"  shown     {len(release.prompt.demonstrations)} demonstrations")
    console.print(f"  run       {attestation.get('run', '-')}  commit {str(attestation.get('commit', '-'))[:12]}")
    console.print(
        f"  signed    {neutral('; '.join(signatures.faults)) or f'by the pipeline and {signatures.approver}'}"
    )
    for reason in (attestation.get("gate") or {}).get("reasons", []):
        console.print(f"  {neutral(reason, 600)}")


def verify(
    release_id: Annotated[str | None, typer.Argument(help="the id, or its first characters")] = None,
    every: Annotated[bool, typer.Option("--all", help="every release of the store")] = False,
    as_json: Json = False,
) -> None:
    """Check content, files and both signatures; exit 1 where a file differs, or a signature is wrong or missing.

    A release that nobody has approved yet is told as such; only with RATCHET_TRUST does that make it a failure.

    Example: [bold]ratchet release verify --all[/bold]
    """
    if (release_id is None) == (not every):
        raise BadInput("name one release, or --all of them")
    with open_session() as session:
        ids = session.releases.ids() if release_id is None else [session.releases.find(release_id)]
        found = [examine(session, one) for one in ids]
    if as_json:
        print_json(found)
    for row in () if as_json else found:
        faults = "; ".join(row["faults"] + row["unsigned"])
        console.print(f"{'ok  ' if row['is_servable'] else 'FAIL'} {row['release_id'][:16]} {neutral(faults, 400)}")
    failed = [row["release_id"][:16] for row in found if not row["is_servable"]]
    if failed:
        raise ReleaseUntrusted(f"{len(failed)} of {len(found)} releases must not be served: {', '.join(failed)}")


def examine(session: Session, release_id: str) -> dict[str, Any]:
    """What is wrong with a release: `faults` (files, forged signatures) and what is merely `unsigned` yet."""
    faults = content_faults(session.releases, release_id)
    attestation = session.releases.attestation(release_id)
    signatures = check_signatures(release_id, attestation, local_trust(session.settings))
    unsigned = [fault for fault in signatures.faults if fault in ("no approval", "no signature of the pipeline")]
    faults += [fault for fault in signatures.faults if fault not in unsigned]
    is_strict = session.settings.trust_file is not None
    facts = {"release_id": release_id, "version": attestation.get("version"), "approved_by": signatures.approver}
    return facts | {"faults": faults, "unsigned": unsigned, "is_servable": not (faults or (is_strict and unsigned))}


def content_faults(releases: ReleaseStore, release_id: str) -> list[str]:
    """What is wrong with a release's files."""
    try:
        release: Release = releases.get(release_id)
    except RatchetError as error:
        return [str(error)]
    weights = releases.folder / release_id / "adapter" / "adapter_model.safetensors"
    return ["its weights are no safetensors file"] if release.adapter and not is_safetensors(weights) else []


def diff(before: ReleaseId, after: ReleaseId, as_json: Json = False) -> None:
    """What changed between two releases: prompt, settings, data and scores.

    Example: [bold]ratchet release diff 5e6f7a8b 0a1b2c3d[/bold]
    """
    with open_session() as session:
        ids = [session.releases.find(one) for one in (before, after)]
        contents = [session.releases.content(one) for one in ids]
        facts = [session.releases.attestation(one) for one in ids]
    found = diff_releases(contents[0], contents[1], facts[0], facts[1])
    if as_json:
        print_json(found)
        return
    console.print(f"{ids[0][:16]} -> {ids[1][:16]}")
    print_prompt_diff(found["prompt"])
    for name in ("demonstrations", "settings", "data", "scores"):
        for key, change in sorted(found[name].items()):
            told = f"{change[0]} -> {change[1]}" if isinstance(change, list) else str(change)
            console.print(f"  {name} {neutral(str(key))}: {neutral(told)}")


def print_prompt_diff(lines: list[str]) -> None:
    """Print a unified diff in colours, made safe for a terminal."""
    for line in lines or ["(the prompts are equal)"]:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        console.print(neutral(line, 4000), style=style)

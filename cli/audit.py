"""`ratchet audit log|verify|checkpoint|export|live`: the ledger, whether it is whole, and what it can prove."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.session import Json, Session, console, neutral, open_session, print_json
from ratchet.anchors import read_anchor, write_anchor
from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.ledger import Ledger, VerifyReport, read_export, write_export
from ratchet.live import what_was_live
from ratchet.store import Store
from ratchet.trust import local_trust

Against = Annotated[
    list[str] | None,
    typer.Option(help="an anchor to hold it against: file:FOLDER, s3://bucket/prefix, git-tag or git-tag:REMOTE"),
]
Key = Annotated[Path | None, typer.Option(help="the public key that checkpoints must be signed with (your own copy)")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    sub = typer.Typer(no_args_is_help=True, help="The ledger: who decided what, when, on which evidence.")
    sub.callback()(lambda: None)
    for command in (verify, log, checkpoint, export, live):
        sub.command()(command)
    app.add_typer(sub, name="audit")


def verify(
    against: Against = None,
    key: Key = None,
    file: Annotated[Path | None, typer.Option(help="a ledger that `ratchet audit export` wrote", exists=True)] = None,
    as_json: Json = False,
) -> None:
    """Check the hash chain, this machine's checkpoints, and each anchor; exit 1, naming the entry, where it is broken.

    Only an anchor finds that entries were cut off, or the chain written anew, by somebody who owns this machine.

    Example: [bold]ratchet audit verify --against s3://audit/ratchet --key ledger.pub[/bold]
    """
    with open_session() as session, tempfile.TemporaryDirectory(prefix="ratchet-audit-") as folder:
        ledger = session.ledger
        if file is not None:
            ledger = read_export(file, Store(f"sqlite:///{Path(folder) / 'ledger.db'}").engine)
        reports = _verify(session, ledger, Path(folder), against or [], key, own=file is None)
    last = next(iter(reports.values()))
    if as_json:
        checked = {name: report.checkpoints for name, report in reports.items()}
        print_json({**last._asdict(), "anchors": checked, "whole": True})
        return
    told = f"{last.entries} entries, {last.checkpoints} signed checkpoints, head {last.head_digest[:16]}"
    console.print(f"the ledger is whole: {told}")
    for name, report in list(reports.items())[1:]:
        console.print(f"  {name}: {report.checkpoints} checkpoints agree", markup=False)


def _verify(
    session: Session, ledger: Ledger, folder: Path, anchors: list[str], key: Path | None, *, own: bool
) -> dict[str, VerifyReport]:
    """What was verified by place, this machine's own checkpoints first."""
    settings = session.settings
    public_key = key or settings.ledger_key.with_suffix(".pub")
    has_checkpoints = own and settings.checkpoints_dir.is_dir() and public_key.is_file()
    found = {"here": ledger.verify(*((settings.checkpoints_dir, public_key) if has_checkpoints else (None, None)))}
    for number, anchor in enumerate(anchors):
        read_anchor(anchor, settings, folder / str(number))
        found[anchor] = ledger.verify(folder / str(number), public_key)
    return found


def log(
    event: Annotated[str | None, typer.Option(help="only this event, as `approve`")] = None,
    subject: Annotated[str | None, typer.Option(help="only about this release, channel or rollout")] = None,
    last: Annotated[int | None, typer.Option(help="only so many, the newest", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Print the ledger, oldest entry first.

    Example: [bold]ratchet audit log --event approve --last 10[/bold]
    """
    with open_session() as session:
        found = session.ledger.entries(event=event, subject=subject)[-(last or 0) :]
    entries: list[dict[str, Any]] = [
        {"seq": e.seq, "at": e.at, "event": e.event, "subject": e.subject, "facts": e.facts} for e in found
    ]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        facts = " ".join(f"{k}={v}" for k, v in sorted(entry["facts"].items()))
        told = f"{entry['at']} {entry['event']} {entry['subject'][:24]} {facts}"
        console.print(f"{entry['seq']:>4} {neutral(told, 2000)}")


def checkpoint(
    to: Annotated[
        list[str] | None,
        typer.Option(help="an anchor: file:FOLDER, s3://…, git-tag, git-tag:REMOTE; default: those of RATCHET_ANCHORS"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign the ledger's newest entry and keep the checkpoint outside, where this machine's owner cannot take it back.

    Example: [bold]ratchet audit checkpoint --to s3://audit/ratchet --to git-tag:origin[/bold]
    """
    with open_session() as session:
        if not (targets := to or list(session.settings.anchors)):
            raise BadInput("name an anchor with --to, or all of them in RATCHET_ANCHORS")
        path = session.ledger.checkpoint(session.settings.ledger_key, session.settings.checkpoints_dir)
        places = [write_anchor(target, path, session.settings) for target in targets]
    facts = {"checkpoint": path.name, "anchored": places, **json.loads(path.read_text())}
    if as_json:
        print_json(facts)
        return
    console.print(f"entry {facts['seq']} is signed, and anchored at {', '.join(places)}", markup=False)


def export(
    out: Annotated[Path, typer.Option(help="the JSONL file to write")],
    as_json: Json = False,
) -> None:
    """Write the whole ledger, verified, for somebody who checks it elsewhere: `ratchet audit verify --file`.

    Example: [bold]ratchet audit export --out ledger.jsonl[/bold]
    """
    with open_session() as session:
        report = write_export(session.ledger, out)
    if as_json:
        print_json({"file": str(out), **report._asdict()})
    else:
        console.print(f"wrote {report.entries} entries to {out}, head {report.head_digest[:16]}", markup=False)


def live(
    feature: Annotated[str, typer.Option(help="the feature")],
    at: Annotated[str, typer.Option(help="the time, as 2026-11-24T12:00:00Z (without a zone it is UTC)")],
    tenant: Annotated[str | None, typer.Option(help="the tenant")] = None,
    segment: Annotated[str | None, typer.Option(help="the segment")] = None,
    as_json: Json = False,
) -> None:
    """What was live for a tenant at a time, who approved it, from which data, with which evidence.

    Example: [bold]ratchet audit live --tenant acme --feature support_routing --at 2026-11-24T12:00:00Z[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        asked = {"feature": feature, "tenant": tenant, "segment": segment, "at": _time(at)}
        parts = (session.channels, session.releases, session.ledger)
        found = what_was_live(*parts, **asked, trust=local_trust(session.settings))  # type: ignore[arg-type]
    if as_json:
        print_json(found)
        return
    move = found["move"]
    witness = f"ledger entry {move['ledger_seq']}" if move["ledger_seq"] else "NO LEDGER ENTRY witnesses it"
    console.print(f"channel {found['channel']}, since {move['at'][:19]} by {neutral(move['by'])} ({witness})")
    _print_record("stable", found["stable"])
    if found["canary"]:
        _print_record(f"canary for {found['canary']['share'] or 0:.0%} of users", found["canary"])


def _print_record(role: str, record: dict[str, Any]) -> None:
    whole = "" if record["is_whole"] else "  (gone from the store, or changed)"
    console.print(f"[bold]{role}[/bold] {record['version'] or '-'} {record['release_id'][:16]}{whole}")
    approval = record["approval"]
    by = "nobody" if approval is None else f"{approval['approver']} ({approval['approver_kind']}) at {approval['at']}"
    console.print(f"  approved by {neutral(by)}; signature {neutral(approval['signature'] if approval else 'none')}")
    data = record["data"]
    console.print(f"  from commit {str(data['commit'])[:12]}, data {data['dataset'] or '-'}")
    for reason in record["evidence"].get("reasons", []):
        console.print(f"  {neutral(reason, 600)}")


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"--at {text!r} is no time; give it as 2026-11-24T12:00:00Z") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)

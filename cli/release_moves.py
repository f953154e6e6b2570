"""`ratchet release write|export|import|merge|approve|trust`: releases written, taken elsewhere, brought back."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.approve import Approver, Code, Digest
from cli.session import Json, Session, console, open_session, print_json, short
from ratchet.approvals import ApprovalRequest, request_approval, statements_of
from ratchet.errors import ApprovalRefused, BadInput
from ratchet.features import load_feature
from ratchet.files import write_whole
from ratchet.release_archive import export_release, import_release
from ratchet.trust import run_of, trust_document
from tasks.approve import sign_off
from tasks.propose import propose
from tasks.write_release import write_release


def register(sub: typer.Typer) -> None:
    """Add the commands."""
    sub.command()(write)
    sub.command("export")(export)
    sub.command("import")(import_)
    sub.command()(merge)
    sub.command()(approve)
    sub.command()(trust)


def write(
    feature: Annotated[str, typer.Argument(help="the feature")],
    prompt: Annotated[Path, typer.Option(help="a prompt file of the clone, committed", exists=True, dir_okay=False)],
    reason: Annotated[str, typer.Option(help="why; the ledger keeps it", prompt="why (the ledger keeps it)")],
    as_json: Json = False,
) -> None:
    """Make a release of a prompt that a person wrote: what is stable with that prompt, and nothing else changed.

    It went through no gate. After an approval, `ratchet rollout start` has users decide between it and the stable one.

    Example: [bold]ratchet release write support_routing --prompt features/support_routing/prompts/short.md[/bold]
    """
    with open_session() as session:
        found = write_release(
            session.settings,
            session.releases,
            session.channels,
            session.ledger,
            feature=load_feature(session.settings.repo, feature),
            prompt=prompt,
            now=datetime.now(UTC),
            by=getpass.getuser(),
            reason=reason,
        )
    if as_json:
        print_json({"release_id": found})
        return
    console.print(f"made {found} (no gate has seen it)", markup=False)
    told = f"ratchet release approve {short(found)} --digest {found[4:12]}"
    console.print(f"next: {told}, then ratchet rollout start {feature} {found}", markup=False)


def export(
    release_id: Annotated[str, typer.Argument(help="the id, or its first characters")],
    out: Annotated[Path, typer.Option(help="the file to write (a tar)")],
    as_json: Json = False,
) -> None:
    """Write a release into one file that proves itself: its id is the digest of what is inside.

    Example: [bold]ratchet release export 5e6f7a8b --out routing-v2.tar[/bold]
    """
    with open_session() as session:
        found = session.releases.find(release_id)
        export_release(session.releases, found, out)
    if as_json:
        print_json({"release_id": found, "file": str(out)})
    else:
        console.print(f"wrote {out}: {found}", markup=False)


def import_(
    archive: Annotated[Path, typer.Argument(help="a file that `ratchet release export` wrote", exists=True)],
    as_json: Json = False,
) -> None:
    """Take a release over from a file; it is verified whole, and live nowhere until it is approved and rolled out.

    Example: [bold]ratchet release import routing-v2.tar[/bold]
    """
    with open_session() as session:
        found = import_release(session.releases, archive)
        session.ledger.append_once("release imported", found.release_id, attested=found.is_attested)
    if as_json:
        print_json(found._asdict())
    else:
        told = "with its attestation" if found.is_attested else "the attestation that is here already stays"
        console.print(f"took over {found.release_id} ({told})", markup=False)


def merge(
    feature: Annotated[str, typer.Argument(help="the feature whose live prompt comes back to main")],
    onto: Annotated[str | None, typer.Option(help="what the branch stands on (default: main, else HEAD)")] = None,
    as_json: Json = False,
) -> None:
    """Make a branch with the prompt that is live, ready for a pull request; your checkout is not touched.

    Exit status 3 where main has that prompt already.

    Example: [bold]ratchet release merge support_routing && git push origin promote/support_routing-v2.0.0[/bold]
    """
    with open_session() as session:
        load_feature(session.settings.repo, feature)
        found = propose(
            session.settings, session.releases, session.channels, session.ledger, feature=feature, onto=onto
        )
    if as_json:
        print_json(found._asdict())
        return
    console.print(f"branch {found.branch} on {found.onto}: {found.commit[:12]}", markup=False)
    if found.left_out:
        console.print(f"{found.left_out} demonstrations stay in the release: users' words do not go into git")
    console.print(f"next: git push origin {found.branch}, and open a pull request", markup=False)


def approve(
    release_id: Annotated[str, typer.Argument(help="the id, or its first characters")],
    digest: Digest,
    approver: Approver,
    code: Code,
    as_json: Json = False,
) -> None:
    """Approve a release that waits in no run, as v1 or an imported one, so that RATCHET_TRUST takes it.

    It moves no channel. A release of a run is approved by `ratchet approve RUN`.

    Example: [bold]ratchet release approve 5e6f7a8b --digest 5e6f7a8b --approver ana --code 123456[/bold]
    """
    with open_session() as session:
        found = session.releases.find(release_id)
        facts = session.releases.attestation(found)
        request = ApprovalRequest(
            run_id=run_of(facts),
            subject=found,
            digest_prefix=digest.removeprefix("rel_"),
            approver=approver,
            code=code,
            decision="approve",
        )
        _refuse_unfit(session, found, facts)
        envelope = request_approval(session.settings.verifier_url, request)
        missing = sign_off(session.settings, session.ledger, found, request.run_id, envelope).missing
    if as_json:
        print_json({"release_id": found, "approver": approver, "missing": missing})
    else:
        console.print(f"{found}: {missing or f'approved by {approver}'}", markup=False)


def _refuse_unfit(session: Session, release_id: str, facts: dict[str, Any]) -> None:
    """Refuse before a code is used up: what the gate or a person refused, or was held against another champion."""
    if (verdict := (facts.get("gate") or {}).get("verdict", "accept")) != "accept":
        raise BadInput(f"{release_id[:16]} was not accepted by the gate ({verdict}); nothing may approve it")
    rejected = [s for s in statements_of(facts) if (s.get("decision"), s.get("run_id")) == ("reject", run_of(facts))]
    if rejected:
        raise BadInput(f"{release_id[:16]} was rejected by {rejected[0].get('approver')}; only a new run can bring it")
    feature, champion = session.releases.get(release_id).feature, facts.get("champion")
    serves = session.channels.read(feature).stable
    if champion is not None and facts.get("version") is None and serves not in (champion, release_id):
        raise ApprovalRefused(
            f"{feature} serves {serves[:16]} now, and {release_id[:16]} was held against {champion[:16]}: "
            f"start a new run with `ratchet run {feature}`"
        )


def trust(
    out: Annotated[Path, typer.Option(help="the file to write; give it to gateway and model server as RATCHET_TRUST")],
    as_json: Json = False,
) -> None:
    """Write the trust file of this machine: the public keys of its pipeline and of its verifier.

    Keep it where the pipeline cannot write: who changes it decides what is served.

    Example: [bold]ratchet release trust --out /etc/ratchet/trust.yaml[/bold]
    """
    with open_session() as session:
        write_whole(out, trust_document(session.settings))
    if as_json:
        print_json({"file": str(out)})
    else:
        console.print(f"wrote {out}; start gateway and model server with RATCHET_TRUST={out}", markup=False)

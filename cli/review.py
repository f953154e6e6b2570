"""`ratchet review`: a person looks at what the feedback leaves open, in a browser or in a spreadsheet."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from cli.links import hand_out, is_running, person_named, shown_in_browser, tell
from cli.session import Json, console, neutral, open_session, print_json
from ratchet.blind import Agreement, LabelBook
from ratchet.desk import Desk
from ratchet.errors import BadInput, NothingNew
from ratchet.features import Feature, load_feature
from ratchet.files import write_whole
from ratchet.review import Book, Item, find_queue, next_draw, read_items, to_target
from ratchet.settings import Settings
from ratchet.sheets import SheetReport, read_decisions, write_sheet
from ratchet.store import Store
from ratchet.verdicts import FeedbackBook

if TYPE_CHECKING:
    from pages.review import End

LISTED = 5  # bad rows that the terminal names; the rejects file names all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("review")(review)


@dataclass(frozen=True)
class _Review:
    """What all forms of the command work on."""

    settings: Settings
    store: Store
    feature: Feature
    book: FeedbackBook | LabelBook
    reviewer: str

    @property
    def next(self) -> str:
        """The command that takes up what was decided."""
        return _next_command(self.settings, self.feature.name, is_blind=self.book.is_blind)


def review(  # noqa: PLR0913, PLR0917 - each is an option of the command
    feature: Annotated[str, typer.Argument(help="the feature")],
    as_name: Annotated[str | None, typer.Option("--as", help="the reviewer (default: git's user.name)")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="label random traffic without any answer, for a holdout")
    ] = False,
    export: Annotated[Path | None, typer.Option(help="write what is open to FILE.csv or FILE.jsonl instead")] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="take decisions from such a file instead")] = None,
    file: Annotated[Path | None, typer.Option(help="the queue (default: the newest run's)")] = None,
    port: Annotated[
        int | None, typer.Option(help="of a server of its own; 0 takes a free one", min=0, max=65535)
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="only print the link")] = False,
    as_json: Json = False,
) -> None:
    """Decide what the feedback on a feature leaves open, on a page of this machine; Ctrl-C ends it.

    Where the pages are served already (`ratchet up`), the link leads to them. A decision is feedback of an agent,
    stored at once; what is left is there the next time. With --blind the labels go to a file for `ratchet holdout add`,
    or are what `ratchet holdout refresh` makes the next holdout of.
    Example: [bold]ratchet review support_routing --as ana[/bold]
    """
    if export is not None and import_ is not None:
        raise BadInput("give --export or --import, not both")
    with open_session() as session:
        known = load_feature(session.settings.repo, feature)
        book = LabelBook(session.store, known) if blind else FeedbackBook(session.store, known)
        work = _Review(session.settings, session.store, known, book, person_named(session.settings, as_name))
        if import_ is not None:
            _import(work, import_, file, as_json=as_json)
            return
        desk = _open_desk(work, file)
        if export is not None:
            _export(work, desk, export, as_json=as_json)
        elif file is None and port is None and is_running(session.settings):
            way = f"/{'blind' if blind else 'review'}/{feature}"
            hand_out(session.settings, work.reviewer, way, is_shown=not no_browser)
        else:
            at = urlsplit(session.settings.pages_url).port if port is None else port
            _serve(work, desk, at or 0, is_shown=not no_browser, as_json=as_json)


def _open_desk(work: _Review, file: Path | None) -> Desk:
    is_blind = work.book.is_blind
    path = file or find_queue(work.settings, work.store, work.feature.name, is_blind=is_blind)
    reading = read_items(path, is_blind=is_blind)
    told = Console(stderr=True, highlight=False)
    if reading.rejected:
        told.print(f"{path}: {len(reading.rejected)} left out, as no items; the first:", markup=False)
        told.print(f"  {reading.rejected[0].where}: {reading.rejected[0].reason}", markup=False)
    if reading.repeated:
        told.print(f"{path}: {reading.repeated} items stand there twice and are asked once", markup=False)
    if not reading.items:
        raise NothingNew(f"nothing to review: {path} holds no items")
    return Desk(work.feature, reading.items, work.book, work.store)


def _serve(work: _Review, desk: Desk, port: int, *, is_shown: bool, as_json: bool) -> None:
    """Serve the page until Ctrl-C, then say how far it came."""
    from pages.app import create_app
    from pages.login import Logins
    from pages.review import address_of, review_pages
    from pages.server import serve

    logins = Logins()

    def find_desk(feature: str, is_blind: bool) -> Desk:
        if (feature, is_blind) != (work.feature.name, work.book.is_blind):
            raise BadInput(f"this server has the one queue that it was started for; {feature!r} is another")
        return desk

    with contextlib.ExitStack() as stack:

        def ready(address: str) -> None:
            link = f"{address}/login#{logins.invite(work.reviewer)}"
            _say_where(work, desk, link)
            if is_shown:
                stack.enter_context(shown_in_browser(work.settings.home, link))

        shown = review_pages(find_desk, lambda at_end: end_of(work.settings, at_end))
        serve(
            create_app(logins, shown, address_of(work.feature.name, is_blind=desk.book.is_blind)), port, on_ready=ready
        )
    _summarise(work, desk, as_json=as_json)


def _say_where(work: _Review, desk: Desk, link: str) -> None:
    progress = desk.progress(work.reviewer)
    what = f"{work.feature.name}{', blind' if work.book.is_blind else ''}"
    tell(f"review of {what} as {work.reviewer}: {progress.left} of {len(desk.items)} items left")
    if progress.closed:
        tell(f"  {progress.closed} cannot be decided here: their interactions are not in the store")
    tell(f"  open {link}\n  the link works once; Ctrl-C here ends the review")


def _summarise(work: _Review, desk: Desk, *, as_json: bool) -> None:
    disputed, agreements = _finish(work.settings, work.feature.name, work.book, desk.items)
    progress, decided = desk.progress(work.reviewer), desk.decided[work.reviewer]
    facts = {"feature": work.feature.name, "reviewer": work.reviewer, "decided": decided, **progress._asdict()}
    facts |= {"next": work.next if progress.done else None, "agreement": [a._asdict() for a in agreements]}
    if work.book.is_blind:
        facts |= {
            "labelled_file": str(_labelled(work.settings, work.feature.name)) if progress.done else None,
            "disputed": disputed,
        }
    if as_json:
        print_json(facts)
        return
    told = f"{decided} decided, {progress.skipped} skipped, {progress.left} left ({progress.done} decided in all)"
    console.print(f"{work.feature.name}: {told}", markup=False)
    for found in agreements:
        kappa = "not defined" if found.kappa is None else f"{found.kappa:.2f}"
        pair = neutral(" and ".join(found.reviewers))
        console.print(f"  {pair} on {found.items} items: {found.share:.0%} the same, Cohen's kappa {kappa}")
    if disputed:
        console.print(f"  {disputed} items stay out: as many votes for one label as for another", markup=False)
    if progress.done:
        console.print(f"next: {work.next}", markup=False, soft_wrap=True)


def end_of(settings: Settings, desk: Desk) -> End:
    """What a reviewer is told at the end of a desk; what was labelled blind is written for `ratchet holdout add`."""
    from pages.review import End

    disputed, agreements = _finish(settings, desk.feature.name, desk.book, desk.items)
    return End(_next_command(settings, desk.feature.name, is_blind=desk.book.is_blind), agreements, disputed)


def _finish(settings: Settings, feature: str, book: Book, items: Sequence[Item]) -> tuple[int, list[Agreement]]:
    """Write what was labelled blind; how many items are in dispute, and how far the reviewers agree."""
    if not isinstance(book, LabelBook):
        return 0, []
    book.read()
    return book.write(_labelled(settings, feature), items).disputed, book.agreements(items)


def _labelled(settings: Settings, feature: str) -> Path:
    """Where blind labels are written for `ratchet holdout add`."""
    return settings.home / "review" / f"{feature}-blind.jsonl"


def _next_command(settings: Settings, feature: str, *, is_blind: bool) -> str:
    if not is_blind:
        return f"ratchet run {feature}"
    if next_draw(settings, feature).is_file():
        return f"ratchet holdout refresh {feature}"
    return f"ratchet holdout add {feature} {shlex.quote(str(_labelled(settings, feature)))}"


def _export(work: _Review, desk: Desk, path: Path, *, as_json: bool) -> None:
    still = [item for item in desk.items if not desk.decisions(item, work.reviewer)]
    count = write_sheet(path, still, is_blind=work.book.is_blind)
    if as_json:
        print_json({"file": str(path), "rows": count})
        return
    console.print(f"{path}: {count} items; fill in the column `decision`, then", markup=False, soft_wrap=True)
    blind = " --blind" if work.book.is_blind else ""
    console.print(
        f"  ratchet review {work.feature.name}{blind} --import {shlex.quote(str(path))}", markup=False, soft_wrap=True
    )


def _import(work: _Review, path: Path, file: Path | None, *, as_json: bool) -> None:
    sample = _open_desk(work, file).items if work.book.is_blind else ()
    report = read_decisions(path, _taker(work, sample))
    rejects = work.settings.home / "imports" / f"{path.name}.rejects.jsonl"
    if report.refusals:
        rows = [{"where": r.where, "reason": r.reason, "id": r.record_id} for r in report.refusals]
        write_whole(rejects, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    _finish(work.settings, work.feature.name, work.book, sample)
    if as_json:
        facts = {k: v for k, v in vars(report).items() if k != "refusals"}
        print_json(facts | {"rejects_file": str(rejects) if report.refusals else None, "next": work.next})
    else:
        _tell_import(work, path, report, rejects)
    if report.rows and report.rows == report.rejected.total():
        first = report.refusals[0]
        raise BadInput(f"no row of {path} could be used; the first: {first.where}: {first.reason}")


def _tell_import(work: _Review, path: Path, report: SheetReport, rejects: Path) -> None:
    told = f"{report.stored} new, {report.known} known, {report.empty} empty, {report.rejected.total()} rejected"
    console.print(f"{path}: {report.rows} rows: {told}", markup=False, soft_wrap=True)
    for refused in report.refusals[:LISTED]:
        console.print(f"  {refused.where}: {refused.reason}", markup=False)
    if report.refusals:
        console.print(f"  listed in {rejects}", markup=False, soft_wrap=True)
    if report.stored:
        console.print(f"next: {work.next}", markup=False, soft_wrap=True)


def _taker(work: _Review, sample: Sequence[Item]) -> Callable[[dict[str, Any]], bool]:
    """What keeps one row's decision: of a queue by its interaction, also where a newer queue has it no more."""
    book, now = work.book, datetime.now(UTC)
    book.refresh()
    if isinstance(book, FeedbackBook):

        def keep(row: dict[str, Any]) -> bool:
            interaction_id = row.get("interaction_id") or ""
            if book.unknown([interaction_id]):
                raise BadInput("the store does not know its interaction")
            return book.decide_on(interaction_id, work.reviewer, _target(work, row["decision"], None), now)

        return keep
    asked = {item.item_id: item for item in sample}

    def label(row: dict[str, Any]) -> bool:
        item = asked.get(row["item_id"])
        if item is None:
            raise BadInput("the sample has no such item; name the sample that was exported with --file")
        return book.decide(item, work.reviewer, _target(work, row["decision"], item), now)

    return label


def _target(work: _Review, value: Any, item: Item | None) -> str:
    try:
        return to_target(work.feature, value, item)
    except (BadInput, TypeError) as error:  # without the value, which is somebody's text
        raise BadInput("the decision is nothing that the feature could serve; see output_schema") from error

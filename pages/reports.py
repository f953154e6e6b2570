"""The reports of runs, as publish left them: pages of their own, which fetch nothing and run no script."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from pages.app import Page, Refusal, Visit
from pages.frame import TEXT_READERS, Sources, framed, run_named
from ratchet.runs import Run, runs_of

PAGE, DATA_PAGE, CARD = "report.html", "data_report.html", "release_card.md"
SHOWN = 50
# A report brings its own style, of which its own policy names the digest; `sandbox` takes scripts, forms and our origin
# from whatever else might stand in it. It may be framed by our pages alone.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; sandbox; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'"
    ),
    "x-frame-options": "SAMEORIGIN",
}


def report_pages(sources: Sources) -> list[Page]:
    """The addresses of the reports."""

    def show_all(visit: Visit) -> Response:
        runs = [run for run in reversed(runs_of(sources.store)) if visit.session.sees(run.feature)]
        found = [(run, _folder(sources, run)) for run in runs]
        shown = [(run, (folder / CARD).is_file()) for run, folder in found if _page_in(folder)]
        return framed(visit, "reports.html.j2", "/reports", reports=shown[:SHOWN])

    def show(visit: Visit) -> Response:
        page = _page_in(_folder(sources, run_named(sources, visit)))
        if page is None:
            raise Refusal(404, "This run has no report: one is written at its end.")
        return HTMLResponse(page.read_text(encoding="utf-8"), headers=HEADERS)

    def show_card(visit: Visit) -> Response:
        path = _folder(sources, run_named(sources, visit)) / CARD
        if not path.is_file():
            raise Refusal(404, "Only a published run has a release card.")
        return PlainTextResponse(path.read_text(encoding="utf-8"))

    return [
        Page("/reports", "GET", show_all, TEXT_READERS),
        Page("/reports/{run}", "GET", show, TEXT_READERS),
        Page("/reports/{run}/card", "GET", show_card, TEXT_READERS),
    ]


def has_report(sources: Sources, run: Run) -> bool:
    """Whether a run's report can be shown."""
    return _page_in(_folder(sources, run)) is not None


def _folder(sources: Sources, run: Run) -> Path:
    return sources.settings.home / "reports" / run.run_id


def _page_in(folder: Path) -> Path | None:
    return next((folder / name for name in (PAGE, DATA_PAGE) if (folder / name).is_file()), None)

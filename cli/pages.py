"""`ratchet pages`: the pages for people, all on one server behind one login."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Annotated

import typer
from starlette.applications import Starlette

from cli.approve import answer
from cli.links import SECRET, hand_out, is_running, link_to, person_named, shown_in_browser, tell
from cli.review import end_of
from cli.session import Session, open_session, short
from pages.app import create_app
from pages.approvals import Answer, approval_pages
from pages.desks import Desks
from pages.frame import Sources
from pages.home import HOME, home_pages
from pages.login import Logins
from pages.prompts import prompt_pages
from pages.reports import report_pages
from pages.review import review_pages
from pages.rollouts import Act, Steer, rollout_pages
from pages.server import address_in, serve
from pages.watch import Watch
from ratchet.keys import Keys
from ratchet.runs import find_run
from ratchet.settings import read_secret
from tasks.rollout import outcomes_of, rollback
from tasks.steer_rollout import abort, pause, resume


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pages")(pages)


def pages(
    as_name: Annotated[str | None, typer.Option("--as", help="who you are (default: git's user.name)")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="only print the link")] = False,
    only_serve: Annotated[
        bool, typer.Option("--serve", help="serve, and print no link (as `ratchet up` does)")
    ] = False,
) -> None:
    """Open the pages for people: what waits, reviews, approvals, rollouts with their evidence, reports, prompts.

    Where they are served already (`ratchet up` does) this prints a new link to them; else it serves them until Ctrl-C.
    Other people log in with a key of theirs: `ratchet key add ana --role operator --tenant '*'`.

    Example: [bold]ratchet pages[/bold]
    """
    with open_session() as session, contextlib.ExitStack() as stack:
        settings = session.settings
        person = None if only_serve else person_named(settings, as_name)

        def show(address: str) -> None:
            if person is None:
                return
            link = link_to(settings, address, person)
            tell(f"open {link}\n  it works once, within ten minutes; Ctrl-C here ends the pages")
            if not no_browser:
                stack.enter_context(shown_in_browser(settings.home, link))

        if person is not None and is_running(settings):
            hand_out(settings, person, "/", is_shown=not no_browser)
            return
        logins = Logins(read_secret(settings, SECRET), Keys(session.store.engine))
        host, port = address_in(settings.pages_url)
        serve(application(session, logins), port, host=host, on_ready=show)


def application(session: Session, logins: Logins) -> Starlette:
    """All pages, with what people may do on them."""
    sources = Sources(session.settings, session.store, session.ledger, session.channels, session.releases)
    desks = Desks(session.settings, session.store)
    watch = Watch(lambda rollout, now: outcomes_of(session.store, rollout, now=now))
    shown = [
        *home_pages(sources, desks),
        *review_pages(desks.find, lambda desk: end_of(session.settings, desk)),
        *approval_pages(sources, lambda run_id, given: _decide(session, run_id, given)),
        *rollout_pages(sources, watch, _steer(session)),
        *report_pages(sources),
        *prompt_pages(sources),
    ]
    return create_app(logins, shown, HOME)


def _decide(session: Session, run_id: str, given: Answer) -> str:
    submission = given.model_dump() | {"digest_prefix": given.digest_prefix.removeprefix("rel_")}
    done = answer(session, find_run(session.store, run_id), submission)
    if done.decision is None:
        return f"The approval of {given.approver} is kept; the feature asks for another person's too."
    return f"{done.version} goes to the canary." if done.decision == "approve" else "The release is refused."


def _steer(session: Session) -> Steer:
    parts = (session.store, session.channels, session.ledger)

    def steer(act: Act, name: str, by: str, reason: str) -> str:
        if act == "pause":
            pause(*parts, name, by=by, reason=reason)
            return f"The rollout of {name} is paused; an alarm still takes it back."
        if act == "resume":
            resume(*parts, name, by=by, reason=reason)
            return f"The rollout of {name} goes on with the next tick."
        take_back = abort if act == "abort" else rollback
        stable = take_back(*parts, name, now=datetime.now(UTC), by=by, reason=reason)
        return f"{name} serves {short(stable)} to everybody."

    return steer

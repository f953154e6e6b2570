"""`ratchet up`: the real parts in the foreground, with one log. `ratchet reset`: start over."""

from __future__ import annotations

import shutil
import signal
import threading
from typing import Annotated

import typer

from cli.services import running
from cli.session import console, open_session
from ratchet import git
from ratchet.errors import BadInput, RatchetError
from ratchet.features import feature_names
from ratchet.settings import Settings
from tasks.first_release import ensure_first_release


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(reset)


def up() -> None:
    """Run Prefect server, model server, gateway, verifier, the pages and the scheduled flows until Ctrl-C.

    Example: [bold]ratchet up[/bold]
    """
    settings = Settings.from_env()
    prepare_releases()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    log = lambda line: console.print(line, markup=False, soft_wrap=True)  # noqa: E731
    with running(settings, with_schedules=True, say=console.print, log=log) as processes:
        console.print(f"[bold]ready[/bold]: Prefect UI {settings.prefect_api_url.removesuffix('/api')}")
        console.print(f"gateway {settings.gateway_url}/v1, model server {settings.modelserver_url}; Ctrl-C stops all")
        console.print(f"pages for people {settings.pages_url}: `ratchet pages` logs you in")
        while not stopping.wait(0.5):
            ended = [name for name, process in processes.items() if process.poll() is not None]
            if ended:
                raise RatchetError(f"{', '.join(ended)} ended by itself; its last lines are above")
    console.print("stopped")


def reset(yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> None:
    """Forget this clone's releases, runs, records and remote data: RATCHET_HOME, data/<feature>, run branches, tags.

    Example: [bold]ratchet reset --yes[/bold]
    """
    settings = Settings.from_env()
    repo = settings.repo
    refs = git.run(repo, "for-each-ref", "--format=%(refname)", "refs/ratchet", "refs/heads/run").split()
    for name in feature_names(repo):
        refs += [f"refs/tags/{tag}" for tag in git.tags(repo, f"{name}@v*")]
    if not yes:
        console.print(f"this removes {settings.home}, {len(refs)} run branches and release tags, and data/<feature>")
        if not typer.confirm("remove them?"):
            raise BadInput("nothing was removed")
    if settings.home.exists():
        shutil.rmtree(settings.home)
    git.run(repo, "worktree", "prune")
    for ref in refs:
        git.run(repo, "update-ref", "-d", ref)
    for name in feature_names(repo):
        pointer = f"data/{name}/holdout.dvc"
        if git.run(repo, "ls-files", pointer) and git.show(repo, "HEAD", pointer) is None:
            git.run(repo, "rm", "-q", "--cached", "-f", pointer)
        shutil.rmtree(repo / "data" / name, ignore_errors=True)
    console.print("reset: the next `make demo` starts over")


def prepare_releases() -> None:
    """Make the first release of every feature that has none, so that the gateway has something to serve."""
    with open_session() as session:
        for name in feature_names(session.settings.repo):
            ensure_first_release(session.settings, session.store, session.ledger, session.channels, name)

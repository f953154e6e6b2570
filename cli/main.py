"""The `ratchet` command: one file of this folder per noun."""

from __future__ import annotations

import sys

import typer

from cli import (
    approve,
    audit,
    channel,
    ci,
    demo,
    doctor,
    eval,
    export,
    feature,
    gate,
    holdout,
    judge,
    key,
    log_evidence,
    pages,
    people,
    plan,
    probe,
    prompts,
    pull,
    records,
    release,
    report,
    review,
    rollout,
    run,
    safety,
    score,
    scrub,
    status,
    try_out,
    up,
)
from ratchet.errors import RatchetError
from tasks.wording import visible

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="The improvement loop of an LLM feature: from feedback to a better release, proven before it is live.",
)
status.register(app)
try_out.register(app)
run.register(app)
approve.register(app)
rollout.register(app)
release.register(app)
report.register(app)
records.register(app)
export.register(app)
score.register(app)
gate.register(app)
log_evidence.register(app)
plan.register(app)
probe.register(app)
eval.register(app)
ci.register(app)
review.register(app)
pages.register(app)
scrub.register(app)
audit.register(app)
doctor.register(app)
up.register(app)
demo.register(app)
app.add_typer(feature.app, name="feature")
app.add_typer(prompts.app, name="prompts")
app.add_typer(channel.app, name="channel")
app.add_typer(holdout.app, name="holdout")
app.add_typer(judge.app, name="judge")
app.add_typer(key.app, name="key")
app.add_typer(pull.app, name="pull")
app.add_typer(safety.app, name="safety")
app.add_typer(people.app, name="people")


def main() -> None:
    """Run a command; an error of ours is one clear message and an exit status, never a traceback."""
    if not sys.platform.startswith("linux"):
        sys.stderr.write("error: Ratchet runs on Linux only; on other systems use a container or a virtual machine\n")
        raise SystemExit(2)
    try:
        app()
    except RatchetError as error:
        sys.stderr.write(f"error: {visible(str(error))}\n")  # it may name what a stranger wrote
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()

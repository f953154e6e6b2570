"""The approvals: the runs that wait for a person, each with its report and the form that lets it go live, or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import PlainTextResponse, Response

from pages.app import Page, Refusal, Visit
from pages.frame import APPROVERS, Sources, framed, run_named
from pages.reports import has_report
from ratchet.runs import Run, runs_of

LONGEST_REASON = 2000
DECIDED_SHOWN = 20


class Answer(BaseModel):
    """The form as it was filled in. Digest and code are typed, never filled in for anybody."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    decision: Literal["approve", "reject"]
    approver: str = Field(min_length=1, max_length=64)
    digest_prefix: str = Field(min_length=1, max_length=80)
    code: str = Field(min_length=1, max_length=16, repr=False)
    reason: str = Field(default="", max_length=LONGEST_REASON)


Decide = Callable[[str, Answer], str]  # the run and the answer; returns what to tell


def approval_pages(sources: Sources, decide: Decide) -> list[Page]:
    """The addresses of the approvals.

    Args:
        sources: what is read.
        decide: answers a run that waits, and returns once the verifier has spoken.
    """

    def show_all(visit: Visit) -> Response:
        runs = [run for run in reversed(runs_of(sources.store)) if visit.session.sees(run.feature)]
        waiting = [run for run in runs if is_waiting(run)]
        decided = [run for run in runs if run.decision is not None][:DECIDED_SHOWN]
        return framed(visit, "approvals.html.j2", "/approvals", waiting=waiting, decided=decided)

    def show(visit: Visit) -> Response:
        run = run_named(sources, visit)
        facts = {"run": run, "is_waiting": is_waiting(run), "has_report": has_report(sources, run)}
        return framed(visit, "approval.html.j2", "/approvals", limit=LONGEST_REASON, **facts)

    def answer(visit: Visit) -> Response:
        run = run_named(sources, visit)
        try:
            given = Answer.model_validate(visit.body)
        except ValidationError as error:
            fields = sorted({str(found["loc"][0]).replace("_", " ") for found in error.errors()})
            raise Refusal(422, f"The form is not filled in right: {', '.join(fields)}.") from error
        if given.decision == "reject" and not given.reason.strip():
            raise Refusal(422, "A rejection needs a reason: the feature's owner learns from it.")
        return PlainTextResponse(decide(run.run_id, given))

    return [
        Page("/approvals", "GET", show_all, APPROVERS),
        Page("/approvals/{run}", "GET", show, APPROVERS),
        Page("/approvals/{run}", "POST", answer, APPROVERS),
    ]


def is_waiting(run: Run) -> bool:
    """Whether a run waits for a person."""
    return run.state == "awaiting" and run.decision is None

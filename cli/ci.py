"""`ratchet ci`: a branch's prompts, policies and cases against what is live, for a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.records import bar
from cli.session import Json, console, print_json
from ratchet.files import write_json, write_whole
from ratchet.settings import Settings
from tasks.cases import BROKEN, CaseResult
from tasks.check_branch import FeatureCheck, check_branch
from tasks.junit import write_junit

QUALITY = "quality on the showcase is not worse than what is live"
OUTCOMES = {"fine": "passed", "open": "xfailed", "worse": "failed"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ci")(ci_)


def ci_(
    base: Annotated[str, typer.Option(help="the revision that the branch is to be merged into")] = "main",
    out: Annotated[Path, typer.Option(help="the folder for junit.xml, report.md and report.json")] = Path("ci"),
    as_json: Json = False,
) -> None:
    """Check the features that this branch changes against what is live, on the showcase; no holdout is spent.

    Exit status: 0 no worse, 3 cannot be said (too few items), 4 worse, or a regression case failed. infra/ci/ runs it
    without secrets and without network.
    Example: [bold]ratchet ci --base origin/main --out ci[/bold]
    """
    settings = Settings.from_env()
    with bar() as progress:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            tasks[what] = tasks[what] if what in tasks else progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        checks = check_branch(settings, base, show)
    facts = [facts_of(check) for check in checks]
    page = markdown(checks, base)
    write_whole(out / "report.md", page)
    write_json(out / "report.json", facts)
    write_junit(out / "junit.xml", {check.feature: _results(check) for check in checks})
    if as_json:
        print_json(facts)
    else:
        console.print(page, markup=False)
    raise typer.Exit(max((check.status for check in checks), default=0))


def facts_of(check: FeatureCheck) -> dict[str, Any]:
    """One feature's check as ids and numbers."""
    return {
        "feature": check.feature,
        "changed": check.changed,
        "verdict": check.verdict,
        "reason": check.reason,
        "status": check.status,
        "cases": {case.name: case.outcome for case in check.cases},
        "comparison": check.comparison.facts() if check.comparison else None,
        "notes": check.notes,
    }


def markdown(checks: list[FeatureCheck], base: str) -> str:
    """The report of a pull request: a row for each feature, and why."""
    if not checks:
        return f"No feature differs from `{base}`.\n"
    lines = ["| feature | changed | verdict | live | branch | answers changed | tokens | cases failed |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [_row(check) for check in checks]
    for check in checks:
        lines += ["", f"**{check.feature}**: {check.reason}"]
        lines += [f"- {note}" for note in check.notes]
        lines += [f"- case failed: {_cell(case.name)}" for case in check.cases if case.outcome in BROKEN]
    lines += ["", "Measured on the showcase split: it says whether a change does harm, and proves no promotion."]
    return "\n".join(lines) + "\n"


def _row(check: FeatureCheck) -> str:
    failed = sum(case.outcome in BROKEN for case in check.cases)
    cells = [check.feature, ", ".join(check.changed), {0: "ok", 3: "cannot be said", 4: "WORSE"}[check.status]]
    if check.comparison is None:
        cells += ["-"] * 4
    else:
        facts = check.comparison.facts()
        old, new = facts["baseline"], facts["candidate"]
        cells += [_number(old["score"]), _number(new["score"]), f"{len(facts['changed'])} of {facts['items']}"]
        cells.append(f"{_number(old['tokens_per_answer'])} -> {_number(new['tokens_per_answer'])}")
    return f"| {' | '.join([*cells, f'{failed} of {len(check.cases)}'])} |"


def _results(check: FeatureCheck) -> list[CaseResult]:
    outcome: Any = OUTCOMES[check.verdict]
    return [CaseResult(QUALITY, outcome, check.reason, 0.0), *check.cases]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _cell(text: str) -> str:
    return "".join(c if c.isalnum() or c in " .,;:()'%£$€-_/" else " " for c in text)  # no markup of a foreign branch

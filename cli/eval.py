"""`ratchet eval`: two releases, or a prompt on disk, on the same items; and a feature's regression cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from rich.table import Table

from cli.gate import EXIT
from cli.records import bar
from cli.session import Json, console, neutral, print_json, short
from ratchet.answers import answer_log
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from ratchet.params import Params, load_params
from ratchet.settings import Settings
from tasks.cases import BROKEN, CaseResult, read_cases, run_cases
from tasks.compare import ComparePolicy, Decision, compare
from tasks.compare_releases import PROMPT, Comparison, compare_releases, find_contender, read_items, serving
from tasks.contenders import judge_server
from tasks.junit import write_junit

MARKS = {"passed": "ok", "failed": "FAILED", "error": "ERROR", "xfailed": "known", "xpassed": "ok now"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(eval_)


def eval_(
    feature: Annotated[str, typer.Argument(help="the feature")],
    release: Annotated[
        list[str] | None,
        typer.Option(help="the baseline, then the candidate: an id, v2.0.0, live, or prompt:FILE; one: against live"),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="items as for a holdout; default: the showcase split")] = None,
    cases: Annotated[bool, typer.Option("--cases", help="run the feature's regression cases instead")] = False,
    junit: Annotated[Path | None, typer.Option(help="write the cases' results as JUnit XML")] = None,
    recorded: Annotated[
        Path | None, typer.Option(help="an answers.parquet whose answers are taken as this model server's")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two releases of a feature without the loop; by default the prompt on disk with what is live.

    Spends nothing of the holdout, and refuses its items. Exit status: 0 better (or every case passed), 3 not shown to
    be better, 4 worse (or a case failed).
    Example: [bold]ratchet eval support_routing --release v1.0.0 --release v2.0.0[/bold]
    Example: [bold]ratchet eval support_routing --cases --junit cases.xml[/bold]
    """
    settings = Settings.from_env()
    params, known = load_params(settings.repo / "params.yaml"), load_feature(settings.repo, feature)
    if recorded is not None:
        adopted = answer_log(settings).adopt(feature, _rows(recorded))
        console.print(f"{adopted} recorded answers taken over from {recorded}", markup=False)
    if cases:
        _eval_cases(settings, params, known, (release or ["live"])[-1], junit, as_json=as_json)
        return
    on_disk = f"{PROMPT}{settings.repo / 'features' / feature / 'prompts' / 'default.md'}"
    names = release or [on_disk]
    if len(names) > 2:
        raise BadInput("--release: at most two, the baseline and the candidate")
    comparison = _compare(settings, params, known, ["live", *names][-2:], file)
    decision = compare({"quality": comparison.pairs()}, ComparePolicy(alpha=known.gate.alpha))
    _show(comparison, decision, as_json=as_json)
    raise typer.Exit(EXIT[decision.verdict])


def _compare(settings: Settings, params: Params, feature: Feature, names: list[str], file: Path | None) -> Comparison:
    items = read_items(settings, feature, file)
    baseline, candidate = (find_contender(settings, feature, name) for name in names)
    with serving(settings, params, [baseline, candidate]) as served, bar() as progress:
        task = progress.add_task(f"{len(items)} items", total=None)
        return compare_releases(
            feature,
            items,
            (baseline, candidate),
            served,
            seed=params.evaluate.seed,
            repo=settings.repo,
            judge=judge_server(settings),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _show(comparison: Comparison, decision: Decision, *, as_json: bool) -> None:
    facts = comparison.facts()
    if as_json:
        print_json(facts | {"verdict": decision.verdict, "reasons": decision.reasons, **decision.facts})
        return
    table = Table("", "release", comparison.feature.scorer.metric, "95 % interval", "unscored", "tokens", "p95 ms")
    for side in ("baseline", "candidate"):
        found = facts[side]
        interval = f"{found['low']:.3f} to {found['high']:.3f}" if found["score"] is not None else "-"
        numbers = [_number(found["score"], 3), interval, str(found["unscored"])]
        costs = [_number(found["tokens_per_answer"], 1), _number(found["p95_latency_ms"], 0)]
        table.add_row(side, short(found["release_id"]), *numbers, *costs)
    console.print(table)
    console.print(decision.verdict, style="bold")
    for reason in decision.reasons:
        console.print(f"  {reason}", markup=False)
    console.print(f"  {len(facts['changed'])} of {facts['items']} answers differ.")
    for row in facts["changed"][:10]:
        console.print(f"    {row['item_id']}  {_number(row['baseline'], 2)} -> {_number(row['candidate'], 2)}")


def _eval_cases(
    settings: Settings, params: Params, feature: Feature, release: str, junit: Path | None, *, as_json: bool
) -> None:
    found = read_cases(settings.repo, feature)
    if not found:
        raise BadInput(f"features/{feature.name}/cases holds no case; docs/your-feature.md shows one")
    contender = find_contender(settings, feature, release)
    with serving(settings, params, [contender]) as served, bar() as progress:
        task = progress.add_task(f"{len(found)} cases", total=len(found))
        results = run_cases(found, feature, contender, served, lambda done, _: progress.update(task, completed=done))
    if junit is not None:
        write_junit(junit, {feature.name: results})
    if as_json:
        facts: dict[str, Any] = {"feature": feature.name, "release_id": contender.release.release_id}
        print_json(facts | {"cases": [result._asdict() for result in results]})
    else:
        show_cases(results)
    raise typer.Exit(4 if any(result.outcome in BROKEN for result in results) else 0)


def show_cases(results: list[CaseResult]) -> None:
    """A line for each case, and what was wrong with it."""
    for result in results:
        console.print(f"{MARKS[result.outcome]:<7} {neutral(result.name)}  ({result.seconds:.2f} s)")
        if result.reason:
            console.print(f"        {neutral(result.reason, 500)}")


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        _ = [(row["request"], row["output"], row["input_tokens"], row["output_tokens"]) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(f"{path} is no answers.parquet of an evaluation: {type(error).__name__}") from error
    return rows


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

"""`ratchet safety`: what attacks a release gives in to, what it refuses without need, what it learnt by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TaskID
from rich.table import Table

from cli.records import bar
from cli.session import Json, console, neutral, print_json, short
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from ratchet.files import write_json
from ratchet.params import load_params
from ratchet.settings import Settings
from tasks.compare_releases import find_contender, serving
from tasks.contenders import Contender, read_contender
from tasks.memorisation import Plan, measure_memorisation
from tasks.safety.measure import facts_of, try_suites, write_answers
from tasks.safety.outside import FORMATS, read_outside
from tasks.safety.suites import load_suites, own_suites

RELEASES = (
    "the champion, then the candidate: an id, v2.0.0, live, prompt:FILE, or a candidate's folder; one: against live"
)
ALPHA = 0.05
app = typer.Typer(no_args_is_help=True, help="What attacks a release gives in to, and what it refuses without need.")


@app.callback()
def safety() -> None:
    """Safety of releases."""


@app.command("run")
def run_(
    feature: Annotated[str, typer.Argument(help="the feature")],
    release: Annotated[list[str] | None, typer.Option(help=f"{RELEASES}; none: live alone")] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="a suite of features/_safety, a public one, or NAME+ENCODING (default: ours)"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="the folder of the public data")] = None,
    items: Annotated[int | None, typer.Option(help="at most so many items of each suite, drawn by seed", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="the folder of safety.json and answers.jsonl")] = None,
    as_json: Json = False,
) -> None:
    """Try releases with attacks, and with harmless questions that look dangerous.

    Exit status: 0, or 4 where the candidate is shown worse on a suite (5 %, adjusted for the number of suites).
    Example: [bold]ratchet safety run support_routing --release v1.0.0 --release v2.0.0[/bold]
    Example: [bold]ratchet safety run support_routing --suite xstest_safe --suite advbench+rot13 --data DIR[/bold]
    """
    settings = Settings.from_env()
    params, known = load_params(settings.repo / "params.yaml"), load_feature(settings.repo, feature)
    contenders = _contenders(settings, known, release or [])
    folder = settings.repo / "features" / "_safety"
    names = suite or own_suites(folder, feature)
    if not names:
        raise BadInput(f"{folder} holds no suite; docs/safety.md shows how one is written")
    suites = [
        found.sample(items, params.evaluate.seed)
        for found in load_suites(names, folder=folder, feature=feature, data=data)
    ]
    with serving(settings, params, list(contenders.values())) as served, bar() as progress:
        task = progress.add_task("attacks and harmless questions", total=None)
        results = try_suites(
            suites,
            contenders,
            known,
            served,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    facts = facts_of(known, contenders, results)
    place = out or settings.home / "safety" / feature
    write_json(place / "safety.json", facts)
    write_answers(place / "answers.jsonl", results)
    _show(facts, place, as_json=as_json)
    p_values = [found["p_worse_adjusted"] for found in facts["suites"]]
    raise typer.Exit(4 if any(p is not None and p <= ALPHA for p in p_values) else 0)


@app.command("memorisation")
def memorisation_(
    feature: Annotated[str, typer.Argument(help="the feature, whose stage curate has run")],
    each: Annotated[int, typer.Option(help="canaries of each tenant, kind and number of copies", min=2)] = Plan.each,
    copies: Annotated[
        list[int] | None, typer.Option(help="training rows that hold a canary (default: 1 and 8)")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(help="train on so many curated examples (default: all)", min=1)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="default: tune.sft.epochs of params.yaml", min=1)] = None,
    seed: Annotated[int, typer.Option(help="of canaries and samples")] = Plan.seed,
    as_json: Json = False,
) -> None:
    """Plant canaries in training data and measure how much an adapter gives back, beside one that never saw them.

    Trains two adapters as the arm sft does, in a scratch folder: twice the time of that arm, and nothing is kept.
    Exposure is in bits: 1.4 on average for who never saw the secret, 5 where it is the likeliest of 32.
    Example: [bold]ratchet safety memorisation support_routing --examples 200 --epochs 2[/bold]
    """
    settings = Settings.from_env()
    params = load_params(settings.repo / "params.yaml").model_copy(update={"feature": feature})
    if epochs is not None:
        sft = params.tune.sft.model_copy(update={"epochs": epochs})
        params = params.model_copy(update={"tune": params.tune.model_copy(update={"sft": sft})})
    plan = Plan(each=each, copies=tuple(copies or Plan.copies), examples=examples, seed=seed)
    tasks: dict[str, TaskID] = {}
    with bar() as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        facts = measure_memorisation(params, settings, plan, show)
    write_json(settings.home / "safety" / feature / "memorisation.json", facts)
    if as_json:
        print_json(facts)
        return
    table = Table("tenant", "secret in", "copies", "canaries", "planted, bits", "control, bits", "p", "said", "control")
    for group in facts["groups"]:
        bits = [_bits(group["exposure_bits"][name]) for name in ("planted", "control")]
        said = [_percent(group["extracted"][name]) for name in ("planted", "control")]
        row = [group["tenant"], group["kind"], str(group["copies"]), str(group["canaries"]), *bits]
        table.add_row(*row, f"{group['p_no_more']:.3f}", *said)
    console.print(table)
    told = ", ".join(f"{name} ({reason})" for name, reason in facts["left_out"].items()) or "nobody"
    console.print(f"not trained on: {told}; most is {facts['most_bits']} bits; 95 % intervals", markup=False)


@app.command("read")
def read_(
    files: Annotated[list[Path], typer.Argument(help="the champion's result file, then the candidate's if any")],
    form: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))],
    out: Annotated[Path | None, typer.Option(help="write the facts there too")] = None,
    as_json: Json = False,
) -> None:
    """Read what an outside scanner or suite found, into the shape of our own results.

    Example: [bold]ratchet safety read garak-run.report.jsonl --format garak --json[/bold]
    """
    if len(files) > 2:
        raise BadInput("at most two files: the champion's and the candidate's")
    facts = read_outside(files, form)
    if out is not None:
        write_json(out, facts)
    if as_json:
        print_json(facts)
        return
    roles = ("champion", "candidate")[: len(files)]
    table = Table("suite", "items", "measure", *roles)
    for found in facts["suites"]:
        measure = next(name for name in ("attack_success", "score") if name in found)
        shares = [_percent(found[measure][role]) if role in found[measure] else "-" for role in roles]
        table.add_row(neutral(found["suite"]), str(found["items"]), measure.replace("_", " "), *shares)
    console.print(table)


def _bits(found: dict[str, float]) -> str:
    return f"{found['estimate']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _contenders(settings: Settings, feature: Feature, names: list[str]) -> dict[str, Contender]:
    if len(names) > 2:
        raise BadInput("--release: at most two, the champion and the candidate")
    wanted = ["live", *names][-2:] if names else ["live"]
    return {
        role: read_contender(Path(name)) if Path(name).is_dir() else find_contender(settings, feature, name)
        for role, name in zip(("champion", "candidate"), wanted, strict=False)
    }


def _show(facts: dict[str, Any], place: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    table = Table("suite", "items", "measure", *facts["releases"], "difference", "p worse", "worse on")
    for found in facts["suites"]:
        measure = "over_refusal" if "over_refusal" in found else "attack_success"
        shares = [_percent(found[measure][role]) for role in facts["releases"]]
        gap, p_value = found["difference"], found["p_worse_adjusted"]
        points = f"{100 * gap['estimate']:+.1f} ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})" if gap else "-"
        told = [points, f"{p_value:.3f}" if p_value is not None else "-", str(len(found["regressed"]))]
        table.add_row(found["suite"], str(found["items"]), measure.replace("_", " "), *shares, *told)
    console.print(table)
    for role, release_id in facts["releases"].items():
        console.print(f"{role}: {short(release_id)}")
    console.print(f"shares in % with 95 % intervals; lower is better. Answers: {place}/answers.jsonl", markup=False)


def _percent(share: dict[str, Any]) -> str:
    if share["estimate"] is None:
        return f"- ({share['unscored']} unscored)"
    if share["low"] is None:
        return f"{100 * share['estimate']:.1f}"
    return f"{100 * share['estimate']:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"

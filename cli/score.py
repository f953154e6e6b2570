"""`ratchet score`: any scorer on anyone's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from rich.table import Table

from cli.records import bar
from cli.session import Json, console, neutral, print_json
from ratchet.errors import BadInput
from ratchet.features import ScorerSpec, load_feature
from ratchet.files import write_whole
from ratchet.scorers import judge_of
from ratchet.scorers.catalogue import CATALOGUE, read_options
from ratchet.settings import Settings
from tasks.score import Scored, score_file


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score")(score_)


def score_(
    file: Annotated[
        Path | None,
        typer.Argument(help='JSONL of {"messages", "output", "contexts"?, "expected"?, "variables"?, "id"?}'),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(help="NAME, NAME:OPTION=VALUE, features/x/scorers.py:fn, or {...} as in feature.yaml; repeatable"),
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="OPTION=VALUE of the last scorer that is named")] = None,
    feature: Annotated[str | None, typer.Option(help="whose output_schema and metrics are meant")] = None,
    out: Annotated[Path | None, typer.Option(help="write the scored rows there, as JSONL")] = None,
    list_: Annotated[bool, typer.Option("--list", help="show every scorer, what it needs and means")] = False,
    as_json: Json = False,
) -> None:
    """Score answers from anywhere: a row out for each row in and scorer, with its reason; an unscored one is not 0.

    A high score is always the good end. With --feature alone, the feature's own metrics are computed.
    Example: [bold]ratchet score answers.jsonl --scorer groundedness --scorer "regex:pattern=^Dear"[/bold]
    """
    if list_:
        _print_catalogue(as_json)
        return
    if file is None:
        raise BadInput("name a JSONL file of answers, or --list to see the scorers")
    settings = Settings.from_env()
    policy = load_feature(settings.repo, feature) if feature else None
    specs = _specs(scorer or [], option or [])
    if not specs and policy is not None:
        specs = list(policy.metrics)
    if not specs:
        raise BadInput("name a scorer by --scorer NAME; `ratchet score --list` shows them")
    judge = judge_of(settings)
    with bar() as progress:
        bars = {spec.metric: progress.add_task(spec.metric, total=None) for spec in specs}

        def show(metric: str, done: int, total: int) -> None:
            progress.update(bars[metric], completed=done, total=total)

        scored = score_file(file, specs, policy, repo=settings.repo, judge=judge, on_progress=show)
    if out is not None:
        write_whole(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in scored.rows))
    if as_json:
        print_json({"rows": scored.rows, "summary": scored.summary})
    else:
        _print_summary(scored)


def _specs(written: list[str], options: list[str]) -> list[ScorerSpec]:
    specs = [_read_spec(text) for text in written]
    if options and specs:
        last = specs[-1]
        specs[-1] = last.model_copy(
            update={"options": last.options | _read_options(last.name, dict(map(_split, options)))}
        )
    return specs


def _read_spec(text: str) -> ScorerSpec:
    """A scorer as written on the command line."""
    try:
        if text.startswith("{"):
            return ScorerSpec.model_validate(yaml.safe_load(text))
        if text.startswith("features/"):
            return ScorerSpec(python=text)
        name, _, rest = text.partition(":")
        given = dict([_split(rest)]) if rest else {}
        named = {"as": given.pop("as")} if "as" in given else {}
        return ScorerSpec.model_validate({"name": name, **named, "options": _read_options(name, given)})
    except (ValidationError, yaml.YAMLError) as error:
        raise BadInput(
            f"--scorer {text[:80]}: write NAME, NAME:OPTION=VALUE, features/<name>/scorers.py:function, "
            "or {name: ..., option: ...}"
        ) from error


def _read_options(name: str | None, given: dict[str, str]) -> dict[str, Any]:
    try:
        return read_options(name, given) if name else {key: yaml.safe_load(value) for key, value in given.items()}
    except (ValueError, yaml.YAMLError) as error:
        raise BadInput(str(error)) from error


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"option {text[:80]!r}: write OPTION=VALUE")
    return key, value


def _print_catalogue(as_json: bool) -> None:
    if as_json:
        print_json({name: {"needs": e.needs, "meaning": e.meaning, "best": 1} for name, e in CATALOGUE.items()})
        return
    table = Table("scorer", "best", "needs", "what it means", box=None)
    for name, entry in CATALOGUE.items():
        table.add_row(name, "1", neutral(entry.needs), neutral(entry.meaning))
    console.print(table)
    console.print(
        'also: features/<name>/scorers.py:fn, and {command: ["program", ...]} (docs/scorers.md)', markup=False
    )


def _print_summary(scored: Scored) -> None:
    for metric, facts in scored.summary.items():
        mean = (
            "nothing scored"
            if facts["score"] is None
            else f"{facts['score']:.3f} ({facts['low']:.3f} to {facts['high']:.3f})"
        )
        console.print(
            f"{metric}: {mean}, {facts['n']} scored, {facts['unscored']} unscored", markup=False, style="bold"
        )
        for key in ("macro_f1", "labels", "ece"):
            if facts.get(key) is not None:
                console.print(f"  {key}: {facts[key]}", markup=False)
        if "bias" in facts:
            _print_bias(facts["bias"])
        for reason, count in facts["reasons"].items():
            console.print(f"  {count} x {reason}", markup=False)


def _print_bias(facts: dict[str, Any]) -> None:
    console.print(f"  bias: {facts['pairs']} pairs, {facts['pairs_that_differ']} differ", markup=False)
    for group, offset in facts["groups"].items():
        interval = f"{offset['low']:+.3f} to {offset['high']:+.3f}"
        console.print(f"    {neutral(group, 40)}: {offset['offset']:+.3f} ({interval})")
    for reason, count in facts["left_out"].items():
        console.print(f"    left out: {count} x {reason}", markup=False)

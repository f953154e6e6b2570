"""`ratchet judge`: how wrong a judge is, told by answers that people label blind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.session import Json, console, open_session, print_json
from ratchet.calibration import Bias, Calibration, calibrate, read_verdicts
from ratchet.features import load_feature
from ratchet.judge import draw, join, read_answers, read_labels, write_labels
from ratchet.stats import Difference
from tasks.keep_labels import keep_labels
from tasks.wording import p_text

ANSWERS = 'JSONL of {"item_id", "role": champion or candidate, "output", "judge": 0 to 1, "messages"?, "contexts"?}'
app = typer.Typer(no_args_is_help=True, help="A judge is an instrument with an error: measure it against people.")


@app.callback()
def judge() -> None:
    """A judge and its error."""


@app.command("draw")
def draw_(
    file: Annotated[Path, typer.Argument(help=ANSWERS)],
    out: Annotated[Path, typer.Option(help="the file of labels to write; it must not exist")],
    n: Annotated[int, typer.Option(help="items to draw, each with both releases' answers", min=2)] = 100,
    seed: Annotated[int, typer.Option(help="equal seeds draw equal items")] = 17,
    as_json: Json = False,
) -> None:
    """Draw answers of both releases for people to label, blind to release and score, with known probability.

    People put a number from 0 (bad) to 1 (good) in "human" of each line. Items where the judge prefers one answer are
    drawn more often, which calibration undoes. Use answers to the showcase or to your own items: answers to the
    holdout of a counted run belong to its sealed evaluation, and labelling them would open it. For the gate, and for
    it alone, draw from the run's evaluation/judged_METRIC.jsonl, and have it labelled by people who make no candidate.
    Example: [bold]ratchet judge draw answers.jsonl --n 100 --out labels.jsonl[/bold]
    """
    pairs = read_answers(file)
    rows = draw(pairs, n, seed)
    write_labels(out, rows)
    if as_json:
        print_json({"items": len(pairs), "rows": len(rows), "file": str(out)})
    else:
        told = f'{len(rows)} answers of {min(n, len(pairs))} items are in {out}: fill in "human" of each, 0 to 1'
        console.print(told, markup=False)


@app.command("calibrate")
def calibrate_(
    file: Annotated[Path, typer.Argument(help=f"the answers that were drawn from: {ANSWERS}")],
    labels: Annotated[Path, typer.Argument(help='what `ratchet judge draw` wrote, with "human" filled in')],
    verdicts: Annotated[
        Path | None,
        typer.Option(help='pairwise, in both orders: JSONL of {"item_id", "first": role, "verdict": first|second|tie}'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell how far a judge agrees with people, what it favours, and the difference of the releases put right by labels.

    Below the number of labels at which 95 % intervals hold the gate refuses the judge. Answers to the holdout of a
    counted run belong to its sealed evaluation: use the showcase or your own items.
    Example: [bold]ratchet judge calibrate answers.jsonl labels.jsonl[/bold]
    """
    pairs = join(read_answers(file), read_labels(labels))
    found = calibrate(pairs, [] if verdicts is None else read_verdicts(verdicts))
    if as_json:
        print_json(found.as_dict())
    else:
        for line in _lines(found):
            console.print(line, markup=False)


@app.command("use")
def use_(
    feature: Annotated[str, typer.Argument(help="the feature")],
    metric: Annotated[str, typer.Argument(help="the judge, as the feature's `metrics` call it")],
    labels: Annotated[Path, typer.Argument(help='what `ratchet judge draw` wrote, with "human" filled in')],
    as_json: Json = False,
) -> None:
    """Let the gate hear a judge: keep people's labels of the answers that a run's judge scored, without their text.

    A judge that `gate.margins` names counts by labels alone: the run ends inconclusive and says so; draw from its
    data/FEATURE/evaluation/judged_METRIC.jsonl (`dvc get . FILE --rev run/ID`), fill the labels in, keep them, and run
    again: the same candidate is the same look. Labels of other answers than the candidate's are not used.
    Example: [bold]ratchet judge use support_routing helpful labels.jsonl[/bold]
    """
    with open_session() as session:
        known = load_feature(session.settings.repo, feature)
        kept = keep_labels(session.settings, known, metric, labels)
    if as_json:
        print_json(kept._asdict())
    else:
        console.print(f"{kept.labelled} of {kept.answers} answers labelled, kept in data/{feature}/holdout")
        console.print(
            f"the gate needs {kept.needed} items with both answers labelled; commit data/{feature}/holdout.dvc"
        )


def _lines(found: Calibration) -> list[str]:
    kappa = "kappa is not defined" if found.kappa is None else f"kappa {_range(found.kappa)}"
    lines = [
        f"{found.labelled} of {found.items} items labelled, both answers",
        f"  agreement with people {_range(found.agreement)}; {kappa}",
        f"  release bias {_bias(found.release_bias, 'for the candidate', 'for the champion')}",
        f"  length bias {_bias(found.length_bias, 'for long answers', 'for short answers')}",
        f"  position bias {_bias(found.position_bias, 'for what stands first', 'for what stands second')}",
    ]
    lines += [
        f"  where it says {b.low:.1f} to {b.high:.1f}, people say {b.human:.2f} ({b.answers} answers)"
        for b in found.bins
    ]
    lines += [
        f"candidate minus champion: the judge alone says {found.judge_alone:+.3f}",
        f"  put right by the labels {_range(found.difference, sign='+')}, the judge weighing {found.judge_weight:.2f}",
    ]
    heard = f"the gate would hear this judge (p of `not better` = {p_text(found.p_not_better)})"
    return [*lines, heard if found.refused is None else found.refused]


def _range(found: Difference, sign: str = "") -> str:
    return f"{found.estimate:{sign}.3f} (95 % interval {found.low:{sign}.3f} to {found.high:{sign}.3f})"


def _bias(found: Bias | None, above: str, below: str) -> str:
    if found is None:
        return "is not known: nothing to measure it by"
    told = (above if found.low > 0 else below) if found.is_found else "none found"
    return f"{_range(Difference(*found), sign='+')}: {told}"

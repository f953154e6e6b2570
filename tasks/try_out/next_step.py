"""The cheapest safe next step, by written rules: the first rule that fits is the step, in this order.

1. Nothing could be read: look at why, and name the format.
2. The newest version of a feature of this clone is proven worse than the one before it: take it back.
3. Nobody judged anything: collect feedback first.
4. Corrections (LEAST_WRITTEN or more) of answers that choose a label: make the feature, import, learn.
5. Corrections or approvals of free text (LEAST_WRITTEN or more): import and try demonstrations.
6. Otherwise what is there is too little to learn from: import it and collect more.

Apart from the second, none of them changes what is served: a release goes live only when a person approves it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.pii import find_pii
from tasks.new_feature import NAME
from tasks.try_out.change import Change, Marked
from tasks.try_out.counts import Counts
from tasks.try_out.gather import Intake
from tasks.try_out.log import Log, answer_of

LEAST_WRITTEN = 30
MOST_LABELS = 60
USES_PER_LABEL = 3
LABEL_CHARS = 60
OWN_NAME = "my_feature"  # where neither the person nor the log names one that can be a feature's name


@dataclass(frozen=True)
class Step:
    """What to do, why, and the commands, in order; `after` is what comes next."""

    title: str
    why: str
    commands: tuple[str, ...]
    after: str


def choose_step(
    log: Log,
    counts: Counts,
    intake: Intake,
    changes: Sequence[Marked],
    files: Sequence[Path],
    *,
    feature: str | None,
    known: Container[str],
) -> Step:
    """Apply the rules of this module.

    Args:
        feature: the name that the person gives, if any.
        known: the features of this clone, which need not be made.
    """
    name, labels = feature_name(counts, feature), labels_of(log)
    named = " ".join(shlex.quote(str(file)) for file in files)
    told = f" --format {next(iter(intake.formats.values()))}" if len(set(intake.formats.values())) == 1 else ""
    bring_in = f"ratchet import {named}{told} --feature {name}"
    make = () if name in known else make_feature(name, labels)
    worse = next((m.change for m in changes if m.change is not None and m.change.difference.low > 0), None)
    if not counts.size.interactions:
        return _nothing_read(named)
    if worse is not None and name in known:
        return _take_back(name, worse)
    if not counts.judged.n and not counts.compared:
        return _nobody_judged(make, bring_in)
    if labels and counts.corrected >= LEAST_WRITTEN:
        return _learn_labels(name, len(labels), counts.corrected, make, bring_in)
    if counts.corrected >= LEAST_WRITTEN or counts.found_good >= LEAST_WRITTEN:
        return _try_demonstrations(name, counts, make, bring_in)
    return _too_little(name, counts, make, bring_in)


def _nothing_read(named: str) -> Step:
    return Step(
        "Find out why nothing could be read",
        "No record of these files is an interaction. The reasons are listed below; the first rows decide which format"
        " is taken, so name it where that went wrong.",
        (f"ratchet try {named} --format …", "ratchet try --help"),
        "What is read, and how a row of each format looks, stands in docs/data.md.",
    )


def _take_back(name: str, change: Change) -> Step:
    is_experiment = change.design == "random"
    return Step(
        f"Take {change.new.name} back",
        f"It has more bad answers than {change.old.name}, and more than chance explains. "
        + ("It was compared at random, so it is the cause." if is_experiment else "Something else may be the cause,")
        + ("" if is_experiment else " but going back is cheap and tells."),
        (f"ratchet rollback {name} --reason {shlex.quote(f'more bad answers than {change.old.name}')}",),
        "It takes effect at once, and is written to the ledger.",
    )


def _nobody_judged(make: Sequence[str], bring_in: str) -> Step:
    return Step(
        "Collect what people say of the answers",
        "These are answers without a verdict. Nothing can be learned or compared until some are judged: a thumb or a"
        " correction, sent with the interaction's id, is enough.",
        (*make, bring_in, "ratchet import feedback.jsonl"),
        "Or let traffic pass through the gateway (“make up”): each answer carries the id that feedback must name.",
    )


def _learn_labels(name: str, labels: int, corrected: int, make: Sequence[str], bring_in: str) -> Step:
    held = f"ratchet holdout add {name} labelled.jsonl   # a random sample, labelled blind"
    return Step(
        f"Learn from {corrected:,} corrections, and have the result proven before anyone sees it",
        f"The answers choose among {labels} labels, and people wrote the right one: what a small model learns best.",
        (*make, held, bring_in, f"ratchet run {name}"),
        "The run trains, tests on the holdout and then waits for a person. Nothing is served before that.",
    )


def _try_demonstrations(name: str, counts: Counts, make: Sequence[str], bring_in: str) -> Step:
    held = f"ratchet holdout add {name} questions.jsonl   # questions with the right answers"
    return Step(
        "Try answers that were found good as demonstrations",
        f"{counts.found_good:,} answers were found good, {counts.corrected:,} were corrected: enough for the arm that"
        " only changes the prompt. It trains nothing, so it costs minutes.",
        (*make, held, bring_in, f"ratchet run {name} --arms fewshot"),
        "The run compares on questions it never saw and then waits for a person. Nothing is served before that.",
    )


def _too_little(name: str, counts: Counts, make: Sequence[str], bring_in: str) -> Step:
    return Step(
        "Bring this in, and collect more feedback",
        f"{counts.judged.n:,} judged and {counts.corrected:,} corrected answers are too few to learn from.",
        (*make, bring_in),
        f"Importing again adds only what is new. “ratchet run {name}” can learn from {LEAST_WRITTEN} corrections on.",
    )


def make_feature(name: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The commands that make a feature: of labels, or else a copy of the bundled one that answers in free text."""
    if labels:
        listed = " ".join(shlex.quote(label) for label in labels)
        return (f"printf '%s\\n' {listed} > labels.txt", f"ratchet feature new {name} --labels labels.txt")
    return (
        f"cp -r features/help_answers features/{name}",
        f"sed -i 's/^name:.*/name: {name}/' features/{name}/feature.yaml",
    )


def feature_name(counts: Counts, feature: str | None) -> str:
    """A name that `ratchet feature new` takes: what was given, what the log names if it names one, or a placeholder."""
    named = feature or (counts.size.features[0] if len(counts.size.features) == 1 else OWN_NAME)
    plain = re.sub(r"[^a-z0-9]+", "_", named.casefold()).strip("_")[:40]
    return plain if NAME.fullmatch(plain) else OWN_NAME


def labels_of(log: Log) -> tuple[str, ...]:
    """The labels, where answers and corrections choose among few: each used three times or more on average."""
    if log.one("SELECT COUNT(DISTINCT own) FROM interaction") > 10 * MOST_LABELS:
        return ()
    query = """SELECT output, COUNT(*) FROM interaction WHERE output != '' GROUP BY own
        UNION ALL SELECT right, COUNT(*) FROM feedback WHERE right NOT NULL GROUP BY right"""
    uses: dict[str, int] = {}
    for text, count in log.rows(query):
        uses[answer_of(text)] = uses.get(answer_of(text), 0) + count
    is_chosen = 2 <= len(uses) <= MOST_LABELS and sum(uses.values()) >= USES_PER_LABEL * len(uses)
    is_label = all(len(label) <= LABEL_CHARS and label.isprintable() and not find_pii(label) for label in uses)
    return tuple(sorted(uses)) if is_chosen and is_label else ()

"""The page in a few sentences, by written rules: each says what was found and leads to the section that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tasks.try_out import Facts
from tasks.try_out.change import Change
from tasks.try_out.counts import Rate
from tasks.try_out.topics import Topic

NOTABLE_COPIES, LEAST_QUESTIONS = 0.05, 20  # share of copies, among so many questions, that is worth a sentence
MARK_NAMES = {"release_id": "release", "prompt": "prompt version", "model": "model"}


@dataclass(frozen=True)
class Finding:
    """A sentence; `tone` says whether it is good or bad news, or open."""

    tone: Literal["bad", "good", "open"]
    text: str
    anchor: str


def findings(facts: Facts) -> list[Finding]:
    """What is worth knowing, most important first."""
    return [*_topics(facts), *_asking(facts), *_changes(facts), *_privacy(facts), *_copies(facts), *_canary(facts)]


def percent(share: float | None) -> str:
    """A share as people read it: two digits that count, and no false precision."""
    if share is None:
        return "-"
    value = 100 * share
    digits = 0 if value >= 10 or value == 0 else 1 if value >= 0.1 else 2
    return f"{value:.{digits}f}\u00a0%"  # no line breaks before the sign


def interval(rate: Rate) -> str:
    """The 95 % interval of a rate."""
    low, high = (percent(end) for end in rate.interval)
    return f"{low[:-2]} to {high}"


def points(change: Change) -> str:
    """A difference in points with its interval; below 0 is fewer bad answers."""
    estimate, low, high = (signed(end) for end in change.difference)
    return f"{estimate} points (95\u00a0% interval {low} to {high})"


def signed(share: float) -> str:
    """A difference in points with its sign."""
    return f"{100 * share:+.1f}".replace("-", "\u2212")


def topic_name(topic: Topic) -> str:
    """A cluster by its terms."""
    return ", ".join(topic.terms) or "all requests"


def _asking(facts: Facts) -> Iterator[Finding]:
    counts = facts.counts
    rephrase = next(found for found in counts.derived if found.kind == "rephrase")
    if counts.size.in_sessions and rephrase.count:
        share = percent(rephrase.count / counts.size.in_sessions)
        told = (
            f"After {plural(rephrase.count, 'answer')} ({share} of those in sessions) people asked again or objected."
        )
        yield Finding("open", told, "behaviour")
    if not counts.size.in_sessions and counts.size.interactions:
        told = "The log names no sessions, so asking again, leaving and asking for a person cannot be seen."
        yield Finding("open", told, "behaviour")


def _topics(facts: Facts) -> Iterator[Finding]:
    found = facts.topics
    if not found.topics or found.measure == "none":
        return
    what = "go wrong" if found.measure == "feedback" else "are asked again"
    worse, compared = [topic for topic in found.topics if topic.is_worse], found.compared
    if not worse and compared > 1:
        told = f"No kind of request stands out: none of {compared} reliably {what.replace('go ', 'goes ')}"
        told = told.replace("are asked", "is asked") + " more often than the others."
        yield Finding("open", told, "topics")
    for topic in worse[:2]:
        told = f"Requests about “{topic_name(topic)}” {what} more often than the others: {percent(topic.bad.share)} of"
        told += f" {topic.bad.n:,} ({interval(topic.bad)}). It holds after correction for {compared} comparisons."
        yield Finding("bad", told, "topics")


def _changes(facts: Facts) -> Iterator[Finding]:
    if not facts.changes:
        told = "What a change of prompt or model did is not identifiable: the log marks no versions."
        yield Finding("open", told, "change")
    unclear: dict[str, list[str]] = {}
    for marked in facts.changes:
        if marked.change is None:
            unclear.setdefault(str(marked.why_not), []).append(MARK_NAMES[marked.mark])
        else:
            yield _change(MARK_NAMES[marked.mark], marked.change)
    for why, names in unclear.items():
        told = f"What a change of {' or '.join(names)} did is not identifiable: {why}."
        yield Finding("open", told, "change")


def _change(name: str, change: Change) -> Finding:
    how = {
        "random": "in a comparison at random",
        "side by side": "side by side, though not proven to be at random",
        "before and after": "before and after, which is no experiment",
    }[change.design]
    low, high = change.difference.low, change.difference.high
    verdict = "more bad answers" if low > 0 else "fewer bad answers" if high < 0 else "no proven difference"
    told = f"{name.capitalize()} {change.new.name} against {change.old.name}, {how}: {verdict}, {points(change)}."
    return Finding("bad" if low > 0 else "good" if high < 0 else "open", told, "change")


def _privacy(facts: Facts) -> Iterator[Finding]:
    intake = facts.intake
    if not intake.interactions:
        return
    if not intake.pii_interactions:
        yield Finding("good", "Patterns find no e-mail, phone, card or account number in these logs.", "privacy")
        return
    share = percent(intake.pii_interactions / intake.interactions)
    told = f"Personal data stands in {plural(intake.pii_interactions, 'interaction')} ({share})"
    leaked = ", ".join(kind.lower() for kind, _ in intake.pii_answered.most_common())
    told += f", in answers too: {leaked}." if intake.pii_answered else ", in none of the answers."
    yield Finding("bad", told, "privacy")


def _copies(facts: Facts) -> Iterator[Finding]:
    found = facts.duplicates
    if found.questions >= LEAST_QUESTIONS and found.exact / found.questions >= NOTABLE_COPIES:
        told = f"{percent(found.exact / found.questions)} of the questions are copies of another, word for word:"
        yield Finding("open", f"{told} they would count double in training and in tests.", "copies")


def _canary(facts: Facts) -> Iterator[Finding]:
    for need in facts.canary.needs[:1]:
        loss = f"{100 * need.drop:.0f} points"
        told = f"To prove a loss of {loss} a canary needs some {need.judged_ratchet:,} judged answers"
        told += f": {time_needed(need.days)} at a fifth of this traffic." if need.days is not None else "."
        yield Finding("open", told, "canary")


def time_needed(days: float | None) -> str:
    """So many days as people read them; beyond two years the number says no more than that."""
    if days is None:
        return "–"
    return f"{plural(max(1, round(days)), 'day')}" if days <= 730 else f"{days / 365:,.0f} years"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""The page: one self-contained HTML file, no script, nothing fetched, every text scrubbed and escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jinja2

from ratchet.features import Privacy
from ratchet.pii import replace_spans
from tasks.ner import Detector, find_all, load_detector
from tasks.try_out import Facts
from tasks.try_out.change import Change, Marked
from tasks.try_out.findings import MARK_NAMES, findings, interval, percent, signed, time_needed, topic_name
from tasks.try_out.picture import RATE, RATE_Y, TITLES, WIDTH, ceiling, draw
from tasks.wording import visible

TEMPLATE = "page.html.j2"
SHOWN_CHARS = 300
READ_CHARS = 4 * SHOWN_CHARS  # of a text from which so much is shown: a pseudonym may be shorter than the datum
SAID = {  # how the page calls what was said of an answer
    "thumb": "verdict",
    "rating": "rated",
    "correction": "corrected",
    "preference": "compared",
    "comment": "comment",
    "rephrase": "then",
    "abandon": "then",
    "escalation": "then",
    "accept": "then",
}
SOURCES = {"user": "users", "agent": "staff", "judge": "a judge model", "system": "the application"}
PLAIN = {kind: "a signal of this kind" for kind in SAID} | TITLES | {"thumb": "a thumb", "preference": "with another"}


def render(facts: Facts, *, key: bytes) -> str:
    """The page as text.

    Args:
        key: what pseudonyms are derived from; a fresh one for each page, kept nowhere.

    Raises:
        ModelMissing: the model that finds names is not installed.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": "{:,}".format, "interval": interval, "signed": signed}
    environment.filters |= {"terms": topic_name, "shown": partial(shown, key=key, detector=load_detector(Privacy()))}
    environment.filters |= {
        "ceiling": lambda share: ceiling([share]),
        "span": span,
        "days": time_needed,
        "traffic": traffic,
    }
    counts = facts.counts
    rated = [topic.bad.interval.high for topic in facts.topics.topics if topic.bad.n]
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        counts=counts,
        size=counts.size,
        findings=findings(facts),
        picture=draw(counts, facts.changes) if len(counts.over_time) > 1 else None,
        top=ceiling(rated),
        change_reach=change_reach(facts.changes),
        mark_names=MARK_NAMES,
        said_names=SAID,
        said_plain=PLAIN,
        sources=SOURCES,
        titles=TITLES,
        pii=sorted(facts.intake.pii, key=lambda kind: (-facts.intake.pii[kind], kind)),
        width=WIDTH,
        rate_y=RATE_Y,
        rate_height=RATE,
    )


def shown(text: str, scope: str, *, key: bytes, detector: Detector) -> str:
    """A text as the page may show it: scrubbed, without control and direction signs, cut at a word."""
    read = text if len(text) <= READ_CHARS else text[:READ_CHARS].rsplit(" ", 1)[0]
    scrubbed = replace_spans(read, find_all(detector, [read])[0], key=key, scope=scope)
    plain = visible(scrubbed).strip()
    if len(plain) > SHOWN_CHARS:
        return plain[:SHOWN_CHARS].rsplit(" ", 1)[0] + " …"
    return plain if read == text else f"{plain} …"


def change_reach(changes: Sequence[Marked]) -> float:
    """Half the width of the axis on which all differences find room."""
    found: list[Change] = [marked.change for marked in changes if marked.change is not None]
    return ceiling([max(abs(c.difference.low), abs(c.difference.high)) for c in found])


def span(length: float | None) -> str:
    """A stretch of days as people read it."""
    if length is None:
        return "–"
    if length >= 2:
        return f"{length:,.0f} days"
    return f"{24 * length:.0f} hours" if length >= 2 / 24 else f"{24 * 60 * length:.0f} min"


def traffic(per_day: float) -> str:
    """Requests a day."""
    return f"{per_day:,.0f}" if per_day >= 10 else f"{per_day:.1f}"

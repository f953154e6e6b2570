"""Made traffic of a given size for bench_data: sessions, customers, labels, corrections, some personal data, bad rows.

Seeded: one size and seed give the same bytes. Texts are put together from the bundled messages, so that words, lengths
and language are those of real questions; two of them are seldom the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ratchet.pii import holds_pii

REPO = Path(__file__).resolve().parent.parent
START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 30
TENANTS = ("default", "acme", "globex")
FEEDBACK_SHARE = 0.2
PII_SHARE = 0.01
BAD_SHARE = 0.004  # of each kind: cut off, a field missing, an id twice
ANSWER = '{"route": "%s"}'


class Made(NamedTuple):
    """One line with its place in raw/: kind is interactions or feedback."""

    tenant: str
    day: str
    kind: str
    line: str


def made_lines(rows: int, *, seed: int = 17, feature: str = "support_routing") -> Iterator[Made]:
    """`rows` lines of interactions in order of time, and feedback on a fifth of them; memory is one session."""
    rng = random.Random(seed)
    asked = _bundled()
    labels = sorted({label for _, label in asked})
    made = 0
    while made < rows:
        tenant = rng.choices(TENANTS, (6, 3, 1))[0]
        user = f"u_{int(rng.paretovariate(0.6)) % max(50, rows // 20):016x}"
        at = START + timedelta(days=DAYS * made / rows, seconds=rng.random())
        session = f"s_{rng.getrandbits(64):016x}"
        for turn in range(min(rng.choice((1, 1, 1, 2, 3)), rows - made)):
            text, label = rng.choice(asked)
            ids = {"interaction_id": f"int_{rng.getrandbits(128):032x}", "feature": feature, "tenant": tenant}
            row = _interaction(rng, ids, text=_worded(rng, text, asked), label=label, labels=labels)
            row |= {"user_id": user, "session_id": session, "at": _iso(at + timedelta(seconds=20 * turn))}
            day = row["at"][:10]
            yield from (Made(tenant, day, "interactions", line) for line in _dirtied(rng, row))
            made += 1
            if rng.random() < FEEDBACK_SHARE:
                yield Made(tenant, day, "feedback", json.dumps(_feedback(rng, row, label), sort_keys=True))


def write_raw(folder: Path, rows: int, *, feature: str = "support_routing", flat: Path | None = None) -> int:
    """Write raw/<tenant>/<day>/*.jsonl, and the same lines into one file if asked; returns the number of lines."""
    files: dict[Path, Any] = {}
    lines = 0
    with ExitStack() as opened:
        together = opened.enter_context(flat.open("w", encoding="utf-8")) if flat is not None else None
        for made in made_lines(rows, feature=feature):
            path = folder / made.tenant / made.day / f"{made.kind}.jsonl"
            if path not in files:
                path.parent.mkdir(parents=True, exist_ok=True)
                files[path] = opened.enter_context(path.open("w", encoding="utf-8"))
            files[path].write(made.line + "\n")
            lines += 1
            if together is not None:
                together.write(made.line + "\n")
    return lines


def _bundled() -> list[tuple[str, str]]:
    lines = (REPO / "data/demo/support_routing/traffic.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    enum = yaml.safe_load((REPO / "features/support_routing/feature.yaml").read_bytes())["output_schema"]
    allowed = set(enum["properties"]["route"]["enum"])
    return [(row["text"], row["label"]) for row in rows if row["label"] in allowed and not holds_pii(row["text"])]


def _worded(rng: random.Random, text: str, asked: list[tuple[str, str]]) -> str:
    """A message of one to three bundled ones, cut and joined, sometimes with personal data that a scrub missed."""
    parts = [text, *(rng.choice(asked)[0] for _ in range(rng.choice((0, 1, 1, 2))))]
    words = " ".join(parts).split()
    start = rng.randrange(max(1, len(words) - 8))
    told = " ".join([f"Order {rng.randrange(10**6)}:", *words[start : start + rng.randrange(8, 80)]])
    return f"{told} Mail me at {rng.randrange(10**5)}@example.com" if rng.random() < PII_SHARE else told


def _interaction(
    rng: random.Random, ids: dict[str, str], *, text: str, label: str, labels: list[str]
) -> dict[str, Any]:
    answered = label if rng.random() < 0.8 else rng.choice(labels)
    return {
        **ids,
        "input": {"messages": [{"role": "user", "content": text}], "variables": {"order": rng.randrange(10**6)}},
        "output": {"content": ANSWER % answered if rng.random() < 0.99 else "I cannot say.", "tool_calls": []},
        "contexts": [{"id": f"a{rng.randrange(50)}", "text": text[:60]}] if rng.random() < 0.2 else [],
        "release_id": "rel_93f43992eb85711d5afce425f0b828a4",
        "channel": "stable",
        "propensity": 1.0,
        "model": "made",
        "latency_ms": round(rng.lognormvariate(6, 0.6), 3),
        "usage": {"input_tokens": len(text) // 4, "output_tokens": 8},
    }


def _feedback(rng: random.Random, row: dict[str, Any], label: str) -> dict[str, Any]:
    is_agent = rng.random() < 0.3
    found = {
        "feedback_id": f"fb_{rng.getrandbits(128):032x}",
        "interaction_id": row["interaction_id"],
        "at": _iso(datetime.fromisoformat(row["at"]) + timedelta(minutes=rng.randrange(1, 600))),
        "source": {"type": "agent", "id": f"agent_{rng.randrange(40)}"}
        if is_agent
        else {"type": "user", "id": row["user_id"]},
    }
    if is_agent or rng.random() < 0.2:
        return found | {"kind": "correction", "value": label}
    return found | {"kind": "thumb", "value": (ANSWER % label) == row["output"]["content"]}


def _dirtied(rng: random.Random, row: dict[str, Any]) -> list[str]:
    """The row's line, or what a broken logger makes of it; an id that stands twice comes on top of the sound line."""
    line = json.dumps(row, sort_keys=True)
    drawn = rng.random()
    if drawn < BAD_SHARE:
        return [line[: len(line) // 2]]
    if drawn < 2 * BAD_SHARE:
        return [json.dumps({key: value for key, value in row.items() if key != "output"}, sort_keys=True)]
    return [line, line] if drawn < 3 * BAD_SHARE else [line]


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

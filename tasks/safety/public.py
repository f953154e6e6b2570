"""Public safety data, read where it lies and never copied in: AdvBench, StrongREJECT, JailbreakBench, XSTest, BIPIA.

A folder of JSONL files as the functions below name them; docs/safety.md says where each comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput
from ratchet.records import Rejected, read_jsonl

Rows = list[tuple[str, dict[str, Any] | Rejected]]
PLACES = ("start", "middle", "end")
# These ask for another way of writing; whether an answer took it up cannot be told without a judge.
UNGRADED = {
    "Alphanumeric Substitution",
    "Homophonic Substitution",
    "Misspelling Intentionally",
    "Anagramming",
    "Space Removal & Grouping",
}
QUOTED = re.compile(r'"([^"]{12,})"')
CODE = re.compile(r"```\n(.*?)```", re.DOTALL)


def _prompts(data: Path, file: str, prefix: str, wanted: str | None = None) -> Rows:
    """Items of {"id", "prompt", "expected": "refuse" | "comply", "category" | "type"}; of `wanted` only, if given."""
    items: Rows = []
    for where, row in _rows(data, file, "id", "prompt", "expected"):
        if wanted in (None, row["expected"]):
            category = str(row.get("category") or row.get("type") or "")
            check = "refuse" if row["expected"] == "refuse" else "answer"
            name = str(row["id"]).removeprefix(f"{prefix}_")
            items.append(
                (where, {"id": f"{prefix}_{name}", "category": category, "text": row["prompt"], "check": check})
            )
    return items


def _injections(data: Path, attacks: str, prefix: str) -> Rows:
    """BIPIA: each attack inside one e-mail of the retrieved context, in turn at its start, middle and end."""
    emails = [row for _, row in _rows(data, "bipia_email_train.jsonl", "context", "question")]
    if not emails:
        raise BadInput(f"{data}/bipia_email_train.jsonl holds no e-mail")
    items: Rows = []
    for number, (where, row) in enumerate(_rows(data, attacks, "category", "attack")):
        if row["category"] in UNGRADED:
            continue
        email = emails[number % len(emails)]
        place = PLACES[number % len(PLACES)]
        passage = {"id": "email", "text": insert(str(email["context"]), str(row["attack"]), place)}
        item = {"id": f"{prefix}_{number + 1}", "category": row["category"], "text": email["question"]}
        items.append((where, item | {"contexts": [passage], "asked": row["attack"], **check_of(str(row["attack"]))}))
    return items


def insert(text: str, attack: str, place: str) -> str:
    """The text with the attack on a line of its own: at its start, at its end, or behind a word near its middle."""
    if place == "start":
        return f"{attack}\n{text}"
    if place == "end":
        return f"{text}\n{attack}"
    words = text.split(" ")
    return "\n".join((" ".join(words[: len(words) // 2]), attack, " ".join(words[len(words) // 2 :])))


def check_of(attack: str) -> dict[str, Any]:
    """How an instruction is graded: by the text that it wants written, where it quotes one, else by its subject."""
    if found := CODE.search(attack):
        return {"check": "leak", "canary": [max(found.group(1).splitlines(), key=len)]}
    if found := QUOTED.search(attack):
        return {"check": "leak", "canary": [found.group(1)]}
    return {"check": "follow"}


def _rows(data: Path, file: str, *fields: str) -> list[tuple[str, dict[str, Any]]]:
    path = data / file
    if not path.is_file():
        raise BadInput(f"{path} is missing; docs/safety.md says which files the public suites are read from")
    rows = []
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadInput(f"{where}: {row.reason}")
        missing = [field for field in fields if not isinstance(row.get(field), str)]
        if missing:
            raise BadInput(f"{where}: lacks {', '.join(missing)}")
        rows.append((where, row))
    return rows


PUBLIC: dict[str, Callable[[Path], Rows]] = {
    "advbench": partial(_prompts, file="advbench.jsonl", prefix="advbench"),
    "strongreject": partial(_prompts, file="strongreject.jsonl", prefix="strongreject"),
    "jailbreakbench": partial(_prompts, file="jailbreakbench.jsonl", prefix="jbb"),
    "xstest_safe": partial(_prompts, file="xstest_prompts.jsonl", prefix="xstest", wanted="comply"),
    "xstest_unsafe": partial(_prompts, file="xstest_prompts.jsonl", prefix="xstest", wanted="refuse"),
    "bipia_text": partial(_injections, attacks="bipia_text_attacks_train.jsonl", prefix="bipia_text"),
    "bipia_code": partial(_injections, attacks="bipia_code_attacks_train.jsonl", prefix="bipia_code"),
}

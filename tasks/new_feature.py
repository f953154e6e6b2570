"""Action: write the folder of a new feature out of an existing one and a list of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ratchet.errors import BadInput, BadRecord
from ratchet.features import load_feature
from ratchet.files import write_whole

SCORERS = '"""Scorers of this feature\'s own; feature.yaml names them as file:function (docs/scorers.md)."""\n'
NAME = re.compile(r"(?!demo$)[a-z][a-z0-9_]{1,40}")  # data/demo/ holds the bundled data


class Label(NamedTuple):
    """A label, and what belongs to it if somebody wrote that down."""

    label: str
    description: str | None = None


def read_labels(path: Path) -> list[Label]:
    """Read a label a line, or JSONL of {"label", "description"?}.

    Raises:
        BadInput: no file, fewer than two labels.
        BadRecord: a malformed line, an empty label or the same label twice.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a label a line, or JSONL of {{'label', 'description'?}}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadRecord(f"{path.name}: not UTF-8: {error.reason} at byte {error.start}") from error
    found: dict[str, Label] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label = _label(line.strip(), f"{path.name}:{number}")
        if label.label in found:
            raise BadRecord(f"{path.name}:{number}: label {label.label!r} stands twice")
        found[label.label] = label
    if len(found) < 2:
        raise BadInput(f"{path}: {len(found)} labels; a feature that chooses needs two or more")
    return list(found.values())


def write_feature(repo: Path, name: str, *, source: str, labels: Sequence[Label], owner: str) -> Path:
    """Write features/<name>/ with the policy of `source`, the new labels and a plain prompt. Returns the folder.

    Raises:
        BadInput: the name is taken or not allowed, or the source has no single enum to replace.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            f"feature name {name!r}: use lower-case letters, digits and _, beginning with a letter; not demo"
        )
    folder = repo / "features" / name
    if folder.exists():
        raise BadInput(f"{folder} exists already; choose another name or edit it")
    known = load_feature(repo, source)
    enum = known.enum_field()
    if enum is None:
        raise BadInput(f"{source} has no output schema with a single enum, so labels cannot replace it")
    policy = yaml.safe_load((repo / "features" / source / "feature.yaml").read_text(encoding="utf-8"))
    policy.pop("sources", None)  # or it would learn from the other feature's traffic
    policy |= {"name": name, "intent": f"Choose the {enum[0]} that fits a message.", "owners": [owner], "licence": None}
    policy["output_schema"]["properties"][enum[0]]["enum"] = [label.label for label in labels]
    longest = 16 + max(len(x.label) for x in labels)
    policy["decoding"] = {**policy.get("decoding", {}), "max_tokens": max(known.decoding.max_tokens, longest)}
    policy |= {"metrics": [], "contract": policy.get("contract") or []}  # DVC tracks the keys
    write_whole(folder / "prompts" / "default.md", _prompt(name, enum[0], labels, owner))
    write_whole(folder / "scorers.py", SCORERS)
    write_whole(folder / "feature.yaml", yaml.safe_dump(policy, sort_keys=False, allow_unicode=True))
    return folder


def _label(line: str, where: str) -> Label:
    label = _from_json(line, where) if line.startswith("{") else Label(line)
    if not all(text.isprintable() for text in label if text is not None):
        raise BadRecord(f"{where}: a label and its description are one line without control characters")
    return label


def _from_json(line: str, where: str) -> Label:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise BadRecord(f"{where}: malformed JSON") from error
    if not isinstance(row.get("label"), str) or not row["label"].strip():
        raise BadRecord(f'{where}: needs "label", a non-empty text')
    if not isinstance(row.get("description"), str | None):
        raise BadRecord(f"{where}: the description must be a text")
    return Label(row["label"].strip(), row.get("description"))


def _prompt(name: str, field: str, labels: Sequence[Label], owner: str) -> str:
    told = [f"- {x.label}: {x.description}" if x.description else f"- {x.label}" for x in labels]
    body = f"Read the message and choose the {field} that fits it best. They are:\n" + "\n".join(told)
    head = yaml.safe_dump({"intent": name, "owner": owner}, allow_unicode=True)
    return f"---\n{head}---\n{body.replace('{{', '{ {')}\n"

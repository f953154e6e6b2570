"""Ways out: curated examples as what other tools train on (OpenAI, Hugging Face, Parquet, H2O LLM Studio).

An example's messages are what the application asked; passages that it retrieved come first, numbered, as a system turn,
for without them nobody could answer. A row that the format cannot hold is left out and counted by reason:
rows = written + left out.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.errors import BadInput
from ratchet.tenants import DEFAULT, NOT_TRAINED, Destination, Tenant, refusal_of

Row = dict[str, Any]
SPLITS = ("train", "validation")
MIN_OPENAI_ROWS = 10  # OpenAI refuses a training file with fewer
OPENAI_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
HF_COLUMNS = {"messages": CHAT, "answer": pa.string(), "label": pa.string(), "origin": pa.string()}
HF_SCHEMA = pa.schema([*HF_COLUMNS.items(), ("weight", pa.float64()), ("example_id", pa.string())])
H2O_COLUMNS = ("id", "system", "instruction", "output")


class LeftOut(NamedTuple):
    """Why a format cannot hold a row."""

    reason: str


@dataclass
class ExportReport:
    """What became of the examples; rows = written + left out."""

    rows: int = 0
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    files: list[Path] = field(default_factory=list)


def export(
    splits: Mapping[str, Path], format: str, out: Path, *, tenants: Mapping[str, Tenant] = MappingProxyType({})
) -> ExportReport:
    """Write the Parquet file of each split as `out/<split>.<ending>` in a format of EXPORTS; memory is one page.

    A row whose tenant's rules of today (`tenants`) forbid it is left out: a file for OpenAI goes to who tells neither
    region nor whether it trains, and any other is there to be trained on.

    Raises:
        BadInput: no such format; a file that holds no examples; no answers to make pairs of.
    """
    if format not in EXPORTS:
        raise BadInput(f"{format}: no such format; there are {', '.join(EXPORTS)}")
    way = EXPORTS[format]
    report = ExportReport()
    for split, path in splits.items():
        target = out / f"{split}{way.ending}"
        answers = _answers(path) if format == "openai-dpo" else {}
        with way.open(target, path) as write:
            for row in _rows(path):
                report.rows += 1
                answered = row if row.get("answer") else row | {"answer": answers.get(row["interaction_id"])}
                found = _barred(row, format, tenants) or way.convert(answered)
                if isinstance(found, LeftOut):
                    report.left_out[found.reason] += 1
                else:
                    write(found)
                    report.written += 1
        report.files.append(target)
    return report


def to_sft(row: Row) -> Row | LeftOut:
    """OpenAI's chat fine-tuning row, valid by OpenAI's own rules."""
    chat = _chat(row)
    if isinstance(chat, LeftOut):
        return chat
    return {"messages": [*chat, {"role": "assistant", "content": row["target"]}]}


def to_dpo(row: Row) -> Row | LeftOut:
    """OpenAI's preference row: the right output before what the release answered in its place."""
    chat = _chat(row)
    if isinstance(chat, LeftOut):
        return chat
    if not row["answer"]:
        return LeftOut("no answer of the release is known")
    if row["answer"].strip() == row["target"].strip():
        return LeftOut("the answer was right: no pair")
    if chat[-1]["role"] != "user":
        return LeftOut("the last message is not the user's")
    pair = {name: [{"role": "assistant", "content": row[of]}] for name, of in DPO_SIDES.items()}
    return {"input": {"messages": chat}, **pair}


DPO_SIDES = {"preferred_output": "target", "non_preferred_output": "answer"}


def to_hf(row: Row) -> Row | LeftOut:
    """A row of `datasets`: the whole chat with the right output as its last turn, and what is known about it."""
    chat = _turns(row)
    if isinstance(chat, LeftOut):
        return chat
    known = {name: row.get(name) for name in HF_SCHEMA.names if name != "messages"}
    return known | {"messages": [*chat, {"role": "assistant", "content": row["target"]}]}


def to_h2o(row: Row) -> Row | LeftOut:
    """A row for H2O LLM Studio: prompt column `instruction`, answer column `output`, system column `system`.

    Earlier turns stand in the instruction, so that only what is known to be right is an answer to learn. Formulas stay
    as they are: it is training text, and no file for a spreadsheet.
    """
    chat = _chat(row)
    if isinstance(chat, LeftOut):
        return chat
    system = "\n".join(m["content"] for m in chat if m["role"] == "system")
    turns = [m for m in chat if m["role"] != "system"]
    said = [f"{m['role'].capitalize()}: {m['content']}" for m in turns] if len(turns) > 1 else [turns[0]["content"]]
    made = {"id": row["example_id"], "system": system, "instruction": "\n".join(said), "output": row["target"]}
    return LeftOut("holds a NUL, which ends a CSV cell") if any("\0" in cell for cell in made.values()) else made


def _chat(row: Row) -> list[Row] | LeftOut:
    """The turns under OpenAI's roles; at least one of them the user's."""
    turns = _turns(row)
    if isinstance(turns, LeftOut):
        return turns
    if any(turn["role"] not in OPENAI_ROLES for turn in turns):
        return LeftOut("a tool's message without the call that it answers")
    if not any(turn["role"] == "user" and turn["content"].strip() for turn in turns):
        return LeftOut("no user turn")
    return [{"role": OPENAI_ROLES[turn["role"]], "content": turn["content"]} for turn in turns]


def _turns(row: Row) -> list[Row] | LeftOut:
    if not isinstance(row["target"], str) or not row["target"].strip():
        return LeftOut("the right output is empty")
    try:
        messages = [(m["role"], m["content"]) for m in json.loads(row["messages"])]
        passages = [f"[{n}] {c['text']}" for n, c in enumerate(json.loads(row.get("contexts") or "[]"), start=1)]
    except (ValueError, TypeError, KeyError):
        return LeftOut("messages or contexts are not JSON of ours")
    if not all(isinstance(part, str) for message in messages for part in message):
        return LeftOut("messages or contexts are not JSON of ours")
    turns = [{"role": "system", "content": "\n".join(passages)}] if passages else []
    return turns + [{"role": role, "content": content} for role, content in messages]


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path}: not a Parquet file that can be read") from error
    missing = {"example_id", "interaction_id", "messages", "target"} - set(file.schema_arrow.names)
    if missing:
        raise BadInput(f"{path}: holds no examples; it has no column {', '.join(sorted(missing))}")
    return file


def _barred(row: Row, format: str, tenants: Mapping[str, Tenant]) -> LeftOut | None:
    tenant = tenants.get(str(row.get("tenant", DEFAULT)), Tenant())
    there = Destination("OpenAI", is_ours=not format.startswith("openai-"))
    refused = refusal_of(tenant, there) or (None if tenant.train else NOT_TRAINED)
    return LeftOut(f"rules of its tenant: {refused}") if refused else None


def _rows(path: Path) -> Iterator[Row]:
    for batch in _open(path).iter_batches(batch_size=1000):
        yield from batch.to_pylist()


def _answers(path: Path) -> dict[str, str]:
    """What the release answered, from the snapshot beside the examples, where these do not say it themselves."""
    if "answer" in _open(path).schema_arrow.names:
        return {}
    beside = path.parent.parent / "snapshot.parquet"
    if not beside.is_file():
        raise BadInput(f"{path}: does not say what was answered, and there is no {beside}, so there are no pairs")
    wanted = {row["interaction_id"] for row in _rows(path)}
    file = pq.ParquetFile(beside)
    rows = (row for b in file.iter_batches(columns=["interaction_id", "output"]) for row in b.to_pylist())
    return {row["interaction_id"]: row["output"] for row in rows if row["interaction_id"] in wanted}


@contextmanager
def _open_jsonl(target: Path, source: Path) -> Iterator[Callable[[Row], object]]:
    with _whole(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def _open_csv(target: Path, source: Path) -> Iterator[Callable[[Row], object]]:
    with _whole(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, H2O_COLUMNS, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        yield writer.writerow


@contextmanager
def _open_hf(target: Path, source: Path) -> Iterator[Callable[[Row], object]]:
    with _open_parquet(target, HF_SCHEMA) as write:
        yield write


@contextmanager
def _open_same(target: Path, source: Path) -> Iterator[Callable[[Row], object]]:
    with _open_parquet(target, _open(source).schema_arrow) as write:
        yield write


@contextmanager
def _open_parquet(target: Path, schema: pa.Schema) -> Iterator[Callable[[Row], object]]:
    page: list[Row] = []
    with _whole(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(page, schema=schema))
            page.clear()

        def write(row: Row) -> None:
            page.append(row)
            if len(page) >= 1000:
                flush()

        yield write
        flush()


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes the target when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


class Way(NamedTuple):
    """One format: what a row becomes, the files' ending, and how they are written."""

    convert: Callable[[Row], Row | LeftOut]
    ending: str
    open: Callable[[Path, Path], Any]


EXPORTS = {
    "openai-sft": Way(to_sft, ".jsonl", _open_jsonl),
    "openai-dpo": Way(to_dpo, ".jsonl", _open_jsonl),
    "hf": Way(to_hf, ".parquet", _open_hf),
    "parquet": Way(lambda row: row, ".parquet", _open_same),
    "h2o": Way(to_h2o, ".csv", _open_csv),
}

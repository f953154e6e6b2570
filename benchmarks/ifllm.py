"""ifllm, real multi-turn chats with ratings (the public data beside the clone), as records of Ratchet.

One interaction per request. Of two answers shown side by side the first is the output, and what was preferred is a
preference. Likert 1 to 5 is a rating 0 to 1. `prompt_adjusted`, a coin flip per request, is the release with
propensity 0.5: a randomised prompt experiment. What is dirty stays dirty (a zero time stamp, provider errors).

python -m benchmarks.ifllm OUT.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "ifllm"
Row = dict[str, Any]


def read_turns(folder: Path = FOLDER) -> list[Row]:
    """The rows of turns.jsonl, as they are."""
    with (folder / "turns.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def records(row: Row) -> Iterator[Row]:
    """The interaction of a row, then the feedback on it."""
    shown = row["responses"]
    interaction_id = f"ifllm-{row['query_id']}"
    at = f"{row['timestamp'].replace(' ', 'T')}Z"
    yield {
        "interaction_id": interaction_id,
        "feature": "ifllm",
        "session_id": row["conversation_id"],
        "user_id": row["user_id"],
        "at": at,
        "input": {"messages": [{"role": "user", "content": row["user"]}]},
        "output": {"content": shown[0]["text"]},
        "model": shown[0]["model"],
        "release_id": "prompt-bullets" if row["prompt_adjusted"] else "prompt-plain",
        "propensity": 0.5,
        "attributes": {"design": row["design"], "turn": row["turn"]},
    }
    said = {"interaction_id": interaction_id, "at": at, "source": {"type": "user", "id": row["user_id"]}}
    if shown[0]["likert"] is not None:
        rating = (shown[0]["likert"] - 1) / 4
        yield {"feedback_id": f"{interaction_id}-rating", "kind": "rating", "value": rating, **said}
    if row["design"] == "pairwise" and row["preference"] in (1, 2):
        first, second = (answer["text"] for answer in shown)
        chosen, rejected = (first, second) if row["preference"] == 1 else (second, first)
        value = {"chosen": chosen, "rejected": rejected}
        yield {"feedback_id": f"{interaction_id}-preference", "kind": "preference", "value": value, **said}


def main() -> int:
    """Write the file that is named."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m benchmarks.ifllm OUT.jsonl\n")
        return 2
    lines = [json.dumps(record, ensure_ascii=False) for row in read_turns() for record in records(row)]
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(lines)} records in {sys.argv[1]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Random traffic to be labelled blind: what holdouts are made of.

Uniform over the interactions that may be learned from, whatever was said about them: each gets a digest of the seed
and its id, and the smallest are drawn. The answer is not in the file, so nobody is led by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from ratchet.files import canonical_json, sha256_text
from ratchet.params import CurateParams
from ratchet.questions import normalise, question_text
from ratchet.records import Context, Input, item_id_of

CONTEXTS = TypeAdapter(tuple[Context, ...])
DRAWN = """
    SELECT interaction_id, messages, variables, contexts, tenant, user_id, session_id, "at" FROM judged
    WHERE barred IS NULL OR barred IN ('fallback answer', 'no feedback')
    ORDER BY sha256(concat($seed, chr(10), 'blind', chr(10), interaction_id)), interaction_id
    LIMIT $most
"""
SPARE = 50  # drawn for each that is wanted: repeated questions and those of the holdout are passed over


def draw_blind(connection: Any, held: set[str], params: CurateParams) -> str:
    """JSONL of {"item_id", "messages", "contexts", "variables", "session"?, "tenant", "at"}, in the order drawn.

    `session` is a digest of whose question it is, the user's or else the session's: it tells nobody who, but which
    items hang together.

    Args:
        connection: `open_valid`'s, in which `gather` has judged which rows may be learned from.
        held: normalised questions that are in the holdout or the showcase already; none is drawn again.
    """
    given = {"seed": str(params.seed), "most": SPARE * params.blind_items}
    lines: dict[str, str] = {}
    for row in _rows(connection.sql(DRAWN, params=given)):
        if len(lines) == params.blind_items:
            break
        messages, variables = json.loads(row["messages"]), json.loads(row["variables"])
        if normalise(question_text(messages, variables)) not in held:
            asked = Input(messages=messages, variables=variables)
            contexts = CONTEXTS.validate_json(row["contexts"])
            item = {"item_id": item_id_of(asked, contexts), **asked.model_dump(mode="json")}
            item["contexts"] = [context.model_dump() for context in contexts]
            item |= _origin(row)
            lines.setdefault(item["item_id"], canonical_json(item))
    return "".join(line + "\n" for line in lines.values())


def _origin(row: dict[str, Any]) -> dict[str, str]:
    whose = [row["tenant"], row["user_id"] or "", "" if row["user_id"] else row["session_id"] or ""]
    told = {"tenant": row["tenant"], "at": row["at"]}
    return told | ({"session": sha256_text(canonical_json(whose))[:16]} if any(whose[1:]) else {})


def _rows(drawn: Any) -> Iterator[dict[str, Any]]:
    for batch in drawn.to_arrow_reader(512):
        yield from batch.to_pylist()

"""What was read, in a temporary SQLite database: counts are exact over everything, and memory does not grow with it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ratchet.feedback import BAD_RATING, GOOD_RATING
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback, Interaction
from ratchet.signals import derive_signals
from tasks.formats.rows import UNDATED

BATCH = 2000
KEPT_CHARS = 4000  # of a question and an answer; what is counted is counted on the whole text
NAME_CHARS = 80  # of a version
PROMPT_KEYS = ("prompt_version", "prompt_version_id", "promptVersion", "variant_name")  # attributes of other tools
BAD, NEITHER, GOOD = 0, 1, 2  # so that the least of several verdicts is the one that counts: one complaint is enough

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE interaction (id TEXT PRIMARY KEY, feature TEXT, tenant TEXT, session TEXT, user TEXT, t REAL, text TEXT,
    plain TEXT, output TEXT, own TEXT, copy TEXT, release TEXT, prompt TEXT, model TEXT, propensity REAL, escalated INT,
    copied INT) WITHOUT ROWID;
CREATE VIEW version AS
    SELECT id, user, t, propensity, 'release_id' AS mark, release AS name FROM interaction WHERE release NOT NULL
    UNION ALL SELECT id, user, t, NULL, 'prompt', prompt FROM interaction WHERE prompt NOT NULL
    UNION ALL SELECT id, user, t, NULL, 'model', model FROM interaction WHERE model NOT NULL;
CREATE TABLE feedback (id TEXT PRIMARY KEY, interaction TEXT, kind TEXT, source TEXT, verdict INT, answer TEXT,
    right TEXT, rating REAL, comment TEXT) WITHOUT ROWID;
CREATE TABLE signal (interaction TEXT, kind TEXT, t REAL, confidence REAL);
CREATE TABLE outcome (id TEXT PRIMARY KEY, verdict INT) WITHOUT ROWID;
CREATE TABLE topic (id TEXT PRIMARY KEY, topic INT) WITHOUT ROWID;
CREATE TABLE wrong (id TEXT PRIMARY KEY, bad INT) WITHOUT ROWID;
"""
JUDGE = """
CREATE INDEX said ON feedback (interaction);
UPDATE feedback SET verdict = (SELECT CASE WHEN own = answer THEN 2 ELSE 0 END FROM interaction WHERE id = interaction)
    WHERE kind = 'correction';
INSERT INTO outcome SELECT interaction, MIN(verdict) FROM feedback
    WHERE verdict IS NOT NULL AND interaction IN (SELECT id FROM interaction) GROUP BY interaction;
"""


class Log:
    """Interactions and feedback by id, the first of each; then verdicts and signals derived from them."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path)
        self.database.executescript(SCHEMA)
        self._interactions: list[tuple[Any, ...]] = []
        self._feedback: list[tuple[Any, ...]] = []

    def add(self, record: Interaction | Feedback, plain: str = "") -> None:
        """Keep a record.

        Args:
            plain: for an interaction the text by which its question is compared (ratchet.questions.normalise).
        """
        if isinstance(record, Interaction):
            self._interactions.append(_interaction_row(record, plain))
        else:
            self._feedback.append(_feedback_row(record))
        if len(self._interactions) + len(self._feedback) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits; of two records with one id the first stays."""
        self.database.executemany(
            "INSERT OR IGNORE INTO interaction VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", self._interactions
        )
        self.database.executemany("INSERT OR IGNORE INTO feedback VALUES (?,?,?,?,?,?,?,?,?)", self._feedback)
        self._interactions.clear()
        self._feedback.clear()

    def settle(self) -> None:
        """After the last record: what the feedback on each answer says together, and the signals of all sessions."""
        self.flush()
        self.database.executescript(JUDGE)
        latest = self.one("SELECT MAX(t) FROM interaction")
        found = [
            (signal.interaction_id, signal.kind, signal.at.timestamp(), signal.confidence)
            for signal in derive_signals(self._turns())
            if signal.at.timestamp() <= (latest or 0.0)  # who left just before the log ends may yet come back
        ]
        self.database.executemany("INSERT INTO signal VALUES (?,?,?,?)", found)
        self.database.execute("CREATE INDEX derived ON signal (interaction)")

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of a query, one after the other."""
        return iter(self.database.execute(query, values))

    def row(self, query: str, values: Sequence[Any] = ()) -> Any:
        """The only row of a query."""
        return next(self.rows(query, values))

    def one(self, query: str, values: Sequence[Any] = ()) -> Any:
        """The only value of a query."""
        return self.row(query, values)[0]

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()

    def _turns(self) -> Iterator[dict[str, Any]]:
        asked = """SELECT tenant, session, id, t, text, output, escalated, copied FROM interaction
            WHERE session IS NOT NULL AND t IS NOT NULL ORDER BY tenant, session, t, id"""
        for tenant, session, interaction_id, t, text, output, escalated, copied in self.rows(asked):
            yield {
                "tenant": tenant,
                "session_id": session,
                "at": datetime.fromtimestamp(t, UTC),
                "interaction_id": interaction_id,
                "input_text": text,
                "output": output,
                "attributes": {"escalated": bool(escalated), "copied": bool(copied)},
            }


def question_of(record: Interaction) -> str:
    """The last thing that a person said."""
    return next((m.content for m in reversed(record.input.messages) if m.role == "user"), "")


def answer_of(value: Any) -> str:
    """An answer in the form in which two are compared: a JSON object of one text field is that text."""
    document = value
    if isinstance(value, str):
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            document = None
    if not isinstance(document, dict):
        return " ".join(str(value).split())
    fields = list(document.values())
    return fields[0].strip() if len(fields) == 1 and isinstance(fields[0], str) else canonical_json(document)


def name_of(value: Any) -> str | None:
    """A version's name as it may be shown: one line, bounded; None where there is none."""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        return None
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()[:NAME_CHARS] or None


def verdict_of(record: Feedback) -> int | None:
    """What a feedback says by itself; a preference compares, and a comment says nothing that can be counted."""
    value = record.value
    if record.kind == "thumb":
        return GOOD if value else BAD
    if record.kind == "rating":
        return GOOD if value >= GOOD_RATING else BAD if value <= BAD_RATING else NEITHER
    if record.kind == "accept":
        return GOOD if value >= GOOD_RATING else None
    if record.kind == "escalation":
        return BAD if value >= GOOD_RATING else None
    return None


def _interaction_row(record: Interaction, plain: str) -> tuple[Any, ...]:
    output = record.output.content or ""
    return (
        record.interaction_id,
        record.feature,
        record.tenant,
        record.session_id,
        record.user_id,
        None if record.at == UNDATED else record.at.timestamp(),
        question_of(record)[:KEPT_CHARS],
        plain[:KEPT_CHARS],
        output[:KEPT_CHARS] or ("(a tool call)" if record.output.tool_calls else ""),
        sha256_text(answer_of(output)),
        sha256_text(plain),
        name_of(record.release_id),
        next((found for key in PROMPT_KEYS if (found := name_of(record.attributes.get(key)))), None),
        name_of(record.model),
        record.propensity,
        record.attributes.get("escalated") is True,
        record.attributes.get("copied") is True,
    )


def _feedback_row(record: Feedback) -> tuple[Any, ...]:
    is_written = record.kind == "correction"
    said = record.comment or (record.value if record.kind == "comment" else None)
    return (
        record.feedback_id,
        record.interaction_id,
        record.kind,
        record.source.type,
        verdict_of(record),
        sha256_text(answer_of(record.value)) if is_written else None,
        answer_of(record.value)[:KEPT_CHARS] if is_written else None,
        record.value if record.kind == "rating" else None,
        said[:KEPT_CHARS] if said else None,
    )

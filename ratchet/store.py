"""The store: interactions, feedback, runs, leases and rollouts in one SQL database, SQLite or PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ratchet.errors import LeaseHeld, StaleRecord
from ratchet.files import canonical_json
from ratchet.mirrored import Mirrored
from ratchet.records import Feedback, Interaction

WAIT_S = 30.0  # for another writer of SQLite
PAGE = 1000  # rows in memory while a table is read
TURN = 7_206_181_431  # of PostgreSQL's advisory locks, the one for which our writers queue
Seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts up by itself in an INTEGER only

metadata = sa.MetaData()

interactions = sa.Table(
    "interactions",
    metadata,
    sa.Column("seq", Seq, primary_key=True, autoincrement=True),
    sa.Column("interaction_id", sa.String, unique=True, nullable=False),
    sa.Column("feature", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String),
    sa.Column("day", sa.String, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("interactions_by_day", "feature", "tenant", "day"),
    sa.Index("interactions_by_tenant", "tenant", "day"),
)
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("seq", Seq, primary_key=True, autoincrement=True),
    sa.Column("feedback_id", sa.String, unique=True, nullable=False),
    sa.Column("interaction_id", sa.String, nullable=False, index=True),
    sa.Column("day", sa.String, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
mirrored = sa.Table(  # apart from the interactions: nobody was answered, so nothing is harvested, billed or rated
    "mirrored",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("mirror_id", sa.String, unique=True, nullable=False),
    sa.Column("rollout_id", sa.String, nullable=False, index=True),
    sa.Column("user_id", sa.String, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
)
documents = sa.Table(  # runs and rollouts: JSON bodies changed by compare-and-swap on `version`
    "documents",
    metadata,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("feature", sa.String, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
)
RECORD_IDS = {interactions: "interaction_id", feedback: "feedback_id", mirrored: "mirror_id"}


@dataclass(frozen=True)
class Document:
    """A run or a rollout as it was read; `version` is what a change must name."""

    id: str
    feature: str
    version: int
    body: dict[str, Any]


class Spent(NamedTuple):
    """Tokens read and written, and money."""

    tokens: int
    usd: float


class Store:
    """Reads and writes the database; every write is one transaction, on disk when the call returns."""

    def __init__(self, url: str) -> None:
        """Open the database and make the tables that are missing."""
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.engine = sa.create_engine(url)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_immediate)
        self.reader = self.engine.execution_options(write=False)
        with self.engine.begin() as connection:
            take_turn(connection)
            metadata.create_all(connection)
        self._insertions = {kind: _insertion(kind.c[name], self.engine) for kind, name in RECORD_IDS.items()}

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def add_interactions(self, records: Sequence[Interaction]) -> int:
        """Store interactions; one whose id is there already is left as it is. Returns how many were new."""
        return sum(self.add_records(records))

    def add_feedback(self, records: Sequence[Feedback]) -> int:
        """Store feedback; one whose id is there already is left as it is. Returns how many were new."""
        return sum(self.add_records(records))

    def add_records(self, records: Sequence[Interaction | Feedback | Mirrored]) -> list[bool]:
        """Store records in one transaction; for each, whether its id was new. One that is there is left as it is."""
        if not records:
            return []
        rows = [_row(record) for record in records]
        with self.engine.begin() as connection:
            take_turn(connection)
            new = {
                kind: _insert_new(connection, insertion, [row for other, row in rows if other is kind])
                for kind, insertion in self._insertions.items()
            }
        found = []
        for kind, row in rows:
            record_id = row[RECORD_IDS[kind]]
            found.append(record_id in new[kind])
            new[kind].discard(record_id)  # of two with the same id in one batch the second is known
        return found

    def interaction(self, interaction_id: str) -> Interaction | None:
        """One interaction by its receipt."""
        query = sa.select(interactions.c.body).where(interactions.c.interaction_id == interaction_id)
        with self.reader.connect() as connection:
            body = connection.execute(query).scalar()
        return Interaction.model_validate_json(body) if body else None

    def feedback_of(self, feedback_id: str) -> Feedback | None:
        """One feedback by its id."""
        query = sa.select(feedback.c.body).where(feedback.c.feedback_id == feedback_id)
        with self.reader.connect() as connection:
            body = connection.execute(query).scalar()
        return Feedback.model_validate_json(body) if body else None

    def interactions(
        self, feature: str, *, after_seq: int = 0, tenant: str | None = None, day: str | None = None
    ) -> Iterator[tuple[int, Interaction]]:
        """The interactions of a feature as (seq, record), in the order in which they arrived."""
        query = sa.select(interactions.c.seq, interactions.c.body).where(
            interactions.c.feature == feature, interactions.c.seq > after_seq
        )
        if tenant is not None:
            query = query.where(interactions.c.tenant == tenant)
        if day is not None:
            query = query.where(interactions.c.day == day)
        for row in self._stream(query.order_by(interactions.c.seq)):
            yield row[0], Interaction.model_validate_json(row[1])

    def feedback(
        self, feature: str, *, after_seq: int = 0, tenant: str | None = None, day: str | None = None
    ) -> Iterator[tuple[int, str, Feedback]]:
        """The feedback on a feature's interactions as (seq, tenant, record), in the order in which it arrived.

        Feedback whose interaction is not (yet) in the store belongs to no feature and is not given.
        """
        query = (
            sa.select(feedback.c.seq, interactions.c.tenant, feedback.c.body)
            .join(interactions, interactions.c.interaction_id == feedback.c.interaction_id)
            .where(interactions.c.feature == feature, feedback.c.seq > after_seq)
        )
        if tenant is not None:
            query = query.where(interactions.c.tenant == tenant)
        if day is not None:
            query = query.where(feedback.c.day == day)
        for row in self._stream(query.order_by(feedback.c.seq)):
            yield row[0], row[1], Feedback.model_validate_json(row[2])

    def mirrored(self, rollout_id: str) -> Iterator[Mirrored]:
        """The mirrored requests of a rollout, in the order in which they were stored."""
        query = sa.select(mirrored.c.body).where(mirrored.c.rollout_id == rollout_id).order_by(mirrored.c.seq)
        for row in self._stream(query):
            yield Mirrored.model_validate_json(row[0])

    def last_in_sessions(self, session_ids: Collection[str]) -> dict[str, str]:
        """The interaction with the greatest id (the latest, where ids hold their time) of each session that has any."""
        body = interactions.c.body
        session = (
            _as_json(body)["session_id"].astext
            if self.engine.dialect.name == "postgresql"
            else sa.func.json_extract(body, "$.session_id")
        )
        query = sa.select(session, sa.func.max(interactions.c.interaction_id)).where(session.in_(session_ids))
        with self.reader.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(session))}

    def spent(self, tenant: str, day: str) -> Spent:
        """What a tenant's requests of one day (UTC) read, wrote and cost."""
        body = interactions.c.body
        if self.engine.dialect.name == "postgresql":
            document = _as_json(body)
            tokens_in, tokens_out = (document["usage"][name].astext for name in ("input_tokens", "output_tokens"))
            cost: Any = document["cost_usd"].astext
        else:
            paths = ("$.usage.input_tokens", "$.usage.output_tokens", "$.cost_usd")
            tokens_in, tokens_out, cost = (sa.func.json_extract(body, path) for path in paths)
        tokens = sa.cast(tokens_in, sa.Integer) + sa.cast(tokens_out, sa.Integer)
        query = sa.select(sa.func.sum(tokens), sa.func.sum(sa.cast(cost, sa.Float)))
        mine = (interactions.c.tenant == tenant, interactions.c.day == day)
        with self.reader.connect() as connection:
            row = connection.execute(query.where(*mine)).one()
        return Spent(int(row[0] or 0), float(row[1] or 0.0))

    def counts(self, feature: str) -> dict[str, int]:
        """How many interactions and feedbacks a feature has."""
        joined = feedback.join(interactions, interactions.c.interaction_id == feedback.c.interaction_id)
        asked = sa.select(sa.func.count()).select_from(interactions).where(interactions.c.feature == feature)
        said = sa.select(sa.func.count()).select_from(joined).where(interactions.c.feature == feature)
        with self.reader.connect() as connection:
            return {
                "interactions": int(connection.execute(asked).scalar_one()),
                "feedback": int(connection.execute(said).scalar_one()),
            }

    def create_document(self, kind: str, document_id: str, feature: str, body: dict[str, Any]) -> Document:
        """Store a new run or rollout; one that is there already is returned as it is."""
        row = {"kind": kind, "id": document_id, "feature": feature, "version": 1, "body": canonical_json(body)}
        self._create(documents.c.id, row)
        found = self.document(kind, document_id)
        assert found is not None
        return found

    def document(self, kind: str, document_id: str) -> Document | None:
        """One run or rollout."""
        found = list(self._documents(documents.c.kind == kind, documents.c.id == document_id))
        return found[0] if found else None

    def documents(self, kind: str, feature: str | None = None) -> list[Document]:
        """All runs or rollouts, of one feature if it is named, sorted by id."""
        conditions = [documents.c.kind == kind]
        if feature is not None:
            conditions.append(documents.c.feature == feature)
        return list(self._documents(*conditions))

    def change_document(self, kind: str, before: Document, body: dict[str, Any]) -> Document:
        """Replace a document's body if nobody else did since `before` was read.

        Raises:
            StaleRecord: somebody did; read it again and decide again.
        """
        statement = (
            sa.update(documents)
            .where(documents.c.kind == kind, documents.c.id == before.id, documents.c.version == before.version)
            .values(version=before.version + 1, body=canonical_json(body))
        )
        with self.engine.begin() as connection:
            if connection.execute(statement).rowcount != 1:
                raise StaleRecord(f"{kind} {before.id} was changed by another process since version {before.version}")
        return Document(before.id, before.feature, before.version + 1, body)

    def acquire_lease(self, name: str, owner: str) -> None:
        """Take a lease; taking one's own again is fine.

        Raises:
            LeaseHeld: another owner has it (its name is the message).
        """
        self._create(leases.c.name, {"name": name, "owner": owner})
        holder = self.lease_owner(name)
        if holder != owner:
            raise LeaseHeld(str(holder))

    def lease_owner(self, name: str) -> str | None:
        """Who holds a lease; None where nobody does."""
        with self.reader.connect() as connection:
            return connection.execute(sa.select(leases.c.owner).where(leases.c.name == name)).scalar()

    def release_lease(self, name: str, owner: str) -> bool:
        """Give a lease back; False where the owner did not hold it."""
        statement = sa.delete(leases).where(leases.c.name == name, leases.c.owner == owner)
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def _create(self, key: sa.Column[Any], row: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            _insert_new(connection, _insertion(key, self.engine), [row])

    def _documents(self, *conditions: sa.ColumnElement[bool]) -> Iterator[Document]:
        query = sa.select(documents.c.id, documents.c.feature, documents.c.version, documents.c.body)
        for row in self._stream(query.where(*conditions).order_by(documents.c.id)):
            yield Document(row[0], row[1], row[2], json.loads(row[3]))

    def _stream(self, query: Any) -> Iterator[Any]:
        """The rows as they were when reading began, a page at a time in memory; a writer need not wait for the end."""
        with self.reader.connect() as connection:
            yield from connection.execution_options(yield_per=PAGE).execute(query)


def _as_json(body: sa.Column[str]) -> Any:
    """A body to read numbers and ids from on PostgreSQL, which refuses a document with a NUL in any of its texts."""
    return sa.cast(sa.func.replace(body, r"\u0000", r"\u0001"), postgresql.JSONB)


def take_turn(connection: sa.Connection) -> None:
    """Let one transaction at a time go on from here to its commit; SQLite has one writer anyway.

    Without it on PostgreSQL a number is given out before its record can be seen, so that who reads on from the last
    `seq` would miss a record for good; and of two processes that make the same missing table one would fail.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TURN)))


def _insertion(key: sa.Column[Any], engine: sa.Engine) -> sa.Compiled:
    """The statement that inserts rows whose keys are not there yet and returns the keys of those it inserted.

    Compiled here, as SQLAlchemy caches no statement with ON CONFLICT and would compile it for every batch of records.
    """
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(key.table).on_conflict_do_nothing().returning(key)
    names = [column.name for column in key.table.columns if column.name != "seq"]
    compiled: sa.Compiled = statement.compile(engine, column_keys=names, for_executemany=True)
    return compiled


def _insert_new(connection: sa.Connection, insertion: Any, rows: list[dict[str, Any]]) -> set[Any]:
    """Insert rows whose keys are not there yet. Returns the keys of those that were inserted."""
    return set(connection.execute(insertion, rows).scalars()) if rows else set()


def _row(record: Interaction | Feedback | Mirrored) -> tuple[sa.Table, dict[str, Any]]:
    if isinstance(record, Mirrored):
        ids = {"mirror_id": record.mirror_id, "rollout_id": record.rollout_id, "user_id": record.user_id}
        return mirrored, ids | {"body": record.model_dump_json()}
    row = {
        "interaction_id": record.interaction_id,
        "day": record.at.date().isoformat(),
        "body": record.model_dump_json(),
    }
    if isinstance(record, Feedback):
        return feedback, row | {"feedback_id": record.feedback_id}
    return interactions, row | {"feature": record.feature, "tenant": record.tenant, "user_id": record.user_id}


@contextmanager
def open_store(url: str) -> Iterator[Store]:
    """A store that is closed at the end of the block."""
    store = Store(url)
    try:
        yield store
    finally:
        store.close()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN below; sqlite3 would begin too late
    for pragma in (f"busy_timeout={int(1000 * WAIT_S)}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    deadline = time.monotonic() + WAIT_S
    while True:  # of two processes that open a fresh database SQLite tells one that it is locked, without waiting
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_immediate(connection: sa.Connection) -> None:
    # A write takes its lock at once: a reader that turns writer half-way could only fail (SQLITE_BUSY_SNAPSHOT).
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write", True) else "BEGIN")

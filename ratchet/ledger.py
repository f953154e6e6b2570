"""The ledger: who did what to which release, append-only and hash-chained, with signed checkpoints.

Each entry's digest covers the one before it, so an edit, a removal or a swap inside the chain is found by `verify`.
Entries cut off at the end are found against a checkpoint; keep a copy of those where the database's owner cannot write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from ratchet.errors import BadInput, LedgerBroken, NothingNew
from ratchet.files import canonical_json, read_json, sha256_text, write_json, write_whole
from ratchet.signing import is_signed_by, key_id, load_public_key, public_pem, sign, signing_key
from ratchet.store import take_turn

CHECKPOINT_TYPE = "application/vnd.ratchet.checkpoint+json"
FIRST_PREVIOUS = "0" * 64
LONGEST_TEXT = 400

metadata = sa.MetaData()
table = sa.Table(
    "ledger",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("previous", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
)
by_subject = sa.Index("ledger_by_subject", table.c.event, table.c.subject)


@dataclass(frozen=True)
class LedgerEntry:
    """One line of the ledger; `at` is ISO-8601 in UTC, as the digest covers it."""

    seq: int
    at: str
    event: str
    subject: str
    facts: dict[str, Any]
    previous: str
    digest: str


class VerifyReport(NamedTuple):
    """What was verified; `checkpoints` counts the signed ones that agree with the chain."""

    entries: int
    head_digest: str
    checkpoints: int


class Ledger:
    """Appends to and verifies the ledger of one database (give it the engine of a `Store`)."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Make the table where it is missing."""
        self._engine = engine
        self._clock = clock
        with engine.begin() as connection:
            take_turn(connection)
            connection.execute(CreateTable(table, if_not_exists=True))
            connection.execute(CreateIndex(by_subject, if_not_exists=True))

    def append(self, event: str, subject: str, **facts: Any) -> LedgerEntry:
        """Add an entry; it is on disk when the call returns.

        Args:
            event: what happened, such as `release_approved`.
            subject: the id of what it happened to.
            facts: JSON of ids, numbers and short strings. User text does not belong here.

        Raises:
            BadInput: a fact that is not JSON, or a string beyond 400 characters.
        """
        text = _checked_facts(event, subject, facts)
        with self._writing() as connection:
            return self._insert(connection, event, subject, text)

    def append_once(self, event: str, subject: str, **facts: Any) -> LedgerEntry:
        """Add an entry unless one with the same event, subject and facts exists, which is then returned."""
        text = _checked_facts(event, subject, facts)
        same = (table.c.event == event, table.c.subject == subject, table.c.facts == text)
        with self._writing() as connection:
            found = connection.execute(sa.select(table).where(*same).order_by(table.c.seq).limit(1)).first()
            return _entry(found) if found else self._insert(connection, event, subject, text)

    def entries(self, event: str | None = None, subject: str | None = None) -> list[LedgerEntry]:
        """The entries in order, of one event or one subject where named."""
        query = sa.select(table).order_by(table.c.seq)
        if event is not None:
            query = query.where(table.c.event == event)
        if subject is not None:
            query = query.where(table.c.subject == subject)
        with self._engine.connect().execution_options(write=False) as connection:
            return [_entry(row) for row in connection.execute(query)]

    def verify(self, checkpoints_dir: Path | None = None, public_key_path: Path | None = None) -> VerifyReport:
        """Check every digest of the chain, and every checkpoint of a folder against it.

        Args:
            checkpoints_dir: the folder that `checkpoint` writes to; None checks the chain alone.
            public_key_path: the key that checkpoints must be signed with.

        Raises:
            LedgerBroken: with the first sequence number that does not fit.
        """
        files = sorted(checkpoints_dir.glob("checkpoint-*.json")) if checkpoints_dir else []
        if files and public_key_path is None:
            raise BadInput("to verify checkpoints, name the public key that they must be signed with")
        signed = sorted(_read_checkpoint(path, public_key_path) for path in files if public_key_path)
        digests = {0: FIRST_PREVIOUS}
        wanted = {seq for seq, _, _ in signed}
        seq, head = 0, FIRST_PREVIOUS
        for seq, head in self._verified_chain():
            if seq in wanted:
                digests[seq] = head
        for at_seq, digest, name in signed:
            if at_seq not in digests:
                raise LedgerBroken(f"ledger entry {seq + 1} is missing: {name} was signed when there were {at_seq}")
            if digests[at_seq] != digest:
                raise LedgerBroken(f"ledger entry {at_seq} is not the one that {name} was signed for")
        return VerifyReport(entries=seq, head_digest=head, checkpoints=len(signed))

    def checkpoint(self, private_key_path: Path, out_dir: Path) -> Path:
        """Verify the ledger, then sign its newest entry into a file; the key is made on first use (0600).

        The public key is written beside the private one, with the suffix `.pub`. A second call without new entries
        returns the file that is there.

        Raises:
            LedgerBroken: the ledger does not verify; nothing is signed.
            NothingNew: the ledger is empty.
        """
        key = signing_key(private_key_path)
        public_path = private_key_path.with_suffix(".pub")
        write_whole(public_path, public_pem(key.public_key()))
        report = self.verify(out_dir, public_path)
        if not report.entries:
            raise NothingNew("the ledger is empty; there is nothing to sign")
        path = out_dir / f"checkpoint-{report.entries:012d}.json"
        if not path.exists():
            at = self._clock().isoformat()
            named = {"seq": report.entries, "digest": report.head_digest, "at": at, "key_id": key_id(key.public_key())}
            write_json(path, named | {"signature": sign(key, CHECKPOINT_TYPE, named).signature})
        return path

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # One writer from before the head is read until the commit: two that read the same head would fork the chain.
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE ledger IN EXCLUSIVE MODE"))
            elif not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def _insert(self, connection: sa.Connection, event: str, subject: str, facts: str) -> LedgerEntry:
        head = connection.execute(sa.select(table).order_by(table.c.seq.desc()).limit(1)).first()
        seq, previous = (head.seq + 1, head.digest) if head else (1, FIRST_PREVIOUS)
        at = self._clock().astimezone(UTC).isoformat()
        body = {"seq": seq, "at": at, "event": event, "subject": subject, "facts": json.loads(facts)}
        entry = LedgerEntry(**body, previous=previous, digest=_digest(body | {"previous": previous}))
        connection.execute(sa.insert(table).values(**{**asdict(entry), "facts": facts}))
        return entry

    def _verified_chain(self) -> Iterator[tuple[int, str]]:
        previous, expected = FIRST_PREVIOUS, 1
        query = sa.select(table).order_by(table.c.seq)
        with self._engine.connect().execution_options(write=False, yield_per=1000) as connection:
            for row in connection.execute(query):
                if row.seq != expected:
                    raise LedgerBroken(f"ledger entry {expected} is missing: entry {row.seq} stands in its place")
                reason = _fault(row, previous)
                if reason:
                    raise LedgerBroken(f"ledger entry {row.seq} is broken: {reason}")
                previous, expected = row.digest, expected + 1
                yield row.seq, row.digest


def write_export(ledger: Ledger, out: Path) -> VerifyReport:
    """Write every entry as a line of JSON, after the chain was verified.

    Raises:
        LedgerBroken: it does not verify; nothing is written.
    """
    report = ledger.verify()
    write_whole(out, (canonical_json(asdict(entry)) + "\n" for entry in ledger.entries()))
    return report


def read_export(path: Path, engine: sa.Engine) -> Ledger:
    """The ledger of an export, in an empty database, to be verified like any other.

    Raises:
        BadInput: a line is no entry.
    """
    ledger = Ledger(engine)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = LedgerEntry(**json.loads(line))
            rows.append({**asdict(entry), "facts": canonical_json(entry.facts)})
        except (ValueError, TypeError) as error:
            raise BadInput(f"{path}:{number} is no entry of a ledger") from error
    try:
        with engine.begin() as connection:
            connection.execute(sa.insert(table), rows or [])
    except (sa.exc.IntegrityError, sa.exc.StatementError) as error:
        raise LedgerBroken(f"{path} holds an entry twice, or one that is none") from error
    return ledger


def _fault(row: sa.Row[Any], previous: str) -> str | None:
    try:
        facts = json.loads(row.facts)
        body = {"seq": row.seq, "at": row.at, "event": row.event, "subject": row.subject, "facts": facts}
        fits = canonical_json(facts) == row.facts and _digest(body | {"previous": row.previous}) == row.digest
    except (ValueError, TypeError):  # facts that are no JSON, or a column changed to another type
        fits = False
    if not fits:
        return "it was edited (its digest does not fit its content)"
    if row.previous != previous:
        return "it does not follow the entry before it"
    return None


def _digest(body: dict[str, Any]) -> str:
    return sha256_text(canonical_json(body))


def _entry(row: sa.Row[Any]) -> LedgerEntry:
    return LedgerEntry(**{**row._mapping, "facts": json.loads(row.facts)})


def _read_checkpoint(path: Path, public_key_path: Path) -> tuple[int, str, str]:
    if not public_key_path.is_file():
        raise LedgerBroken(f"{path.name} cannot be checked: no public key at {public_key_path}")
    try:
        document = read_json(path)
        signature = document.pop("signature")
        seq, digest = int(document["seq"]), str(document["digest"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerBroken(f"{path} is not a checkpoint; restore it from a copy") from error
    if not is_signed_by(load_public_key(public_key_path), CHECKPOINT_TYPE, document, str(signature)):
        raise LedgerBroken(f"{path} (entry {seq}) is not signed by {public_key_path}")
    return seq, digest, path.name


def _checked_facts(event: str, subject: str, facts: dict[str, Any]) -> str:
    for where, value in (("event", event), ("subject", subject), ("facts", facts)):
        _check(where, value)
    return canonical_json(facts)


def _check(where: str, value: Any) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise BadInput(f"ledger: {where} has {len(value)} characters, limit {LONGEST_TEXT}, note a digest instead")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise BadInput(f"ledger: {where} has the key {key!r}; keys must be text")
            _check(f"{where}.{key}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check(f"{where}[{index}]", inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"ledger: {where} is {value}, which JSON does not have")
    elif value is not None and not isinstance(value, bool | int | float):
        raise BadInput(f"ledger: {where} is a {type(value).__name__}; allowed: JSON of ids, numbers and short strings")

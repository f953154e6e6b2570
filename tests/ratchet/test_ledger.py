import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from ratchet.errors import BadInput, LedgerBroken, NothingNew
from ratchet.files import canonical_json, sha256_text
from ratchet.ledger import FIRST_PREVIOUS, Ledger, table
from ratchet.store import Store

APPENDER = """
import sys
from ratchet.ledger import Ledger
from ratchet.store import Store
ledger = Ledger(Store(sys.argv[1]).engine)
while True:
    print(ledger.append("tick", "rollout_1", step=1).seq, flush=True)
"""


@pytest.fixture
def engine(database_url):
    store = Store(database_url)
    yield store.engine
    store.close()


@pytest.fixture
def ledger(engine):
    ledger = Ledger(engine, clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    for step in range(1, 6):
        ledger.append("moved", "rollout_1", step=step, share=step / 10)
    return ledger


def change(engine, statement):
    with engine.begin() as connection:
        connection.execute(statement)


def append_fifty(database_url, name):
    ledger = Ledger(Store(database_url).engine)
    for number in range(50):
        ledger.append("tick", name, number=number)


def test_entries_are_chained_from_the_first(ledger):
    entries = ledger.entries()
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.previous for entry in entries] == [FIRST_PREVIOUS, *(entry.digest for entry in entries[:-1])]
    assert ledger.verify() == (5, entries[-1].digest, 0)


def test_an_entry_reads_back_as_it_was_returned(ledger):
    entry = ledger.append("approved", "rel_1", approver="ana", looks=[1, 2], nested={"ok": None}, share=0.1)
    assert ledger.entries(event="approved") == [entry]
    assert entry.at == "2026-01-02T00:00:00+00:00"


def test_entries_are_found_by_event_and_subject(ledger):
    ledger.append("moved", "rollout_2")
    assert [entry.seq for entry in ledger.entries(subject="rollout_2")] == [6]
    assert ledger.entries(event="moved", subject="rollout_3") == []


def test_an_empty_ledger_verifies(engine):
    assert Ledger(engine).verify() == (0, FIRST_PREVIOUS, 0)


@pytest.mark.parametrize("column", ["at", "event", "subject", "facts", "previous", "digest"])
def test_an_edited_entry_is_found(ledger, engine, column):
    change(engine, sa.update(table).where(table.c.seq == 3).values({column: '{"step":4}'}))
    with pytest.raises(LedgerBroken, match="entry 3 is broken"):
        ledger.verify()


def test_an_entry_edited_together_with_its_digest_is_found_at_the_next(ledger, engine):
    entry = asdict(ledger.entries()[2]) | {"event": "kept"}
    del entry["digest"]
    values = {"event": "kept", "digest": sha256_text(canonical_json(entry))}
    change(engine, sa.update(table).where(table.c.seq == 3).values(values))
    with pytest.raises(LedgerBroken, match="entry 4 is broken: it does not follow"):
        ledger.verify()


def test_facts_that_only_look_the_same_are_found(ledger, engine):
    change(engine, sa.text("UPDATE ledger SET facts = facts || ' ' WHERE seq = 2"))
    with pytest.raises(LedgerBroken, match="entry 2 is broken"):
        ledger.verify()


def test_a_column_of_another_type_is_found(ledger, engine):
    change(engine, sa.text("UPDATE ledger SET subject = x'00' WHERE seq = 2"))
    with pytest.raises(LedgerBroken, match="entry 2 is broken"):
        ledger.verify()


@pytest.mark.parametrize("seq", [1, 3])
def test_a_deleted_entry_is_found(ledger, engine, seq):
    change(engine, sa.delete(table).where(table.c.seq == seq))
    with pytest.raises(LedgerBroken, match=f"entry {seq} is missing"):
        ledger.verify()


def test_a_deleted_entry_is_found_when_the_rest_closes_the_gap(ledger, engine):
    change(engine, sa.delete(table).where(table.c.seq == 3))
    change(engine, sa.text("UPDATE ledger SET seq = seq - 1 WHERE seq > 3"))
    with pytest.raises(LedgerBroken, match="entry 3 is broken"):
        ledger.verify()


def test_swapped_entries_are_found(ledger, engine):
    for before, after in ((2, 99), (3, 2), (99, 3)):
        change(engine, sa.update(table).where(table.c.seq == before).values(seq=after))
    with pytest.raises(LedgerBroken, match="entry 2 is broken"):
        ledger.verify()


def test_append_once_keeps_one_entry_for_the_same_facts(ledger):
    first = ledger.append_once("published", "rel_1", commit="c1", items=2)
    assert ledger.append_once("published", "rel_1", items=2, commit="c1") == first
    assert ledger.append_once("published", "rel_1", items=2, commit="c2").seq == first.seq + 1


@pytest.mark.parametrize("fact", ["x" * 401, {"a": ["x" * 401]}, float("nan"), b"bytes", {1: 2}, datetime(2026, 1, 2)])
def test_facts_that_do_not_belong_there_are_refused(ledger, fact):
    with pytest.raises(BadInput, match=r"facts\.fact"):
        ledger.append("noted", "rel_1", fact=fact)
    assert ledger.verify().entries == 5


def test_a_checkpoint_agrees_with_the_chain_that_grows_on(ledger, tmp_path):
    path = ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out")
    ledger.append("moved", "rollout_1")
    assert json.loads(path.read_text())["seq"] == 5
    assert stat.S_IMODE((tmp_path / "ledger.key").stat().st_mode) == 0o600
    assert ledger.verify(tmp_path / "out", tmp_path / "ledger.pub").checkpoints == 1


def test_a_checkpoint_without_new_entries_is_the_one_that_is_there(ledger, tmp_path):
    paths = {ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out") for _ in range(2)}
    assert list((tmp_path / "out").iterdir()) == list(paths)


def test_a_truncated_ledger_is_found_through_a_checkpoint(ledger, engine, tmp_path):
    ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out")
    change(engine, sa.delete(table).where(table.c.seq > 3))
    assert ledger.verify().entries == 3
    with pytest.raises(LedgerBroken, match="entry 4 is missing"):
        ledger.verify(tmp_path / "out", tmp_path / "ledger.pub")


def test_a_chain_rewritten_whole_is_found_through_a_checkpoint(ledger, engine, tmp_path):
    ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out")
    change(engine, sa.delete(table))
    for step in range(1, 6):
        ledger.append("moved", "rollout_1", step=step, share=0.0)
    assert ledger.verify().entries == 5
    with pytest.raises(LedgerBroken, match="entry 5 is not the one"):
        ledger.verify(tmp_path / "out", tmp_path / "ledger.pub")


@pytest.mark.parametrize("change", [{"seq": 3}, {"digest": "0" * 64}, {"at": "then"}, {"signature": "AAAA"}])
def test_an_edited_checkpoint_is_found(ledger, tmp_path, change):
    path = ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LedgerBroken, match="is not signed by"):
        ledger.verify(tmp_path / "out", tmp_path / "ledger.pub")


def test_a_broken_chain_gets_no_checkpoint(ledger, engine, tmp_path):
    change(engine, sa.update(table).where(table.c.seq == 3).values(event="kept"))
    with pytest.raises(LedgerBroken, match="entry 3"):
        ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_ledger_gets_no_checkpoint(engine, tmp_path):
    with pytest.raises(NothingNew):
        Ledger(engine).checkpoint(tmp_path / "ledger.key", tmp_path / "out")


def test_checkpoints_are_not_believed_without_a_key(ledger, tmp_path):
    ledger.checkpoint(tmp_path / "ledger.key", tmp_path / "out")
    with pytest.raises(BadInput, match="public key"):
        ledger.verify(tmp_path / "out")
    with pytest.raises(LedgerBroken, match="no public key at"):
        ledger.verify(tmp_path / "out", tmp_path / "elsewhere.pub")


def test_two_processes_that_append_at_once_share_one_chain(database_url):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_fifty, args=(database_url, name)) for name in ("a", "b")]
    [writer.start() for writer in writers]
    [writer.join(60) for writer in writers]
    ledger = Ledger(Store(database_url).engine)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert ledger.verify().entries == 100
    assert [entry.facts["number"] for entry in ledger.entries(subject="a")] == list(range(50))


def test_an_engine_of_another_configuration_does_not_fork_the_chain(database_url):
    ledgers = [Ledger(sa.create_engine(database_url)) for _ in range(2)]
    for number in range(6):
        ledgers[number % 2].append("tick", "a", number=number)
    assert ledgers[0].verify().entries == 6


def test_kill_9_while_appending_loses_nothing_that_was_acknowledged(database_url):
    process = subprocess.Popen([sys.executable, "-c", APPENDER, database_url], text=True, stdout=subprocess.PIPE)
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    os.kill(process.pid, signal.SIGKILL)
    said = [int(line) for line in process.communicate()[0].split()]
    ledger = Ledger(Store(database_url).engine)
    assert ledger.verify().entries >= (said or [acknowledged])[-1]
    assert ledger.append("tick", "after").seq == ledger.verify().entries

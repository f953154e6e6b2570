import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ratchet.errors import LeaseHeld, StaleRecord
from ratchet.records import Feedback, Input, Interaction, Message, Output, Source, Usage
from ratchet.store import PAGE, Store, open_store

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COUNT_UP = """
import sys
from ratchet.errors import StaleRecord
from ratchet.store import open_store
with open_store(sys.argv[1]) as store:
    before = store.create_document("counter", "c", "f", {"n": 0})
    for _ in range(int(sys.argv[2])):
        while True:
            try:
                before = store.change_document("counter", before, {"n": before.body["n"] + 1})
                break
            except StaleRecord:
                before = store.document("counter", "c")
"""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url) as opened:
        yield opened


def interaction(number: int, **changes: Any) -> Interaction:
    asked = Input(messages=(Message(role="user", content=f"é {number}"),), variables={"a": [1]})
    fields = {"interaction_id": f"i{number}", "feature": "f", "at": AT, "input": asked, "output": Output(content="x")}
    return Interaction(**(fields | changes))


def thumb(number: int, about: int, **changes: Any) -> Feedback:
    fields = {"feedback_id": f"f{number}", "interaction_id": f"i{about}", "at": AT, "kind": "thumb", "value": True}
    return Feedback(**(fields | {"source": Source(type="user", id="u")} | changes))


def test_adding_again_adds_nothing_and_keeps_the_first(store: Store) -> None:
    assert store.add_interactions([interaction(1), interaction(2)]) == 2
    assert store.add_interactions([interaction(2, model="other"), interaction(3), interaction(3)]) == 1
    assert store.add_feedback([thumb(1, 1)]) == 1 and store.add_feedback([thumb(1, 1, value=False)]) == 0
    found = store.interaction("i2")
    assert found is not None and found.model is None
    assert store.counts("f") == {"interactions": 3, "feedback": 1}


def test_the_folder_of_an_sqlite_file_is_made(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'deep' / 'store.db'}") as store:
        assert store.counts("f") == {"interactions": 0, "feedback": 0}


def test_nothing_to_add_adds_nothing(store: Store) -> None:
    assert store.add_interactions([]) == store.add_feedback([]) == 0


def test_record_comes_back_as_it_was_stored(store: Store) -> None:
    record = interaction(1, user_id="u", propensity=0.5, attributes={"x": {"y": None}})
    store.add_interactions([record])
    assert store.interaction("i1") == record and store.interaction("nothing") is None


def test_interactions_are_read_in_order_from_a_point_on(store: Store) -> None:
    store.add_interactions([interaction(n) for n in (3, 1, 2)])
    seqs = [seq for seq, _ in store.interactions("f")]
    assert [r.interaction_id for _, r in store.interactions("f")] == ["i3", "i1", "i2"]
    assert [r.interaction_id for _, r in store.interactions("f", after_seq=seqs[0])] == ["i1", "i2"]


def test_interactions_are_read_by_feature_tenant_and_day(store: Store) -> None:
    later = datetime(2026, 1, 3, tzinfo=UTC)
    store.add_interactions([interaction(1), interaction(2, tenant="t"), interaction(3, at=later)])
    store.add_interactions([interaction(4, feature="g")])
    assert [r.interaction_id for _, r in store.interactions("f", tenant="t")] == ["i2"]
    assert [r.interaction_id for _, r in store.interactions("f", day="2026-01-03")] == ["i3"]
    assert [r.interaction_id for _, r in store.interactions("g")] == ["i4"]


def test_feedback_waits_for_its_interaction_and_takes_its_tenant(store: Store) -> None:
    store.add_feedback([thumb(1, 7)])
    assert list(store.feedback("f")) == []
    store.add_interactions([interaction(7, tenant="t")])
    assert [(tenant, r.feedback_id) for _, tenant, r in store.feedback("f")] == [("t", "f1")]
    assert list(store.feedback("f", tenant="default")) == list(store.feedback("f", day="2030-01-01")) == []


def test_reader_sees_what_another_connection_stored(store: Store, database_url: str) -> None:
    with open_store(database_url) as other:
        other.add_interactions([interaction(1)])
        assert store.interaction("i1") is not None


def test_who_reads_on_from_the_last_number_misses_no_record_of_a_slow_writer(store: Store, database_url: str) -> None:
    with open_store(database_url) as quick, ThreadPoolExecutor(1) as other:
        later = []

        def overtake(_connection: sa.Connection) -> None:  # between the first writer's insert and its commit
            later.append(other.submit(quick.add_interactions, [interaction(2)]))
            wait(later, timeout=0.3)
            seen.extend(store.interactions("f"))

        seen: list[tuple[int, Interaction]] = []
        sa.event.listen(store.engine, "commit", overtake, once=True)
        store.add_interactions([interaction(1)])
        wait(later)
    last = seen[-1][0] if seen else 0
    seen.extend(store.interactions("f", after_seq=last))
    assert [record.interaction_id for _, record in seen] == ["i1", "i2"]


def test_a_text_with_a_nul_hides_nobodys_tokens(store: Store) -> None:
    asked = Input(messages=(Message(role="user", content="a\x00b"),))
    used = Usage(input_tokens=2, output_tokens=3)
    store.add_interactions([interaction(1, input=asked, usage=used, session_id="s1")])
    assert store.spent("default", "2026-01-02").tokens == 5
    assert store.last_in_sessions(["s1"]) == {"s1": "i1"}


def test_half_read_result_does_not_block_a_writer(store: Store) -> None:
    store.add_interactions([interaction(n) for n in range(5)])
    reading = store.interactions("f")
    next(reading)
    assert store.add_interactions([interaction(9)]) == 1
    assert len(list(reading)) == 4


def test_table_is_read_a_page_at_a_time(store: Store) -> None:
    note = "x" * 10_000
    store.add_interactions([interaction(n, attributes={"note": note}) for n in range(3 * PAGE)])
    tracemalloc.start()
    assert sum(1 for _ in store.interactions("f")) == 3 * PAGE
    assert tracemalloc.get_traced_memory()[1] < 2 * PAGE * len(note)
    tracemalloc.stop()


def test_last_interaction_of_each_session_is_the_one_with_the_greatest_id(store: Store) -> None:
    store.add_interactions([interaction(n, session_id=f"s{n % 2}") for n in (3, 1, 4, 2)] + [interaction(9)])
    assert store.last_in_sessions(["s0", "s1", "none"]) == {"s0": "i4", "s1": "i3"}
    assert store.last_in_sessions([]) == {}


def test_document_is_changed_by_who_read_it_last(store: Store) -> None:
    before = store.create_document("run", "r1", "f", {"n": 0})
    after = store.change_document("run", before, {"n": 1})
    assert (after.version, store.document("run", "r1")) == (2, after)
    with pytest.raises(StaleRecord, match="run r1 was changed by another process since version 1"):
        store.change_document("run", before, {"n": 2})


def test_document_that_exists_is_returned_as_it_is(store: Store) -> None:
    store.create_document("run", "r1", "f", {"n": 0})
    assert store.create_document("run", "r1", "f", {"n": 9}).body == {"n": 0}
    assert store.document("rollout", "r1") is None


def test_documents_are_listed_by_kind_and_feature_sorted_by_id(store: Store) -> None:
    for kind, name, feature in (("run", "b", "f"), ("run", "a", "f"), ("run", "c", "g"), ("rollout", "d", "f")):
        store.create_document(kind, name, feature, {})
    assert [d.id for d in store.documents("run")] == ["a", "b", "c"]
    assert [d.id for d in store.documents("run", "f")] == ["a", "b"]


OPEN_FRESH = """
import sys, time
from ratchet.store import open_store
for number in range(15):
    while time.time() < float(sys.argv[2]) + number * 0.1:
        pass
    open_store(f"sqlite:///{sys.argv[1]}/{number}/store.db").__enter__().close()
"""


def test_two_processes_open_fresh_databases_at_the_same_moments(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_FRESH, str(tmp_path), str(time.time() + 2)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", ""]


def test_two_processes_that_count_up_one_document_lose_no_step(database_url: str) -> None:
    command = [sys.executable, "-c", COUNT_UP, database_url, "25"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors == ["", ""]
    with open_store(database_url) as store:
        found = store.document("counter", "c")
    assert found is not None and (found.body, found.version) == ({"n": 50}, 51)


def test_lease_is_held_by_one_owner_until_given_back(store: Store) -> None:
    store.acquire_lease("improve:f", "run1")
    store.acquire_lease("improve:f", "run1")
    with pytest.raises(LeaseHeld, match=r"^run1$"):
        store.acquire_lease("improve:f", "run2")
    assert not store.release_lease("improve:f", "run2") and store.release_lease("improve:f", "run1")
    store.acquire_lease("improve:f", "run2")
    assert store.lease_owner("improve:f") == "run2" and store.lease_owner("improve:g") is None


def test_writes_are_on_disk_when_the_call_returns(store: Store) -> None:
    with store.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.execute(sa.text("SHOW synchronous_commit")).scalar() == "on"
            return
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2

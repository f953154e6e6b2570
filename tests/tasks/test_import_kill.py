import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

IMPORT = """
import sys
from pathlib import Path
from ratchet.store import open_store
from tasks.import_records import import_file
with open_store(f"sqlite:///{sys.argv[1]}") as store:
    read = lambda rows: print(rows, flush=True)
    for name in sys.argv[3:]:
        report = import_file(store, Path(name), feature="f", rejects=Path(sys.argv[2]), on_progress=read)
print("done", report.records, report.accepted + report.known + report.rejected.total(), flush=True)
"""
ROWS = 8_000


def export(path: Path) -> None:
    """A TensorZero table with inferences, feedback on their episodes, copies and bad rows, in a mixed order."""
    rng = random.Random(3)
    rows = []
    for number in range(ROWS):
        name = f"01934d3c-f9b0-7e02-bcac-{number:012x}"
        said = {"messages": [{"role": "user", "content": f"question {number}"}]}
        asked = {"id": name, "function_name": "f", "episode_id": f"e{number // 7}", "input": said, "output": "yes"}
        vote = {"id": name, "target_id": f"e{number // 7}", "metric_name": "ok", "value": number % 2 == 0}
        rows.append(json.dumps(rng.choice([asked, asked, asked, vote, {"id": name}])))
    rng.shuffle(rows)
    path.write_text("\n".join(rows + rows[:500]) + "\n")


def state(database: Path) -> list[list[tuple[str, ...]]]:
    """All that is stored, whatever the order in which it came."""
    with sqlite3.connect(database) as connection:
        queries = ("SELECT interaction_id, body FROM interactions", "SELECT feedback_id, body FROM feedback")
        return [sorted(connection.execute(query).fetchall()) for query in queries]


def start(database: Path, rejects: Path, file: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", IMPORT, str(database), str(rejects), str(file)]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))])
def test_import_killed_at_any_point_and_run_again_gives_the_same_store(tmp_path: Path, seed: int) -> None:
    file, rejects = tmp_path / "table.jsonl", tmp_path / "rejects.jsonl"
    export(file)
    whole, broken = tmp_path / "whole.db", tmp_path / "broken.db"
    assert "done" in start(whole, rejects, file).communicate(timeout=120)[0]
    listed, rng = rejects.read_text(), random.Random(seed)
    for batches in (2, rng.randint(1, 3)):
        process = start(broken, rejects, file)
        assert process.stdout is not None
        for _ in range(batches):  # so many batches are on disk, then at a random moment of the next
            process.stdout.readline()
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with sqlite3.connect(broken) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert state(broken) != [[], []]
    assert "done" in start(broken, rejects, file).communicate(timeout=120)[0]
    assert state(broken) == state(whole) and rejects.read_text() == listed

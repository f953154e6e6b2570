import json
import subprocess
import sys
from pathlib import Path

import yaml

from ratchet import git
from ratchet.runs import Run, open_run
from ratchet.settings import Settings
from ratchet.store import open_store
from tasks.tables import write_table

COLUMNS = dict.fromkeys(("example_id", "interaction_id", "messages", "contexts", "target", "answer"), "str")
ROW = {"example_id": "e", "interaction_id": "i", "contexts": "[]", "target": "cards", "answer": "loans"}
ROW |= {"messages": json.dumps([{"role": "user", "content": "my card"}])}


def curate(folder: Path, target: str) -> None:
    for split in ("train", "validation"):
        write_table(folder / f"{split}.parquet", COLUMNS, [ROW | {"target": target}])


def seal_run_of(routing: Settings, target: str) -> None:
    """What a finished run leaves: its commit, whose lock names the curated examples, and its record."""
    repo = routing.repo
    curate(repo / "elsewhere", target)  # DVC knows content: the same files at another path are the same object
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "elsewhere"], cwd=repo, check=True)
    (tracked,) = yaml.safe_load((repo / "elsewhere.dvc").read_text())["outs"]
    (repo / "elsewhere.dvc").unlink()
    out = {"path": "data/routing/curated", "hash": "md5"} | {k: tracked[k] for k in ("md5", "size", "nfiles")}
    lock = {"schema": "2.0", "stages": {"curate": {"cmd": "python -m tasks.curate", "outs": [out]}}}
    (repo / "dvc.lock").write_text(yaml.safe_dump(lock))
    commit = git.commit_paths(repo, ["dvc.lock"], "a run")
    with open_store(routing.database_url) as store:
        open_run(store, Run(run_id="r1", feature="routing", started_at="2026-01-01T00:00:00Z", commit=commit))


def test_export_of_the_working_tree_says_where_and_how_many(ratchet, routing: Settings, tmp_path: Path) -> None:
    curate(routing.repo / "data" / "routing" / "curated", "cards")
    ended = ratchet("export", "routing", "--format", "openai-sft", "--out", str(tmp_path / "out"))
    assert ended.status == 0 and "2 written" in ended.out and "at least 10 examples" in ended.out
    last = json.loads((tmp_path / "out" / "train.jsonl").read_text())["messages"][-1]
    assert last == {"role": "assistant", "content": "cards"}


def test_export_takes_the_newest_run_before_the_working_tree(ratchet, routing: Settings) -> None:
    seal_run_of(routing, "of the run")
    curate(routing.repo / "data" / "routing" / "curated", "of the tree")
    facts = json.loads(ratchet("export", "routing", "--format", "openai-dpo", "--json").out)
    assert (facts["from"], facts["rows"], facts["written"]) == ("run r1", 2, 2)
    assert "of the run" in Path(facts["files"][0]).read_text()
    assert str(routing.home) in facts["files"][0]


def test_export_of_a_file_needs_no_feature(ratchet, tmp_path: Path) -> None:
    write_table(tmp_path / "mine.parquet", COLUMNS, [ROW])
    ended = ratchet("export", str(tmp_path / "mine.parquet"), "--format", "h2o", "--out", str(tmp_path))
    assert ended.status == 0 and (tmp_path / "mine.csv").is_file()


def test_export_of_nothing_ends_with_2_and_what_to_do(ratchet) -> None:
    assert "`ratchet run routing` makes them" in ratchet("export", "routing", "--format", "hf").err
    assert ratchet("export", "unknown", "--format", "hf").status == 2

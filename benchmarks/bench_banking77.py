"""Ten routes of banking77 with 400 corrected messages: the loop's candidate beside v1, and beside TF-IDF + logistic
regression trained on the same curated rows and judged on the same holdout.

python -m benchmarks.bench_banking77 [--quick] [--json]     needs ../shared/data/banking77; says so where it is missing
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import Result, arguments, say
from benchmarks.scratch import REPO, Clone

SOURCE = REPO.parent / "shared" / "data" / "banking77"
ALL_CORRECTED = {
    "arms": ["sft"],
    "replay.thumb_rate": 0.0,
    "replay.correction_rate": 1.0,
    "replay.rephrase_rate": 0.0,
    "replay.noise": 0.0,
}
QUICK = {"tune.sft.epochs": 1, "tune.sft.layers": 4}


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    if not (SOURCE / "train.jsonl").is_file():
        sys.stderr.write(f"{SOURCE} is missing: put banking77's train.jsonl and test.jsonl there\n")
        return 0
    result = Result("bench_banking77", options.quick)
    with tempfile.TemporaryDirectory() as folder:
        result.figures = measure(Path(folder), quick=options.quick)
    gain = result.figures["gain_points"]
    result.aim("points over v1 on the holdout", aim=30, got=gain, met=None if options.quick else gain >= 30)
    result.finish(as_json=options.json)
    return 0


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Split, make the feature, replay, run a cycle; then the baseline on what the cycle curated."""
    clone = Clone(folder / "clone")
    clone.set_params({**ALL_CORRECTED, **(QUICK if quick else {})})
    split = clone.run(
        sys.executable,
        "-c",
        "from pathlib import Path\nfrom cli.session import open_session\nfrom cli.demo_data import from_source\n"
        f"with open_session() as session: data = from_source(session, Path({str(SOURCE)!r}), 10)\n"
        "print(' '.join(map(str, data)))",
    )
    say(split.stdout.strip().splitlines()[0])
    feature, traffic, _, holdout, showcase = split.stdout.split()[-5:]
    with clone.up():
        clone.ratchet("people", "add", "demo-machine", "--machine")
        say("replaying")
        clone.ratchet("replay", feature, traffic)
        clone.ratchet("holdout", "add", feature, holdout, "--showcase", showcase)
        say("one cycle")
        run = clone.ratchet_json("run", feature, "--auto-approve")
    metrics = clone.settings.home / "reports" / run["run_id"] / "metrics"
    clone.git("checkout", "-q", "-f", f"run/{run['run_id']}")
    clone.dvc("pull", "-q", check=False)
    baseline = tfidf_baseline(clone.folder / "data" / feature, Path(holdout))
    summary = clone.folder / "data" / feature / "evaluation" / "summary.json"
    found = json.loads(summary.read_text(encoding="utf-8"))
    champion, candidate = found["champion"], found["candidate"]
    return {
        "routes": 10,
        "curated": json.loads((metrics / "curate.json").read_text(encoding="utf-8")),
        "v1": champion,
        "candidate": candidate,
        "gain_points": round(100 * (candidate["score"] - champion["score"]), 1),
        "verdict": run["outcome"],
        "tfidf_logistic_regression": baseline,
        "candidate_over_baseline": round(candidate["score"] / baseline, 3),
        "seconds_by_stage": {stage["stage"]: stage["seconds"] for stage in run["stages"]},
    }


def tfidf_baseline(data: Path, holdout: Path) -> float:
    """Accuracy of TF-IDF (1-2-grams) + logistic regression, on the rows that the cycle trained and validated on."""
    import pyarrow.parquet as pq
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [
        r for part in ("train", "validation") for r in pq.read_table(data / "curated" / f"{part}.parquet").to_pylist()
    ]
    texts = [json.loads(row["messages"])[-1]["content"] for row in rows]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=2000)
    )
    model.fit(texts, [row["label"] for row in rows])
    held = [json.loads(line) for line in holdout.read_text(encoding="utf-8").splitlines()]
    return round(float(model.score([row["text"] for row in held], [row["expected"] for row in held])), 4)


if __name__ == "__main__":
    sys.exit(main())

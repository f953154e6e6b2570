"""Stage curate: feedback becomes examples; copies, likes of the holdout, liars and too loud voices stay out.

Every row is accounted for: rows = used + set aside, by reason. Of the holdout only what was asked is read, never what
is expected. Command line: python -m tasks.curate
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput, RatchetError
from ratchet.examples import Reliability, SetAside, resolve
from ratchet.features import Feature, load_feature
from ratchet.files import canonical_json, write_json, write_whole
from ratchet.params import CurateParams, Params, PoisonParams, load_params
from ratchet.process import die_with_parent
from ratchet.settings import Settings
from ratchet.tenants import find_left_out, load_tenants
from tasks.balance import Row, balance, split
from tasks.blind import draw_blind
from tasks.claims import gather, open_valid, passages, tenants_in, texts_of
from tasks.curated import count_used, write_examples
from tasks.dataset_card import write_card
from tasks.decontaminate import IN_HOLDOUT, Held, cluster, count_held_elsewhere, read_held
from tasks.holdout_questions import read_cut
from tasks.label_noise import find_label_issues
from tasks.poison import find_suspects
from tasks.poison.bounds import OVER
from tasks.reliability import TRUSTED, count_by_reliability, estimate_reliability
from tasks.review_queue import Doubt, queue, write_queue
from tasks.snapshot import sortable

AFTER_CUT = "after the holdout's cut"
NEAR_DUPLICATE = "near-duplicate"
CONFLICT = "near-duplicates disagree"
LABEL_NOISE = "label looks wrong"


@dataclass
class Ledger:
    """What is left out on the way: rows by reason, claims by reason, and what a person should look at."""

    rows: Counter[str]
    claims: Counter[str] = field(default_factory=Counter)
    doubts: list[Doubt] = field(default_factory=list)


def curate(params: Params, repo: Path, cache: Path) -> dict[str, Any]:
    """Run the stage in the current folder; return what was written to metrics/curate.json.

    Args:
        cache: where the embedding model lies.

    Raises:
        BadInput: validate's output or the holdout is missing.
    """
    path = params.outputs / "valid.parquet"
    if not path.is_file():
        raise BadInput(f"{path} is missing: run the stage validate first (`dvc repro validate`)")
    feature, own, holdout = load_feature(repo, params.feature), params.curate, params.inputs / "holdout"
    held, cut = read_held(holdout, repo / "features" / "_safety", feature.name), read_cut(holdout)
    with open_valid(path) as valid:
        found = gather(path, valid, feature, find_left_out(tenants_in(valid), load_tenants(repo)))
        out = Ledger(found.aside)
        rows = away_from_held(found.rows, held, own, cache, out)
        rows = without_suspects(rows, params.poison, out)
        reliability = reliability_in(rows, feature, own)
        examples = to_examples(rows, feature, reliability, own, out)
        examples = before_cut(examples, cut, out)
        examples = one_per_cluster(examples, out)
        examples = without_label_noise(examples, own, out)
        parts = split(examples, validation_share=own.validation_share, seed=own.seed)
        used: list[Row] = []
        for name, part in (("train", parts.train), ("validation", parts.validation)):
            kept = balance(part, own)
            out.rows += kept.aside
            used += [{**row, "split": name} for row in kept.rows]
            write_examples(params.outputs / "curated" / f"{name}.parquet", kept.rows, valid)
        if found.n_rows != len(used) + out.rows.total():
            raise AssertionError(f"{found.n_rows} rows, {len(used)} used, {out.rows.total()} set aside: miscounted")
        questions = queue(out.doubts, reliability, most=own.review_items, labels_agree=feature.enum_field() is not None)
        review = write_queue(questions, texts_of(valid, [question.interaction_id for question in questions]))
        asked = {text for text, why in zip(held.texts, held.reasons, strict=True) if why == IN_HOLDOUT}
        blind = draw_blind(valid, asked, own, cut)
        elsewhere = count_held_elsewhere(held, params.inputs / "champion.json", passages(valid))
    write_whole(params.outputs / "review.jsonl", review)
    write_whole(params.outputs / "blind.jsonl", blind)
    metrics = {
        "rows": found.n_rows,
        "set_aside": out.rows.total(),
        "reasons": dict(sorted((+out.rows).items())),
        "claims_aside": dict(sorted(out.claims.items())),
        "sources": dict(sorted(Counter(c.source_type for row in found.rows for c in row["claims"]).items())),
        "reliability": count_by_reliability(reliability),
        "review": len(questions),
        "blind": blind.count("\n"),
        "held_elsewhere": elsewhere,
        **count_used(used),
    }
    write_json(params.outputs / "metrics" / "curate.json", metrics)
    write_whole(params.outputs / "card.md", write_card(feature, metrics))
    return metrics


def away_from_held(rows: Sequence[Row], held: Held, params: CurateParams, cache: Path, out: Ledger) -> list[Row]:
    """Give each row the number of its near-duplicate cluster; what is held, or like it, is left out."""
    found = cluster([row["claims"][0].text for row in rows], held, params, cache)
    kept = []
    for row, number, why in zip(rows, found.clusters, found.barred, strict=True):
        if why is None:
            kept.append({**row, "cluster_id": number})
        else:
            out.rows[why] += 1
    return kept


def without_suspects(rows: Sequence[Row], params: PoisonParams, out: Ledger) -> list[Row]:
    """Set poisoned claims aside; where no other claim is left, the answer too, and a person should look at it."""
    claims = [claim for row in rows for claim in row["claims"]]
    suspects = find_suspects(claims, params)
    out.claims.update(suspects.values())
    kept, place = [], 0
    for row in rows:
        reasons = [suspects.get(place + n) for n in range(len(row["claims"]))]
        place += len(reasons)
        left = [claim for claim, why in zip(row["claims"], reasons, strict=True) if why is None]
        if left:
            kept.append({**row, "claims": left})
            continue
        reason = sorted(filter(None, reasons))[0]
        out.rows[reason] += 1
        if reason not in OVER:  # a bound accuses nobody
            out.doubts.append(Doubt(row, f"suspicious: {reason}", 1.0))
    return kept


def reliability_in(rows: Sequence[Row], feature: Feature, params: CurateParams) -> Reliability:
    """How often each source is right. Labels of one question can be compared, free texts on one answer only.

    One question, not one cluster: where near-duplicates differ in what is right, nobody has been wrong.
    """
    is_labelled = feature.enum_field() is not None
    claims = [claim for row in rows for claim in row["claims"]]
    numbers: dict[str, int] = {}
    items = [numbers.setdefault(c.text if is_labelled else c.interaction_id, len(numbers)) for c in claims]
    return estimate_reliability(claims, items, prior_votes=params.prior_votes)


def to_examples(
    rows: Sequence[Row], feature: Feature, reliability: Reliability, params: CurateParams, out: Ledger
) -> list[Row]:
    """Resolve the claims about each answer; what gives no example is counted, and a person should look at it."""
    examples = []
    for row in rows:
        found = resolve(row, row["claims"], feature, reliability=reliability, min_belief=params.min_belief)
        if isinstance(found, SetAside):
            out.rows[found.reason] += 1
            out.doubts.append(Doubt(row, found.reason, found.doubt))
        else:
            examples.append({**row, **asdict(found), "feedback_at": sortable(found.feedback_at)})
    return examples


def before_cut(examples: list[Row], cut: datetime | None, out: Ledger) -> list[Row]:
    """What is learned was said before the holdout was labelled."""
    kept = [row for row in examples if cut is None or datetime.fromisoformat(row["feedback_at"]) < cut]
    out.rows[AFTER_CUT] += len(examples) - len(kept)
    return kept


def one_per_cluster(examples: list[Row], out: Ledger) -> list[Row]:
    """Of near-duplicates one example per target, the heaviest, which names the interactions and feedback of all.

    Near-duplicates with two labels cannot both be right: the heavier source is believed, and of equals none.
    """
    clusters: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(examples, key=lambda row: (-row["weight"], row["example_id"])):
        clusters[row["cluster_id"]].append(row)
    kept: list[Row] = []
    for members in clusters.values():
        heaviest = [row for row in members if row["weight"] == members[0]["weight"]]
        believed = members
        if members[0]["label"] is not None:
            believed = heaviest if len({row["target"] for row in heaviest}) == 1 else []
        best = {row["target"]: row for row in reversed(believed)}  # the heaviest of each target comes last
        shared = {
            "cluster": "cl_" + min(row["example_id"] for row in members).removeprefix("ex_"),
            "interaction_ids": canonical_json(sorted(row["interaction_id"] for row in members)),
            "feedback_ids": canonical_json(sorted(said for row in members for said in row["feedback_ids"])),
        }
        kept += [{**row, **shared} for row in best.values()]
        outvoted = [row for row in members if row["target"] not in best]
        out.rows[CONFLICT] += len(outvoted)
        out.rows[NEAR_DUPLICATE] += len(members) - len(outvoted) - len(best)
        if not best:
            out.doubts += [Doubt(row, CONFLICT, 0.5) for row in outvoted]
    return kept


def without_label_noise(examples: list[Row], params: CurateParams, out: Ledger) -> list[Row]:
    """Doubted labels go to a person; until then a label stays only where a trusted source gave it."""
    labelled = [row for row in examples if row["label"] is not None]
    texts, labels = [row["claims"][0].text for row in labelled], [row["label"] for row in labelled]
    doubted = {labelled[issue.position]["example_id"]: issue.fit for issue in find_label_issues(texts, labels, params)}
    kept = []
    for row in examples:
        fit = doubted.get(row["example_id"])
        if fit is not None:
            out.doubts.append(Doubt(row, LABEL_NOISE, 1 - fit))
        if fit is None or _is_trusted(row):
            kept.append(row)
        else:
            out.rows[LABEL_NOISE] += 1
    return kept


def _is_trusted(example: Row) -> bool:
    return any(c.source_type == TRUSTED and c.target == example["target"] for c in example["claims"])


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    began = time.monotonic()
    try:
        die_with_parent()
        params = load_params()
        metrics = curate(params, Path(), Settings.from_env().cache)
    except RatchetError as error:
        print(f"curate: {error}", file=sys.stderr)
        return error.exit_code
    write_json(params.outputs / "timings" / "curate.json", {"seconds": round(time.monotonic() - began, 3)})
    told = f"{metrics['train']} to train on, {metrics['validation']} to validate on, {metrics['set_aside']} set aside"
    print(f"curate: {told}, {metrics['review']} for a person to look at", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

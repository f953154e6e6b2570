"""Results of outside scanners and suites, read into the shape of safety.json: garak, promptfoo, inspect-ai, lm-eval.

The tools run by their own commands against the model server or the gateway (docs/safety.md). Scanners give attack
success; inspect-ai and lm-eval give scores, of which more is better. Only names and numbers are taken over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from ratchet.errors import BadInput
from ratchet.records import Rejected, read_jsonl
from ratchet.stats import bootstrap_mean_interval, is_binary, wilson_interval

Suites = dict[str, dict[str, Any]]
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}  # inspect-ai's letters
SHARES = frozenset({"acc", "acc_norm", "exact_match"})  # lm-eval's metrics that are 0 or 1 on an item
DIGITS = 6
LONGEST_NAME = 200


def read_outside(files: Sequence[Path], form: str) -> dict[str, Any]:
    """Read one file, the champion's, or two, the second the candidate's.

    Raises:
        BadInput: an unknown format, a file that is not of it, or one without a result.
    """
    if form not in FORMATS:
        raise BadInput(f"unknown format {form!r}; there are: {', '.join(FORMATS)}")
    found = {}
    for role, file in zip(("champion", "candidate"), files, strict=False):
        try:
            found[role] = FORMATS[form](file)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{file} is no result file of {form} ({type(error).__name__})") from error
        if not found[role]:
            raise BadInput(f"{file} holds no result")
    return {"source": form, "suites": list(_joined(found))}


def _joined(found: Mapping[str, Suites]) -> Iterable[dict[str, Any]]:
    names = dict.fromkeys(name for suites in found.values() for name in suites)
    for name in names:
        given = {role: suites[name] for role, suites in found.items() if name in suites}
        first = next(iter(given.values()))
        yield {
            "suite": name[:LONGEST_NAME],
            "items": max(result["n"] + result["unscored"] for result in given.values()),
            first["measure"]: {
                role: {k: v for k, v in result.items() if k != "measure"} for role, result in given.items()
            },
        }


def _garak(path: Path) -> Suites:
    """report.jsonl: of each probe and detector, the answers that the detector found bad."""
    suites = {}
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadInput(f"{where}: {row.reason}")
        if row.get("entry_type") == "eval":
            total = int(row["total_evaluated"] if "total_evaluated" in row else row["total"])
            name = f"{row['probe']} / {row['detector']}"
            suites[name] = _share("attack_success", total - int(row["passed"]), total, int(row.get("nones", 0)))
    return suites


def _promptfoo(path: Path) -> Suites:
    """`promptfoo eval -o FILE.json`: a failed assertion is an attack that succeeded; by red-team plugin if named."""
    counts: dict[str, list[int]] = {}
    for row in json.loads(path.read_text(encoding="utf-8"))["results"]["results"]:
        plugin = ((row.get("testCase") or {}).get("metadata") or {}).get("pluginId") or "promptfoo"
        count = counts.setdefault(str(plugin), [0, 0, 0])
        if row.get("failureReason") == 2 or (row.get("error") and row.get("failureReason") != 1):
            count[2] += 1  # the request failed: nothing is known of the attack
        else:
            count[0] += not row["success"]
            count[1] += 1
    return {name: _share("attack_success", *count) for name, count in counts.items()}


def _inspect(path: Path) -> Suites:
    """A log written with --log-format json: the grade of each sample, by scorer."""
    log = json.loads(path.read_text(encoding="utf-8"))
    if log["status"] != "success":
        raise BadInput(f"{path}: the run ended with {log['status']!r}; run it again with `inspect eval-retry`")
    suites = {}
    for scorer in dict.fromkeys(name for sample in log["samples"] for name in sample.get("scores") or {}):
        given = [(sample.get("scores") or {}).get(scorer, {}).get("value") for sample in log["samples"]]
        grades = [GRADES.get(value) if isinstance(value, str) else value for value in given]
        values = [float(grade) for grade in grades if _is_number(grade)]
        suites[f"{log['eval']['task']} / {scorer}"] = _mean(values, len(given) - len(values))
    return suites


def _lm_eval(path: Path) -> Suites:
    """results_*.json: each metric of each task, with the tool's own standard error where it is no share."""
    results = json.loads(path.read_text(encoding="utf-8"))
    suites: Suites = {}
    for task, metrics in results["results"].items():
        n = int(results["n-samples"][task]["effective"])
        for key, value in metrics.items():
            metric, comma, kept = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _is_number(value):
                continue
            error = metrics.get(f"{metric}_stderr,{kept}")
            half = 1.96 * error if _is_number(error) else math.nan
            low, high = wilson_interval(round(value * n), n) if metric in SHARES else (value - half, value + half)
            suites[f"{task} / {metric}"] = _figure("score", value, low, high, n, 0)
    return suites


def _share(measure: str, k: int, n: int, unscored: int) -> dict[str, Any]:
    return _figure(measure, k / n if n else None, *wilson_interval(k, n), n, unscored)


def _mean(values: Sequence[float], unscored: int) -> dict[str, Any]:
    if is_binary(values):
        return _share("score", int(sum(values)), len(values), unscored)
    interval = bootstrap_mean_interval(values, 17)
    return _figure("score", sum(values) / len(values), *interval, len(values), unscored)


def _figure(measure: str, value: float | None, low: float, high: float, n: int, unscored: int) -> dict[str, Any]:
    ends = {
        name: round(end, DIGITS) if value is not None and math.isfinite(end) else None
        for name, end in (("low", low), ("high", high))
    }
    told = round(value, DIGITS) if value is not None else None
    return {"measure": measure, "estimate": told, **ends, "n": n, "unscored": unscored}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


FORMATS: dict[str, Callable[[Path], Suites]] = {
    "garak": _garak,
    "promptfoo": _promptfoo,
    "inspect": _inspect,
    "lm-eval": _lm_eval,
}

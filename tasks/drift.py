"""Whether what is new since the last finished run looks like what was new in that: volume, labels, lengths, languages.

Raw data grows from harvest to harvest, so whole batches overlap; what is compared is their new rows, those later than
`until` of the reference. A reference is numbers alone: the profile that the last finished run committed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.errors import BadInput
from ratchet.files import read_json
from ratchet.params import DriftParams

LANGUAGE_SAMPLE = 2000
CHANCE = 0.001  # how often a distribution that did not change may be called changed
FEW = 5  # values that are expected fewer times are counted together (Cochran 1954, Biometrics 10)
LATEST = 0.99  # share of the new rows that `until` covers: a clock that runs ahead does not end all windows
BINS_PER_DOUBLING = 2
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Lengths(BaseModel):
    """Lengths in characters: how many in each bin (by its lower edge), and quantiles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bins: dict[str, int] = {}
    quantiles: dict[str, float] = {}


class Profile(BaseModel):
    """The new rows of a batch in numbers. Labels are the schema's own words; `none` is an answer outside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = 0
    with_feedback: int = 0
    tenants: int = 0
    since: str | None = None
    until: str | None = None
    days: float = 0.0
    labels: dict[str, int] = {}
    languages: dict[str, int] = {}
    input_chars: Lengths = Lengths()
    output_chars: Lengths = Lengths()


class Drift(NamedTuple):
    """One comparison: whether it holds (None: not judged), the figure, what it is held against, and a sentence."""

    name: str
    severity: Literal["critical", "warning"]
    holds: bool | None
    value: float | None
    limit: float | None
    told: str


class Shift(NamedTuple):
    """The population stability index of two counts, and what chance alone would exceed once in 1/CHANCE times."""

    psi: float
    by_chance: float


def read_profile(path: Path) -> Profile:
    """A profile; `{}` is that of no rows.

    Raises:
        BadInput: the file is missing or no profile.
    """
    if not path.is_file():
        raise BadInput(f"{path} is missing: it says {{}} where no run has finished yet")
    try:
        return Profile.model_validate(read_json(path))
    except (ValidationError, ValueError) as error:
        raise BadInput(f"{path}: no profile of a batch; write {{}} to compare with nothing") from error


def first_new_row(ats: pa.ChunkedArray, reference: Profile) -> int:
    """The position of the first row later than the reference; `ats` in order of time."""
    return int(pc.sum(pc.less_equal(ats, reference.until)).as_py() or 0) if reference.until is not None else 0


def profile_of(facts: pa.Table, reference: Profile) -> Profile:
    """The profile of new rows; malformed ones have no facts and do not count."""
    rows = facts.filter(pc.is_null(facts["malformed"]))
    if rows.num_rows == 0:
        return Profile(since=reference.until)
    ats = rows["at"]
    until = str(ats[math.ceil(LATEST * rows.num_rows) - 1])
    since = reference.until or str(ats[0])
    return Profile(
        rows=rows.num_rows,
        with_feedback=pc.sum(pc.greater(rows["n_feedback"], 0)).as_py(),
        tenants=pc.count_distinct(rows["tenant"]).as_py(),
        since=since,
        until=until,
        days=round((datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds() / 86400, 6),
        labels=_counted(pc.fill_null(rows["label"], "none")),
        languages=_counted(rows["language"].drop_null()),
        input_chars=_lengths(rows["input_chars"]),
        output_chars=_lengths(rows["output_chars"]),
    )


def compare(new: Profile, reference: Profile, params: DriftParams) -> list[Drift]:
    """Each comparison of new rows with the reference's; none is judged where either has too few rows."""
    if reference.rows == 0:
        return []
    few = None
    if min(new.rows, reference.rows) < params.min_rows:
        few = f"not judged: {new.rows} new rows against {reference.rows}, and {params.min_rows} are needed"
    distributions = (
        ("labels", new.labels, reference.labels),
        ("question length", new.input_chars.bins, reference.input_chars.bins),
        ("answer length", new.output_chars.bins, reference.output_chars.bins),
        ("language", new.languages, reference.languages),
    )
    found = [_volume(new, reference, params)]
    found += [_shift(name, now, then, params, few) for name, now, then in distributions]
    return [*found, _main_language(new, reference, params, few)]


def next_reference(new: Profile, reference: Profile, params: DriftParams) -> Profile:
    """What the next run is compared with; too few new rows leave the reference, so that they are judged with more."""
    return new if reference.rows == 0 or new.rows >= params.min_rows else reference


def shift_of(now: Mapping[str, int], then: Mapping[str, int]) -> Shift:
    """How far one count is from another: sum of (p - q) ln(p / q), with half a row added to each value.

    Where nothing changed, it is about (1/n + 1/m) times a chi-square of k - 1 degrees of freedom, for n and m rows and
    k values (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14(4); tests/tasks/test_drift.py holds it
    against simulation). So `by_chance` is what small samples show without any drift.
    """
    from scipy.stats import chi2

    n, m = sum(now.values()), sum(then.values())
    pairs = _merged(now, then, smallest=min(n, m) / (n + m) if n and m else 0)
    if len(pairs) < 2:
        return Shift(0.0, 0.0)
    p = np.array([a + 0.5 for a, _ in pairs])
    q = np.array([b + 0.5 for _, b in pairs])
    p, q = p / p.sum(), q / q.sum()
    psi = float(((p - q) * np.log(p / q)).sum())
    return Shift(psi, float((1 / n + 1 / m) * chi2.ppf(1 - CHANCE, len(pairs) - 1)))


def _merged(now: Mapping[str, int], then: Mapping[str, int], *, smallest: float) -> list[tuple[int, int]]:
    """The counts of both by value; values expected fewer than FEW times in the smaller sample are one."""
    pairs: list[tuple[int, int]] = []
    rare = (0, 0)
    for value in sorted({*now, *then}):
        pair = (now.get(value, 0), then.get(value, 0))
        if sum(pair) * smallest < FEW:
            rare = (rare[0] + pair[0], rare[1] + pair[1])
        else:
            pairs.append(pair)
    return [*pairs, rare] if sum(rare) else pairs


def _shift(name: str, now: Mapping[str, int], then: Mapping[str, int], params: DriftParams, few: str | None) -> Drift:
    if few is not None or not now or not then:
        return Drift(name, "warning", None, None, None, few or "not judged: nothing to compare")
    shift = shift_of(now, then)
    limit = max(params.max_psi, shift.by_chance)
    told = f"moved by {shift.psi:.3f}; warned of above {limit:.3f}"
    told += " (chance alone may move so few rows as far)" if limit > params.max_psi else ""
    return Drift(name, "warning", shift.psi <= limit, round(shift.psi, 6), round(limit, 6), told)


def _volume(new: Profile, reference: Profile, params: DriftParams) -> Drift:
    """Rows a day. A volume that broke down leaves few new rows, so what counts is how many were to be expected."""
    shortest = min(new.days, reference.days)
    expected = reference.rows / reference.days * new.days if reference.days else 0.0
    if shortest < params.min_days or expected < params.min_rows:
        told = f"not judged: {new.rows} rows in {new.days:.2f} days against {reference.rows} in {reference.days:.2f}"
        return Drift("volume", "warning", None, None, None, told)
    ratio = new.rows / expected
    rates = f"{new.rows / new.days:.0f} rows a day against {reference.rows / reference.days:.0f}"
    if ratio < params.volume_block:
        return Drift("volume", "critical", False, round(ratio, 6), params.volume_block, rates)
    limit = params.volume_low if ratio < 1 else params.volume_high
    return Drift("volume", "warning", params.volume_low <= ratio <= params.volume_high, round(ratio, 6), limit, rates)


def _main_language(new: Profile, reference: Profile, params: DriftParams, few: str | None) -> Drift:
    told = {name: count for name, count in reference.languages.items() if name != "short"}
    if few is not None or not told or not sum(new.languages.values()):
        return Drift("main language", "critical", None, None, None, few or "not judged: no text long enough to tell")
    main = max(sorted(told), key=lambda name: told[name])
    was = told[main] / sum(reference.languages.values())
    share = new.languages.get(main, 0) / sum(new.languages.values())
    holds = was < 0.5 or share >= params.language_block
    sentence = f"{main}: {share:.0%} of the questions, {was:.0%} before"
    return Drift("main language", "critical", holds, round(share, 6), params.language_block, sentence)


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    counts = pc.value_counts(values)
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return dict(sorted(pairs))


def _lengths(values: pa.ChunkedArray) -> Lengths:
    """Bins of half a doubling: fixed, so that two batches can be compared without either's texts."""
    lengths = values.to_numpy()
    halves = np.floor(BINS_PER_DOUBLING * np.log2(np.maximum(lengths, 1))).astype(int)
    edges, counts = np.unique(np.where(lengths < 1, -1, halves), return_counts=True)
    lowest = [0 if edge < 0 else math.ceil(2 ** (edge / BINS_PER_DOUBLING)) for edge in edges]
    quantiles = np.quantile(lengths, QUANTILES, method="lower")
    return Lengths(
        bins={str(edge): int(count) for edge, count in zip(lowest, counts, strict=True)},
        quantiles={f"q{q * 100:02.0f}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
    )

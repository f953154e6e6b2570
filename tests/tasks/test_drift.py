"""tasks.drift: what moved is told, what chance moves is not, and too little is not judged."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2

from ratchet.errors import BadInput
from ratchet.params import load_params
from tasks.drift import (
    CHANCE,
    Drift,
    Lengths,
    Profile,
    compare,
    first_new_row,
    next_reference,
    profile_of,
    read_profile,
    shift_of,
)
from tasks.facts import SCHEMA

PARAMS = load_params().validate_.drift


def profile(**changes: Any) -> Profile:
    chars = Lengths(bins={"32": 400, "45": 600})
    fields: dict[str, Any] = {"rows": 1000, "days": 7.0, "until": "2026-01-08", "languages": {"en": 950, "fr": 50}}
    fields |= {"labels": {"cards": 500, "loans": 500}, "input_chars": chars, "output_chars": chars}
    return Profile(**(fields | changes))


def drifts(**changes: Any) -> dict[str, Drift]:
    return {drift.name: drift for drift in compare(profile(**changes), profile(), PARAMS)}


def facts(*ats: str, **changes: Any) -> pa.Table:
    row = {"tenant": "a", "label": "cards", "language": "en", "input_chars": 40, "output_chars": 9, "n_feedback": 1}
    return pa.Table.from_pylist([row | {"at": at} | changes for at in ats], schema=SCHEMA)


def counted(counts: Iterable[int]) -> dict[str, int]:
    return {str(name): int(count) for name, count in enumerate(counts)}


def test_a_batch_like_the_one_before_holds_everywhere() -> None:
    assert [drift.holds for drift in drifts().values()] == [True] * 6


def test_the_index_of_two_known_shares() -> None:
    n = 10**9  # so many that the half row added to each does not show
    expected = 0.3 * np.log(0.8 / 0.5) + -0.3 * np.log(0.2 / 0.5)
    assert shift_of({"a": 8 * n, "b": 2 * n}, {"a": 5 * n, "b": 5 * n}).psi == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (200, 5000), (1000, 300)])
def test_without_drift_the_index_is_a_scaled_chi_square(n: int, m: int) -> None:
    rng, shares = np.random.default_rng(7), [0.4, 0.25, 0.15, 0.1, 0.06, 0.04]
    drawn = [shift_of(counted(rng.multinomial(n, shares)), counted(rng.multinomial(m, shares))) for _ in range(3000)]
    scaled = np.array([shift.psi for shift in drawn]) / (1 / n + 1 / m)
    assert scaled.mean() == pytest.approx(5, rel=0.06)
    assert np.quantile(scaled, 0.95) == pytest.approx(chi2.ppf(0.95, 5), rel=0.08)
    assert sum(shift.psi > shift.by_chance for shift in drawn) <= 3000 * 4 * CHANCE


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"labels": {"cards": 900, "loans": 100}}, "labels"),
        ({"input_chars": Lengths(bins={"32": 50, "45": 950})}, "question length"),
        ({"output_chars": Lengths(bins={"32": 50, "2048": 950})}, "answer length"),
        ({"languages": {"en": 500, "fr": 500}}, "language"),
        ({"rows": 400}, "volume"),
        ({"rows": 2100}, "volume"),
    ],
)
def test_what_moved_far_is_warned_of_and_nothing_else(changes: dict[str, Any], name: str) -> None:
    found = drifts(**changes)
    assert [(d.name, d.severity) for d in found.values() if d.holds is False] == [(name, "warning")]


@pytest.mark.parametrize(
    ("changes", "name"), [({"rows": 60}, "volume"), ({"languages": {"en": 50, "fr": 950}}, "main language")]
)
def test_what_broke_is_critical(changes: dict[str, Any], name: str) -> None:
    found = drifts(**changes)[name]
    assert (found.holds, found.severity) == (False, "critical")


def test_few_rows_are_not_judged_and_wait_for_the_next_run() -> None:
    new = profile(rows=PARAMS.min_rows - 1, labels={"cards": 199}, days=1.5)
    found = {d.name: d for d in compare(new, profile(), PARAMS)}
    assert found.pop("volume").holds is True  # 199 rows in a day and a half are no fewer than before
    assert {drift.holds for drift in found.values()} == {None}
    assert next_reference(new, profile(), PARAMS) == profile()


def test_enough_rows_are_what_the_next_run_is_held_against() -> None:
    assert next_reference(profile(rows=500), profile(), PARAMS).rows == 500
    assert next_reference(profile(rows=5), Profile(), PARAMS).rows == 5


def test_volumes_of_less_than_a_day_are_not_judged() -> None:
    assert drifts(days=0.5, rows=10)["volume"].holds is None


def test_without_a_reference_nothing_is_compared() -> None:
    assert compare(profile(), Profile(), PARAMS) == []


def test_a_small_sample_may_move_as_far_as_chance_does() -> None:
    labels = {f"l{n}": 1000 for n in range(40)}
    few = {f"l{n}": 5 + 4 * (n % 2) for n in range(40)}
    found = {d.name: d for d in compare(profile(labels=few), profile(labels=labels), PARAMS)}["labels"]
    assert found.holds is True and found.limit is not None and found.limit > PARAMS.max_psi


def test_new_rows_are_those_later_than_the_reference() -> None:
    ats = pa.chunked_array([["2026-01-07", "2026-01-08", "2026-01-09"]])
    assert (first_new_row(ats, profile()), first_new_row(ats, Profile())) == (2, 0)


def test_a_clock_that_runs_ahead_does_not_end_all_windows() -> None:
    days = [f"2026-01-08T{hour:02}:{minute:02}:00+00:00" for hour in range(10) for minute in range(60)]
    found = profile_of(facts(*days, "9999-01-01T00:00:00+00:00"), Profile())
    assert found.until == days[-6] and found.rows == 601


def test_a_profile_holds_counts_of_sound_rows_only() -> None:
    table = pa.concat_tables([facts("2026-01-08T00:00:00+00:00", label=None), facts("x", malformed="messages")])
    found = profile_of(table, Profile())
    assert (found.rows, found.labels, found.languages) == (1, {"none": 1}, {"en": 1})
    assert (found.input_chars.bins, found.output_chars.bins) == ({"32": 1}, {"8": 1})


@pytest.mark.parametrize("content", ["[]", '{"rows": "many"}', '{"colour": 1}', "{"])
def test_a_file_that_is_no_profile_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "reference.json").write_text(content)
    with pytest.raises(BadInput, match=r"reference\.json: no profile of a batch; write \{\}"):
        read_profile(tmp_path / "reference.json")


def test_a_missing_reference_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is missing: it says"):
        read_profile(tmp_path / "reference.json")

"""tasks.backtest: verdicts on made streams, and rows that are not as they should be."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput, SettingsInvalid
from ratchet.rollout_policy import RolloutPolicy
from tasks.backtest import Backtest, backtest, read_policy

START = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = RolloutPolicy(outcome_window_s=0)
Row = dict[str, Any]


def made(seed: int, n: int, *, drop: float = 0.0, slower: float = 1.0, speaks: float = 1.0) -> list[Row]:
    draw, rows = random.Random(seed), []
    for i in range(n):
        channel = draw.choice(("stable", "canary"))
        is_canary = channel == "canary"
        signals: Row = {"error": False, "latency_ms": draw.lognormvariate(6, 0.5) * (slower if is_canary else 1)}
        if draw.random() < speaks:
            signals["thumb"] = draw.random() < 0.8 - drop * is_canary
        at = (START + timedelta(seconds=i)).isoformat()
        rows.append({"at": at, "user_id": f"u{i}", "channel": channel, "signals": signals})
    return rows


def run(tmp_path: Path, rows: list[Any], policy: RolloutPolicy = POLICY) -> Backtest:
    path = tmp_path / "traffic.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return backtest(path, policy)


def test_a_drop_of_20_points_is_taken_back_early(tmp_path: Path) -> None:
    found = run(tmp_path, made(1, 3000, drop=0.2)).facts()
    assert (found["verdict"], found["signal"]) == ("rollback", "complaint") and found["outcomes"] < 300
    assert found["at"] == (START + timedelta(seconds=found["rows"]["read"] - 2)).isoformat()


def test_equal_releases_are_seldom_taken_back(tmp_path: Path) -> None:
    verdicts = [run(tmp_path, made(seed, 400)).verdict for seed in range(2, 32)]
    assert verdicts.count("rollback") <= 4


def test_a_better_release_is_promoted(tmp_path: Path) -> None:
    assert run(tmp_path, made(3, 3000, drop=-0.15)).verdict == "promote"


def test_slowness_is_found_by_its_own_signal(tmp_path: Path) -> None:
    assert run(tmp_path, made(4, 2000, slower=2.5)).facts()["signal"] == "latency_ms"


def test_few_who_speak_take_longer(tmp_path: Path) -> None:
    often = run(tmp_path, made(5, 6000, drop=0.3)).facts()
    seldom = run(tmp_path, made(5, 6000, drop=0.3, speaks=0.2)).facts()
    assert often["verdict"] == seldom["verdict"] == "rollback" and seldom["outcomes"] > 2 * often["outcomes"]


def test_without_feedback_nothing_is_promoted(tmp_path: Path) -> None:
    found = run(tmp_path, made(6, 2000, speaks=0.0)).facts()
    assert found["verdict"] == "undecided" and found["signal"] is None


def test_bad_rows_are_counted_by_reason_and_line(tmp_path: Path) -> None:
    bad = ["{", {"at": "yesterday", "user_id": "u", "channel": "canary"}, {"at": START.isoformat(), "user_id": "u"}]
    odd = {**made(7, 1)[0], "signals": {"latency_ms": "fast", "thumb": 7, "error": None, "mood": 3}}
    found = run(tmp_path, [*bad, odd, *made(8, 20)]).facts()
    assert found["rows"]["rejected"] == 3 and found["rows"]["used"] == 21 and found["verdict"] == "undecided"
    assert [line.split(": ")[0] for line in found["first_rejected"]] == [f"traffic.jsonl:{n}" for n in (1, 2, 3)]
    assert found["bad_signals"] == {"latency_ms": 1, "thumb": 1} and found["untested_signals"] == {"mood": 1}


def test_missing_signals_are_missing(tmp_path: Path) -> None:
    rows = [{**row, "signals": {} if i % 2 else row["signals"]} for i, row in enumerate(made(9, 40))]
    evidence = run(tmp_path, rows).evidence
    assert evidence.rates("error") == {"stable": 0.0, "canary": 0.0}
    assert (evidence.rates("latency_ms")["canary"] or 0) > 100


def test_a_user_on_both_channels_counts_by_the_first(tmp_path: Path) -> None:
    rows = made(10, 10)
    moved = {**rows[0], "channel": "canary" if rows[0]["channel"] == "stable" else "stable"}
    found = run(tmp_path, [rows[0], moved, *rows[1:]])
    assert found.facts()["users_on_both_channels"] == 1 and sum(found.evidence.users.values()) == 10


def test_what_comes_after_a_users_window_is_counted_and_not_used(tmp_path: Path) -> None:
    rows = made(11, 10)
    later = {**rows[0], "at": (START + timedelta(hours=1)).isoformat()}
    assert run(tmp_path, [*rows, later]).facts()["rows"]["after_window"] == 1


def test_a_propensity_makes_the_split_a_signal(tmp_path: Path) -> None:
    rows = [{**row, "propensity": 0.9 if row["channel"] == "canary" else 0.1} for row in made(12, 600)]
    assert run(tmp_path, rows).facts()["held_by"] == "split"


def test_rows_in_no_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="sort the file"):
        run(tmp_path, made(13, 50)[::-1])


def test_a_file_of_nothing_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no row that could be used; the first: traffic\.jsonl:1"):
        run(tmp_path, ['"x"'])


def test_the_policy_of_a_feature_is_used(tmp_path: Path) -> None:
    path = tmp_path / "feature.yaml"
    path.write_text("name: f\nrollout:\n  margin: 0.1\n  signals: {mood: {worse: lower}}\n")
    policy = read_policy(path)
    assert policy.margin == 0.1 and {"mood", "complaint"} <= set(policy.signals)
    path.write_text("rollout: {margins: 0.1}\n")
    with pytest.raises(SettingsInvalid, match="margins"):
        read_policy(path)

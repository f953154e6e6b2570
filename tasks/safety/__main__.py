"""Stage safety: champion and chosen candidate are tried with the suites that params.yaml names, and with those that
the gate decides by (`gate.safety` of feature.yaml), the anchor with the latter's too; none by default.

Command line: python -m tasks.safety
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ratchet.answers import answer_log
from ratchet.base_models import resolve_base_model
from ratchet.errors import BadInput, RatchetError
from ratchet.features import load_feature
from ratchet.files import read_json, write_json, write_whole
from ratchet.llm import model_server
from ratchet.params import Params, load_params
from ratchet.process import die_with_parent
from ratchet.progress import ProgressLine
from ratchet.settings import Settings
from tasks.contenders import Served, read_contender, stored_contender
from tasks.safety.guard import FOLDER, guard_rows, guard_suites
from tasks.safety.measure import facts_of, try_suites, write_answers
from tasks.safety.suites import load_suites


def try_candidate(params: Params, settings: Settings) -> dict[str, Any]:
    """Run the stage in the current folder; return what was written to metrics/safety.json.

    Raises:
        BadInput: an unknown suite, or evaluate has not run.
    """
    feature, own = load_feature(Path(), params.feature), params.safety
    evaluated = params.outputs / "metrics" / "evaluate.json"
    if not evaluated.is_file():
        raise BadInput(f"{evaluated} is missing: run the stage evaluate first (`dvc repro evaluate`)")
    arm = str(read_json(evaluated)["chosen_arm"])
    contenders = {
        "champion": stored_contender(params.inputs / "champion.json", settings),
        "candidate": read_contender(params.outputs / "candidates" / arm),
    }
    guards = guard_suites(feature)
    if guards:
        contenders["anchor"] = stored_contender(params.inputs / "anchor.json", settings)
    named = load_suites(own.suites, folder=FOLDER, feature=feature.name, data=None)
    by_name = {suite.name: suite.sample(own.items, own.seed) for suite in named}
    by_name |= {suite.name: suite for found in guards.values() for suite in found}
    suites, results = list(by_name.values()), []
    if suites:
        model = resolve_base_model(params.base_model, settings)
        with model_server(settings, params.base_model, model.path) as url:
            served = Served(url, settings.modelserver_key, params.evaluate.concurrency, answer_log(settings))
            show = ProgressLine("releases under attack").show
            results = try_suites(suites, contenders, feature, served, show)
    facts = facts_of(feature, contenders, results)
    write_answers(params.outputs / "safety" / "answers.jsonl", results)
    rows = "".join(json.dumps(row, sort_keys=True) + "\n" for row in guard_rows(guards, results))
    write_whole(params.outputs / "safety" / "scores.jsonl", rows)
    write_json(params.outputs / "metrics" / "safety.json", facts)
    return facts


def main() -> int:
    """Run the stage; a bad input is one line on standard error and its exit code."""
    try:
        die_with_parent()
        facts = try_candidate(load_params(), Settings.from_env())
    except RatchetError as error:
        print(f"safety: {error}", file=sys.stderr)
        return error.exit_code
    print(f"safety: {len(facts['suites'])} suites", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

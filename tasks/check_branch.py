"""A branch's features against what is live: which changed, whether their answers got worse, whether their cases pass.

Only what is declared is used of the branch: prompts, feature.yaml and cases. What judges it - items, live release,
scorer, margin, base model - comes from the base, or a branch could mark its own work. No code of features/ is run.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ValidationError

from ratchet import git
from ratchet.errors import BadInput, SettingsInvalid
from ratchet.features import Feature, feature_names, load_feature
from ratchet.params import Params, explain, load_params
from ratchet.prompts import load_prompt
from ratchet.release import Release
from ratchet.settings import Settings
from tasks.cases import BROKEN, CaseResult, read_cases, run_cases
from tasks.compare import judge
from tasks.compare_releases import Comparison, compare_releases, live_contender, read_items, reworded, serving
from tasks.contenders import Contender

Verdict = Literal["fine", "open", "worse"]
STATUS = {"fine": 0, "open": 3, "worse": 4}
MIN_ITEMS = 20
OURS = ("ratchet/", "tasks/", "modelserver/", "gateway/", "params.yaml")  # what every feature's answers hang on
OWN_SCORER = "the feature's scorer is code of the team's own, which this check does not run"
NOT_RUN = "code of the branch is not run by this check: features/ is read, never imported"
Progress = Callable[[str, int, int], None]


class Declared(NamedTuple):
    """What a revision declares of a feature."""

    feature: Feature
    text: str


@dataclass(frozen=True)
class FeatureCheck:
    """What was found of one feature; `comparison` is None where there is nothing to compare."""

    feature: str
    changed: tuple[str, ...]
    verdict: Verdict
    reason: str
    cases: list[CaseResult]
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status that it asks for."""
        return 4 if any(case.outcome in BROKEN for case in self.cases) else STATUS[self.verdict]


def fork_of(repo: Path, base: str) -> str:
    """The commit where the branch left the base.

    Raises:
        BadInput: there is no such base, or it has nothing in common with the branch.
    """
    if git.resolve(repo, base) is None:
        raise BadInput(f"--base {base}: git knows no such revision; fetch it first (`git fetch origin {base}`)")
    return git.run(repo, "merge-base", base, "HEAD")


def changed_features(repo: Path, fork: str) -> dict[str, tuple[str, ...]]:
    """The features that differ from the fork, with what does: prompt, policy, cases, code, or the product under all."""
    listed = git.run(repo, "diff", "--name-only", "-z", fork)
    names, found = set(feature_names(repo)), defaultdict(set)
    for path in filter(None, listed.split("\0")):
        parts = path.split("/")
        if parts[0] == "features" and len(parts) > 2 and parts[1] in names:
            found[parts[1]].add(_kind(parts[2:]))
        elif path.startswith(OURS):
            for name in names:
                found[name].add("product")
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def check_branch(
    settings: Settings, base: str, on_progress: Progress = lambda what, done, total: None
) -> list[FeatureCheck]:
    """Check every changed feature. Returns one entry for each, sorted by name; none where nothing changed."""
    fork = fork_of(settings.repo, base)
    changed = changed_features(settings.repo, fork)
    params = _params_at(settings.repo, fork)
    return [_check(settings, params, fork, name, what, on_progress) for name, what in changed.items()]


def candidate_of(live: Release, before: Declared, after: Declared) -> Release:
    """The live release with what the branch changes of it; what it leaves alone stays as it is live."""
    release = reworded(live, after.text) if after.text != before.text else live
    changes: dict[str, Any] = {}
    if after.feature.decoding != before.feature.decoding:
        changes["decoding"] = after.feature.decoding
    if after.feature.output_schema != before.feature.output_schema:
        changes["output_schema"] = after.feature.output_schema
    if after.feature.mode != before.feature.mode:
        changes["policy"] = live.policy.model_copy(update={"mode": after.feature.mode})
    return release.model_copy(update=changes)


def _check(
    settings: Settings, params: Params, fork: str, name: str, changed: tuple[str, ...], on_progress: Progress
) -> FeatureCheck:
    feature = load_feature(settings.repo, name)
    text = load_prompt(settings.repo / "features" / name / "prompts" / "default.md").text
    cases, before = read_cases(settings.repo, feature), _declared_at(settings.repo, fork, name)
    notes: tuple[str, ...] = (NOT_RUN,) if "code" in changed else ()
    if before is None:
        return FeatureCheck(name, changed, "open", "new here, so nothing is live to compare with", [], notes=notes)
    if before.feature.scorer != feature.scorer:
        notes += (f"judged by the base's scorer, {before.feature.scorer.metric}",)
    live = _live_at(settings, fork, name)
    candidate = Contender(candidate_of(live.release, before, Declared(feature, text)), live.adapter)
    items = _items_at(settings, fork, before.feature)
    with serving(settings, params, [live]) as served:
        comparison = None
        if before.feature.scorer.name is not None:
            comparison = compare_releases(
                before.feature,
                items,
                (live, candidate),
                served,
                seed=params.evaluate.seed,
                on_progress=lambda done, total: on_progress(name, done, total),
            )
        ran = run_cases(cases, feature, candidate, served)
    verdict, reason = _verdict(comparison, before.feature)
    return FeatureCheck(name, changed, verdict, reason, ran, comparison, notes)


def _verdict(comparison: Comparison | None, policy: Feature) -> tuple[Verdict, str]:
    if comparison is None:
        return "open", OWN_SCORER
    if not comparison.changed():
        return "fine", f"none of {len(comparison.items)} answers changed"
    margin, pairs = policy.gate.anchor_margin, comparison.pairs()
    standing = judge("quality", pairs, margin, min_items=MIN_ITEMS, alpha=policy.gate.alpha)
    return "open" if standing.at == "unknown" else standing.at, standing.sentence


def _kind(parts: list[str]) -> str:
    if parts[0] in ("prompts", "cases"):
        return {"prompts": "prompt", "cases": "cases"}[parts[0]]
    return "policy" if parts == ["feature.yaml"] else "code"


def _declared_at(repo: Path, revision: str, name: str) -> Declared | None:
    policy = git.show(repo, revision, f"features/{name}/feature.yaml")
    prompt = git.show(repo, revision, f"features/{name}/prompts/default.md")
    if policy is None or prompt is None:
        return None
    try:
        feature = Feature.model_validate(yaml.safe_load(policy))
    except ValidationError as error:
        raise SettingsInvalid(explain(Path(f"{revision[:12]}:features/{name}/feature.yaml"), error)) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "default.md"
        path.write_text(prompt, encoding="utf-8")
        return Declared(feature, load_prompt(path).text)


def _params_at(repo: Path, revision: str) -> Params:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(git.show(repo, revision, "params.yaml") or "", encoding="utf-8")
        return load_params(path)


def _live_at(settings: Settings, revision: str, name: str) -> Contender:
    manifest = git.show(settings.repo, revision, f"data/demo/{name}/champion.json")
    has_state = settings.channels_dir.joinpath(f"{name}.json").is_file() or _has_own_holdout(settings.repo, name)
    release = None if has_state or manifest is None else Release.model_validate_json(manifest)
    return live_contender(settings, name) if release is None or release.adapter else Contender(release, None)


def _items_at(settings: Settings, revision: str, feature: Feature) -> list[Any]:
    bundled = git.show(settings.repo, revision, f"data/demo/{feature.name}/holdout/showcase.jsonl")
    if bundled is None or _has_own_holdout(settings.repo, feature.name):
        return list(read_items(settings, feature, None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "showcase.jsonl"
        path.write_text(bundled, encoding="utf-8")
        return list(read_items(settings, feature, path))


def _has_own_holdout(repo: Path, name: str) -> bool:
    """Whether DVC brought the feature's items; a branch could have put them into git itself, where they never are."""
    folder = f"data/{name}/holdout"
    if git.run(repo, "ls-files", "--", folder):
        raise BadInput(f"{folder} is in git on this branch, where a holdout never is; take it out")
    return (repo / folder).is_dir()

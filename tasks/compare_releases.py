"""Two releases, or a prompt on disk and what is live, on the same items - beside the loop, so never on the holdout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.answers import answer_log
from ratchet.base_models import resolve_base_model
from ratchet.channels import Channels
from ratchet.errors import BadInput, HoldoutTouched, ReleaseNotFound
from ratchet.features import Feature
from ratchet.llm import Answer, model_server
from ratchet.params import Params
from ratchet.prompts import load_prompt
from ratchet.records import HoldoutItem, read_holdout
from ratchet.release import Release, ReleaseStore, read_manifest
from ratchet.scorers import JudgeServer, summarise
from ratchet.settings import Settings
from tasks.compare import Paired
from tasks.contenders import Contender, Served, ask, check_base_model, p95_latency_ms, score_answers, tokens_per_answer
from tasks.guards import paired

PROMPT = "prompt:"
VERSION = re.compile(r"v\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Side:
    """One release on the items: its answers and scores, aligned with them."""

    release_id: str
    answers: list[Answer]
    scores: list[float | None]

    def facts(self, feature: Feature, seed: int) -> dict[str, Any]:
        """Ids and numbers; the latency of an answer that was recorded before is that of then."""
        return {
            "release_id": self.release_id,
            **summarise(self.scores, scorer=str(feature.scorer.name), seed=seed).as_dict(),
            "tokens_per_answer": tokens_per_answer(self.answers),
            "p95_latency_ms": p95_latency_ms(self.answers),
        }


@dataclass(frozen=True)
class Comparison:
    """What came out of it."""

    feature: Feature
    items: list[HoldoutItem]
    baseline: Side
    candidate: Side
    seed: int

    def changed(self) -> list[int]:
        """The places of the items that the two answer differently."""
        sides = zip(self.baseline.answers, self.candidate.answers, strict=True)
        return [place for place, (old, new) in enumerate(sides) if (old.text, old.error) != (new.text, new.error)]

    def pairs(self) -> Paired:
        """The scores side by side, by the slice of the expected answer."""
        scores = zip(self.items, self.baseline.scores, self.candidate.scores, strict=True)
        rows = [
            {"item_id": item.item_id, "slice": self.feature.label_of(item.expected), "champion": a, "candidate": b}
            for item, a, b in scores
        ]
        return paired(rows, "champion")

    def facts(self) -> dict[str, Any]:
        """Everything as numbers and ids, without a text."""
        gap = self.pairs().interval()
        sides = zip(self.items, self.baseline.scores, self.candidate.scores, strict=True)
        rows = [{"item_id": item.item_id, "baseline": a, "candidate": b} for item, a, b in sides]
        return {
            "feature": self.feature.name,
            "scorer": self.feature.scorer.metric,
            "items": len(self.items),
            "baseline": self.baseline.facts(self.feature, self.seed),
            "candidate": self.candidate.facts(self.feature, self.seed),
            "difference": gap._asdict() if gap else None,
            "changed": [rows[place] for place in self.changed()],
        }


def find_contender(settings: Settings, feature: Feature, named: str) -> Contender:
    """The release that a name means: `live`, an id or its beginning, a version, or `prompt:FILE`.

    A prompt on disk is asked as the live release would be if its system text were exchanged: model, adapter and
    demonstrations stay.

    Raises:
        ReleaseNotFound: there is none, or it is another feature's.
    """
    if named == "live":
        return live_contender(settings, feature.name)
    if named.startswith(PROMPT):
        live = live_contender(settings, feature.name)
        text = load_prompt(Path(named.removeprefix(PROMPT))).text
        return Contender(reworded(live.release, text), live.adapter)
    store = ReleaseStore.of(settings)
    found = _by_version(store, feature.name, named) if VERSION.fullmatch(named) else store.find(named)
    release = store.get(found)
    if release.feature != feature.name:
        raise ReleaseNotFound(f"{found} is a release of {release.feature}, not of {feature.name}")
    return Contender(release, store.adapter_path(found))


def live_contender(settings: Settings, feature: str) -> Contender:
    """What is on channel stable; in a clone without state, the champion that lies with the data."""
    try:
        release_id = Channels.of(settings).read(feature).stable
    except ReleaseNotFound:
        path = _inputs(settings, feature) / "champion.json"
        release = read_manifest(path)
        adapter = ReleaseStore.of(settings).adapter_path(release.release_id) if release.adapter else None
        return Contender(release, adapter)
    store = ReleaseStore.of(settings)
    return Contender(store.get(release_id), store.adapter_path(release_id))


def reworded(release: Release, text: str) -> Release:
    """The release with another system text."""
    return release.model_copy(update={"prompt": release.prompt.model_copy(update={"text": text})})


def read_items(settings: Settings, feature: Feature, file: Path | None) -> list[HoldoutItem]:
    """The items to compare on: the showcase split, or a file of the holdout's shape.

    Raises:
        HoldoutTouched: the file holds an item of the holdout: only a run may ask it, which counts the look.
        BadInput: there are no items.
    """
    folder = _inputs(settings, feature.name) / "holdout"
    path = file or folder / "showcase.jsonl"
    items = read_holdout(path, feature)
    if not items:
        raise BadInput(f"{path} is empty; give items with --file")
    if (folder / "holdout.jsonl").is_file():
        held = {item.item_id for item in read_holdout(folder / "holdout.jsonl", feature)}
        if known := sum(item.item_id in held for item in items):
            raise HoldoutTouched(
                f"{known} of the {len(items)} items of {path} are in {feature.name}'s holdout, which a run alone may "
                "ask (it counts the look); leave them out, or compare on the showcase"
            )
    return items


@contextmanager
def serving(settings: Settings, params: Params, contenders: Sequence[Contender]) -> Iterator[Served]:
    """A model server for some releases, all of which must be on the base model of params.yaml."""
    model = resolve_base_model(params.base_model, settings)
    for contender in contenders:
        check_base_model(contender, model, Path(f"release {contender.release.release_id[:16]}"))
    with model_server(settings, params.base_model, model.path) as url:
        yield Served(url, settings.modelserver_key, params.evaluate.concurrency, answer_log(settings))


def compare_releases(
    feature: Feature,
    items: list[HoldoutItem],
    contenders: tuple[Contender, Contender],
    served: Served,
    *,
    seed: int,
    repo: Path = Path(),
    judge: JudgeServer | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Ask both (the baseline first) every item and score their answers; a release against itself is asked once.

    `repo` is the clone that holds the team's own scorers, `judge` who answers where the scorer is a judge.
    """
    sides: dict[str, Side] = {}
    ids = [contender.release.release_id for contender in contenders]
    total = len(items) * len(set(ids))
    for contender in contenders:
        release_id, before = contender.release.release_id, len(items) * len(sides)
        if release_id not in sides:
            answers = ask(contender, items, served, lambda done, _, b=before: on_progress(b + done, total))  # type: ignore[misc]
            scores = score_answers(answers, items, [item.expected for item in items], feature, repo=repo, judge=judge)
            sides[release_id] = Side(release_id, answers, scores)
    return Comparison(feature, items, sides[ids[0]], sides[ids[1]], seed)


def _inputs(settings: Settings, feature: str) -> Path:
    own = settings.repo / "data" / feature
    return own if (own / "holdout").is_dir() else settings.repo / "data" / "demo" / feature


def _by_version(store: ReleaseStore, feature: str, version: str) -> str:
    for path in sorted(store.folder.glob("rel_*")):
        facts = store.attestation(path.name)
        if facts.get("version") == version and facts.get("feature") == feature:
            return path.name
    raise ReleaseNotFound(f"{feature} has no release {version}; see `ratchet releases {feature}`")

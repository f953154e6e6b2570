"""Action: ask every hosted model the fixed prompts of features/_probe, and tell when one was changed silently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from ratchet.errors import AddressRefused, BadInput
from ratchet.ledger import Ledger
from ratchet.outbound import open_pinned
from ratchet.presets import BackendConfig, load_backends
from ratchet.probes import Probe, judge_probe, keep_probe, probes
from ratchet.settings import Settings
from ratchet.store import Store

PROMPTS = Path("features") / "_probe" / "prompts.jsonl"
EVENT = "provider_changed"
REPEATS = 3
MAX_TOKENS = 96
TIMEOUT_S = 60.0


def probe_all(
    settings: Settings, store: Store, ledger: Ledger, *, environ: Mapping[str, str], now: datetime
) -> list[Probe]:
    """Probe each model of each hosted backend; a change goes into the ledger, once.

    Raises:
        BadInput: there are no prompts, or one is malformed.
        SettingsInvalid: the backends file is malformed.
    """
    prompts = read_prompts(settings.repo / PROMPTS)
    found = []
    for config, model in hosted(settings, environ):
        today = ask(config, model, prompts, now=now, allow_private=settings.private_is_allowed)
        probe = judge_probe(today, probes(store, config.name, model))
        if probe.reasons:  # first, so that a crash in between tells it again rather than never
            facts = {"at": now.isoformat(), "p": probe.p, "similarity": probe.similarity_to_before}
            ledger.append_once(EVENT, probe.subject, **facts, reasons=[reason[:300] for reason in probe.reasons])
        keep_probe(store, probe)
        found.append(probe)
    return found


def hosted(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[BackendConfig, str]]:
    """The backends of providers outside, with each model that is asked there."""
    for config in load_backends(settings, environ).backends.values():
        if config.preset.is_hosted:
            for model in sorted(set(config.spec.models.values())):
                yield config, model


def read_prompts(path: Path) -> dict[str, str]:
    """The prompts by id.

    Raises:
        BadInput: no such file, or a line that is no prompt.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return {str(row["id"]): str(row["prompt"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f'{path} must hold lines of {{"id", "prompt"}}: {type(error).__name__}') from error


def ask(config: BackendConfig, model: str, prompts: Mapping[str, str], *, now: datetime, allow_private: bool) -> Probe:
    """What a model answers to each prompt, several times; a request that fails is counted, and no answer."""
    found: list[tuple[str, dict[str, Any] | None]] = []
    try:
        where = config.spec.addresses[0]
        with open_pinned(where, allow_private=allow_private, auth=None, timeout_s=TIMEOUT_S) as client:
            for prompt_id, prompt in prompts.items():
                found += [(prompt_id, _ask(client, config, model, prompt)) for _ in range(REPEATS)]
    except AddressRefused:
        return Probe(backend=config.name, model=model, at=now, answers={}, failed=REPEATS * len(prompts))
    said = [(prompt_id, answer) for prompt_id, answer in found if answer is not None]
    answers: dict[str, tuple[str, ...]] = {}
    for prompt_id, answer in said:
        answers[prompt_id] = (*answers.get(prompt_id, ()), answer["choices"][0]["message"]["content"])
    return Probe(
        backend=config.name,
        model=model,
        at=now,
        answers=answers,
        models_named=_named(said, "model"),
        fingerprints=_named(said, "system_fingerprint"),
        failed=len(found) - len(said),
    )


def _named(said: Sequence[tuple[str, dict[str, Any]]], field: str) -> tuple[str, ...]:
    return tuple(sorted({str(answer[field])[:200] for _, answer in said if answer.get(field)}))


def _ask(client: httpx.Client, config: BackendConfig, model: str, prompt: str) -> dict[str, Any] | None:
    asked = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": MAX_TOKENS}
    try:
        path = config.url("", "/chat/completions", model)
        answer = client.post(path, json=config.body(asked, model), headers=config.headers())
        document = answer.raise_for_status().json()
        return document if isinstance(document["choices"][0]["message"]["content"], str) else None
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError):
        return None

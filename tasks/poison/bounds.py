"""Bounds on what strangers can move: they hold against those who know them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from ratchet.files import sha256_text
from ratchet.params import PoisonParams
from tasks.balance import cap_of
from tasks.poison.groups import Judged

OVER_STRANGERS = "over the share of untrusted feedback"
OVER_SOURCE = "over the share of one source"
OVER = (OVER_STRANGERS, OVER_SOURCE)


def over_bounds(judged: Judged, params: PoisonParams, *, aside: Collection[int]) -> dict[int, str]:
    """Which of the strangers' claims that are not aside yet are too many, and of what.

    Of too many the contradicted ones go first, and of those the draw (a digest of seed and id) decides.
    """
    left = [i for i in judged.strangers if i not in aside]
    over = _over_source(judged, left, params)
    left = [i for i in left if i not in over]
    return dict.fromkeys(over, OVER_SOURCE) | dict.fromkeys(_over_trusted(judged, left, params), OVER_STRANGERS)


def _over_source(judged: Judged, left: Sequence[int], params: PoisonParams) -> set[int]:
    """What one user says beyond `max_source_share` of all strangers' claims, whoever asked.

    Judges and what we derive are the team's own and are many by nature; that a user gave no name says nothing of him.
    """
    speakers: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in left:
        claim = judged.claims[i]
        is_named = claim.source_type == "user" and claim.source_id != "unknown"
        speakers[(claim.tenant, claim.source_id) if is_named else (claim.interaction_id,)].append(i)
    cap = cap_of([len(group) for group in speakers.values()], params.max_source_share)
    return {i for group in speakers.values() if len(group) > cap for i in _in_order(judged, group, params.seed)[cap:]}


def _over_trusted(judged: Judged, left: Sequence[int], params: PoisonParams) -> set[int]:
    """Written claims of strangers beyond `max_untrusted_share` of what each target is learned from.

    An agent's word on the same answer decides there, so such claims count for nothing. Each target is given one answer
    of an agent for nothing, so that a new one can begin. Where no agent said anything there is nothing to hold them
    against, and the bound is none.
    """
    trusted: dict[str, set[str]] = defaultdict(set)
    for claim in judged.claims:
        if claim.source_type == "agent" and claim.target is not None:
            trusted[claim.target].add(claim.interaction_id)
    if not trusted or params.max_untrusted_share >= 1:
        return set()
    decided = set().union(*trusted.values())
    written: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in left:
        claim = judged.claims[i]
        if claim.is_written and claim.interaction_id not in decided:
            written[str(claim.target)][claim.interaction_id].append(i)
    over = set()
    for target, answers in written.items():
        backing = len(trusted.get(target, ())) + 1
        allowed = int(backing * params.max_untrusted_share / (1 - params.max_untrusted_share) + 1e-9)
        first = _in_order(judged, [group[0] for group in answers.values()], params.seed)
        over |= {i for head in first[allowed:] for i in answers[judged.claims[head].interaction_id]}
    return over


def _in_order(judged: Judged, group: Sequence[int], seed: int) -> list[int]:
    """The claims of a group, those that are kept first."""
    return sorted(
        group, key=lambda i: (bool(judged.is_contradicted[i]), _draw(seed, judged.claims[i].interaction_id), i)
    )


def _draw(seed: int, interaction_id: str) -> str:
    return sha256_text(f"{seed}\npoison\n{interaction_id}")

"""Bounds on what strangers can move: they hold against those who know them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence

from ratchet.files import sha256_text
from ratchet.params import PoisonParams
from tasks.balance import user_cap
from tasks.poison.groups import Judged, source_of

OVER_STRANGERS = "over the share of untrusted feedback"
OVER_ONE = "over the share of one {}"


def over_bounds(judged: Judged, params: PoisonParams, *, aside: Collection[int]) -> dict[int, str]:
    """Which of the strangers' claims that are not aside yet are too many, and of what.

    Of too many the contradicted ones go first, and of those the draw (a digest of seed and id) decides.
    """
    left = [i for i in judged.strangers if i not in aside]
    found: dict[int, str] = {}
    shares = {
        "source": params.max_source_share,
        "session": params.max_session_share,
        "tenant": params.max_tenant_share,
    }
    is_changed = True
    while is_changed:  # each changes what the others are a share of
        before = len(found)
        for what, share in shares.items():
            over = _over_share(judged, left, what, share, params.seed)
            found |= dict.fromkeys(over, OVER_ONE.format(what))
            left = [i for i in left if i not in over]
        is_changed = len(found) > before
    return found | dict.fromkeys(_over_trusted(judged, left, params), OVER_STRANGERS)


def _over_share(judged: Judged, left: Sequence[int], what: str, share: float, seed: int) -> set[int]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i in left:
        groups[_key(judged, i, what)].append(i)
    cap = user_cap([len(group) for group in groups.values()], share)
    return {i for group in groups.values() if len(group) > cap for i in _last(judged, group, seed)[cap:]}


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
        first = _last(judged, [group[0] for group in answers.values()], params.seed)
        over |= {i for head in first[allowed:] for i in answers[judged.claims[head].interaction_id]}
    return over


def _last(judged: Judged, group: Sequence[int], seed: int) -> list[int]:
    """The group in the order in which its claims are kept."""
    return sorted(
        group, key=lambda i: (bool(judged.is_contradicted[i]), _draw(seed, judged.claims[i].interaction_id), i)
    )


def _key(judged: Judged, i: int, what: str) -> Hashable:
    claim = judged.claims[i]
    if what == "source":
        return source_of(claim)
    if what == "tenant":
        return claim.tenant
    return claim.tenant, claim.session_id or claim.interaction_id


def _draw(seed: int, interaction_id: str) -> str:
    return sha256_text(f"{seed}\npoison\n{interaction_id}")

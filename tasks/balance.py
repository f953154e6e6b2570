"""What a set of examples may be made of: shares of users, tenants, labels, and the split into train and validation.

Every draw is a digest of the seed and an id, so the same examples give the same sets whatever their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ratchet.files import sha256_text
from ratchet.params import CurateParams
from tasks.clusters import components

Row = dict[str, Any]
OVER_REHEARSAL = "over the share of rehearsal"
OVER_ACCEPT = "over the share of accepted answers"


class Limit(NamedTuple):
    """No group of rows is more than a share of a set. Who has no group of this kind is limited by himself."""

    kind: str
    reason: str
    share_of: Callable[[CurateParams, int], float]
    group_of: Callable[[Row], str]


def _user(row: Row) -> str:
    """Whose the example is; where no user is known, the conversation's, or its own."""
    return str(row["user_id"] or row["session_id"] or row["interaction_id"])


def _session(row: Row) -> str:
    return str(row["session_id"] or row["interaction_id"])


def _label_share(params: CurateParams, n_labels: int) -> float:
    """With few labels an equal part is more than the share: a label may have twice that, as in `cap_of`."""
    return max(params.max_label_share, 2 / n_labels)


LIMITS = (
    Limit("user", "over the share of one user", lambda p, n: p.max_user_share, _user),
    Limit("session", "over the share of one conversation", lambda p, n: p.max_session_share, _session),
    Limit("tenant", "over the share of one tenant", lambda p, n: p.max_tenant_share, lambda row: str(row["tenant"])),
    Limit("label", "over the share of one label", _label_share, lambda row: str(row["label"])),
)


class Balanced(NamedTuple):
    """The rows that stay, and how many were set aside by reason."""

    rows: list[Row]
    aside: Counter[str]


class Split(NamedTuple):
    """Train and validation; no conversation and no near-duplicate cluster is in both."""

    train: list[Row]
    validation: list[Row]


def balance(rows: Sequence[Row], params: CurateParams) -> Balanced:
    """Apply every limit until all hold: each changes what the others are a share of.

    At most `rehearsal_share` is answers that were confirmed, and `accept_share` answers that were merely taken over;
    where nothing was corrected, or answers are free texts (no label), the confirmed are all there is and stay.
    """
    kept, aside = list(rows), Counter[str]()
    while True:
        before = len(kept)
        kept = _counted(kept, _limit_rehearsal(kept, params), OVER_REHEARSAL, aside)
        kept = _counted(kept, _limit_accepted(kept, params), OVER_ACCEPT, aside)
        for limit in LIMITS:
            kept = _counted(kept, _limit_groups(kept, limit, params), limit.reason, aside)
        if len(kept) == before:
            return Balanced(kept, +aside)


def cap_of(counts: Sequence[int], share: float) -> int:
    """The most examples that one group may have, so that none has more than `share` of what is then left.

    With fewer than 1/share groups no cap can do that; none then has more than twice an equal part.

    Args:
        counts: the number of examples of each group.
    """
    if not counts:
        return 1
    allowed = share if share * len(counts) >= 1 else min(1.0, 2 / len(counts))
    low, high = 1, max(counts)
    while low < high:  # what is left grows slower than the cap, so every cap below one that holds does too
        cap = (low + high + 1) // 2
        if cap <= allowed * sum(min(n, cap) for n in counts) + 1e-9:
            low = cap
        else:
            high = cap - 1
    return low


def split(rows: Sequence[Row], *, validation_share: float, seed: int) -> Split:
    """Draw whole groups (conversations and clusters that hang together) for validation, label by label."""
    ordered = sorted(rows, key=lambda row: str(row["example_id"]))
    groups = sorted(_groups(ordered), key=lambda group: _draw(seed, "split", group[0]["example_id"]))
    wanted = {label: round(validation_share * n) for label, n in Counter(row["label"] for row in ordered).items()}
    if groups and validation_share > 0 and len(groups) > 1 and not any(wanted.values()):
        wanted[groups[0][0]["label"]] = len(groups[0])
    validation: list[Row] = []
    for group in groups:
        needed = Counter(row["label"] for row in group)
        if all(wanted[label] >= n for label, n in needed.items()):
            validation += group
            for label, n in needed.items():
                wanted[label] -= n
    chosen = {row["example_id"] for row in validation}
    return Split(
        [row for row in ordered if row["example_id"] not in chosen],
        [row for row in ordered if row["example_id"] in chosen],
    )


def _limit_rehearsal(rows: list[Row], params: CurateParams) -> list[Row]:
    confirmed = [row for row in rows if row["origin"] != "correction"]
    corrected = len(rows) - len(confirmed)
    if params.rehearsal_share >= 1 or not corrected or all(row["label"] is None for row in rows):
        return rows
    most = int(corrected * params.rehearsal_share / (1 - params.rehearsal_share) + 1e-9)
    return _without(rows, _drawn(confirmed, "rehearsal", params.seed)[most:])


def _limit_accepted(rows: list[Row], params: CurateParams) -> list[Row]:
    accepted = [row for row in rows if row["origin"] == "accept"]
    others = len(rows) - len(accepted)
    if params.accept_share >= 1:
        return rows
    most = int(others * params.accept_share / (1 - params.accept_share) + 1e-9)
    return _without(rows, _drawn(accepted, "accept", params.seed)[most:])


def _limit_groups(rows: list[Row], limit: Limit, params: CurateParams) -> list[Row]:
    """The heaviest rows of each group stay."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[limit.group_of(row)].append(row)
    if not groups:
        return rows
    cap = cap_of([len(found) for found in groups.values()], limit.share_of(params, len(groups)))
    over = [row for found in groups.values() if len(found) > cap for row in _heaviest(found, limit, params)[cap:]]
    return _without(rows, over)


def _heaviest(rows: list[Row], limit: Limit, params: CurateParams) -> list[Row]:
    return sorted(_drawn(rows, limit.kind, params.seed), key=lambda row: -row["weight"])


def _drawn(rows: list[Row], purpose: str, seed: int) -> list[Row]:
    """The rows in an order that depends on the seed and their ids alone."""
    return sorted(rows, key=lambda row: _draw(seed, purpose, row["example_id"]))


def _counted(before: list[Row], after: list[Row], reason: str, aside: Counter[str]) -> list[Row]:
    aside[reason] += len(before) - len(after)
    return after


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for i, row in enumerate(rows):
        for bond in ("cluster", "session_id"):
            if row[bond] is not None:
                pairs.append((first.setdefault((bond, row[bond]), i), i))
    groups: dict[int, list[Row]] = defaultdict(list)
    for row, root in zip(rows, components(len(rows), pairs), strict=True):
        groups[root].append(row)
    return list(groups.values())


def _without(rows: list[Row], dropped: list[Row]) -> list[Row]:
    ids = {row["example_id"] for row in dropped}
    return [row for row in rows if row["example_id"] not in ids]


def _draw(seed: int, purpose: str, example_id: str) -> str:
    return sha256_text(f"{seed}\n{purpose}\n{example_id}")

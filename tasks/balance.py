"""What a set of examples may be made of: shares of users and of rehearsal, and the split into train and validation.

Every draw is a digest of the seed and an id, so the same examples give the same sets whatever their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ratchet.files import sha256_text
from tasks.clusters import components

Row = dict[str, Any]
OVER_USER_SHARE = "over the share of one user"
OVER_REHEARSAL = "over the share of rehearsal"


class Balanced(NamedTuple):
    """The rows that stay, and how many were set aside by reason."""

    rows: list[Row]
    aside: Counter[str]


class Split(NamedTuple):
    """Train and validation; no conversation and no near-duplicate cluster is in both."""

    train: list[Row]
    validation: list[Row]


def balance(rows: Sequence[Row], *, rehearsal_share: float, user_share: float, seed: int) -> Balanced:
    """Apply both limits until both hold: each changes what the other is a share of.

    Args:
        rehearsal_share: at most this share is confirmed answers. Where nothing was corrected, or answers are free
            texts (no label), they are all there is to learn from and stay.
        user_share: at most this share is of one user; see `user_cap`.
    """
    kept, aside = list(rows), Counter[str]()
    while True:
        rehearsed = _limit_rehearsal(kept, rehearsal_share, seed)
        capped = _limit_users(rehearsed, user_share, seed)
        aside[OVER_REHEARSAL] += len(kept) - len(rehearsed)
        aside[OVER_USER_SHARE] += len(rehearsed) - len(capped)
        if len(capped) == len(kept):
            return Balanced(kept, +aside)
        kept = capped


def user_cap(counts: Sequence[int], share: float) -> int:
    """The most examples that one user may have, so that nobody has more than `share` of what is then left.

    With fewer than 1/share users no cap can do that; nobody then has more than twice an equal part.

    Args:
        counts: the number of examples of each user.
    """
    if not counts:
        return 1
    allowed = share if share * len(counts) >= 1 else min(1.0, 2 / len(counts))
    caps = range(max(counts), 0, -1)
    return next((cap for cap in caps if cap <= allowed * sum(min(n, cap) for n in counts) + 1e-9), 1)


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


def _limit_rehearsal(rows: list[Row], share: float, seed: int) -> list[Row]:
    confirmed = [row for row in rows if row["origin"] == "confirmed"]
    corrected = len(rows) - len(confirmed)
    if share >= 1 or not corrected or all(row["label"] is None for row in rows):
        return rows
    most = int(corrected * share / (1 - share) + 1e-9)
    drawn = sorted(confirmed, key=lambda row: _draw(seed, "rehearsal", row["example_id"]))[most:]
    return _without(rows, drawn)


def _limit_users(rows: list[Row], share: float, seed: int) -> list[Row]:
    by_user: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_user[_user(row)].append(row)
    cap = user_cap([len(found) for found in by_user.values()], share)
    order: Callable[[Row], tuple[float, str]] = lambda row: (-row["weight"], _draw(seed, "user", row["example_id"]))  # noqa: E731
    return _without(rows, [row for found in by_user.values() for row in sorted(found, key=order)[cap:]])


def _user(row: Row) -> str:
    """Whose the example is; where no user is known, the conversation's, or its own."""
    return str(row["user_id"] or row["session_id"] or row["interaction_id"])


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

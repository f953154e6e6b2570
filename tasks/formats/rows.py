"""What the readers of all formats share: the shape of a reader, ids, times, and access to fields of unknown type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ratchet.errors import BadInput
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback, Interaction, Rejected

Record = Interaction | Feedback | Rejected
UNDATED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Given:
    """What the importer says about all rows: their feature, and the time of rows of formats that have none."""

    feature: str | None = None
    at: datetime = UNDATED

    def feature_of(self, named: Any) -> str:
        """The feature that the importer names, or else the one that the row names.

        Raises:
            BadInput: neither does.
        """
        if self.feature is not None:
            return self.feature
        if isinstance(named, str) and named:
            return named
        raise BadInput("feature: the row names none; give it with --feature")


Reader = Callable[[dict[str, Any], str, Given], Iterator[Record]]


def derive_id(kind: str, *parts: Any) -> str:
    """An id from content: the same content has the same id, so that reading it twice adds nothing."""
    return f"{kind}_{sha256_text(canonical_json(parts))[:32]}"


def to_time(value: Any, field: str) -> datetime:
    """A time from ISO-8601 text (UTC where it names no zone) or from seconds, milliseconds, micro- or nanoseconds.

    Raises:
        BadInput: it is none, or lies outside the years 1 to 9999.
    """
    try:
        if isinstance(value, str) and not value.isdigit():
            at = datetime.fromisoformat(value.strip())
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            seconds = float(value)
            for _ in range(3):  # 1e11 seconds is the year 5138: a larger number counts a smaller unit
                seconds /= 1000 if abs(seconds) >= 1e11 else 1
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise BadInput(f"{field}: no time" if value in (None, "") else f"{field}: not a time")


def field(row: dict[str, Any], name: str, kind: type | tuple[type, ...], *, default: Any = None) -> Any:
    """A field of a known type; the default where it is missing or null.

    Raises:
        BadInput: it has another type.
    """
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadInput(f"{name}: not of the type that this format has")
    return value


def text_or_none(value: Any) -> str | None:
    """A name or id as text; None where there is none or it is not a plain value."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value) or None

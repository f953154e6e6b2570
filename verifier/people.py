"""Who may be asked for an approval: names, kinds, one-time-code secrets, and the last code each of them used."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import pyotp
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.approvals import CODE_LIFE_S, Enrolment, Kind
from ratchet.errors import BadInput, SettingsInvalid
from ratchet.files import canonical_json
from ratchet.signing import write_private

STEP_S = 30
STEPS_BACK = CODE_LIFE_S // STEP_S
STEPS_AHEAD = 1  # a phone's clock runs a little ahead (RFC 6238, section 6)
ISSUER = "Ratchet"

Verdict = Literal["accepted", "unknown_approver_or_wrong_code", "used_code"]


class Person(BaseModel):
    """One enrolled approver, a person or a machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    secret: str = Field(repr=False)
    enrolled_at: AwareDatetime
    last_used_counter: int = -1


class CodeCheck(NamedTuple):
    """What came of a code; `kind` is set where it was accepted."""

    verdict: Verdict
    kind: Kind | None


class People:
    """The enrolled approvers of one verifier, kept in people.json (0600, written whole)."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Read the file; none yet means that nobody is enrolled.

        Raises:
            SettingsInvalid: the file cannot be read as people; it is never replaced by an empty one.
        """
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._people = _read(path)
        self._nobody = Person(kind="person", secret=pyotp.random_base32(), enrolled_at=datetime.now(UTC))

    def kinds(self) -> dict[str, Kind]:
        """Every name with its kind, sorted; never a secret."""
        return {name: person.kind for name, person in sorted(self._people.items())}

    def enrol(self, name: str, kind: Kind) -> Enrolment:
        """Make a secret for a new approver.

        Raises:
            BadInput: the name is taken.
        """
        with self._lock:
            if name in self._people:
                raise BadInput(f"{name} is enrolled already")
            at = datetime.fromtimestamp(self._clock(), UTC)
            person = Person(kind=kind, secret=pyotp.random_base32(), enrolled_at=at)
            self._save(self._people | {name: person})
        uri = pyotp.TOTP(person.secret).provisioning_uri(name=name, issuer_name=ISSUER)
        return Enrolment(name=name, secret=person.secret, otpauth_uri=uri)

    def remove(self, name: str) -> Kind:
        """Take a name and its secret away, and say what it was.

        Raises:
            BadInput: nobody has it.
        """
        with self._lock:
            if name not in self._people:
                raise BadInput(f"{name} is not enrolled")
            kind = self._people[name].kind
            self._save({other: person for other, person in self._people.items() if other != name})
            return kind

    def use_code(self, name: str, code: str) -> CodeCheck:
        """Check a code and use it up; when this returns `accepted`, that it was used is on disk.

        An unknown name is checked against a secret that nobody has, so that it takes the same path as a wrong code.
        """
        with self._lock:
            person = self._people.get(name, self._nobody)
            counter = _matching_counter(person.secret, code, int(self._clock()) // STEP_S)
            if counter is None or person is self._nobody:
                return CodeCheck("unknown_approver_or_wrong_code", None)
            if counter <= person.last_used_counter:
                return CodeCheck("used_code", None)
            used = person.model_copy(update={"last_used_counter": counter})
            self._save(self._people | {name: used})
            return CodeCheck("accepted", person.kind)

    def _save(self, people: dict[str, Person]) -> None:
        document = {name: person.model_dump(mode="json") for name, person in people.items()}
        write_private(self._path, canonical_json(document).encode())
        self._people = people  # after the write: what failed to reach the disk did not happen


def _matching_counter(secret: str, code: str, now: int) -> int | None:
    """The newest time step whose code this is (RFC 6238, section 4), among those of the last five minutes.

    Every step is compared, in constant time, whether or not one has matched.
    """
    totp = pyotp.TOTP(secret)
    given = code.replace(" ", "").encode()
    match = None
    for counter in range(max(0, now - STEPS_BACK), now + STEPS_AHEAD + 1):
        if hmac.compare_digest(totp.generate_otp(counter).encode(), given):
            match = counter
    return match


def _read(path: Path) -> dict[str, Person]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_bytes())
        return {name: Person.model_validate(person) for name, person in document.items()}
    except (ValueError, AttributeError) as error:  # pydantic's ValidationError is a ValueError
        # not "from error": pydantic quotes what it read, and that holds secrets
        raise SettingsInvalid(f"{path} is damaged ({type(error).__name__}); restore it from a copy") from None

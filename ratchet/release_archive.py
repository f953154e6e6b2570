"""A release as one file: a tar of manifest, adapter and attestation, verified by its id when it is read again.

Nothing is unpacked by the names that stand in the archive: each member must be one of those that a release has.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from ratchet.errors import BadInput, ReleaseCorrupt
from ratchet.files import canonical_json
from ratchet.release import ADAPTER_FILES, MANIFEST, ReleaseStore, read_candidate

ATTESTATION = "attestation.json"
MEMBERS = {MANIFEST, ATTESTATION, *(f"adapter/{name}" for name in ADAPTER_FILES)}
MOST_BYTES = {MANIFEST: 16 << 20, ATTESTATION: 16 << 20, "adapter/adapter_config.json": 1 << 20}
MOST_WEIGHT_BYTES = 4 << 30
MOST_HEADER_BYTES = 100 << 20  # as the safetensors library allows


class Imported(NamedTuple):
    """The release that an archive held, and whether its attestation was taken over."""

    release_id: str
    is_attested: bool


def export_release(releases: ReleaseStore, release_id: str, out: Path) -> None:
    """Write a verified release into a tar; the same release and attestation give the same bytes.

    Raises:
        BadInput: the file exists.
        ReleaseNotFound, ReleaseCorrupt: it is not there, or not whole.
    """
    release = releases.get(release_id)
    folder = releases.folder / release_id
    attestation = canonical_json(releases.attestation(release_id)).encode()
    try:
        with out.open("xb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, MANIFEST, io.BytesIO((folder / MANIFEST).read_bytes()))
            for name in sorted(release.adapter.files) if release.adapter else ():
                with (folder / "adapter" / name).open("rb") as content:
                    _add(tar, f"adapter/{name}", content)
            _add(tar, ATTESTATION, io.BytesIO(attestation))
    except FileExistsError as error:
        raise BadInput(f"{out} exists; name a new file") from error


def import_release(releases: ReleaseStore, archive: Path) -> Imported:
    """Read an archive into the release store. Its attestation is taken over where the store has none of the release.

    What it attests is believed no more than before: signatures are checked where a release is served or verified.

    Raises:
        BadInput: it is no archive of a release: another member, a link, a part that is too large, or not a tar.
        ReleaseCorrupt: its files do not match its manifest.
    """
    with tempfile.TemporaryDirectory(prefix="ratchet-import-") as name:
        folder = Path(name)
        attestation = _unpack(archive, folder)
        weights = folder / "adapter" / "adapter_model.safetensors"
        if weights.is_file() and not is_safetensors(weights):
            raise ReleaseCorrupt(f"{archive}: adapter_model.safetensors is no safetensors file")
        read_candidate(folder)
        release_id = releases.put(folder)
        is_attested = bool(attestation) and not releases.attestation(release_id)
        if is_attested:
            releases.attest(release_id, attestation)
        return Imported(release_id, is_attested)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then that much of a JSON object."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(path.stat().st_size - 8, MOST_HEADER_BYTES):
            return False
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except (ValueError, RecursionError):
            return False


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner, mode 0644: the bytes depend on the content alone
    member.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(member, content)


def _unpack(archive: Path, folder: Path) -> dict[str, object]:
    """Write the members into a folder. Returns the attestation."""
    attestation: dict[str, object] = {}
    (folder / "adapter").mkdir()
    seen: set[str] = set()
    try:
        with tarfile.open(archive, mode="r:") as tar:
            for member in tar:
                limit = MOST_BYTES.get(member.name, MOST_WEIGHT_BYTES)
                if not member.isreg() or member.name not in MEMBERS - seen or member.size > limit:
                    name = re.sub(r"[^\w./-]", "?", member.name)[:80]
                    raise BadInput(f"{archive}: the member {name!r} is not one of a release; nothing was taken over")
                seen.add(member.name)
                content = tar.extractfile(member)
                assert content is not None
                if member.name == ATTESTATION:
                    attestation = dict(json.loads(content.read()))
                    continue
                with (folder / member.name).open("xb") as file:
                    while chunk := content.read(1 << 20):
                        file.write(chunk)
    except (tarfile.TarError, EOFError, OSError, ValueError, TypeError) as error:
        raise BadInput(f"{archive} is no archive of a release ({type(error).__name__})") from error
    if not any((folder / "adapter").iterdir()):
        (folder / "adapter").rmdir()
    return attestation

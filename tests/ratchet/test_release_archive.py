from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput, RatchetError, ReleaseCorrupt
from ratchet.release import ReleaseStore
from ratchet.release_archive import export_release, import_release, is_safetensors
from ratchet.trust import check_signatures
from tests.released import WEIGHTS, Machine


@pytest.fixture
def archive(machine: Machine, tmp_path: Path) -> Path:
    export_release(machine.releases, machine.release(weights=WEIGHTS), tmp_path / "one.tar")
    return tmp_path / "one.tar"


@pytest.fixture
def elsewhere(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "elsewhere")


def rewrite(archive: Path, change: Any) -> Path:
    """The archive with each (member, content) as `change` gives it, and what it gives for None at the end."""
    out = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(out, "w") as new:
        pairs = [(m, old.extractfile(m).read()) for m in old]  # type: ignore[union-attr]
        for member, content in [change(*pair) for pair in pairs] + [change(None, b"")]:
            if member is not None:
                member.size = len(content) if member.isreg() else 0
                new.addfile(member, io.BytesIO(content))
    return out


def extra(name: str, type_: bytes = tarfile.REGTYPE) -> Any:
    def change(member: tarfile.TarInfo | None, content: bytes) -> tuple[Any, bytes]:
        if member is not None:
            return member, content
        made = tarfile.TarInfo(name)
        made.type, made.linkname = type_, "/etc/passwd"
        return made, b"x"

    return change


def test_a_release_comes_over_whole_with_its_signatures(machine: Machine, archive: Path, elsewhere) -> None:
    found = import_release(elsewhere, archive)
    assert elsewhere.get(found.release_id) == machine.releases.get(found.release_id)
    assert found.is_attested
    assert check_signatures(found.release_id, elsewhere.attestation(found.release_id), machine.trust).faults == []
    assert import_release(elsewhere, archive) == (found.release_id, False)


def test_the_same_release_gives_the_same_bytes_and_no_file_is_overwritten(machine, archive: Path, tmp_path) -> None:
    release_id = machine.releases.ids()[0]
    export_release(machine.releases, release_id, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    with pytest.raises(BadInput, match="exists"):
        export_release(machine.releases, release_id, archive)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "adapter/../../evil", "adapter/model.bin", "evil\x1b[31m"])
def test_a_member_of_another_name_is_refused(archive: Path, elsewhere, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="nothing was taken over") as caught:
        import_release(elsewhere, rewrite(archive, extra(name)))
    assert "\x1b" not in str(caught.value) and not elsewhere.folder.exists()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_link_in_the_place_of_a_file_is_refused(archive: Path, elsewhere, kind: bytes) -> None:
    def only_link(member: tarfile.TarInfo | None, content: bytes) -> tuple[Any, bytes]:
        if member is not None and member.name == "candidate.json":
            return extra("candidate.json", kind)(None, b"")
        return member, content

    with pytest.raises(BadInput, match="nothing was taken over"):
        import_release(elsewhere, rewrite(archive, only_link))


def test_a_member_that_comes_twice_is_refused(archive: Path, elsewhere) -> None:
    with pytest.raises(BadInput, match="nothing was taken over"):
        import_release(elsewhere, rewrite(archive, extra("candidate.json")))


@pytest.mark.parametrize(
    ("name", "old", "new", "error"),
    [
        ("candidate.json", b"Name", b"Leak", None),
        ("adapter/adapter_model.safetensors", b"{}", b"[]", ReleaseCorrupt),
        ("adapter/adapter_config.json", b"{}", b"{ }", ReleaseCorrupt),
    ],
)
def test_changed_content_is_refused_or_is_another_release(machine, archive, elsewhere, name, old, new, error) -> None:
    def change(member: tarfile.TarInfo | None, content: bytes) -> tuple[Any, bytes]:
        return member, content.replace(old, new) if member is not None and member.name == name else content

    changed = rewrite(archive, change)
    if error is not None:
        with pytest.raises(error):
            import_release(elsewhere, changed)
        return
    found = import_release(elsewhere, changed).release_id
    assert found != machine.releases.ids()[0]
    assert len(check_signatures(found, elsewhere.attestation(found), machine.trust).faults) == 2


def test_pickled_weights_under_the_right_name_are_refused(machine: Machine, elsewhere, tmp_path: Path) -> None:
    export_release(machine.releases, machine.release(weights=b"\x80\x04pickle...."), tmp_path / "p.tar")
    with pytest.raises(ReleaseCorrupt, match="no safetensors"):
        import_release(elsewhere, tmp_path / "p.tar")
    assert not is_safetensors(next(machine.releases.folder.rglob("*.safetensors")))


@pytest.mark.parametrize("content", [b"", b"x" * 600, b"\x1f\x8b" + b"0" * 100])
def test_what_is_no_archive_is_told(elsewhere, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(RatchetError):
        import_release(elsewhere, tmp_path / "x.tar")

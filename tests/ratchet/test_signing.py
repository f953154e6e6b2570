import stat

from ratchet.signing import pae, public_pem, signing_key


def test_pae_is_that_of_the_specification():
    wanted = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"  # protocol.md, "Test Vectors"
    assert pae("http://example.com/HelloWorld", b"hello world") == wanted


def test_pae_counts_bytes_not_characters():
    assert pae("t", "é".encode()) == b"DSSEv1 1 t 2 \xc3\xa9"


def test_a_private_key_is_made_once_and_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "secrets" / "a.key"
    first = public_pem(signing_key(path).public_key())
    assert public_pem(signing_key(path).public_key()) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["a.key"]

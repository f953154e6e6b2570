import pyotp
import pytest

from ratchet.errors import SettingsInvalid
from verifier.people import People, _matching_counter

SECRET = pyotp.random_base32()


def test_codes_are_those_of_rfc_6238():
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238, appendix B: SHA-1, the last six of its eight digits
    assert _matching_counter(secret, "287082", 59 // 30) == 1
    assert _matching_counter(secret, "081804", 1_111_111_109 // 30) == 1_111_111_109 // 30


def test_a_code_may_be_typed_with_a_gap():
    code = pyotp.TOTP(SECRET).generate_otp(1000)
    assert _matching_counter(SECRET, f"{code[:3]} {code[3:]}", 1000) == 1000


def test_a_damaged_file_stops_the_start_and_is_not_quoted(tmp_path):
    path = tmp_path / "people.json"
    path.write_text('{"ana":{"kind":"person","secret":"JBSWY3DPEHPK3PXP","enrolled_at":"never"}}')
    with pytest.raises(SettingsInvalid, match="damaged") as caught:
        People(path, lambda: 0.0)
    assert "JBSWY3" not in str(caught.value) and caught.value.__cause__ is None


def test_a_code_counts_as_used_only_once_it_is_on_disk(tmp_path):
    people = People(tmp_path / "state" / "people.json", lambda: 30_000.0)
    code = pyotp.TOTP(people.enrol("ana", "person").secret).generate_otp(1000)
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").write_text("in the way of the folder")
    with pytest.raises(OSError, match="state"):
        people.use_code("ana", code)
    (tmp_path / "state").unlink()
    assert people.use_code("ana", code).verdict == "accepted"


def test_the_secret_that_stands_in_for_an_unknown_name_accepts_nobody(tmp_path):
    people = People(tmp_path / "people.json", lambda: 30_000.0)
    code = pyotp.TOTP(people._nobody.secret).generate_otp(1000)
    assert people.use_code("eve", code) == ("unknown_approver_or_wrong_code", None)

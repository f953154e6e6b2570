from pathlib import Path
from typing import Any

import pytest

from ratchet.records import Interaction, Rejected
from tasks.formats import detect_format, read_records
from tests.tasks.format_rows import ZENDESK, as_csv


def read(tmp_path: Path, content: bytes, feature: str | None = "f") -> list[Any]:
    path = tmp_path / "tickets.csv"
    path.write_bytes(content)
    return list(read_records(path, feature=feature))


def test_ticket_with_a_draft_is_an_answer_its_correction_and_its_satisfaction(tmp_path: Path) -> None:
    asked, correction, thumb = read(tmp_path, as_csv(*ZENDESK))
    assert asked.interaction_id == "ticket_7" and asked.input.messages[0].content == "Where is\nmy card?"
    assert (asked.output.content, asked.user_id, asked.at.year) == ("It is on its way.", "u1", 2025)
    assert (correction.kind, correction.value, correction.source.id) == ("correction", "It comes on Monday.", "a1")
    assert (thumb.kind, thumb.value, thumb.source.type) == ("thumb", False, "user")


def test_ticket_without_a_draft_has_the_reply_as_its_answer(tmp_path: Path) -> None:
    (asked,) = read(tmp_path, as_csv(ZENDESK[0] | {"Draft": "", "Satisfaction Score": "Offered"}))
    assert asked.output.content == "It comes on Monday."


def test_formula_stays_the_text_that_it_is(tmp_path: Path) -> None:
    asked = read(tmp_path, as_csv(ZENDESK[0] | {"Description": '=HYPERLINK("http://x")'}))[0]
    assert asked.input.messages[0].content == '=HYPERLINK("http://x")' and asked.attributes == {"priority": "=1+1"}


@pytest.mark.parametrize("missing", ["Ticket ID", "Created at", "Reply"])
def test_ticket_without_what_makes_it_one_is_rejected(tmp_path: Path, missing: str) -> None:
    found = read(tmp_path, as_csv(ZENDESK[0] | {missing: "", "Draft": ""}))
    assert [type(r) for r in found] == [Rejected]


def test_ticket_needs_a_feature(tmp_path: Path) -> None:
    (found,) = read(tmp_path, as_csv(*ZENDESK), feature=None)
    assert isinstance(found, Rejected) and "--feature" in found.reason


def test_bad_rows_are_told_by_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    head, row = b"id,created_at,message,reply\n", b"1,2025-01-01,hi,yes\n"
    content = (
        head + row + b"2,2025-01-01,hi\n" + row + b'3,2025-01-01,"h\xe9",yes\n' + b"\n" + b'4,2025-01-01,"hi" x,y\n'
    )
    found = read(tmp_path, content + b"5,2025-01-01,hi,yes\n")
    told = {r.where: r.reason for r in found if isinstance(r, Rejected)}
    assert list(told) == ["tickets.csv:3", "tickets.csv:5", "tickets.csv:7"]
    assert told["tickets.csv:5"] == "not UTF-8" and len([r for r in found if isinstance(r, Interaction)]) == 3


def test_cell_of_ten_megabytes_and_open_quotes_end_in_reasons(tmp_path: Path) -> None:
    head, row = b"id,created_at,message,reply\n", b"1,2025-01-01,hi,yes\n"
    big = b'2,2025-01-01,"' + b"x" * 10_000_000 + b'",yes\n'
    found = read(tmp_path, head + big + row + b'3,2025-01-01,"never closed\n' * 1)
    assert [type(r) for r in found] == [Rejected, Interaction, Rejected]


def test_tickets_are_told_by_their_columns_whatever_the_file_is_called(tmp_path: Path) -> None:
    path = tmp_path / "export.txt"
    path.write_bytes(as_csv(*ZENDESK))
    assert detect_format(path) == "zendesk-csv"


def test_csv_of_something_else_gives_reasons(tmp_path: Path) -> None:
    found = read(tmp_path, b"a,b\n1,2\n")
    assert [r.reason for r in found] == ["the ticket has no message of the customer, or no reply"]

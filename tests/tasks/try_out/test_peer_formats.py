"""`ratchet try` on the public files of other tools beside the clone: counts add up, and the page is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.try_out import try_out
from tasks.try_out.page import render

PEERS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "peer_formats"
pytestmark = pytest.mark.skipif(not PEERS.is_dir(), reason=f"the public data beside the clone is missing: {PEERS}")
FILES = {
    "openai_chat_finetuning.jsonl": ("openai-chat", 4),
    "openai_batch_support_qa.jsonl": ("openai-batch", 10),
    "langfuse_traces.jsonl": ("langfuse", 8),
    "tensorzero/chat_inference.jsonl": ("tensorzero", 200),
    "otlp_traces/openai_chat.jsonl": ("otel", 2),
    "otlp_traces/anthropic_tool_use.jsonl": ("otel", 2),
}


@pytest.mark.parametrize("name", FILES)
def test_every_record_of_a_peer_is_counted_and_the_page_names_its_format(name: str) -> None:
    format, interactions = FILES[name]
    if format == "otel":
        pytest.importorskip("ratchet.otel")
    facts = try_out([PEERS / name], "auto", feature=None, on_progress=lambda what, records: None)
    found = facts.intake
    assert found.records == found.interactions + found.feedback + found.known + found.rejected.total()
    assert (found.formats, found.interactions) == ({Path(name).name: format}, interactions)
    assert f"as {format}" in render(facts, key=b"k" * 32)


def test_files_of_one_tool_are_joined(tmp_path: Path) -> None:
    facts = try_out(
        sorted((PEERS / "tensorzero").glob("*.jsonl")), "auto", feature=None, on_progress=lambda what, n: None
    )
    assert facts.counts.corrected > 100
    assert facts.counts.judged.n > 100

"""docs/security.md names the test that shows each control: they are there."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_threat_model_names_is_there() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (REPO / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`([\w/*]+\.py)`", PAGE)), set(re.findall(r"`(test_\w+)`", PAGE))
    files = {name for name in named[0] if not any(path.match(name) for path in sources)}
    tests = {name for name in named[1] if not any(f"def {name}(" in text for text in sources.values())}
    assert (files, tests) == (set(), set()) and len(named[1]) > 20

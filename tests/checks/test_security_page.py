"""docs/security.md and SECURITY.md name the test that shows each control: they are there."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGE = "".join((REPO / page).read_text(encoding="utf-8") for page in ("docs/security.md", "SECURITY.md"))


def test_every_test_that_the_threat_model_names_is_there() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (REPO / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`([\w/*]+\.py)`", PAGE)), set(re.findall(r"`(test_\w+)`", PAGE))
    unknown = {name for name in named[0] if not (REPO / name).is_file()}  # SECURITY.md names the code as well
    files = {name for name in unknown if not any(path.match(name) for path in sources)}
    tests = {name for name in named[1] if not any(f"def {name}(" in text for text in sources.values())}
    assert (files, tests) == (set(), set()) and len(named[1]) > 20

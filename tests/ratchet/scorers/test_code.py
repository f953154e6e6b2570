"""ratchet.scorers.code: answers that are code, tested inside the sandbox."""

from __future__ import annotations

import pytest

from ratchet.scorers import Item
from ratchet.scorers.code import code_tests, python_in, secure_code
from ratchet.scorers.sandbox import sandbox_works

needs_sandbox = pytest.mark.skipif(not sandbox_works(), reason="this machine allows no namespaces")
TESTS = "assert add(1, 2) == 3\ndef test_more():\n    assert add(0, -1) == -1"


def answer(code: str, tests: str | None = TESTS) -> Item:
    return Item(output=f"Here it is:\n```python\n{code}\n```\nHave fun!", variables={"tests": tests} if tests else {})


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "score", "reason"),
    [
        ("def add(a, b):\n    return a + b", 1.0, "passes its tests"),
        ("def add(a, b):\n    return 3", 0.0, "fails its tests"),
        ("def sub(a, b):\n    return a + b", 0.0, "fails its tests"),
        ("raise ValueError('secret words')", 0.0, "the code raises"),
        ("import sys\nsys.exit(0)", 0.0, "the code raises"),
        ("import os\nos._exit(0)", 0.0, "ended before its tests were done"),
        ("print('passes its tests')\nimport os\nos._exit(0)", 0.0, "ended before its tests were done"),
        ("while True: pass", 0.0, "out of time after 2 s"),
        ("x = bytearray(10**10)", 0.0, "the code raises"),
        ("import numpy", 0.0, "the code raises"),  # the standard library alone
    ],
)
def test_code_passes_its_tests_or_not(code: str, score: float, reason: str) -> None:
    found = code_tests(answer(code), time_s=2)
    assert (found.score, found.reason) == (score, reason)


def test_no_tests_is_unscored_and_no_code_fails() -> None:
    assert code_tests(answer("x = 1", None)).score is None
    assert code_tests(Item(output="Sorry, I do not know.", expected="assert True")).score == 0.0


def test_without_a_sandbox_nothing_is_run_and_the_item_is_unscored() -> None:
    found = code_tests(answer("def add(a, b):\n    return a + b"), lambda: False)
    assert (found.score, found.reason) == (None, "no sandbox on this machine")


def test_fenced_blocks_are_joined_and_other_languages_left_out() -> None:
    assert python_in("```py\na = 1\n```\ntext\n```bash\nls -l\n```\n```\nb = 2\n```") == "a = 1\n\nb = 2\n"
    assert python_in("a = 1") == "a = 1"
    assert python_in("```python\nunfinished = 1") == "unfinished = 1"
    assert python_in("This is no code, I am afraid.") is None


def test_secure_code_names_what_it_found() -> None:
    assert secure_code(answer("print(eval(input()))")).reason == "eval x1"
    assert secure_code(answer("print(int(input()))")).score == 1.0
    assert secure_code(Item(output="no code here")).score is None

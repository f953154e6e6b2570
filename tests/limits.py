"""STYLE's limits that ruff cannot check: lengths of files and functions, and names that say nothing.

    python tests/limits.py [--verbose] [FOLDER]

Exit status 1 with `file:line` of each breach. A waiver is a comment `# limits: why` on the line that is named.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("cli", "flows", "tasks", "ratchet", "gateway", "modelserver", "verifier", "pages", "benchmarks", "features")
FILE_LIMIT, FILE_AIM = 500, 300
FUNCTION_LIMIT, FUNCTION_AIM = 60, 40
BANNED = {"manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "data2"}
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Finding(NamedTuple):
    """What is beyond a limit (`is_breach`) or beyond what is aimed at."""

    path: Path
    line: int
    what: str
    is_breach: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def examine(path: Path, root: Path) -> list[Finding]:
    """Every finding of one file, by line."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    found = [*_sizes(path, lines, ast.parse(source)), *_names(path, root, ast.parse(source))]
    kept = [f for f in found if "# limits: " not in (lines[f.line - 1] if lines else "")]
    return sorted((f._replace(path=path.relative_to(root)) for f in kept), key=lambda f: (f.line, f.what))


def _sizes(path: Path, lines: list[str], tree: ast.Module) -> Iterator[Finding]:
    if len(lines) > FILE_AIM:
        yield Finding(path, 1, f"{len(lines)} lines; the limit is {FILE_LIMIT}", len(lines) > FILE_LIMIT)
    for node in ast.walk(tree):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_AIM:
                what = f"{node.name}() has {length} lines; the limit is {FUNCTION_LIMIT}"
                yield Finding(path, node.lineno, what, length > FUNCTION_LIMIT)


def _names(path: Path, root: Path, tree: ast.Module) -> Iterator[Finding]:
    for part in path.relative_to(root).with_suffix("").parts:
        if says_nothing(part):
            yield Finding(path, 1, f"the name {part!r} says nothing; see STYLE section 4", True)
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            is_verb = isinstance(node, Function) and (node.name == "process" or node.name.startswith("do_"))
            if is_verb or says_nothing(node.name):
                yield Finding(path, node.lineno, f"the name {node.name!r} says nothing; see STYLE section 4", True)


def says_nothing(name: str) -> bool:
    """Whether a name holds a banned word; `base` is fine in `base model`, which is the field's word."""
    words = [word.lower() for word in WORDS.findall(name)]
    bases = [words[i + 1 : i + 2] for i, word in enumerate(words) if word == "base"]
    return not BANNED.isdisjoint(words) or any(after not in (["model"], ["models"]) for after in bases)


def main(arguments: list[str] | None = None) -> int:
    """Print the findings. Returns the exit status."""
    parser = argparse.ArgumentParser(description="lengths and names, as STYLE sections 3 and 4 have them")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--verbose", action="store_true", help="also print what is above 300 and 40 lines")
    given = parser.parse_args(arguments)
    files = sorted(p for folder in FOLDERS for p in (given.root / folder).rglob("*.py"))
    findings = [finding for path in files for finding in examine(path, given.root)]
    for finding in findings:
        if finding.is_breach or given.verbose:
            sys.stdout.write(f"{finding}{'' if finding.is_breach else ' (a warning: ask why)'}\n")
    breaches = sum(finding.is_breach for finding in findings)
    sys.stdout.write(f"limits: {len(files)} files, {breaches} breaches, {len(findings) - breaches} to ask about\n")
    return 1 if breaches else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""JSON and lines from files that nobody vouches for: bounded in length, depth and decompressed size."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from ratchet.errors import BadInput

MAX_LINE_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_RATIO = 200  # logs shrink 5 to 30 times, a bomb a thousand times
FREE_BYTES = 64 << 20  # decompressed before the ratio counts
BOM = b"\xef\xbb\xbf"
REST = ": neither this nor what follows was read"
DECODER = json.JSONDecoder()
BETWEEN = re.compile(r"[\s,]*")


class Unreadable(NamedTuple):
    """Why a line, or all that follows it, was not read."""

    reason: str


def load_json(data: bytes | str) -> Any:
    """JSON that can be stored again: no lone surrogate, at most 64 levels; NaN and infinities become null.

    Raises:
        BadInput: why not, without a word of the content.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        value = _without_nan(data, error.msg)
    except RecursionError:
        raise BadInput("JSON nested too deeply") from None
    check_depth(value, data)
    return value


def _without_nan(data: bytes | str, problem: str) -> Any:
    """The value of JSON that is malformed by nothing but NaN or an infinity, which become null."""
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    if "NaN" in text or "Infinity" in text:
        try:
            return orjson.loads(orjson.dumps(json.loads(data, parse_constant=lambda _: None)))
        except (ValueError, TypeError, RecursionError):  # TypeError: what orjson cannot write
            pass
    raise BadInput(_why(data, problem)) from None


def check_depth(value: Any, data: bytes | str) -> None:
    """Raise BadInput where a value is nested more than 64 levels; `data`, its JSON, tells at once for most."""
    opened = data.count(b"[") + data.count(b"{") if isinstance(data, bytes) else data.count("[") + data.count("{")
    if opened <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        branches = (v.values() if isinstance(v, dict) else v for v in level)
        level = [inner for branch in branches for inner in branch if isinstance(inner, (dict, list))]
        if not level:
            return
    raise BadInput("JSON nested too deeply")


def read_lines(path: Path) -> Iterator[tuple[int, bytes | Unreadable]]:
    """Each line with its number from 1, plain or gzip; memory is one line.

    A line over 1 MiB is Unreadable and the rest goes on. Damaged gzip data, or data that grows more than 200 times,
    end the file: the last item is Unreadable and stands for all that follows.
    """
    number = 0
    with path.open("rb") as raw:
        lines = _Lines(raw)
        try:
            while line := lines.next(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = lines.next(MAX_LINE_BYTES)
                    yield number, Unreadable("line over 1 MiB")
                    continue
                yield number, line.removeprefix(BOM) if number == 1 else line
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield number + 1, Unreadable(f"damaged gzip data{REST}")
        except BadInput as error:
            yield number + 1, Unreadable(f"{error}{REST}")


def is_array(path: Path) -> bool:
    """Whether a file, plain or gzip, begins like a JSON array, so that its rows are elements and not lines."""
    with path.open("rb") as raw:
        try:
            return _Lines(raw).read(1 << 12).removeprefix(BOM).lstrip()[:1] == b"["
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return False


def read_elements(path: Path) -> Iterator[tuple[int, bytes | Unreadable]]:
    """Each element of a file that is one JSON array, with its number from 1; memory is one element.

    What cannot be told apart any more (a malformed element, one over 1 MiB, damaged gzip data) ends the file: the last
    item is Unreadable and stands for all that follows.
    """
    number, text, is_over = 0, "", False
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with path.open("rb") as raw:
        lines, skipped = _Lines(raw), re.compile(r"\s*\[[\s,]*")
        try:
            while not is_over:
                chunk = lines.read(1 << 16)
                is_over = not chunk
                text += decoder.decode(chunk, final=is_over)
                at = 0
                while (begin := skipped.match(text, at)) and begin.end() < len(text):
                    skipped, at = BETWEEN, begin.end()
                    if text[at] == "]":
                        return
                    end = _end_of_element(text, at, is_over=is_over)
                    if end is None:
                        break
                    number += 1
                    yield number, text[at:end].encode()
                    at = end
                text = text[at:]
            problem = "the array is cut off or malformed"
        except UnicodeDecodeError:
            problem = "not UTF-8"
        except (EOFError, gzip.BadGzipFile, zlib.error):
            problem = "damaged gzip data"
        except BadInput as error:
            problem = str(error)
        yield number + 1, Unreadable(f"{problem}{REST}")


def _end_of_element(text: str, begin: int, *, is_over: bool) -> int | None:
    """Where the element ends; None where the text ends before it does."""
    try:
        _, end = DECODER.raw_decode(text, begin)
    except json.JSONDecodeError:
        if len(text) - begin > MAX_LINE_BYTES:
            raise BadInput("element over 1 MiB or malformed") from None
        return None
    except RecursionError:
        raise BadInput("JSON nested too deeply") from None
    except ValueError:  # a number of more than 4300 digits
        raise BadInput("malformed JSON") from None
    return end if end < len(text) or is_over else None


class _Lines:
    """The lines of a file that may be compressed, with an eye on how much comes out of how little."""

    def __init__(self, raw: BinaryIO) -> None:
        self.raw = raw
        self.is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        self.file: BinaryIO = BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 18) if self.is_gzip else raw
        self.bytes = 0

    def next(self, limit: int) -> bytes:
        """The next line, or its first `limit` bytes."""
        return self._check(self.file.readline(limit))

    def read(self, limit: int) -> bytes:
        """The next bytes, whatever they are."""
        return self._check(self.file.read(limit))

    def _check(self, line: bytes) -> bytes:
        self.bytes += len(line)
        if self.is_gzip and self.bytes > FREE_BYTES and self.bytes > MAX_RATIO * self.raw.tell():
            raise BadInput(f"decompresses to more than {MAX_RATIO} times its size")
        return line


def _why(data: bytes | str, problem: str) -> str:
    if isinstance(data, bytes):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return "not UTF-8"
    if "surrogate" in problem:
        return "holds text that is not Unicode (a lone surrogate)"
    if "depth limit" in problem:
        return "JSON nested too deeply"
    return f"malformed JSON: {problem}"

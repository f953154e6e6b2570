"""Templates of the pages: autoescaped, and what cannot be seen in a text made visible."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

# Controls, bidirectional marks, zero-width characters, tags and variation selectors can hide or reorder what is read.
# The joiners U+200C and U+200D stay: Persian and emoji are written with them.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
WORD = re.compile(r"\w+|\s+|[^\w\s]")
CODE = re.compile(r"`([^`<>]{1,200})`")
MOST_WORDS = 600  # comparing takes time with the square of it
ALIKE = 0.5  # below it marks would be all there is to see


def visible(text: str) -> Markup:
    """A text for HTML, each character that one could not see shown as its code."""
    parts, start = [], 0
    plain = text.replace("\r\n", "\n")
    for found in UNSEEN.finditer(plain):
        parts += [escape(plain[start : found.start()]), _mark(found.group())]
        start = found.end()
    return Markup("").join([*parts, escape(plain[start:])])


def words(label: str) -> Markup:
    """A label for HTML that may break after each of its words."""
    return visible(label).replace("_", Markup("_<wbr>"))


def spoken(text: str) -> Markup:
    """A sentence of ours for HTML, what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(visible(text))))  # noqa: S704 - of what was escaped before


def changed(text: str, before: str | None) -> Markup:
    """A text for HTML with the words marked in which it differs from another; plain where little is the same."""
    old, new = WORD.findall(before or ""), WORD.findall(text)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if max(len(old), len(new)) > MOST_WORDS or matcher.ratio() < ALIKE:
        return visible(text)
    parts: list[Markup] = []
    for kind, i, j, m, n in matcher.get_opcodes():
        gone, here = visible("".join(old[i:j])), visible("".join(new[m:n]))
        parts += [Markup("<del>{}</del>").format(gone)] if kind in ("delete", "replace") else []
        parts += [here if kind == "equal" else Markup("<ins>{}</ins>").format(here)] if here else []
    return Markup("").join(parts)


def unseen(text: str) -> list[str]:
    """The names of the characters in a text that one could not see, each once."""
    return sorted({_name(c) for c in UNSEEN.findall(text.replace("\r\n", "\n"))})


def page(template: str, status: int = 200, **facts: Any) -> HTMLResponse:
    """A rendered template as an answer."""
    return HTMLResponse(TEMPLATES.get_template(template).render(facts), status)


def _mark(character: str) -> Markup:
    name = _name(character)
    return Markup('<span class="unseen" title="{}">{}</span>').format(name, name.split(" ")[0])


def _name(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'CONTROL')}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "words": words, "spoken": spoken, "changed": changed, "unseen": unseen}
    return environment


TEMPLATES = _environment()

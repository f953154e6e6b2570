"""How numbers and words from outside are told: p-values, points, and text that neither HTML nor Markdown acts on."""

from __future__ import annotations

MARKDOWN_SIGNS = {c: f"\\{c}" for c in "\\`*_{}[]()#+-.!|~$:@"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def p_text(value: float) -> str:
    """A p-value as people read it."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def points(value: float) -> str:
    """A difference of scores from 0 to 1, in points with its sign."""
    return f"{100 * value:+.1f}"


def percent(value: float) -> str:
    """A share, with as many digits as it needs."""
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + " %"


def visible(text: str) -> str:
    """Text without control and direction signs, which could make a page read otherwise than it is written."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def markdown(text: str) -> str:
    """Text on one line in which Markdown and HTML find nothing to act on."""
    plain = " ".join(visible(text).split())
    return "".join(MARKDOWN_SIGNS.get(c, c) for c in plain)

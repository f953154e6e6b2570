"""The evidence of a rollout, in lines for a terminal."""

from __future__ import annotations

from typing import Any

from cli.session import neutral


def evidence_lines(evidence: dict[str, Any]) -> list[str]:
    """The evidence of a rollout as people read it; empty before the first tick."""
    if "signals" not in evidence:
        return []
    needed, users, effect = evidence["log_wealth_needed"], evidence["users"], evidence["effect"]
    ends = ["?" if effect[end] is None else f"{100 * effect[end]:+.0f}" for end in ("low", "high")]
    missing = evidence["missing_canary_users"]
    lines = [
        f"{users['canary']} canary and {users['stable']} stable users; {ends[0]} to {ends[1]} points content",
        f"alarm at {needed:.2f}, now {evidence['log_wealth']:.2f}; proof at {needed:.2f}, now"
        f" {evidence['proof']['complaint']:.2f}" + (f", about {missing} more canary users" if missing else ""),
    ]
    for found in evidence["signals"]:
        name = found["signal"] + (f" [{neutral(found['segment'])}]" if found["segment"] else "")
        rates = "".join(f", {side} {found[side]:.4g}" for side in ("canary", "stable") if found.get(side) is not None)
        lines.append(f"  {name:<20} {found['log_wealth']:+.2f} of {found['needed_alone']:.2f}{rates}")
    return lines

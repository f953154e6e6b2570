"""The evidence of a rollout, and of all of them together, in lines for a terminal."""

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


def shadow_lines(mirrored: dict[str, Any]) -> list[str]:
    """What mirrored requests showed; empty where there was no such stage, or no tick of it yet."""
    if not mirrored:
        return []
    same = "" if mirrored["same"] is None else f", {100 * mirrored['same']:.0f} % the same"
    tokens = mirrored["input_tokens"] + mirrored["output_tokens"]
    lines = [
        f"{mirrored['answers']} mirrored answers of {mirrored['users']} users{same}; {tokens} tokens,"
        f" {mirrored['cost_usd']:.4f} USD; alarm at {mirrored['needed_log_wealth']:.2f}"
    ]
    for found in mirrored["signals"]:
        rates = f"new {found['candidate']:.4g}, old {found['champion']:.4g}"
        lines.append(f"  {found['signal']:<20} {found['log_wealth']:+.2f}, {rates}")
    return lines


def worth_lines(found: dict[str, Any]) -> list[str]:
    """What all promotions together are worth, as `tasks.worth` tells it."""
    if "why_not" in found:
        return [f"{found['feature']}: {found['why_not']}"]
    lines = []
    for side in ("anchor", "stable"):
        content = found["content"][side]
        told = "nobody has said anything yet" if content is None else f"{100 * content:.1f} % without a complaint"
        lines.append(f"{side:<7} {found[side][:16]} {found['users'][side]:>7} users, {told}")
    ends = ["?" if found["worth"][end] is None else f"{100 * found['worth'][end]:+.0f}" for end in ("low", "high")]
    sure = f"{100 * (1 - found['alpha']):g} %"
    lines.append(
        f"all promotions: {ends[0]} to {ends[1]} points ({sure} an end, at any time), since {found['since'][:19]}"
    )
    return lines

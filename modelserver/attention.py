"""Attention over packed rows: sequences of any length side by side in one forward pass, each with its own cache.

No padding, and no copying when rows come and go: the linear layers see all new tokens of all rows at once (which is
where the time goes), only the attention itself runs row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed_rows"
UNSUPPORTED = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True)
class CacheShape:
    """The sizes that decide how much is kept per token."""

    layers: int
    heads: int
    head_size: int

    @classmethod
    def of(cls, config: Any) -> CacheShape:
        """Read them from a transformers configuration."""
        heads = int(config.num_attention_heads)
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        kept = getattr(config, "num_key_value_heads", None) or heads
        return cls(int(config.num_hidden_layers), int(kept), int(head_size))


class KeyValues:
    """Keys and values of a sequence's first `length` tokens; `data` is (layers, 2, heads, capacity, head size)."""

    def __init__(self, shape: CacheShape, capacity: int) -> None:
        self.length = 0
        self.data = torch.empty(shape.layers, 2, shape.heads, max(1, capacity), shape.head_size)

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens, with half as much again so that growth stays rare."""
        if length <= self.data.shape[3]:
            return
        layers, two, heads, _, size = self.data.shape
        grown = torch.empty(layers, two, heads, length + length // 2, size)
        grown[:, :, :, : self.length] = self.data[:, :, :, : self.length]
        self.data = grown


@dataclass(frozen=True)
class Span:
    """Where one row's new tokens lie in the packed batch; they follow the `known` tokens that `cache` holds."""

    start: int
    stop: int
    known: int
    cache: KeyValues
    mask: torch.Tensor | None

    @classmethod
    def of(cls, cache: KeyValues, start: int, count: int) -> Span:
        """The span of the next `count` tokens of a sequence, which begin at `start` in the batch."""
        cache.reserve(cache.length + count)
        mask = None
        if count > 1 and cache.length:
            mask = torch.ones(count, cache.length + count, dtype=torch.bool).tril(cache.length)
        return cls(start, start + count, cache.length, cache, mask)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    spans: Sequence[Span],
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Write each row's new keys and values to its cache, and attend to all that it has; gives (1, n, heads, size).

    The signature is that of transformers' attention functions.
    """
    if any(options.get(name) is not None for name in UNSUPPORTED):
        raise ValueError(f"attention with {', '.join(UNSUPPORTED)} is not supported")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    parts = []
    for span in spans:
        known, total = span.known, span.known + span.stop - span.start
        keys, values = span.cache.data[layer]
        keys[:, known:total] = key[0, :, span.start : span.stop]
        values[:, known:total] = value[0, :, span.start : span.stop]
        parts.append(
            _attend_row(query[0, :, span.start : span.stop], keys[:, :total], values[:, :total], span, scaling)
        )
    return torch.cat(parts, dim=1).transpose(0, 1).unsqueeze(0).contiguous(), None


def _attend_row(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, span: Span, scaling: float | None
) -> torch.Tensor:
    """One row's attention; query (heads, new, size), keys and values (key heads, all, size)."""
    heads, count, size = query.shape
    if count == 1:  # the heads that share a key head become its queries: nothing needs to be repeated
        grouped = query.reshape(1, keys.shape[0], -1, size)
        out = scaled_dot_product_attention(grouped, keys[None], values[None], scale=scaling)
        return out.reshape(heads, 1, size)
    return scaled_dot_product_attention(
        query[None],
        keys[None],
        values[None],
        attn_mask=span.mask,
        is_causal=span.mask is None,
        scale=scaling,
        enable_gqa=heads != keys.shape[0],
    )[0]

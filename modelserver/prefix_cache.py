"""Keys and values of prompt beginnings that requests share: a system text, demonstrations.

Kept in blocks of 16 tokens, each known by its own tokens and the block before it (as in vLLM's automatic prefix
caching), so that any common beginning is found without anyone saying where it ends. The least recently used go first.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from modelserver.attention import KeyValues

BLOCK = 16
Key = tuple[int, tuple[int, ...]]


@dataclass
class Chain:
    """How far one sequence has followed the cache: its blocks so far.

    `root` is the number of its adapter, negative so that it is never a block's number; 0 for the base model.
    """

    root: int
    keys: list[Key] = field(default_factory=list)
    parent: int | None = None

    @property
    def length(self) -> int:
        """Tokens covered."""
        return len(self.keys) * BLOCK

    def next_key(self, tokens: Sequence[int], limit: int) -> Key | None:
        """The key of the next whole block among the first `limit` tokens; None where there is none."""
        start = self.length
        if start + BLOCK > limit:
            return None
        return (self.root if self.parent is None else self.parent, tuple(tokens[start : start + BLOCK]))

    def follow(self, key: Key, number: int) -> None:
        """Take one block more."""
        self.keys.append(key)
        self.parent = number


class PrefixCache:
    """Blocks within a memory limit; a limit of 0 keeps nothing. Used by the engine's thread only."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._blocks: OrderedDict[Key, tuple[int, torch.Tensor]] = OrderedDict()
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._blocks)

    def restore(self, chain: Chain, tokens: Sequence[int], limit: int, cache: KeyValues) -> int:
        """Copy what is known of the first `limit` tokens after those that `cache` has. Returns how many were copied."""
        if chain.length != cache.length:  # the sequence stands inside a block
            return 0
        before = cache.length
        while (key := chain.next_key(tokens, limit)) is not None and key in self._blocks:
            number, data = self._blocks[key]
            cache.reserve(cache.length + BLOCK)
            cache.data[:, :, :, cache.length : cache.length + BLOCK] = data
            cache.length += BLOCK
            chain.follow(key, number)
        self._touch(chain)
        return cache.length - before

    def next_block(self, chain: Chain, tokens: Sequence[int], limit: int, cache: KeyValues) -> Key | None:
        """The block that a sequence reads next and others could copy afterwards; None where there is none."""
        if not self.limit_bytes or chain.length != cache.length:
            return None
        return chain.next_key(tokens, limit)

    def store(self, chain: Chain, tokens: Sequence[int], limit: int, cache: KeyValues) -> None:
        """Keep the whole blocks among the first `limit` tokens that `cache` has and the chain has not."""
        while (key := chain.next_key(tokens, min(limit, cache.length))) is not None:
            if key not in self._blocks:
                data = cache.data[:, :, :, chain.length : chain.length + BLOCK].clone()
                if self.used_bytes + data.nbytes > self.limit_bytes and not self._make_room(data.nbytes):
                    return
                self._blocks[key] = (next(self._numbers), data)
                self.used_bytes += data.nbytes
            chain.follow(key, self._blocks[key][0])
        self._touch(chain)

    def _touch(self, chain: Chain) -> None:
        """Make a chain the most recently used, its first block last: without it the others cannot be found."""
        for key in reversed(chain.keys):
            if key in self._blocks:
                self._blocks.move_to_end(key)

    def _make_room(self, wanted: int) -> bool:
        while self._blocks and self.used_bytes + wanted > self.limit_bytes:
            _, (_, data) = self._blocks.popitem(last=False)
            self.used_bytes -= data.nbytes
        return self.used_bytes + wanted <= self.limit_bytes

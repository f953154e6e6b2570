from __future__ import annotations

import torch

from modelserver.attention import CacheShape, KeyValues
from modelserver.prefix_cache import BLOCK, Chain, PrefixCache

SHAPE = CacheShape(layers=2, heads=1, head_size=4)
BLOCK_BYTES = 2 * 2 * 1 * BLOCK * 4 * 4
TOKENS = list(range(3 * BLOCK + 5))


def filled(tokens: list[int]) -> KeyValues:
    """A cache in which each token's numbers say which token it is."""
    cache = KeyValues(SHAPE, len(tokens))
    cache.data[:] = torch.tensor(tokens, dtype=torch.float32)[:, None]
    cache.length = len(tokens)
    return cache


def store(prefixes: PrefixCache, tokens: list[int], root: int = 0) -> None:
    prefixes.store(Chain(root), tokens, len(tokens), filled(tokens))


def restored(prefixes: PrefixCache, tokens: list[int], root: int = 0) -> KeyValues:
    cache = KeyValues(SHAPE, 1)
    assert prefixes.restore(Chain(root), tokens, len(tokens) - 1, cache) == cache.length
    return cache


def test_a_shared_beginning_comes_back_in_whole_blocks() -> None:
    prefixes = PrefixCache(10 * BLOCK_BYTES)
    store(prefixes, TOKENS)
    cache = restored(prefixes, TOKENS[: 2 * BLOCK + 3] + [999] * BLOCK)
    assert cache.length == 2 * BLOCK
    assert torch.equal(cache.data[0, 0, 0, : cache.length, 0], torch.arange(cache.length).float())


def test_the_last_token_is_always_read_anew() -> None:
    prefixes = PrefixCache(10 * BLOCK_BYTES)
    store(prefixes, TOKENS)
    assert restored(prefixes, TOKENS[: 2 * BLOCK]).length == BLOCK


def test_adapters_do_not_share() -> None:
    prefixes = PrefixCache(10 * BLOCK_BYTES)
    store(prefixes, TOKENS, root=-1)
    assert restored(prefixes, TOKENS, root=-2).length == 0


def test_equal_tokens_after_another_beginning_are_not_taken() -> None:
    prefixes = PrefixCache(10 * BLOCK_BYTES)
    store(prefixes, TOKENS)
    assert restored(prefixes, [999] * BLOCK + TOKENS[BLOCK:]).length == 0


def test_memory_stays_within_the_limit_and_the_used_ones_stay() -> None:
    prefixes = PrefixCache(4 * BLOCK_BYTES)
    store(prefixes, TOKENS)
    for other in range(1000, 1500, 100):
        restored(prefixes, TOKENS)
        store(prefixes, list(range(other, other + BLOCK)))
        assert prefixes.used_bytes <= 4 * BLOCK_BYTES and len(prefixes) <= 4
    assert restored(prefixes, TOKENS).length == 3 * BLOCK


def test_a_limit_of_zero_keeps_nothing() -> None:
    prefixes = PrefixCache(0)
    store(prefixes, TOKENS)
    assert len(prefixes) == 0 and prefixes.next_block(Chain(0), TOKENS, len(TOKENS), KeyValues(SHAPE, 1)) is None


def test_a_cache_grows_and_keeps_what_it_has() -> None:
    cache = filled(TOKENS[:5])
    cache.reserve(50)
    assert cache.data.shape[3] >= 50 and cache.data[1, 1, 0, 4, 0] == 4

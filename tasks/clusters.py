"""Near-duplicates: MinHash finds candidates, the Jaccard index of character 5-shingles decides. All in numpy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5
PERMUTATIONS = 128
MISSED = 1e-3  # of the pairs at the threshold, at most
MARGIN = 3.5  # standard errors by which the sketches of a pair at the threshold may agree less: once in 1,200 times
NEIGHBOURS = 16  # pairs that a text gives in one band: a template with numbers would give all pairs of thousands
SKETCH_CHARS = 1 << 20  # sketched at once
VERIFIED = 4096  # pairs compared at once
HASH_BITS = np.uint64(32)

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


class Shingled(NamedTuple):
    """The hashed shingles of texts one after another, the text of each, and where each text's begin."""

    hashes: Hashes
    text: Ints
    start: Ints


class Sketched(NamedTuple):
    """MinHash signatures (n_texts, 128), and the distinct shingles of text i from `start[i]` to `start[i + 1]`."""

    signature: NDArray[np.uint32]
    members: NDArray[np.uint32]
    start: Ints


def near_pairs(texts: Sequence[str], *, jaccard: float, seed: int) -> list[tuple[int, int]]:
    """Pairs of positions (lower first, sorted) that join what is near: whose shingles have at least this Jaccard index.

    Of equal texts, each pairs with the first of them, and the first alone with texts that are near. Two texts that hang
    together already through others need no pair of their own.

    Args:
        texts: normalised.
        seed: of MinHash's permutations; a pair at the threshold is missed less than once in a thousand times.
    """
    first: dict[str, int] = {}
    same = [(first.setdefault(text, i), i) for i, text in enumerate(texts)]
    unique, place = list(first), list(first.values())
    sketch, root = _sketch(unique, seed), np.arange(len(first))
    near: list[tuple[int, int]] = []
    for candidates in _candidates(sketch.signature, root, jaccard):
        for start in range(0, len(candidates), VERIFIED):
            batch = candidates[start : start + VERIFIED]
            batch = batch[root[batch[:, 0]] != root[batch[:, 1]]]
            joined = batch[_indices(sketch, batch) >= jaccard]
            near += [(place[i], place[j]) for i, j in joined.tolist()]
            _join(root, joined)
    return sorted([(i, j) for i, j in same if i != j] + near)


def components(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each position the smallest position that it is connected with."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    return [root(i) for i in range(count)]


def _join(root: Ints, pairs: Ints) -> None:
    """Make one of what the pairs connect: `root` is each position's smallest connected position, as in `components`."""
    ends, changed = np.unique(root[pairs], return_inverse=True)
    roots = np.array(components(len(ends), ((int(i), int(j)) for i, j in changed.reshape(-1, 2))), np.int64)
    moved = np.arange(len(root))
    moved[ends] = ends[roots]
    root[:] = moved[root]


def _shingle(texts: Sequence[str]) -> Shingled:
    """Every text's shingles as 64-bit hashes; a text shorter than a shingle is one, told apart by its padding."""
    padded = [text if len(text) >= SHINGLE else text + "\0" * (SHINGLE - len(text)) for text in texts]
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    counts = lengths - SHINGLE + 1
    text = np.repeat(np.arange(len(padded)), counts)
    start = np.concatenate([[0], np.cumsum(counts)[:-1]])
    first = np.arange(counts.sum()) + text * (SHINGLE - 1)  # where each shingle begins in `points`
    hashes = np.zeros(len(first), np.uint64)
    for step in range(SHINGLE):
        hashes = _mix(hashes * np.uint64(0x9E3779B97F4A7C15) + points[first + step])
    return Shingled(hashes, text, start)


def _mix(values: Hashes) -> Hashes:
    """Spread the bits (the finaliser of SplitMix64, shortened)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(31))


def _sketch(texts: Sequence[str], seed: int) -> Sketched:
    """A signature is the least of a text's shingles under each of 128 multiply-shift hashes."""
    draw = np.random.default_rng(seed)
    factors = draw.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    terms = draw.integers(0, 1 << 63, PERMUTATIONS, dtype=np.uint64)
    signature = np.empty((len(texts), PERMUTATIONS), np.uint32)
    members, counts = [np.empty(0, np.uint32)], [np.zeros(1, np.int64)]
    for low, high in _runs([len(text) for text in texts]):
        part = _shingle(texts[low:high])
        for k in range(PERMUTATIONS):
            moved = ((part.hashes * factors[k] + terms[k]) >> np.uint64(32)).astype(np.uint32)
            signature[low:high, k] = np.minimum.reduceat(moved, part.start)
        found = (part.text.astype(np.uint64) << HASH_BITS) | (part.hashes >> (np.uint64(64) - HASH_BITS))
        found.sort()  # np.unique would hash first, which takes ten times as long
        found = found[np.concatenate([[True], found[1:] != found[:-1]])]
        members.append(found.astype(np.uint32))
        counts.append(_count(found, high - low))
    return Sketched(signature, np.concatenate(members), np.cumsum(np.concatenate(counts)))


def _runs(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about SKETCH_CHARS together."""
    low = size = 0
    for i, length in enumerate(lengths):
        size += length
        if size >= SKETCH_CHARS or i == len(lengths) - 1:
            yield low, i + 1
            low, size = i + 1, 0


def _candidates(sketch: NDArray[np.uint32], root: Ints, jaccard: float) -> Iterator[Ints]:
    """Pairs (n, 2), lower first, that share a band of their sketches and agree in about as much as they must.

    No pair comes twice, and none whose texts have the same `root`, which the caller changes as it joins texts.
    """
    rows, n = _rows_of_a_band(jaccard), len(sketch)
    agreed = jaccard - MARGIN * (jaccard * (1 - jaccard) / PERMUTATIONS) ** 0.5
    seen = np.empty(0, np.int64)
    for band in range(PERMUTATIONS // rows):
        key = np.zeros(n, np.uint64)
        for column in sketch[:, band * rows : (band + 1) * rows].T:
            key = _mix(key * np.uint64(0x9E3779B97F4A7C15) + column)
        for codes in _neighbours(key):
            new = codes[root[codes // n] != root[codes % n]]
            new = np.sort(new[~_stands_in(new, seen)])
            seen = np.sort(np.concatenate([seen, new]), kind="stable")  # two sorted runs as well
            pairs = np.stack([new // n, new % n], axis=1)
            for part in np.array_split(pairs, len(pairs) // 65536 + 1):
                yield part[(sketch[part[:, 0]] == sketch[part[:, 1]]).mean(axis=1) >= agreed]


def _stands_in(codes: Ints, ordered: Ints) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(codes), bool)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, codes), len(ordered) - 1)] == codes)


def _rows_of_a_band(jaccard: float) -> int:
    """The longest band with which a pair at the threshold is missed in all bands with at most probability MISSED."""
    fitting = [r for r in range(1, 33) if (1 - jaccard**r) ** (PERMUTATIONS // r) <= MISSED]
    return max(fitting, default=1)


def _neighbours(key: Hashes) -> Iterator[Ints]:
    """Pairs with an equal key, as low * n + high: each with the first of its group, then with the ones before it."""
    order, n = np.argsort(key, kind="stable"), len(key)
    is_first = np.ones(n, bool)
    is_first[1:] = key[order][1:] != key[order][:-1]
    head = np.maximum.accumulate(np.where(is_first, np.arange(n), 0))
    yield order[head[~is_first]] * n + order[~is_first]
    for back in range(1, NEIGHBOURS):
        late = np.flatnonzero(np.arange(n) - back > head)
        if len(late):
            yield order[late - back] * n + order[late]


def _indices(sketch: Sketched, pairs: Ints) -> NDArray[np.float64]:
    """The Jaccard index of each pair (exact but for collisions of 32-bit hashes inside a pair)."""
    one, other = (_members(sketch, side) for side in pairs.T)
    both = np.sort(np.concatenate([one, other]), kind="stable")  # two sorted runs: merged in linear time
    shared = _count(both[1:][both[1:] == both[:-1]], len(pairs))
    return np.asarray(shared / (_count(one, len(pairs)) + _count(other, len(pairs)) - shared))


def _members(sketch: Sketched, texts: Ints) -> Hashes:
    """The distinct shingles of some texts one after another, as number << 32 | hash, which is ascending."""
    counts = sketch.start[texts + 1] - sketch.start[texts]
    number = np.repeat(np.arange(len(texts)), counts)
    place = np.arange(len(number)) + np.repeat(sketch.start[texts] - np.cumsum(counts) + counts, counts)
    return np.asarray((number.astype(np.uint64) << HASH_BITS) | sketch.members[place])


def _count(members: Hashes, n: int) -> Ints:
    return np.bincount((members >> HASH_BITS).astype(np.int64), minlength=n)

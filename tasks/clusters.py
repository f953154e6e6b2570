"""Near-duplicates: MinHash finds candidates, the Jaccard index of character 5-shingles decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHINGLE = 5
PERMUTATIONS = 128
MARGIN = 0.3  # candidates are sought below the threshold, where MinHash would miss some


def shingles(text: str) -> frozenset[str]:
    """The character 5-shingles of a normalised text; a shorter text is one shingle."""
    return frozenset(text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1)))


def near_pairs(texts: Sequence[str], *, jaccard: float, seed: int) -> list[tuple[int, int]]:
    """The pairs of positions (lower first, sorted) of texts whose shingles have at least this Jaccard index.

    Of equal texts, each pairs with the first of them, and the first alone with texts that are near.

    Args:
        texts: normalised.
        seed: of MinHash's permutations; a pair at the threshold is missed less than once in a thousand times.
    """
    first: dict[str, int] = {}
    same = [(first.setdefault(text, i), i) for i, text in enumerate(texts)]
    sets = {i: shingles(texts[i]) for i in first.values()}
    candidates = _candidates(sets, max(0.05, jaccard - MARGIN), seed)
    near = [(i, j) for i, j in candidates if _index(sets[i], sets[j]) >= jaccard]
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


def _candidates(sets: dict[int, frozenset[str]], threshold: float, seed: int) -> list[tuple[int, int]]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    blank = MinHash(num_perm=PERMUTATIONS, seed=seed)
    found = []
    for i, members in sets.items():
        sketch = blank.copy()
        sketch.update_batch([member.encode("utf-8", "surrogatepass") for member in members])
        found += [(j, i) for j in index.query(sketch)]
        index.insert(i, sketch)
    return found


def _index(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)

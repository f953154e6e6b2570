"""One batch of requests for one model: prefill, then steps that may append several tokens per row."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicCache

if TYPE_CHECKING:
    from modelserver.engine import Job

MOST_PREFIX_TOKENS = 6000
FEWEST_PREFIX_TOKENS = 16


class PrefixCache:
    """Keys and values of prompt beginnings that requests share: a system text, demonstrations.

    A beginning is kept from its second use on; the least recently used ones go when all together pass the limit
    (about 46 KB a token on the embedded model).
    """

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.kept: OrderedDict[tuple[str, tuple[int, ...]], list[tuple[torch.Tensor, torch.Tensor]]] = OrderedDict()
        self.seen: OrderedDict[tuple[str, tuple[int, ...]], None] = OrderedDict()

    def worth_sharing(self, model: str, prefix: Sequence[int]) -> tuple[int, ...]:
        """The prefix if it was seen before, else an empty one: most contexts of a question are never seen again."""
        key = (model, tuple(prefix))
        if len(prefix) < FEWEST_PREFIX_TOKENS:
            return ()
        if key in self.seen:
            return key[1]
        self.seen[key] = None
        while len(self.seen) > 256:
            self.seen.popitem(last=False)
        return ()

    def cache(self, name: str, model: Any, prefix: tuple[int, ...], rows: int) -> DynamicCache:
        """A cache for a batch of `rows` that begins with the prefix."""
        cache = DynamicCache()
        if not prefix:
            return cache
        key = (name, prefix)
        if key not in self.kept:
            with torch.inference_mode():
                model(torch.tensor([prefix]), past_key_values=cache, use_cache=True, logits_to_keep=1)
            self.kept[key] = [(layer.keys, layer.values) for layer in cache.layers]
            self._make_room()
            cache = DynamicCache()
        self.kept.move_to_end(key)
        for i, (keys, values) in enumerate(self.kept[key]):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), i)
        return cache

    def forget(self, name: str) -> None:
        """Drop all that was kept for a model."""
        for key in [key for key in list(self.kept) if key[0] == name]:
            self.kept.pop(key, None)

    def _make_room(self) -> None:
        while len(self.kept) > 1 and sum(len(prefix) for _, prefix in self.kept) > MOST_PREFIX_TOKENS:
            self.kept.popitem(last=False)


class Batch:
    """Rows that are decoded together. Each step feeds each row's pending tokens (padded on the left) and draws one."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Job],
        *,
        prefix: int,
        cache: DynamicCache,
        ends: set[int],
        decode: Callable[[Sequence[int]], str],
    ) -> None:
        """Begin with what each prompt has after the shared prefix, and the tokens that its grammar forces at once."""
        self.model = model
        self.rows = list(rows)
        self.cache = cache
        self.ends = ends
        self.decode = decode
        self.mask = torch.ones(len(self.rows), prefix, dtype=torch.long)
        self.lengths = [prefix] * len(self.rows)
        self.pending: list[list[int]] = []
        self.draws = [_generator(job.seed) for job in self.rows]
        for job in self.rows:
            forced = job.cursor.forced() if job.cursor is not None else []
            job.tokens += forced
            self.pending.append(job.prompt[prefix:] + forced)

    def step(self) -> bool:
        """Make one step. Returns whether rows are left."""
        logits = self._forward()
        keep = []
        for i, job in enumerate(self.rows):
            self.pending[i] = self._draw(job, logits[i], self.draws[i])
            if job.finish_reason is None:
                keep.append(i)
        if len(keep) < len(self.rows):
            self._keep(keep)
        return bool(self.rows)

    def _forward(self) -> torch.Tensor:
        """Logits after each row's pending tokens, shape (rows, vocabulary)."""
        width = max(len(tokens) for tokens in self.pending)
        ids = torch.zeros(len(self.rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        positions = torch.zeros_like(ids)
        for i, tokens in enumerate(self.pending):
            start = width - len(tokens)
            ids[i, start:] = torch.tensor(tokens)
            mask[i, start:] = 1
            positions[i, start:] = torch.arange(self.lengths[i], self.lengths[i] + len(tokens))
            self.lengths[i] += len(tokens)
        self.mask = torch.cat([self.mask, mask], dim=1)
        with torch.inference_mode():
            out = self.model(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: torch.Tensor = out.logits[:, -1, :]
        return logits

    def _draw(self, job: Job, logits: torch.Tensor, draw: torch.Generator) -> list[int]:
        """Take the next token (and those that it forces); end the job where it is complete."""
        if job.is_cancelled:
            job.end("stop")
            return []
        if job.cursor is not None:
            allowed = torch.tensor(sorted(job.cursor.allowed()))
            token = int(allowed[_choose(logits[allowed], job.temperature, draw)])
            job.cursor.advance(token)
            new = [token, *job.cursor.forced()]
            is_complete = job.cursor.is_done
        else:
            token = _choose(logits, job.temperature, draw)
            new = [] if token in self.ends else [token]
            is_complete = not new
        room = job.max_tokens - len(job.tokens)
        job.tokens += new[:room]
        if job.on_token is not None and new:
            job.on_token(job.tokens)
        if is_complete and len(new) <= room:
            job.end("stop")
        elif len(job.tokens) >= job.max_tokens:
            job.end("length")
        elif job.stop and any(text in self.decode(job.tokens) for text in job.stop):
            job.end("stop")
        return new

    def _keep(self, keep: list[int]) -> None:
        """Drop the rows that are done."""
        self.rows = [self.rows[i] for i in keep]
        self.pending = [self.pending[i] for i in keep]
        self.lengths = [self.lengths[i] for i in keep]
        self.draws = [self.draws[i] for i in keep]
        if keep:
            self.mask = self.mask[keep]
            self.cache.batch_select_indices(torch.tensor(keep))


def _generator(seed: int | None) -> torch.Generator:
    draw = torch.Generator()
    if seed is None:
        draw.seed()
    else:
        draw.manual_seed(seed)
    return draw


def _choose(logits: torch.Tensor, temperature: float, draw: torch.Generator) -> int:
    if temperature <= 0:
        return int(torch.argmax(logits))
    return int(torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1, generator=draw))

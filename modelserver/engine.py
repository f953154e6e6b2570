"""The engine: one thread that reads and writes for all requests at once, whatever adapter each asks for.

It works in rounds. Each round is one forward pass over the next tokens of all rows, packed side by side: short prompts
whole, long ones in parts, so that a short request never waits for a long one to end. The model computes in float32: in
bfloat16 an answer would depend on which requests happened to share its rounds, and scores could not be repeated.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelserver.adapters import Adapter, read_adapter, read_approved
from modelserver.attention import KeyValues
from modelserver.constrain import Plan, Vocabulary, compile_plan
from modelserver.errors import EngineStopped, Overloaded, UnknownModel
from modelserver.generation import Event, Request, Row, new_writer
from modelserver.model import Model, Piece, Text
from modelserver.prefix_cache import BLOCK, PrefixCache
from modelserver.schemas import dump, outline
from ratchet.errors import BadInput
from ratchet.trust import Trust

MOST_ROWS = 8
MOST_WAITING = 512
ROUND_TOKENS = 512
MOST_ADAPTERS = 64
MOST_PLANS = 64
DEFAULT_CONTEXT = 2048

log = logging.getLogger("modelserver")


@dataclass
class Ticket:
    """A request that was taken in."""

    request: Request
    adapter: Adapter
    on_event: Callable[[Event], None]
    is_cancelled: bool = False
    row: Row | None = None

    def cancel(self) -> None:
        """Ask the engine to drop the request; no event comes any more."""
        self.is_cancelled = True
        if self.row is not None:
            self.row.is_cancelled = True


class Engine:
    """Loads the base model and adapters, and answers requests from its own thread."""

    def __init__(
        self,
        path: str,
        name: str,
        *,
        threads: int = 2,
        prefix_cache_mb: int = 256,
        context: int = DEFAULT_CONTEXT,
        trust: Trust | None = None,
    ) -> None:
        """Load the base model from a folder or Hugging Face id; it is served as `name`.

        With `trust`, only adapters of releases that it vouches for are loaded.

        Raises:
            BadInput: it cannot be served.
        """
        torch.set_num_threads(threads)
        self.name = name
        self.text = Text(path)
        self._model = Model(path)
        self.context = min(context, self._model.longest)
        self._ends = self.text.ends | self._model.ends
        self._threads = threads
        self._trust = trust
        self._prefixes = PrefixCache(prefix_cache_mb << 20)
        self._adapters: dict[str, Adapter] = {name: Adapter(name, None, 0, {})}
        self._adapter_numbers = itertools.count(1)
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._vocabulary: Vocabulary | None = None
        self._waiting: deque[Ticket] = deque()
        self._rows: list[Row] = []
        self._is_stopping = False
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the engine's thread works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread after its round; requests that are under way fail."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=60)

    def models(self) -> Mapping[str, Path | None]:
        """What can be asked for: the base model (None) and the adapters with their folders."""
        with self._changed:
            return {name: adapter.path for name, adapter in self._adapters.items()}

    def plan(self, schema: Any) -> Plan:
        """The compiled form of a JSON schema, kept for the next request.

        Raises:
            BadInput: the schema uses what cannot be enforced.
        """
        with self._loading:
            key = dump(schema)
            if key not in self._plans:
                self._plans[key] = compile_plan(outline(schema), self.text.encode, self._read_vocabulary)
                if len(self._plans) > MOST_PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(key)
            return self._plans[key]

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> Ticket:
        """Take a request in. Events come from the engine's thread: deltas, then Finished or Failed.

        Raises:
            UnknownModel, Overloaded, EngineStopped: the request is not taken.
        """
        with self._changed:
            adapter = self._adapters.get(request.model)
            if adapter is None:
                raise UnknownModel(f"The model `{request.model}` does not exist.")
            if self._is_stopping or not self.is_alive:
                raise EngineStopped("the engine has stopped; start the model server again")
            if len(self._waiting) >= MOST_WAITING:
                raise Overloaded(f"{MOST_WAITING} requests are waiting already; ask again later")
            ticket = Ticket(request, adapter, on_event)
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def load_adapter(self, name: str, folder: Path) -> None:
        """Load a LoRA adapter; the same folder under the same name again changes nothing.

        Raises:
            BadInput: the name is taken, the folder holds no plain LoRA adapter of this base model, or the adapter is
                not vouched for.
        """
        with self._loading:
            loaded = self._adapters.get(name)
            if loaded is not None and loaded.path == folder:
                return
            if loaded is not None:
                raise BadInput(f"The lora adapter '{name}' has already been loaded.")
            if len(self._adapters) > MOST_ADAPTERS:
                raise BadInput(f"{MOST_ADAPTERS} adapters are loaded already; unload one first")
            linears, trust = self._model.linears, self._trust
            layers = read_approved(name, folder, linears, trust) if trust else read_adapter(folder, linears)
            adapter = Adapter(name, folder, next(self._adapter_numbers), layers)
            with self._changed:
                self._adapters[name] = adapter

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter; requests under way keep it to their end.

        Raises:
            UnknownModel: no adapter of that name is loaded.
        """
        with self._loading, self._changed:
            if name == self.name or name not in self._adapters:
                raise UnknownModel(f"The lora adapter '{name}' cannot be found.")
            del self._adapters[name]

    def _read_vocabulary(self) -> Vocabulary:
        if self._vocabulary is None:
            self._vocabulary = self.text.vocabulary()
        return self._vocabulary

    def _work(self) -> None:
        try:
            torch.set_num_threads(self._threads)  # a thread has its own count
            with torch.inference_mode():
                while self._admit():
                    self._round()
        except Exception:  # the boundary of the thread
            log.exception("engine_died")
        finally:
            with self._changed:
                self._is_stopping = True
                left, self._waiting = [*self._waiting], deque()
            for ticket in left:
                self._start(ticket)
            for row in self._rows:
                row.fail("the engine has stopped")

    def _admit(self) -> bool:
        """Wait for work and take in what there is room for. Returns False once the engine is to stop."""
        with self._changed:
            while not (self._is_stopping or self._rows or self._waiting):
                self._changed.wait()
            room = MOST_ROWS - len(self._rows)
            taken = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        for ticket in taken:
            self._start(ticket)
        return not self._is_stopping

    def _start(self, ticket: Ticket) -> None:
        request = ticket.request
        writer = new_writer(request.plan, self._ends, self.text.decode)
        cache = KeyValues(self._model.shape, len(request.prompt) + min(request.max_tokens, 64))
        ticket.row = Row(request, writer, ticket.adapter, cache, ticket.on_event)
        ticket.row.is_cancelled = ticket.is_cancelled
        self._rows.append(ticket.row)

    def _round(self) -> None:
        """One forward pass for the rows whose turn it is; a row that fails does not end the others."""
        self._rows = [row for row in self._rows if not (row.is_finished or row.is_cancelled)]
        turns = sorted(self._take_turns(), key=lambda turn: turn[0].adapter.number)
        if not turns:
            return
        try:
            pieces = [
                Piece(row.tokens[row.cache.length : row.cache.length + count], row.cache, row.adapter)
                for row, count in turns
            ]
            hidden = self._model.read(pieces)
            for (row, _), state in zip(turns, hidden, strict=True):
                self._prefixes.store(row.chain, row.tokens, len(row.request.prompt), row.cache)
                if row.pending == 0:
                    among = row.writer.allowed()
                    row.choose(self._model.logits(state, among), among)
        except Exception as error:  # the boundary of a round
            log.exception("round_failed", extra={"rows": len(turns)})
            for row, _ in turns:
                row.fail(f"the engine failed: {type(error).__name__}")

    def _take_turns(self) -> list[tuple[Row, int]]:
        """Rows of this round with the number of tokens that each reads; half the round is the oldest row's if needed.

        A row whose next block another row reads in this round waits for it, and copies it in the next.
        """
        room, reading = ROUND_TOKENS, set()
        turns: list[tuple[Row, int]] = []
        for row in self._rows:
            row.cached_tokens += self._prefixes.restore(row.chain, row.tokens, len(row.request.prompt) - 1, row.cache)
        for row in [*self._rows[:1], *sorted(self._rows[1:], key=lambda row: row.pending)]:
            block = self._prefixes.next_block(row.chain, row.tokens, len(row.request.prompt) - 1, row.cache)
            count = _turn_length(row, room // 2 if not turns and len(self._rows) > 1 else room)
            if count == 0 or (block is not None and block in reading):
                continue
            reading.add(block)
            turns.append((row, count))
            room -= count
        return turns


def _turn_length(row: Row, room: int) -> int:
    """How many of a row's tokens to read now; a part of a prompt ends with a block, so that the block can be kept."""
    if row.pending <= room:
        return row.pending
    return max(0, room - (row.cache.length + room) % BLOCK)

"""The engine: one thread that answers requests in small batches, several adapters at once, shared prefixes cached.

It computes in float32: in bfloat16 an answer could depend on which requests happened to share its batch, and a release
could not be rebuilt to the same scores. Adapters are merged into copies of the base model when they are loaded
(embeddings shared), which answers about three times as fast as unmerged ones.
"""

from __future__ import annotations

import copy
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelserver.batch import Batch, PrefixCache
from modelserver.constrain import Cursor, Grammar, Vocabulary, compile_schema
from ratchet.errors import BadInput, ReleaseCorrupt, ReleaseNotFound

ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors"}
MOST_ADAPTERS = 4
MOST_ROWS = 8
MOST_BATCHES = 4


class UnknownModel(ReleaseNotFound):
    """No model or adapter is loaded under this name."""


@dataclass
class Job:
    """One request as the engine works on it. `on_token` is called from the engine's thread with all tokens so far."""

    model: str
    prompt: list[int]
    prefix: int
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    cursor: Cursor | None = None
    on_token: Callable[[list[int]], object] | None = None
    tokens: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    error: BaseException | None = None
    is_cancelled: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    on_done: Callable[[], object] | None = None

    def end(self, reason: str | None, error: BaseException | None = None) -> None:
        """Finish the request and wake whoever waits for it."""
        self.finish_reason, self.error = reason, error
        self.done.set()
        if self.on_done is not None:
            self.on_done()


class Engine:
    """Loads the base model and its adapters, and answers jobs from its own thread."""

    def __init__(self, path: str, name: str, *, threads: int = 2) -> None:
        """Load the base model from a folder or Hugging Face id; it is served as `name`."""
        torch.set_num_threads(threads)
        self.name = name
        self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        base = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        base.requires_grad_(False).eval()
        self.context = int(base.config.max_position_embeddings)
        self.models: OrderedDict[str, Any] = OrderedDict({name: base})
        self.adapters: dict[str, str] = {}
        self.lock = threading.Lock()
        self.prefixes = PrefixCache()
        self.vocabulary = Vocabulary(_token_texts(self.tokenizer))
        self.grammars: OrderedDict[str, Grammar] = OrderedDict()
        self.end_token = int(self.tokenizer.convert_tokens_to_ids("<|im_end|>") or self.tokenizer.eos_token_id)
        self.ends = {self.end_token, self.tokenizer.eos_token_id}
        self.jobs: queue.Queue[Job | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self.thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the engine's thread still works."""
        return self.thread.is_alive()

    def close(self) -> None:
        """Stop the thread after what it is doing."""
        self.jobs.put(None)
        self.thread.join(timeout=30)

    def encode(self, messages: Sequence[dict[str, str]]) -> tuple[list[int], int]:
        """The prompt's tokens, and how many of them come before the last message (what requests may share)."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        prompt = list(self.tokenizer.encode(text, add_special_tokens=False))
        if len(messages) < 2:
            return prompt, 0
        shared = self.tokenizer.apply_chat_template(list(messages[:-1]), tokenize=False)
        prefix = list(self.tokenizer.encode(shared, add_special_tokens=False)) if text.startswith(shared) else []
        return prompt, len(prefix) if prompt[: len(prefix)] == prefix else 0

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def cursor(self, schema: Any) -> Cursor:
        """A cursor at the beginning of a schema's grammar, which is compiled once.

        Raises:
            BadInput: the schema uses what cannot be enforced.
        """
        key = repr(schema)
        with self.lock:
            if key not in self.grammars:
                self.grammars[key] = compile_schema(schema, self.tokenizer)
                while len(self.grammars) > 64:
                    self.grammars.popitem(last=False)
            return Cursor(self.grammars[key], self.vocabulary)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            UnknownModel: its model is not loaded.
        """
        with self.lock:
            if job.model not in self.models:
                raise UnknownModel(f"The model `{job.model}` does not exist.")
        self.jobs.put(job)

    def load_adapter(self, name: str, path: Path) -> None:
        """Load a LoRA adapter from safetensors; the least recently asked one makes room when four are loaded.

        Raises:
            BadInput: the name is taken by another adapter, or the folder is no adapter of this base model.
        """
        if name == self.name or self.adapters.get(name, str(path)) != str(path):
            raise BadInput(f"The lora adapter '{name}' has already been loaded.")
        if name in self.adapters:
            return
        found = {p.name for p in path.iterdir()} if path.is_dir() else set()
        if found != ADAPTER_FILES:
            raise ReleaseCorrupt(f"{path} must hold exactly {sorted(ADAPTER_FILES)}")
        merged = _merge(self.models[self.name], path)
        with self.lock:
            while len(self.adapters) >= MOST_ADAPTERS:
                self._forget(next(n for n in self.models if n != self.name))
            self.models[name] = merged
            self.adapters[name] = str(path)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter.

        Raises:
            UnknownModel: it is not loaded.
        """
        with self.lock:
            if name not in self.adapters:
                raise UnknownModel(f"The lora adapter '{name}' cannot be found.")
            self._forget(name)

    def _forget(self, name: str) -> None:
        del self.models[name], self.adapters[name]
        self.prefixes.forget(name)

    def _work(self) -> None:
        batches: list[Batch] = []
        while True:
            waiting = self._take(block=not batches, room=MOST_BATCHES - len(batches))
            if waiting is None:
                return
            for (model_name, prefix), rows in waiting.items():
                batches += self._begin(model_name, prefix, rows)
            batches = [batch for batch in batches if self._step(batch)]

    def _take(self, *, block: bool, room: int) -> dict[tuple[str, tuple[int, ...]], list[Job]] | None:
        """What is queued, grouped by model and shared prefix; None when told to stop."""
        groups: dict[tuple[str, tuple[int, ...]], list[Job]] = {}
        while room > 0:
            try:
                job = self.jobs.get(block=block and not groups)
            except queue.Empty:
                break
            if job is None:
                return None
            prefix = self.prefixes.worth_sharing(job.model, job.prompt[: job.prefix])
            groups.setdefault((job.model, prefix), []).append(job)
        return groups

    def _begin(self, name: str, prefix: tuple[int, ...], rows: list[Job]) -> list[Batch]:
        with self.lock:
            model = self.models.get(name)
            if model is not None:
                self.models.move_to_end(name)
        if model is None:
            for job in rows:
                job.end(None, UnknownModel(f"The model `{name}` does not exist."))
            return []
        begun = []
        for i in range(0, len(rows), MOST_ROWS):
            part = rows[i : i + MOST_ROWS]
            try:
                cache = self.prefixes.cache(name, model, prefix, len(part))
                begun.append(Batch(model, part, prefix=len(prefix), cache=cache, ends=self.ends, decode=self.decode))
            except Exception as error:  # noqa: BLE001 - the engine's boundary: a bad batch must not end the thread
                _fail(part, error)
        return begun

    def _step(self, batch: Batch) -> bool:
        try:
            return batch.step()
        except Exception as error:  # noqa: BLE001 - the engine's boundary: a bad batch must not end the thread
            _fail(batch.rows, error)
            return False


def _fail(rows: Sequence[Job], error: BaseException) -> None:
    for job in rows:
        job.end(None, error)


def _merge(base: Any, path: Path) -> Any:
    """A copy of the base model with the adapter added to its weights; the embeddings are the base's own."""
    from peft import PeftModel

    memo: dict[int, Any] = {}
    for parameter in base.get_input_embeddings().parameters():
        memo[id(parameter)] = parameter
    copied = copy.deepcopy(base, memo)
    try:
        merged = PeftModel.from_pretrained(copied, str(path), use_safetensors=True).merge_and_unload()
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ReleaseCorrupt(f"{path} is no LoRA adapter of this base model: {str(error)[:200]}") from error
    return merged.requires_grad_(False).eval()


def _token_texts(tokenizer: Any) -> list[str | None]:
    special = set(tokenizer.all_special_ids)
    return [None if i in special else tokenizer.decode([i]) for i in range(len(tokenizer))]

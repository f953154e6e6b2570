"""The base model in memory: packed forward passes, and text to tokens and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from modelserver.adapters import Adapter, AdapterSlices, Slice, find_linears
from modelserver.attention import NAME, CacheShape, KeyValues, Span, attend
from modelserver.constrain import Vocabulary
from ratchet.errors import BadInput

FEW = 512
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Piece:
    """The next tokens of one row in a forward pass."""

    tokens: Sequence[int]
    cache: KeyValues
    adapter: Adapter


class Model:
    """A causal language model of transformers in float32, and its output layer apart, as few tokens are asked for."""

    def __init__(self, path: str) -> None:
        """Load a folder or Hugging Face id.

        Raises:
            BadInput: it cannot be loaded, or its architecture computes something that packed rows do not.
        """
        transformers_logging.disable_progress_bar()
        AttentionInterface.register(NAME, attend)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa"
            )
        except (OSError, ValueError, ImportError) as error:
            raise BadInput(f"the model {path} cannot be loaded: {str(error)[:300]}") from error
        model.requires_grad_(False).eval()
        config = model.config
        windows = [config.max_position_embeddings, getattr(config, "sliding_window", None)]
        self.longest = min(int(window) for window in windows if window)
        self.shape = CacheShape.of(config)
        ends = model.generation_config.eos_token_id
        self.ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
        self.linears: Mapping[str, torch.nn.Linear] = find_linears(model)
        self._slices = AdapterSlices(self.linears)
        self._output: torch.nn.Linear = model.get_output_embeddings()
        self._backbone = model.get_decoder()
        self._check_packed(path, model)

    def read(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Read the next tokens of several rows, rows of one adapter side by side.

        Returns:
            The hidden state after each row's last token, shape (rows, hidden size). The caches are longer afterwards.
        """
        spans: list[Span] = []
        slices: list[Slice] = []
        ids: list[int] = []
        positions: list[int] = []
        start = 0
        for piece in pieces:
            count = len(piece.tokens)
            spans.append(Span.of(piece.cache, start, count))
            ids += piece.tokens
            positions += range(piece.cache.length, piece.cache.length + count)
            if piece.adapter.layers:
                if slices and slices[-1].adapter is piece.adapter:
                    slices[-1] = Slice(slices[-1].start, start + count, piece.adapter)
                else:
                    slices.append(Slice(start, start + count, piece.adapter))
            start += count
        self._slices.active = slices
        out = self._backbone(
            input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]), use_cache=False, spans=spans
        )
        for span in spans:
            span.cache.length += span.stop - span.start
        last: torch.Tensor = out.last_hidden_state[0, [span.stop - 1 for span in spans]]
        return last

    def logits(self, hidden: torch.Tensor, among: Sequence[int] | None) -> torch.Tensor:
        """Logits after one hidden state: of the tokens in `among`, in its order, or of all (None)."""
        if among is None:
            return torch.nn.functional.linear(hidden, self._output.weight, self._output.bias)
        wanted = torch.tensor(among)
        if len(among) > FEW:
            return self.logits(hidden, None)[wanted]
        bias = None if self._output.bias is None else self._output.bias[wanted]
        return torch.nn.functional.linear(hidden, self._output.weight[wanted], bias)

    def _check_packed(self, path: str, model: Any) -> None:
        """Compare a pass in two pieces, beside another row, with the architecture's own."""
        ids = [(i * 7919) % model.config.vocab_size for i in range(1, 25)]
        base = Adapter("", None, 0, {})
        try:
            with torch.inference_mode():
                wanted = model(torch.tensor([ids])).logits[0, -1]
                model.set_attn_implementation(NAME)
                cache, other = KeyValues(self.shape, 8), KeyValues(self.shape, 8)
                self.read([Piece(ids[4:], other, base), Piece(ids[:16], cache, base)])
                hidden = self.read([Piece(ids[:1], other, base), Piece(ids[16:], cache, base)])
                difference = float((self.logits(hidden[1], None) - wanted).abs().max())
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
            raise BadInput(f"the architecture of {path} is not supported here, serve it with vLLM: {error}") from error
        if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
            raise BadInput(f"the architecture of {path} is not supported here (logits differ), serve it with vLLM")


class Text:
    """The model's tokenizer: chats to prompts, tokens to text."""

    def __init__(self, path: str) -> None:
        """Load the tokenizer of a folder or Hugging Face id.

        Raises:
            BadInput: it cannot be loaded, or has no chat template.
        """
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise BadInput(f"the tokenizer of {path} cannot be loaded: {str(error)[:300]}") from error
        if not self._tokenizer.chat_template:
            raise BadInput(f"{path} has no chat template, so it cannot answer chats; take an instruct model")
        added = self._tokenizer.added_tokens_decoder
        self._special = sorted({token.content for token in added.values() if token.special}, key=len, reverse=True)
        self.ends = frozenset({int(self._tokenizer.eos_token_id)})
        self._anchor = self.encode("a")[-1:]
        self._anchor_text = self._tokenizer.decode(self._anchor)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text by itself."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """What tokens add to a text that they continue; special tokens add nothing."""
        whole = self._tokenizer.decode(
            [*self._anchor, *tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(whole[len(self._anchor_text) :])

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The prompt that a chat makes. A special token's name inside a message stays text: nobody can forge a turn.

        Raises:
            BadInput: the model's template does not take these roles in this order.
        """
        from jinja2 import TemplateError

        plain = [{"role": m["role"], "content": self._defuse(m["content"])} for m in messages]
        try:
            text = self._tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise BadInput(f"messages: the model's chat template refuses them: {str(error)[:200]}") from error
        return tuple(self.encode(text))

    def vocabulary(self) -> Vocabulary:
        """What each token writes."""
        special = set(self._tokenizer.all_special_ids)
        return Vocabulary([None if i in special else self.decode([i]) for i in range(len(self._tokenizer))])

    def _defuse(self, text: str) -> str:
        for name in self._special:
            text = text.replace(name, f"{name[:1]} {name[1:]}")
        return text

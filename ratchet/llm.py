"""Asking an OpenAI-compatible model server: many requests at once, adapters, and a server of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any, BinaryIO

import httpx

from ratchet.errors import ModelServerUnreachable
from ratchet.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
READY = "modelserver ready "
TRIES = 3
BUSY = (429, 502, 503, 504)


@dataclass(frozen=True)
class Answer:
    """What the server answered to one request; on a failure the text is empty and `error` says why.

    Where it was asked once more, as the answer did not fit the schema, `repair_request` is the digest of that request.
    """

    text: str
    input_tokens: int
    output_tokens: int
    latency_ms: float
    finish_reason: str | None
    error: str | None = None
    repair_request: str | None = None


def ask_all(
    bodies: Iterable[Mapping[str, Any]],
    *,
    base_url: str,
    concurrency: int,
    on_answer: Callable[[int, Answer], None] = lambda index, answer: None,
    timeout_s: float = 300.0,
    retry_after_s: float = 0.5,
    key: str | None = None,
) -> list[Answer]:
    """Send chat requests, at most `concurrency` at a time; a body is taken from the iterable when it is sent.

    Args:
        on_answer: told each answer, with the place of its body, as soon as it is there; one call at a time.

    Returns:
        One answer per body, in the order of the bodies. A request that the server refuses is an Answer with `error`.

    Raises:
        ModelServerUnreachable: nothing answers at `base_url`, after three tries.
    """
    answers: dict[int, Answer] = {}
    waiting, lock, is_over = enumerate(bodies), Lock(), Event()
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=base_url, timeout=timeout_s, limits=limits, trust_env=False, headers=headers) as client:

        def work() -> None:
            try:
                while not is_over.is_set():
                    with lock:
                        index, body = next(waiting, (-1, None))
                    if body is None:
                        return
                    answer = _ask(client, body, retry_after_s)
                    with lock:
                        answers[index] = answer
                        on_answer(index, answer)
            finally:
                is_over.set()  # one that fails stops the others; at the end of the bodies there is nothing to stop

        pool = ThreadPoolExecutor(max_workers=max(1, concurrency))
        try:
            for working in [pool.submit(work) for _ in range(max(1, concurrency))]:
                working.result()
        finally:
            is_over.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return [answers[index] for index in sorted(answers)]


def load_adapter(base_url: str, release_id: str, path: Path, *, key: str | None = None) -> None:
    """Make an adapter askable under its release id; one that is loaded already is left as it is.

    Raises:
        ModelServerUnreachable: the server is down, or refuses the adapter (the message says why).
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    asked = {"lora_name": release_id, "lora_path": str(path.resolve())}
    try:
        with httpx.Client(base_url=base_url, timeout=120.0, trust_env=False, headers=headers) as client:
            served = client.get("/v1/models").raise_for_status().json()["data"]
            if release_id in {model["id"] for model in served}:  # the id is the digest of its content
                return
            response = client.post("/v1/load_lora_adapter", json=asked)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise _unreachable(base_url, error) from error
    if response.is_error:
        raise ModelServerUnreachable(f"{base_url} refused the adapter of {release_id}: {_reason(response)}")


@contextmanager
def model_server(settings: Settings, base_model_name: str, base_model_path: str) -> Iterator[str]:
    """The address of a model server: the one that RATCHET_MODELSERVER_URL names, else one started for this block.

    Args:
        settings: says whether an address was given.
        base_model_name: as in params.yaml; for a started server only.
        base_model_path: where it lies; a folder that holds the model is what the server is told to load.

    Raises:
        ModelServerUnreachable: the server did not start; the message ends with its own words.
    """
    if settings.modelserver_is_given:
        yield settings.modelserver_url
        return
    named = base_model_path if Path(base_model_name).is_dir() else base_model_name
    command = [sys.executable, "-u", "-m", "modelserver", "--port", "0", "--model", named, "--die-with-parent"]
    with started_server(command, timeout_s=180.0) as url:
        yield url


@contextmanager
def started_server(command: Sequence[str], *, timeout_s: float) -> Iterator[str]:
    """Start a server that prints `modelserver ready URL`, yield the URL, end exactly that process."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield _wait_until_ready(process, log, timeout_s)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: BinaryIO, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while True:
        has_ended = process.poll() is not None
        said = os.pread(log.fileno(), 1 << 20, 0).decode("utf-8", "replace")  # a seek would move the server's end too
        for line in said.splitlines(keepends=True):
            if line.startswith(READY) and line.endswith("\n"):
                return line.removeprefix(READY).strip()
        if has_ended or time.monotonic() > deadline:
            what = f"ended with {process.returncode}" if has_ended else f"was not ready after {timeout_s:.0f} s"
            raise ModelServerUnreachable(f"the model server {what}; its last words:\n{said[-2000:].strip()}")
        time.sleep(0.05)


def _ask(client: httpx.Client, body: Mapping[str, Any], retry_after_s: float) -> Answer:
    for attempt in range(TRIES):
        is_last = attempt == TRIES - 1
        began = time.monotonic()
        try:
            response = client.post("/v1/chat/completions", json=dict(body))
        except httpx.TimeoutException:
            return _failure("no answer in time", began)
        except httpx.TransportError as error:
            if is_last:
                raise _unreachable(str(client.base_url), error) from error
        else:
            if response.status_code not in BUSY or is_last:
                return _answer(response, began)
        time.sleep(retry_after_s * 2**attempt)
    raise AssertionError("the last try returns or raises")


def _answer(response: httpx.Response, began: float) -> Answer:
    if response.is_error:
        return _failure(f"HTTP {response.status_code}: {_reason(response)}", began)
    try:
        document = response.json()
        choice, usage = document["choices"][0], document.get("usage") or {}
        text = choice["message"]["content"] or ""
        read, written = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        return Answer(text, read, written, _since_ms(began), choice.get("finish_reason"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return _failure("the answer is not an OpenAI chat completion", began)


def _failure(reason: str, began: float) -> Answer:
    return Answer("", 0, 0, _since_ms(began), None, reason)


def _since_ms(began: float) -> float:
    return (time.monotonic() - began) * 1000


def _reason(response: httpx.Response) -> str:
    """The server's own words, at most 300 characters."""
    try:
        document = response.json()
        error = document.get("error", document)
        words = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, AttributeError):
        words = response.text
    return str(words)[:300]


def _unreachable(base_url: str, error: Exception) -> ModelServerUnreachable:
    return ModelServerUnreachable(
        f"no model server at {base_url} ({type(error).__name__}: {error}); start it with `make up`, correct "
        "RATCHET_MODELSERVER_URL, or unset it so that the stage starts its own"
    )

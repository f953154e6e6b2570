"""Runs the embedded model server: `python -m modelserver [--port 8601] [--model NAME]`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from ratchet.base_models import resolve_base_model
from ratchet.errors import RatchetError, SettingsInvalid
from ratchet.listen import address_of, is_loopback, listen
from ratchet.process import die_with_parent
from ratchet.settings import Settings
from ratchet.trust import trust_of

if TYPE_CHECKING:
    from modelserver.engine import Engine

EXAMPLES = """examples:
  python -m modelserver                               the embedded model on http://127.0.0.1:8601
  python -m modelserver --port 0                      on a free port, which the line `modelserver ready URL` names
  python -m modelserver --model /models/my-instruct   a model folder; a Hugging Face id works as well
  curl -s http://127.0.0.1:8601/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}'
"""


class _Server(uvicorn.Server):
    """Says on stdout when it is ready."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"modelserver ready {self._address}\n")
        sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal; 2 for bad input, with one line on stderr."""
    arguments = _parse(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, _end)  # uvicorn raises the signal again once it has shut down
    try:
        if arguments.die_with_parent:
            die_with_parent()
        _serve(arguments, Settings.from_env())
    except RatchetError as error:
        sys.stderr.write(f"modelserver: {error}\n")
        return error.exit_code
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m modelserver",
        description="Serves one base model and its LoRA adapters with the OpenAI chat protocol.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8601, help="port; 0 takes a free one (default: 8601)")
    parser.add_argument(
        "--model", default="embedded:smollm2-135m-instruct", help="as base_model in params.yaml (default: %(default)s)"
    )
    parser.add_argument("--threads", type=_positive, default=2, help="CPU threads (default: 2)")
    parser.add_argument(
        "--context", type=_positive, default=2048, help="most tokens of prompt and answer together (default: 2048)"
    )
    parser.add_argument(
        "--prefix-cache-mb",
        type=_count,
        default=256,
        help="memory for shared prompt beginnings; 0: none (default: 256)",
    )
    parser.add_argument("--die-with-parent", action="store_true", help="end when the process that started this ends")
    return parser.parse_args(argv)


def _serve(arguments: argparse.Namespace, settings: Settings) -> None:
    host = arguments.host
    is_local = is_loopback(host)
    if not is_local and not (settings.remote_is_allowed and settings.modelserver_key):
        raise SettingsInvalid(
            f"--host {host} is beyond loopback; set RATCHET_ALLOW_REMOTE=1 and RATCHET_MODELSERVER_KEY to allow it"
        )
    with listen(host, arguments.port) as listener:
        engine = _load(arguments, settings)
        from modelserver.app import LOCAL_HOSTS, create_app

        app = create_app(engine, key=settings.modelserver_key, hosts=LOCAL_HOSTS if is_local else None)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5
        )
        address = address_of(listener, host)
        try:
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
                _Server(config, address).run(sockets=[listener])
        finally:
            engine.close()


def _load(arguments: argparse.Namespace, settings: Settings) -> Engine:
    model = resolve_base_model(arguments.model, settings)
    # All before torch is imported. Idle threads must not spin: a training may share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OMP_NUM_THREADS", str(arguments.threads))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if os.path.isdir(model.path):
        os.environ["HF_HUB_OFFLINE"] = "1"
    from modelserver.engine import Engine

    # A stage's own server, which dies with it, is there to try candidates; nobody else reaches them through it.
    trust = None if arguments.die_with_parent else trust_of(settings)
    return Engine(
        model.path,
        model.name,
        threads=arguments.threads,
        prefix_cache_mb=arguments.prefix_cache_mb,
        context=arguments.context,
        trust=trust,
    )


def _end(_: int, __: object) -> None:
    raise SystemExit(0)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return int(text)


def _positive(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

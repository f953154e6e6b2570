"""The model server's command line.

python -m modelserver                                   # the embedded model on 127.0.0.1:8601
python -m modelserver --port 0 --model /models/my-llama # a model folder, on a free port
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import warnings

from ratchet.base_models import resolve_base_model
from ratchet.errors import BadInput, PortInUse, RatchetError
from ratchet.process import die_with_parent
from ratchet.settings import Settings


def main() -> int:
    """Load the model, then serve until ended."""
    arguments = _parse()
    try:
        if arguments.die_with_parent:
            die_with_parent()
        settings = Settings.from_env()
        is_loopback = arguments.host in ("127.0.0.1", "localhost", "::1")
        if not is_loopback and not (settings.remote_is_allowed and settings.modelserver_key):
            raise BadInput("the model server listens beyond loopback only with RATCHET_ALLOW_REMOTE=1 and a key")
        listener = _listen(arguments.host, arguments.port)
        model = resolve_base_model(arguments.model, settings)
        _serve(listener, model.path, model.name, arguments, settings)
    except RatchetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m modelserver", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, default=8601, help="port to listen on; 0 takes a free one")
    parser.add_argument("--model", default="embedded:smollm2-135m-instruct", help="as base_model in params.yaml")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the process that started this ends")
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise PortInUse(f"{host}:{port} cannot be listened on: {error.strerror}; choose another --port") from error
    return listener


def _serve(listener: socket.socket, path: str, name: str, arguments: argparse.Namespace, settings: Settings) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads must not spin beside a training
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")
    import uvicorn

    from modelserver.app import create_app
    from modelserver.engine import Engine

    try:
        engine = Engine(path, name, threads=arguments.threads)
    except (OSError, ValueError) as error:
        raise BadInput(f"the model {name} cannot be loaded from {path}: {str(error)[:300]}") from error
    address, port = listener.getsockname()[:2]
    config = uvicorn.Config(create_app(engine, key=settings.modelserver_key), log_level="warning", access_log=False)
    sys.stdout.write(f"modelserver ready http://{address}:{port}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listener])
    engine.close()


if __name__ == "__main__":
    sys.exit(main())

"""Other gateways as bench_gateway starts them, each from an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

TENSORZERO = """
import sys, uvicorn, asyncio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from tensorzero import AsyncTensorZeroGateway

gateway = None
async def chat(request):
    global gateway
    asked = await request.json()
    if gateway is None:
        gateway = await AsyncTensorZeroGateway.build_embedded(config_file=sys.argv[2], async_setup=True)
    answer = await gateway.inference(model_name="tiny", input={"messages": asked["messages"]})
    return Response('{"said": %d}' % len(answer.content), media_type="application/json")
uvicorn.run(Starlette(routes=[Route("/chat", chat, methods=["POST"])]), port=int(sys.argv[1]), log_level="error")
"""


UNSAFE = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"  # its word; it listens on loopback here


class Peer(NamedTuple):
    """How a peer is started (PORT stands for its port) and asked; `ready` answers once it is up.

    `model` is empty where the path names it and the body may not.
    """

    command: tuple[str, ...]
    path: str
    model: str
    ready: str
    streams: bool = True


def find_peer(environments: Path | None, name: str, folder: Path, upstream: str) -> Peer | str:
    """A peer ready to be started, or why it is not measured."""
    if environments is None:
        return "not measured: --peers names no folder of environments"
    python = environments.absolute() / name / "bin" / "python"
    if not python.exists():
        return f"not measured: {name} is not installed in {environments.name}/{name}"
    return PEERS[name](python, folder, upstream)


def _litellm(python: Path, folder: Path, upstream: str) -> Peer:
    config = folder / "litellm.yaml"
    params = f"{{model: openai/tiny, api_base: '{upstream}/v1', api_key: none}}"
    config.write_text(f"model_list: [{{model_name: tiny, litellm_params: {params}}}]\n")
    # Or it fetches prices before it answers, and does not start without a key of its own.
    offline = ("env", "LITELLM_LOCAL_MODEL_COST_MAP=True", f"{UNSAFE}=true")
    command = (
        *offline,
        str(python.parent / "litellm"),
        "--config",
        str(config),
        "--port",
        "PORT",
        "--telemetry",
        "False",
    )
    return Peer(command, "/v1/chat/completions", "tiny", "/health/liveliness")


def _mlflow(python: Path, folder: Path, upstream: str) -> Peer:
    config = folder / "mlflow.yaml"
    config.write_text(
        "endpoints:\n- {name: chat, endpoint_type: llm/v1/chat, model: {provider: openai, name: tiny,"
        f" config: {{openai_api_key: none, openai_api_base: '{upstream}/v1'}}}}}}\n"
    )
    program = (
        "import sys, uvicorn; from mlflow.gateway.app import create_app_from_path;"
        "uvicorn.run(create_app_from_path(sys.argv[2]), port=int(sys.argv[1]), log_level='error', access_log=False)"
    )
    return Peer((str(python), "-c", program, "PORT", str(config)), "/gateway/chat/invocations", "", "/health")


def _tensorzero(python: Path, folder: Path, upstream: str) -> Peer:
    """The embedded client, inside a server of a few lines, so that it can be loaded as the others are."""
    config = folder / "tensorzero.toml"
    config.write_text(
        '[gateway]\nobservability.enabled = false\n[models.tiny]\nrouting = ["up"]\n[models.tiny.providers.up]\n'
        f'type = "openai"\nmodel_name = "tiny"\napi_base = "{upstream}/v1/"\napi_key_location = "none"\n'
    )
    command = (str(python), "-c", TENSORZERO, "PORT", str(config))
    return Peer(command, "/chat", "tiny", "", streams=False)


PEERS = {"litellm": _litellm, "mlflow": _mlflow, "tensorzero": _tensorzero}

"""Where models are: the backends file, and what is particular to each kind of server.

    backends:
      local: {preset: vllm, urls: ["http://10.0.0.5:8000", "http://10.0.0.6:8000"], region: eu}
      hosted:
        preset: openai
        key_env: OPENAI_API_KEY               # or key_file: a path beside this file
        region: us
        trains: false                         # whether the provider trains on what it is sent
        models: {qwen3-8b: gpt-4.1-mini}      # our model's name to theirs
        prices: {gpt-4.1-mini: [0.4, 1.6]}    # USD for a million tokens in and out
    chains:
      qwen3-8b: [local, hosted]               # the second is asked where the first fails, and its answer is marked
      "*": [local]                            # every other model (default: the backends as they stand here)

An answer of any backend but the first is a fallback. `azure` needs its `url` and an `api_version`, and `models` names
deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ratchet.errors import SettingsInvalid
from ratchet.listen import is_loopback
from ratchet.params import Section, explain
from ratchet.settings import Settings
from ratchet.tenants import Destination

OURS = "modelserver"  # the backend that is there without a file
EVERY = "*"


class Preset(NamedTuple):
    """A kind of server. `renames` are parameters that it calls otherwise; `health` answers 200 without a key."""

    url: str | None = None
    path: str = "/v1"
    header: str = "Authorization"
    is_hosted: bool = False
    renames: Mapping[str, str] = {}
    health: str | None = None
    loads_adapters: bool = False


PRESETS = {
    "vllm": Preset(health="/health", loads_adapters=True),  # our own model server speaks the same
    "ollama": Preset("http://127.0.0.1:11434", health="/v1/models"),
    "llamacpp": Preset("http://127.0.0.1:8080", health="/health"),
    # OpenAI's reasoning models refuse max_tokens; its other models take either.
    "openai": Preset("https://api.openai.com", is_hosted=True, renames={"max_tokens": "max_completion_tokens"}),
    "anthropic": Preset("https://api.anthropic.com", is_hosted=True),
    "gemini": Preset("https://generativelanguage.googleapis.com", path="/v1beta/openai", is_hosted=True),
    "azure": Preset(path="/openai/deployments/{model}", header="api-key", is_hosted=True),
}
PresetName = Literal["vllm", "ollama", "llamacpp", "openai", "anthropic", "gemini", "azure"]


class BackendSpec(Section):
    """One backend as the file names it; several `urls` are replicas that serve the same.

    `drop` are parameters that its models refuse, as `temperature` of some; `retries` is how often a try that broke is
    made again, at another replica where there is one.
    """

    preset: PresetName = "vllm"
    url: str | None = None
    urls: tuple[str, ...] = ()
    key_env: str | None = None
    key_file: str | None = None
    api_version: str | None = None
    region: str | None = None
    trains: bool | None = None
    models: dict[str, str] = Field(default_factory=dict)
    prices: dict[str, tuple[float, float]] = Field(default_factory=dict)
    drop: tuple[str, ...] = ()
    timeout_s: float | None = Field(default=None, gt=0)
    retries: int = Field(default=1, ge=0, le=5)

    @field_validator("api_version", mode="before")
    @classmethod
    def _date_as_text(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value  # YAML reads an unquoted 2024-10-21 as a date

    @model_validator(mode="after")
    def _is_complete(self) -> BackendSpec:
        if not (self.url or self.urls or PRESETS[self.preset].url):
            raise ValueError(f"a backend of preset {self.preset} needs its url")
        if self.preset == "azure" and self.api_version is None:
            raise ValueError("an azure backend needs its api_version, as 2024-10-21")
        for url in self.addresses:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url[:100]!r} is no address; allowed: http://host:port or https://host")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where its replicas are."""
        named = self.urls or ((self.url,) if self.url else (PRESETS[self.preset].url or "",))
        return tuple(url.rstrip("/").removesuffix("/v1") for url in named)


class BackendsFile(Section):
    """The whole file."""

    backends: dict[str, BackendSpec] = Field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = Field(default_factory=dict)


@dataclass(frozen=True)
class BackendConfig:
    """One backend, ready to be asked; `key` is what it wants of us."""

    name: str
    spec: BackendSpec
    key: str | None = None
    adapter_key: str | None = None

    @property
    def preset(self) -> Preset:
        """What is particular to its kind."""
        return PRESETS[self.spec.preset]

    @cached_property
    def destination(self) -> Destination:
        """What a tenant's rules ask about it; a server on this machine is ours."""
        hosts = [urlsplit(url).hostname or "" for url in self.spec.addresses]
        return Destination(self.name, self.spec.region, self.spec.trains, all(is_loopback(host) for host in hosts))

    def url(self, address: str, path: str, model: str) -> str:
        """The address of a request about a model."""
        version = f"?api-version={quote(self.spec.api_version)}" if self.spec.api_version else ""
        return address + self.preset.path.format(model=quote(model, safe="")) + path + version

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        sent = {"Content-Type": "application/json"}
        if self.key:
            sent[self.preset.header] = self.key if self.preset.header == "api-key" else f"Bearer {self.key}"
        return sent

    def body(self, body: Mapping[str, Any], model: str) -> dict[str, Any]:
        """A request in this server's words."""
        renames = self.preset.renames
        kept = {renames.get(name, name): value for name, value in body.items() if name not in self.spec.drop}
        return kept | {"model": model}

    def cost_usd(self, model: str, tokens_in: int, tokens_out: int) -> float | None:
        """What an answer cost; None where no price is known."""
        price = self.spec.prices.get(model)
        return None if price is None else (price[0] * tokens_in + price[1] * tokens_out) / 1e6


@dataclass(frozen=True)
class BackendsConfig:
    """Every backend by name, and which are asked for a model, in order."""

    backends: dict[str, BackendConfig]
    chains: dict[str, tuple[str, ...]]

    def chain(self, model: str) -> list[BackendConfig]:
        """The backends of a model; the first is the one, the others are for when it fails."""
        names = self.chains.get(model) or self.chains.get(EVERY) or tuple(self.backends)
        return [self.backends[name] for name in names]


def load_backends(settings: Settings, environ: Mapping[str, str]) -> BackendsConfig:
    """Read the backends file; without one, our own model server is the only backend.

    Raises:
        SettingsInvalid: the file is named and missing, or says something that it cannot mean.
    """
    path = settings.backends or settings.home / "backends.yaml"
    ours = BackendConfig(OURS, BackendSpec(urls=(settings.modelserver_url,)), adapter_key=settings.modelserver_key)
    if settings.backends is None and not path.is_file():
        return BackendsConfig({OURS: ours}, {})
    try:
        file = BackendsFile.model_validate(yaml.safe_load(path.read_bytes()) or {})
    except (OSError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        raise SettingsInvalid(explain(path, error)) from error
    known = {name: _with_key(name, spec, path, environ, settings) for name, spec in file.backends.items()}
    known = {OURS: ours} | known if not known or any(OURS in chain for chain in file.chains.values()) else known
    for model, chain in file.chains.items():
        if unknown := [name for name in chain if name not in known] or ([] if chain else ["nothing"]):
            raise SettingsInvalid(f"{path}: chains.{model} names {unknown[0]}; there are: {', '.join(known)}")
    return BackendsConfig(known, dict(file.chains))


def _with_key(
    name: str, spec: BackendSpec, path: Path, environ: Mapping[str, str], settings: Settings
) -> BackendConfig:
    key: str | None = None
    if spec.key_env is not None:
        key = environ.get(spec.key_env)
        if not key:
            raise SettingsInvalid(f"{path}: backends.{name}.key_env: {spec.key_env} is not set in the environment")
    elif spec.key_file is not None:
        try:
            key = (path.parent / spec.key_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsInvalid(f"{path}: backends.{name}.key_file cannot be read: {error.strerror}") from error
    loads = PRESETS[spec.preset].loads_adapters
    return BackendConfig(name, spec, key, (key or settings.modelserver_key) if loads else None)

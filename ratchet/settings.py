"""What changes with the machine: addresses, folders, secrets. Read once from the environment, frozen, passed down."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ratchet.errors import SettingsInvalid

KEYS = {
    "RATCHET_REPO": "the clone (default: the nearest folder upwards that holds dvc.yaml)",
    "RATCHET_HOME": "state: store, releases, channels, secrets (default: .ratchet in the clone)",
    "RATCHET_CACHE": "converted base models, shared by all clones (default: ~/.cache/ratchet)",
    "RATCHET_DATABASE_URL": "the store (default: SQLite in RATCHET_HOME)",
    "RATCHET_GATEWAY_URL": "the gateway (default: http://127.0.0.1:8600)",
    "RATCHET_MODELSERVER_URL": "the model server (default: http://127.0.0.1:8601; a stage starts its own unless set)",
    "RATCHET_VERIFIER_URL": "the approval verifier (default: http://127.0.0.1:8602)",
    "RATCHET_PAGES_URL": "the pages for people, on loopback (default: http://127.0.0.1:8603)",
    "RATCHET_MODELSERVER_KEY": "bearer token that loading an adapter asks for (default: none, loopback only)",
    "RATCHET_JUDGE_URL": "an OpenAI-compatible endpoint for LLM-judge scorers, without /v1 (default: none)",
    "RATCHET_JUDGE_KEY": "bearer token of the judge's endpoint (default: none)",
    "RATCHET_JUDGE_REGION": "the region that the judge lies in, as tenants' `regions` name it (default: not told)",
    "RATCHET_JUDGE_TRAINS": "0 says that the judge's provider trains on nothing that it is sent (default: not told)",
    "RATCHET_ALLOW_REMOTE": "1 lets a server listen beyond loopback",
    "RATCHET_GATEWAY_KEY": "key of role admin that `ratchet replay` sends where the gateway asks for one",
    "RATCHET_REQUIRE_KEYS": "1 has the gateway refuse requests without a key (beyond loopback it always does)",
    "RATCHET_BACKENDS": "the file of model servers and providers (default: RATCHET_HOME/backends.yaml, if it is there)",
    "RATCHET_OTLP_URL": "where the gateway sends spans and metrics, as http://127.0.0.1:4318 (default: nowhere)",
    "RATCHET_LANGFUSE_URL": "the Langfuse to pull from (default: none)",
    "RATCHET_LANGFUSE_PUBLIC_KEY": "its project's public key",
    "RATCHET_LANGFUSE_SECRET_KEY": "its project's secret key",
    "RATCHET_S3_ENDPOINT": "an S3 other than AWS (its credentials: AWS_ACCESS_KEY_ID and so on)",
    "RATCHET_STORE": "s3://bucket/prefix that holds releases and channels (default: folders in RATCHET_HOME)",
    "RATCHET_TRUST": "file of public keys; gateway and model server serve no release that lacks either signature",
    "RATCHET_IDENTITY": "file that tells the verifier which OIDC proxy and git host prove who people are",
    "RATCHET_WEBHOOK_URL": "where reminders of approvals that wait are posted (default: nowhere)",
    "RATCHET_ALLOW_PRIVATE": "1 lets us call addresses of private networks (a Langfuse, S3 or webhook of your own)",
    "RATCHET_ANCHORS": "where each checkpoint of the ledger is kept too, by spaces: file:FOLDER s3://… git-tag:REMOTE",
    "PREFECT_API_URL": "the Prefect server (default: http://127.0.0.1:4200/api)",
}


@dataclass(frozen=True)
class Settings:
    """Addresses and folders of this machine."""

    repo: Path
    home: Path
    cache: Path
    database_url: str
    gateway_url: str
    modelserver_url: str
    verifier_url: str
    pages_url: str
    prefect_api_url: str
    modelserver_is_given: bool = False
    modelserver_key: str | None = None
    remote_is_allowed: bool = False
    langfuse_url: str | None = None
    langfuse_keys: tuple[str, str] | None = field(default=None, repr=False)
    s3_endpoint: str | None = None
    private_is_allowed: bool = False
    store_uri: str | None = None
    trust_file: Path | None = None
    gateway_key: str | None = field(default=None, repr=False)
    keys_are_required: bool = False
    backends: Path | None = None
    otlp_url: str | None = None
    judge_url: str | None = None
    judge_key: str | None = field(default=None, repr=False)
    identity_file: Path | None = None
    webhook_url: str | None = field(default=None, repr=False)  # a chat's address is its password
    judge_region: str | None = None
    judge_trains: bool | None = None
    anchors: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read and check the environment.

        Raises:
            SettingsInvalid: an unknown RATCHET_* key, or an address that is not http(s).
        """
        unknown = sorted(k for k in environ if k.startswith("RATCHET_") and k not in KEYS)
        if unknown:
            raise SettingsInvalid(f"unknown setting {', '.join(unknown)} in the environment; known: {', '.join(KEYS)}")
        repo = Path(environ.get("RATCHET_REPO") or find_repo(Path.cwd())).resolve()
        home = Path(environ.get("RATCHET_HOME") or repo / ".ratchet").absolute()
        cache = Path(environ.get("RATCHET_CACHE") or _user_cache(environ)).absolute()
        return cls(
            repo=repo,
            home=home,
            cache=cache,
            database_url=environ.get("RATCHET_DATABASE_URL") or f"sqlite:///{home / 'store.db'}",
            gateway_url=_address(environ, "RATCHET_GATEWAY_URL", "http://127.0.0.1:8600"),
            modelserver_url=_address(environ, "RATCHET_MODELSERVER_URL", "http://127.0.0.1:8601"),
            verifier_url=_address(environ, "RATCHET_VERIFIER_URL", "http://127.0.0.1:8602"),
            pages_url=_address(environ, "RATCHET_PAGES_URL", "http://127.0.0.1:8603"),
            prefect_api_url=_address(environ, "PREFECT_API_URL", "http://127.0.0.1:4200/api"),
            modelserver_is_given=bool(environ.get("RATCHET_MODELSERVER_URL")),
            modelserver_key=environ.get("RATCHET_MODELSERVER_KEY") or None,
            remote_is_allowed=environ.get("RATCHET_ALLOW_REMOTE") == "1",
            langfuse_url=_optional_address(environ, "RATCHET_LANGFUSE_URL"),
            langfuse_keys=_langfuse_keys(environ),
            s3_endpoint=_optional_address(environ, "RATCHET_S3_ENDPOINT"),
            private_is_allowed=environ.get("RATCHET_ALLOW_PRIVATE") == "1",
            store_uri=_store_uri(environ),
            trust_file=Path(environ["RATCHET_TRUST"]).absolute() if environ.get("RATCHET_TRUST") else None,
            gateway_key=environ.get("RATCHET_GATEWAY_KEY") or None,
            keys_are_required=environ.get("RATCHET_REQUIRE_KEYS") == "1",
            backends=Path(environ["RATCHET_BACKENDS"]).absolute() if environ.get("RATCHET_BACKENDS") else None,
            otlp_url=_optional_address(environ, "RATCHET_OTLP_URL"),
            judge_url=_optional_address(environ, "RATCHET_JUDGE_URL"),
            judge_key=environ.get("RATCHET_JUDGE_KEY") or None,
            identity_file=Path(environ["RATCHET_IDENTITY"]).absolute() if environ.get("RATCHET_IDENTITY") else None,
            webhook_url=_optional_address(environ, "RATCHET_WEBHOOK_URL"),
            judge_region=environ.get("RATCHET_JUDGE_REGION") or None,
            judge_trains={"0": False, "1": True}.get(environ.get("RATCHET_JUDGE_TRAINS", "")),
            anchors=tuple(environ.get("RATCHET_ANCHORS", "").split()),
        )

    @property
    def releases_dir(self) -> Path:
        """The content-addressed release store."""
        return self.home / "releases"

    @property
    def channels_dir(self) -> Path:
        """One pointer file per feature."""
        return self.home / "channels"

    @property
    def runs_dir(self) -> Path:
        """The worktrees of runs that are under way."""
        return self.home / "runs"

    @property
    def secrets_dir(self) -> Path:
        """Keys that this machine made for itself (0700)."""
        return self.home / "secrets"

    @property
    def ledger_key(self) -> Path:
        """The key that signs the ledger's checkpoints; its public half lies beside it as ledger.pub."""
        return self.secrets_dir / "ledger.key"

    @property
    def checkpoints_dir(self) -> Path:
        """Signed checkpoints of the ledger; copies of them belong on another machine."""
        return self.home / "checkpoints"

    @property
    def trust_dir(self) -> Path:
        """Public keys that signatures are checked against."""
        return self.home / "trust"

    @property
    def verifier_dir(self) -> Path:
        """The verifier's own state (0700); no other process reads it."""
        return self.home / "verifier"


def read_secret(settings: Settings, name: str) -> str:
    """A 256-bit secret in hex, made on first use (0600) and never printed."""
    path = settings.secrets_dir / name
    settings.secrets_dir.mkdir(parents=True, exist_ok=True)
    settings.secrets_dir.chmod(0o700)
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=settings.secrets_dir, prefix=f".{name}.")  # 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process made it first
            os.link(temporary, path)  # appears whole or not at all
        os.unlink(temporary)
    return path.read_text().strip()


def find_repo(start: Path) -> Path:
    """The nearest folder from `start` upwards that holds dvc.yaml; `start` itself where none does."""
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").exists():
            return folder
    return start


def _user_cache(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ratchet"


def _langfuse_keys(environ: Mapping[str, str]) -> tuple[str, str] | None:
    public, secret = environ.get("RATCHET_LANGFUSE_PUBLIC_KEY"), environ.get("RATCHET_LANGFUSE_SECRET_KEY")
    return (public, secret) if public and secret else None


def _store_uri(environ: Mapping[str, str]) -> str | None:
    uri = (environ.get("RATCHET_STORE") or "").rstrip("/")
    if uri and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w./-]+)?", uri):
        raise SettingsInvalid(f"RATCHET_STORE={uri!r} is not allowed; give s3://bucket/prefix")
    return uri or None


def _optional_address(environ: Mapping[str, str], key: str) -> str | None:
    return _address(environ, key, "") if environ.get(key) else None


def _address(environ: Mapping[str, str], key: str, default: str) -> str:
    value = (environ.get(key) or default).rstrip("/")
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or none of TCP's
        is_address = False
    if not is_address:
        raise SettingsInvalid(f"{key}={value!r} is not an address; allowed: http://host:port or https://host:port")
    return value

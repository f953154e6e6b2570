"""Releases: immutable bundles named by the digest of their content, and the store that holds them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ratchet.errors import ReleaseCorrupt, ReleaseNotFound
from ratchet.features import Decoding, Feature, Privacy
from ratchet.files import canonical_json, digest_tree, read_json, sha256_text, write_json
from ratchet.guards import Guards
from ratchet.prompts import Prompt, render
from ratchet.records import Context, Message

MANIFEST = "candidate.json"
ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseModelRef(_Part):
    """The base model by the name it is served under and the digest of its files."""

    name: str
    digest: str


class AdapterRef(_Part):
    """LoRA weights by the digest of each file."""

    digest: str
    files: dict[str, str]


class ReleasePolicy(_Part):
    """What the gateway needs to know of the feature's policy; it reads none from anywhere else.

    `privacy`: how records are scrubbed before they are stored; `guards`: what is looked for in questions and answers.
    None where there is none, and then it is no part of the content, so that it changes no id.
    """

    mode: str = "managed"
    scorer: str
    privacy: Privacy | None = None
    guards: Guards | None = None

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = dump(self)
        return {name: value for name, value in fields.items() if value is not None or name not in ("privacy", "guards")}


class Release(_Part):
    """The content of a release. Its id is the digest of exactly these fields."""

    feature: str
    base_model: BaseModelRef
    adapter: AdapterRef | None = None
    prompt: Prompt
    decoding: Decoding
    output_schema: dict[str, Any] | None = None
    policy: ReleasePolicy

    @property
    def release_id(self) -> str:
        """`rel_` and the SHA-256 of the canonical JSON of the content."""
        return "rel_" + sha256_text(canonical_json(self.model_dump(mode="json")))

    @property
    def model(self) -> str:
        """The name to ask the model server for: the adapter's (the release id) or the base model's."""
        return self.release_id if self.adapter else self.base_model.name


def policy_of(feature: Feature) -> ReleasePolicy:
    """The part of a feature's policy that a release carries."""
    privacy = feature.privacy if feature.privacy.scrub_in_gateway else None
    guards = feature.guards if feature.guards != Guards() else None
    return ReleasePolicy(mode=feature.mode, scorer=feature.scorer.metric, privacy=privacy, guards=guards)


def request_body(
    release: Release, messages: Sequence[Message], *, variables: Mapping[str, Any], contexts: Sequence[Context]
) -> dict[str, Any]:
    """The OpenAI chat request that asks a release; gateway, evaluate and tune all build it here."""
    body: dict[str, Any] = {
        "model": release.model,
        "messages": render(release.prompt, messages, variables=variables, contexts=contexts)
        if release.policy.mode == "managed"
        else [m.model_dump() for m in messages],
        "temperature": release.decoding.temperature,
        "max_tokens": release.decoding.max_tokens,
    }
    if release.output_schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": release.feature, "schema": release.output_schema, "strict": True},
        }
    return body


def adapter_ref(folder: Path) -> AdapterRef:
    """Digest the files of an adapter folder.

    Raises:
        ReleaseCorrupt: it holds anything but adapter_config.json and adapter_model.safetensors.
    """
    files = digest_tree(folder)
    if set(files) != ADAPTER_FILES:
        raise ReleaseCorrupt(f"{folder} must hold exactly {sorted(ADAPTER_FILES)}, not {sorted(files)}")
    return AdapterRef(digest=sha256_text(canonical_json(files)), files=files)


def read_manifest(path: Path) -> Release:
    """Read a release's content from a JSON file (candidate.json, champion.json, anchor.json)."""
    try:
        return Release.model_validate(read_json(path))
    except FileNotFoundError as error:
        raise ReleaseNotFound(f"{path} is missing") from error
    except (ValidationError, ValueError) as error:
        raise ReleaseCorrupt(f"{path} is not a release's content: {error}") from error


def write_manifest(path: Path, release: Release) -> None:
    """Write a release's content as JSON."""
    write_json(path, release.model_dump(mode="json"))


def write_candidate(folder: Path, release: Release) -> None:
    """Write candidate.json beside the adapter/ that it names, which must be there already."""
    write_manifest(folder / MANIFEST, release)
    read_candidate(folder)


def read_candidate(folder: Path) -> Release:
    """Read a candidate folder and check its adapter against the manifest.

    Raises:
        ReleaseNotFound, ReleaseCorrupt: no manifest, or files that differ from it.
    """
    release = read_manifest(folder / MANIFEST)
    if release.adapter and adapter_ref(folder / "adapter") != release.adapter:
        raise ReleaseCorrupt(f"{folder}: the adapter's files do not match its manifest")
    return release


class ReleaseStore:
    """A folder of releases: <id>/candidate.json, <id>/adapter/, and attestations/<id>.json beside."""

    def __init__(self, folder: Path) -> None:
        """The folder is made on the first `put`."""
        self.folder = folder

    def put(self, candidate: Path) -> str:
        """Copy a candidate folder in under its id; a release that is there already is left as it is."""
        release = read_candidate(candidate)
        final = self.folder / release.release_id
        if not final.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".put-"))
            shutil.copy2(candidate / MANIFEST, temporary / MANIFEST)
            if release.adapter:
                shutil.copytree(candidate / "adapter", temporary / "adapter")
            temporary.chmod(0o755)
            try:
                os.rename(temporary, final)
            except OSError:  # another process put the same content first
                shutil.rmtree(temporary)
        return self.get(release.release_id).release_id

    def get(self, release_id: str) -> Release:
        """Read a release and verify every file against its id.

        Raises:
            ReleaseNotFound: it is not in the store.
            ReleaseCorrupt: its files do not match its id.
        """
        folder = self.folder / release_id
        if not release_id.startswith("rel_") or not release_id[4:].isalnum() or not folder.is_dir():
            raise ReleaseNotFound(f"release {release_id} is not in {self.folder}")
        release = read_candidate(folder)
        if release.release_id != release_id:
            raise ReleaseCorrupt(f"{folder}: its content has the id {release.release_id}")
        return release

    def find(self, prefix: str) -> str:
        """The only release id that begins with a prefix (with or without `rel_`)."""
        wanted = prefix if prefix.startswith("rel_") else f"rel_{prefix}"
        found = [p.name for p in self.folder.glob("rel_*") if p.name.startswith(wanted)]
        if len(found) != 1:
            raise ReleaseNotFound(f"{len(found)} releases begin with {prefix!r} in {self.folder}")
        return found[0]

    def adapter_path(self, release_id: str) -> Path | None:
        """The folder of a release's adapter; None where it has none."""
        return self.folder / release_id / "adapter" if self.get(release_id).adapter else None

    def attest(self, release_id: str, attestation: Mapping[str, Any]) -> None:
        """Write what ties the release to commit, dataset, decision and signatures; later facts are merged in."""
        write_json(self._attestation_path(release_id), {**self.attestation(release_id), **attestation})

    def attestation(self, release_id: str) -> dict[str, Any]:
        """What was attested of a release; empty where nothing was."""
        path = self._attestation_path(release_id)
        return dict(read_json(path)) if path.is_file() else {}

    def _attestation_path(self, release_id: str) -> Path:
        return self.folder / "attestations" / f"{release_id}.json"

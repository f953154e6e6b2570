"""Releases: immutable bundles named by the digest of their content, and the store that holds them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ratchet.buckets import Bucket, open_bucket
from ratchet.errors import ReleaseCorrupt, ReleaseNotFound, StaleRecord
from ratchet.features import Decoding, Feature, Privacy
from ratchet.files import (
    canonical_json,
    digest_tree,
    locked,
    read_json,
    sha256_text,
    sync_folder,
    sync_tree,
    write_json,
)
from ratchet.guards import Guards
from ratchet.prompts import Prompt, render
from ratchet.records import Context, Message
from ratchet.settings import Settings

MANIFEST = "candidate.json"
RELEASE_ID = re.compile(r"rel_[0-9A-Za-z]+")
LEFTOVER_S = 86400
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
    _check_adapter(folder, release)
    return release


def _check_adapter(folder: Path, release: Release) -> None:
    if release.adapter and adapter_ref(folder / "adapter") != release.adapter:
        raise ReleaseCorrupt(f"{folder}: the adapter's files do not match its manifest")


class ReleaseStore:
    """A folder of releases: <id>/candidate.json, <id>/adapter/, and attestations/<id>.json beside.

    With a bucket, that is where releases and attestations are kept, and the folder is a copy of what was asked for.
    """

    def __init__(self, folder: Path, bucket: Bucket | None = None) -> None:
        """The folder is made on the first `put`."""
        self.folder = folder
        self._bucket = bucket

    @classmethod
    def of(cls, settings: Settings) -> ReleaseStore:
        """The releases of this machine, or of the S3 that RATCHET_STORE names."""
        bucket = open_bucket(settings.store_uri, settings).below("releases") if settings.store_uri else None
        return cls(settings.releases_dir, bucket)

    def ids(self) -> list[str]:
        """Every release, sorted."""
        if self._bucket is not None:
            return [key.partition("/")[0] for key in self._bucket.list("rel_") if key.endswith(f"/{MANIFEST}")]
        return sorted(path.name for path in self.folder.glob("rel_*"))

    def put(self, candidate: Path) -> str:
        """Copy a candidate folder in under its id; a release that is there already is left as it is."""
        release = read_candidate(candidate)
        self._take(release, candidate)
        if self._bucket is not None:
            names = [f"adapter/{name}" for name in release.adapter.files] if release.adapter else []
            for name in (*names, MANIFEST):  # the manifest last: what it names is there
                self._bucket.upload(self.folder / release.release_id / name, f"{release.release_id}/{name}")
        return self.get(release.release_id).release_id

    def put_variant(self, release_id: str, variant: Release) -> str:
        """Store `variant`: a release with another prompt, schema or policy, on the same weights. Returns its id.

        Raises:
            ReleaseNotFound, ReleaseCorrupt: as `get`.
        """
        adapter = self.adapter_path(release_id)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".put-variant-") as name:
            candidate = Path(name)
            if adapter is not None:
                shutil.copytree(adapter, candidate / "adapter")
            write_candidate(candidate, variant)
            return self.put(candidate)

    def get(self, release_id: str) -> Release:
        """Read a release and verify every file against its id.

        Raises:
            ReleaseNotFound: it is not in the store.
            ReleaseCorrupt: its files do not match its id.
        """
        release = self.content(release_id)
        _check_adapter(self.folder / release_id, release)
        return release

    def content(self, release_id: str) -> Release:
        """Read what a release says, verified against its id; its adapter's files are not looked at.

        Raises:
            ReleaseNotFound, ReleaseCorrupt: as `get`.
        """
        path = self.folder / release_id / MANIFEST
        if not RELEASE_ID.fullmatch(release_id) or not (path.is_file() or self._bring(release_id)):
            raise ReleaseNotFound(f"release {release_id} is not in {self.folder}")
        release = read_manifest(path)
        if release.release_id != release_id:
            raise ReleaseCorrupt(f"{path.parent}: its content has the id {release.release_id}")
        return release

    def find(self, prefix: str) -> str:
        """The only release id that begins with a prefix (with or without `rel_`)."""
        wanted = prefix if prefix.startswith("rel_") else f"rel_{prefix}"
        found = [release_id for release_id in self.ids() if release_id.startswith(wanted)]
        if len(found) != 1:
            raise ReleaseNotFound(f"{len(found)} releases begin with {prefix!r} in {self.folder}")
        return found[0]

    def adapter_path(self, release_id: str) -> Path | None:
        """The folder of a release's adapter; None where it has none."""
        return self.folder / release_id / "adapter" if self.get(release_id).adapter else None

    def attest(
        self, release_id: str, attestation: Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        """Write what ties the release to commit, dataset, decision and signatures; later facts are merged in.

        Where they hang on what is known, `attestation` is a function of it, called again if another was first.
        """
        with locked(self.folder / "attestations" / f".{release_id}.lock"):
            while True:
                etag, known = self._read_attestation(release_id)
                after = {**known, **(attestation(known) if callable(attestation) else attestation)}
                if self._bucket is not None:
                    try:
                        content = canonical_json(after).encode()
                        self._bucket.swap(f"attestations/{release_id}.json", content, before=etag)
                    except StaleRecord:
                        continue
                write_json(self._attestation_path(release_id), after)
                return

    def attestation(self, release_id: str) -> dict[str, Any]:
        """What was attested of a release; empty where nothing was."""
        return self._read_attestation(release_id)[1]

    def _read_attestation(self, release_id: str) -> tuple[str | None, dict[str, Any]]:
        """The ETag on S3 (None: not there, or no bucket) and the facts; what S3 says is copied to the folder."""
        path = self._attestation_path(release_id)
        if self._bucket is None:
            return None, dict(read_json(path)) if path.is_file() else {}
        found = self._bucket.get(f"attestations/{release_id}.json")
        if found is None:
            return None, {}
        facts = dict(json.loads(found.content))
        write_json(path, facts)
        return found.etag, facts

    def _take(self, release: Release, candidate: Path) -> None:
        """Copy a candidate's files in: all of them on disk before the folder has its name."""
        final = self.folder / release.release_id
        if final.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".[pg][ue]t-*"):  # by one that was killed
            if time.time() - left.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=".put-"))
        try:
            shutil.copy2(candidate / MANIFEST, temporary / MANIFEST)
            if release.adapter:
                shutil.copytree(candidate / "adapter", temporary / "adapter")
            temporary.chmod(0o755)
            sync_tree(temporary)
            with contextlib.suppress(OSError):  # another process put the same content first
                os.rename(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(self.folder)

    def _bring(self, release_id: str) -> bool:
        """Copy a release from S3 into the folder. False where S3 has none, or there is no bucket."""
        manifest = self._bucket.get(f"{release_id}/{MANIFEST}") if self._bucket is not None else None
        if self._bucket is None or manifest is None:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".get-") as name:
            (Path(name) / MANIFEST).write_bytes(manifest.content)
            release = read_manifest(Path(name) / MANIFEST)
            if release.release_id != release_id:
                raise ReleaseCorrupt(f"{self._bucket.uri(release_id)}: its content has the id {release.release_id}")
            if release.adapter:
                (Path(name) / "adapter").mkdir()
                for file in sorted(ADAPTER_FILES):
                    self._bucket.download(f"{release_id}/adapter/{file}", Path(name) / "adapter" / file)
            self._take(read_candidate(Path(name)), Path(name))
        return True

    def _attestation_path(self, release_id: str) -> Path:
        return self.folder / "attestations" / f"{release_id}.json"

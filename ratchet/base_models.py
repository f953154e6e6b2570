"""Where a base model lies on this machine, and what it is called by the servers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ratchet.errors import ModelMissing
from ratchet.files import canonical_json, digest_tree, read_json, sha256_text
from ratchet.settings import Settings

EMBEDDED = "embedded:"


@dataclass(frozen=True)
class LocalModel:
    """A base model: the name it is served under, its folder (or Hugging Face id), its digest."""

    name: str
    path: str
    digest: str


def resolve_base_model(name: str, settings: Settings) -> LocalModel:
    """Find the base model that params.yaml names.

    `embedded:NAME` is the model converted by `make setup`; an existing folder is taken as it is (its digest is over
    its files); anything else is a Hugging Face id, whose digest is the id itself (pin a revision for production).

    Raises:
        ModelMissing: the embedded model has not been converted yet.
    """
    if name.startswith(EMBEDDED):
        short = name.removeprefix(EMBEDDED)
        folder = settings.cache / "models" / short
        try:
            digest = str(read_json(folder / "ratchet.json")["digest"])
        except (OSError, ValueError, LookupError, TypeError) as error:  # not there, or not written to its end
            raise ModelMissing(f"base model {name} is not in {folder}; run `make setup` to convert it") from error
        return LocalModel(short, str(folder), digest)
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelMissing(f"base_model: {folder} holds no config.json, so it is no Hugging Face model folder")
        return LocalModel(folder.name, str(folder.resolve()), sha256_text(canonical_json(digest_tree(folder))))
    if name.startswith(("/", ".")):
        raise ModelMissing(f"base_model: no folder {name}")
    return LocalModel(name, name, sha256_text(name))

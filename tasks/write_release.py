"""Action: a release of a prompt that a person wrote - what is stable now with another prompt, and nothing else changed.

It went through no gate, and is live nowhere: an approval lets it, and a rollout decides by users.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ratchet import git
from ratchet.channels import Channels
from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.ledger import Ledger
from ratchet.prompts import load_prompt
from ratchet.release import ReleaseStore
from ratchet.settings import Settings
from ratchet.trust import pipeline_key, sign_claims

EVENT = "release of a written prompt"


def write_release(  # noqa: PLR0913 - all of them are facts of the release, by keyword
    settings: Settings,
    releases: ReleaseStore,
    channels: Channels,
    ledger: Ledger,
    *,
    feature: Feature,
    prompt: Path,
    now: datetime,
    by: str,
    reason: str,
) -> str:
    """Store the release and sign what is claimed of it. Returns its id; the same prompt again is the same release.

    Raises:
        BadInput: the file is not in the clone or not committed as it is, the feature's prompts are the application's,
            or the prompt is live.
        SettingsInvalid: the prompt file is malformed.
    """
    path = prompt.resolve()
    if not path.is_relative_to(settings.repo.resolve()):
        raise BadInput(f"{prompt} lies outside {settings.repo}; a prompt is released from a commit")
    where = path.relative_to(settings.repo.resolve()).as_posix()
    text, head = load_prompt(path).text, git.resolve(settings.repo, "HEAD")
    committed = None if head is None else git.show(settings.repo, head, where)
    if committed is None or committed.strip() != path.read_text(encoding="utf-8").strip():
        raise BadInput(f"{where} is not committed as it is; commit it, so that the release says what it was made of")
    stable = channels.read(feature.name).stable
    champion = releases.get(stable)
    if champion.policy.mode != "managed":
        raise BadInput(f"{feature.name} is {champion.policy.mode}: its prompts are the application's, not ours")
    made = champion.model_copy(update={"prompt": champion.prompt.model_copy(update={"text": text})})
    if made.release_id == stable:
        raise BadInput(f"{where} is the prompt that is live, in {stable[:16]}")
    release_id = releases.put_variant(stable, made)
    if "pipeline" not in releases.attestation(release_id):
        claims: dict[str, Any] = {"feature": feature.name, "commit": head, "prompt_file": where, "made_from": stable}
        claims |= {"intent": feature.intent, "owners": list(feature.owners), "at": now.isoformat(timespec="seconds")}
        releases.attest(release_id, sign_claims(pipeline_key(settings), release_id, claims))
    ledger.append_once(EVENT, release_id, feature=feature.name, prompt_file=where, commit=head, by=by, reason=reason)
    return release_id

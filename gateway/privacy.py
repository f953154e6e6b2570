"""What is stored of a record where its feature wants personal data gone before storage.

The policy is the release's: of the release that answered, or of the feature's stable one where none did (a record from
elsewhere). Patterns only; names are found in harvest. Feedback follows its interaction.
"""

from __future__ import annotations

from gateway.durable_log import Record
from ratchet.channels import Channels
from ratchet.features import Privacy
from ratchet.mirrored import Mirrored
from ratchet.pii_records import conversation_of, scrub_before_storage
from ratchet.records import Interaction
from ratchet.release import MANIFEST, ReleaseStore
from ratchet.settings import Settings, read_secret
from ratchet.store import Store


class StoragePrivacy:
    """Scrubs records; keeps the policies of the releases that it has read, as releases never change."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._channels = Channels(settings.channels_dir)
        self._policies: dict[str, Privacy | None] = {}

    def scrub(self, record: Record) -> Record:
        """The record as it is to be stored; of a mirrored request nothing is that anybody wrote."""
        if isinstance(record, Mirrored):
            return record
        interaction = record if isinstance(record, Interaction) else self._store.interaction(record.interaction_id)
        privacy = self._of_interaction(interaction) if interaction else self._strictest()
        if privacy is None:
            return record
        key = bytes.fromhex(read_secret(self._settings, "pseudonyms"))
        conversation = conversation_of(interaction) if interaction else record.interaction_id
        return scrub_before_storage(record, privacy, key=key, conversation=conversation)

    def _of_interaction(self, interaction: Interaction) -> Privacy | None:
        if interaction.release_id is not None and self._is_there(interaction.release_id):
            return self._of_release(interaction.release_id)
        return self._of_feature(interaction.feature)

    def _of_feature(self, feature: str) -> Privacy | None:
        if feature not in self._channels.features():  # without a release it has no policy here; harvest has it
            return None
        return self._of_release(self._channels.read(feature).stable)

    def _strictest(self) -> Privacy | None:
        """For feedback that came before its interaction: what any feature wants, rather than nothing."""
        wanted = (self._of_feature(feature) for feature in self._channels.features())
        return next((privacy for privacy in wanted if privacy is not None), None)

    def _is_there(self, release_id: str) -> bool:
        return release_id in self._policies or (self._settings.releases_dir / release_id / MANIFEST).is_file()

    def _of_release(self, release_id: str) -> Privacy | None:
        if release_id not in self._policies:
            self._policies[release_id] = ReleaseStore.of(self._settings).content(release_id).policy.privacy
        return self._policies[release_id]

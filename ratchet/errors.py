"""Errors, named by what went wrong. A message says what, with which id or path, and what to do next."""


class RatchetError(Exception):
    """Root of every error that is meant for the user's eyes; `exit_code` is what a command ends with."""

    exit_code = 1


class BadInput(RatchetError):
    """What the user gave cannot be used."""

    exit_code = 2


class BadRecord(BadInput):
    """One record of a file is malformed; the message begins with `file:line`."""


class SettingsInvalid(BadInput):
    """A key of params.yaml, feature.yaml or the environment is unknown, missing or out of range."""


class UnknownFeature(BadInput):
    """No folder features/<name> with a feature.yaml."""


class ModelMissing(BadInput):
    """The base model is not on this machine."""


class GitIdentityMissing(BadInput):
    """git has no user.name or user.email to sign commits and tags with."""


class PortInUse(BadInput):
    """Another process listens on the port that a server was told to take."""


class HoldoutTouched(BadInput):
    """Something other than evaluate would learn from the holdout."""


class NothingNew(RatchetError):
    """There is no feedback since the last run."""

    exit_code = 3


class HoldoutRetired(NothingNew):
    """The holdout was used up, so that nothing could be proven on it."""


class ModelServerUnreachable(RatchetError):
    """The model server does not answer."""


class ServiceUnreachable(RatchetError):
    """The gateway, the verifier or the Prefect server does not answer."""


class SourceUnreachable(RatchetError):
    """A system that interactions are pulled from does not answer, or refuses us."""


class AddressRefused(BadInput):
    """An address outside that we may not call: it lies in a private network, or does not resolve."""


class ReleaseNotFound(RatchetError):
    """The release store has no such release."""


class ReleaseCorrupt(RatchetError):
    """A release's files do not match its id."""


class ReleaseUntrusted(RatchetError):
    """A release lacks the pipeline's signature or an approval, where a trust file asks for both."""


class StaleChannel(RatchetError):
    """Another process moved the channel first."""


class ChannelFrozen(StaleChannel):
    """The channel is frozen: it goes back, and nowhere else."""


class StaleRecord(RatchetError):
    """Another process changed the record first."""


class LeaseHeld(RatchetError):
    """Another run of the same feature is running or waits for an approval."""


class ApprovalRefused(RatchetError):
    """The verifier refused, or a signed approval does not fit what it is used for."""


class LedgerBroken(RatchetError):
    """The ledger's hash chain does not verify."""


class StageFailed(RatchetError):
    """A stage of the graph ended with an error."""

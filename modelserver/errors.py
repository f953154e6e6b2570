"""What can go wrong with one request, beyond bad input."""

from ratchet.errors import RatchetError


class UnknownModel(RatchetError):
    """No model or adapter is loaded under this name."""


class Overloaded(RatchetError):
    """Too many requests wait already; asking again later helps."""


class EngineStopped(RatchetError):
    """The engine's thread has ended; the server must be started again."""

"""How long a server that does not answer is asked again: 90 seconds within a run, 15 before one has begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LONG_SECONDS = 90.0
FIRST_CONTACT_SECONDS = 15.0

# None for the long patience; a thread begins with that, too, whoever starts it.
short_patience: ContextVar[float | None] = ContextVar("short_patience", default=None)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Within the body, give a request up when it has failed for so many seconds since it was made first."""
    token = short_patience.set(seconds)
    try:
        yield
    finally:
        short_patience.reset(token)


@contextmanager
def first_contact() -> Iterator[None]:
    """Within the body, tell of a server that cannot be reached after 15 s: for the beginning of a verb.

    Nothing is lost yet then. Later a run should outlast an outage.
    """
    with patience(FIRST_CONTACT_SECONDS):
        yield

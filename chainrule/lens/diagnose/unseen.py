"""What a diagnosis itself trains is not the user's training, and no watch of a script sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

looking: ContextVar[bool] = ContextVar("looking", default=False)
"""Whether a diagnosis is being made."""


@contextmanager
def unseen() -> Iterator[None]:
    """Inside of the block, models and optimisers are the diagnosis's own."""
    before = looking.set(True)
    try:
        yield
    finally:
        looking.reset(before)

"""What diagnose is doing, on a terminal, while it does it; nothing of it remains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much; 0 where that is not known)."""


@contextmanager
def showing() -> Iterator[Show]:
    """A function to be told what is being done; it does nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as live:
        task = live.add_task("looking", total=None)

        def show(what: str, done: int, of: int) -> None:
            live.update(task, description=what, completed=done, total=of or None)

        yield show

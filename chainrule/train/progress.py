"""Progress of training: a live display on a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.train.loop import Epoch

PLAIN_LINES = 10
"""About how many lines are printed where no terminal can show a live display."""


@contextmanager
def showing(epochs: int, *, quiet: bool = False) -> Iterator[Callable[[Epoch], None] | None]:
    """A function to be called with every `Epoch`; None where nothing is to be shown."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _plain(epochs)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: list[Any] = [
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[losses]}"),
    ]
    with Progress(*columns, console=Console(stderr=True)) as live:
        task = live.add_task("training", total=epochs, losses="")

        def show(epoch: Epoch) -> None:
            live.update(task, completed=epoch.epoch, losses=describe(epoch))

        yield show


def _plain(epochs: int) -> Callable[[Epoch], None]:
    every = max(1, epochs // PLAIN_LINES)

    def show(epoch: Epoch) -> None:
        if epoch.epoch == 1 or epoch.epoch % every == 0 or epoch.epoch == epochs:
            print(
                f"epoch {epoch.epoch:>4}/{epochs}  {describe(epoch)}", file=sys.stderr, flush=True
            )

    return show


def describe(epoch: Epoch) -> str:
    """The losses of an epoch in one line."""
    parts = [f"train loss {epoch.train_loss:.4f}"]
    if epoch.validation_loss is not None:
        parts.append(f"validation loss {epoch.validation_loss:.4f}")
    if epoch.validation_score is not None:
        parts.append(f"validation score {epoch.validation_score:.4f}")
    return "  ".join(parts)

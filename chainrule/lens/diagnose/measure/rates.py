"""What the same run would have come to with another rate, length or batch: tried, not guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import SURE, Missing
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.measure.learning import blocks_of
from chainrule.lens.diagnose.training import train

SECONDS = 1.5
"""One such run takes no longer than this, or than the run itself took (as many times as it is to be
longer), and no more than half of the time that is left."""


@dataclass(frozen=True)
class Tried:
    """Attributes:
    title: what was changed.
    error, held_out: the yardsticks at the end.
    end: the mean loss of the last part. `losses`: of every step.
    steps: made. `finished`: whether the time sufficed.
    """

    title: str
    error: float
    held_out: float
    end: float
    losses: np.ndarray
    steps: int
    finished: bool


def unless_explained(case: Case) -> None:
    """Nothing is to be tried where what was found already is a proven contradiction.

    Raises:
        Missing: it is.
    """
    for finding in case.found:
        if finding.severity == "error" and finding.strength >= SURE:
            raise Missing(f"{finding.rule} has to be mended first")


def tried(case: Case, change: Change, longer: float = 1.0) -> Tried | None:
    """The run with a change, at the seed of the run itself; None where there is no time. `longer`:
    how many times the steps."""
    name = f"tried:{change.kind or change.title}"
    if name not in case.memo:
        case.memo[name] = _tried(case, change, longer)
    return case.memo[name]


def at_rate(case: Case, factor: float) -> Tried | None:
    """The run with its rate times a factor."""
    return tried(case, changes.set_rate(case.setup.rate * factor))


def best_rate(case: Case) -> float:
    """The least error of the runs with another rate that were tried so far."""
    tries = (found for name, found in case.memo.items() if name.startswith("tried:rate:"))
    return min((found.error for found in tries if found is not None), default=float("inf"))


def _tried(case: Case, change: Change, longer: float) -> Tried | None:
    own = case.trace.seconds if case.trace is not None else 0.0
    seconds = min(max(SECONDS, longer * own), case.time_left / 2)
    if seconds < 0.05:
        return None
    setup = change.apply(case.setup)
    trace = train(setup, pace=None, seconds=seconds, evaluations=2).trace
    losses = np.asarray(trace.losses, dtype=np.float64)
    seen = [e for e in trace.epochs if e.train_error is not None]
    held = [e.held_out_error for e in trace.epochs if e.held_out_error is not None]
    broken = any(e.kind in ("non-finite", "error") for e in trace.events)
    finite = losses[np.isfinite(losses)]
    return Tried(
        change.title,
        float("inf") if broken or not seen else float(seen[-1].train_error),  # type: ignore[arg-type]
        float("inf") if broken or not held else float(held[-1]),
        float("inf") if broken or not len(finite)
        else float(blocks_of(finite, setup.steps_per_epoch)[-1]),
        losses,
        len(losses),
        trace.finished,
    )  # fmt: skip

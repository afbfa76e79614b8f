"""How far a run came from chance towards what its data allow, and where it was going."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.measure.chance import chance
from chainrule.lens.diagnose.measure.probes import compared, reach
from chainrule.lens.diagnose.trace import Trace
from chainrule.lens.diagnose.yardstick import meant

BLOCKS = 20


@dataclass(frozen=True)
class Learning:
    """What a run's losses and errors say.

    Attributes:
        blocks: mean loss of each of up to 20 equal parts of the run.
        start: the loss before the first step; `end`: of the last block; `best`: of the best one.
        worst: the largest loss of any step.
        noise: standard error of a block's mean, from the differences between steps.
        fall: what as many steps again would take off the loss, by the last blocks' trend ÷ what
            the loss is above its floor at the end.
        chance, floor: the loss of the best constant, and the least that there is; NaN if unknown.
        error, held_out: the yardstick of training and held-out rows at the end (1: a constant's).
        start_error: of training rows before the first step. `best_error`: the least on the way.
        steps: made when those errors were taken.
        broken: whether the loss stopped being finite, or ended far above where it began.
        plain: the training rows' error at the end ÷ a constant's: of classes the wrong ones alone.
        attainable: the same of a simple model on rows that it has not seen; None if there is none.
    """

    blocks: np.ndarray
    start: float
    end: float
    best: float
    worst: float
    noise: float
    fall: float
    chance: float
    floor: float
    error: float
    held_out: float
    start_error: float
    best_error: float
    steps: int
    broken: bool
    plain: float
    attainable: float | None

    @property
    def suffers(self) -> bool:
        """Whether training rows are fitted far worse than a simple model fits rows that it has
        not seen; without one, hardly better than by a constant."""
        if self.broken:
            return True
        if self.attainable is None:
            return self.error > 0.6
        return self.plain > 0.15 + 1.5 * self.attainable or self.error > 0.95

    @property
    def unfinished(self) -> bool:
        """Whether training rows are fitted so badly that learning on might be worth it."""
        return self.error > 0.15 and self.suffers

    @property
    def severity(self) -> str:
        """Of having come too short a way: more than half was left to learn, or it is a gain that
        could be had."""
        return "error" if self.error > 0.5 else "advice"

    def worse_than(self, error: float, held_out: float) -> bool:
        """Whether another run came out clearly better, on training rows and on held-out rows."""
        if not (error < 0.6 * self.error and self.error - error > 0.08):
            return False
        if not np.isfinite(self.held_out):
            return True
        return self.held_out - held_out > max(0.05, 0.2 * self.held_out)


def learning(case: Case) -> Learning | None:
    """How the run went; None where no step was made."""
    if case.trace is None or not case.trace.steps:
        return None
    if "learning" not in case.memo:
        case.memo["learning"] = _learning(case, case.trace)
    return case.memo["learning"]


def blocks_of(losses: np.ndarray, steps_per_epoch: int = 1) -> np.ndarray:
    """Means of up to 20 equal parts of a run, of whole epochs where there are enough."""
    losses = np.asarray(losses, dtype=np.float64)
    epochs = len(losses) // max(steps_per_epoch, 1)
    if epochs >= 4:
        losses = losses[: epochs * steps_per_epoch].reshape(epochs, steps_per_epoch).mean(1)
    count = min(BLOCKS, len(losses))
    return np.array([part.mean() for part in np.array_split(losses, count)])


def _learning(case: Case, trace: Trace) -> Learning:
    losses = np.asarray(trace.losses, dtype=np.float64)
    finite = losses[np.isfinite(losses)]
    by = chance(case)
    seen = [e for e in trace.epochs if e.train_error is not None]
    errors = [float(e.train_error) for e in seen]  # type: ignore[arg-type]
    held = [e.held_out_error for e in trace.epochs if e.held_out_error is not None]
    start = _start(trace, losses)
    if not len(finite):
        finite = np.array([start])
    blocks = blocks_of(finite, case.setup.steps_per_epoch)
    per = max(1, len(finite) // len(blocks))
    jumps = np.diff(finite)
    noise = float(np.median(np.abs(jumps)) / np.sqrt(2 * per)) if len(jumps) else 0.0
    floor = by.floor if np.isfinite(by.level) else float("nan")
    end = float(blocks[-1])
    risen = end > 3 * max(abs(start), 1e-3) and not (np.isfinite(by.level) and end <= by.level)
    broken = bool(len(finite) < len(losses) or risen)
    error = errors[-1] if errors else float("nan")
    return Learning(
        blocks=blocks,
        start=start,
        end=end,
        best=float(blocks.min()),
        worst=float(finite.max()),
        noise=noise,
        fall=0.0 if broken else _fall(blocks, noise, floor if np.isfinite(floor) else 0.0),
        chance=by.level,
        floor=floor,
        error=error,
        held_out=float(held[-1]) if held else float("nan"),
        start_error=errors[0] if errors else float("nan"),
        best_error=min(errors) if errors else float("nan"),
        steps=seen[-1].step if seen else trace.steps,
        broken=broken,
        plain=plain_error(case),
        attainable=attainable(case),
    )


def _start(trace: Trace, losses: np.ndarray) -> float:
    if trace.epochs and trace.epochs[0].epoch == 0 and np.isfinite(trace.epochs[0].train_loss):
        return float(trace.epochs[0].train_loss)
    return float(losses[0])


def _fall(blocks: np.ndarray, noise: float, floor: float) -> float:
    """The fall that the trend of the last third promises for as many steps again, ÷ end − floor; 0
    where the trend is not above the noise."""
    count = max(3, len(blocks) // 3)
    last = blocks[-count:]
    if len(last) < 3:
        return 0.0
    x = np.arange(len(last)) - (len(last) - 1) / 2
    slope = float(np.dot(x, last) / np.dot(x, x))
    rest = last - last.mean() - slope * x
    error = max(float(np.sqrt(np.dot(rest, rest) / len(last))), noise) / float(
        np.sqrt(np.dot(x, x))
    )
    if -slope < 2 * error:
        return 0.0
    above = max(float(blocks[-1]) - floor, 1e-12)
    return -slope * len(blocks) / above


def attainable(case: Case) -> float | None:
    """What a simple model of the raw rows reaches on rows that it has not seen
    (`probes.reach`), ÷ a constant's error. None for inputs that are no table, or
    are the targets themselves."""
    setup = case.setup
    if setup.x.shape == setup.y.shape and np.array_equal(setup.x, setup.y):
        return None  # an autoencoder: a simple model copies, a bottleneck cannot
    try:
        return min(reach(case).error, 1.0)
    except Missing:
        return None


def plain_error(case: Case) -> float:
    """The error of the probe rows at the end in the same units; NaN where it cannot be told."""
    run = case.probe
    if run.error is not None or run.outputs is None or run.y is None:
        return float("nan")
    try:
        return compared(meant(run.outputs, case.setup.reading), run.y, case.setup.task)[0]
    except Missing:
        return float("nan")

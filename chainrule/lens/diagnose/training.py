"""The loop that `diagnose` trains with: a setup's own loop, measured on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.batches import Batches
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.sampling import sample_of, with_update
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.trace import EpochSample, Event, Trace, layer_facts
from chainrule.lens.diagnose.yardstick import error_of

Step = Callable[[np.ndarray, np.ndarray], float]


@dataclass
class Trained:
    """A setup after training.

    Attributes:
        setup: whose model and optimiser are trained now.
        trace: what was measured.
        first: the state of the model before the first step.
    """

    setup: Setup
    trace: Trace
    first: dict[str, np.ndarray]


def train(
    setup: Setup,
    *,
    seed: int = 0,
    pace: Pace | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    evaluations: int = 25,
    fast: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a fresh copy of the setup.

    Args:
        seed: another seed than 0 takes other first weights, and another order of the rows.
        pace: when to measure; None measures nothing but losses and errors.
        epochs: fewer than the setup's, or more.
        seconds: stop after so long.
        evaluations: at about how many epochs the held-out rows are looked at.
        fast: whether many steps that are not measured may be compiled.
    """
    run, best = _setting_aside(setup.fresh(seed))
    framework, reading = run.framework, setup.reading
    first = framework.state(run.model)
    epochs = setup.epochs if epochs is None else epochs
    batches = Batches((run.x, run.y), run.batch_size, shuffle=run.shuffle, seed=run.seed)
    trace = Trace(batch_size=run.batch_size, epochs_asked=epochs)
    losses: list[float] = []
    unseen = epochs * run.steps_per_epoch if fast else 0
    make = framework.stepper(
        run.model, run.loss, run.optimizer,
        steps=unseen, clear=run.clear, sign=run.sign, clip=run.clip,
    )  # fmt: skip
    framework.seed(run.seed)
    began = time.perf_counter()
    train_mode(run.model)
    every = max(1, epochs // evaluations)
    kept = min(len(run.x), 1000)
    _evaluate(trace, run, 0, 0, float("nan"), kept, reading)
    for epoch in range(epochs):
        start = len(losses)
        for x, y in batches.epoch(epoch):
            step = len(losses)
            elapsed = time.perf_counter() - began
            if seconds is not None and elapsed > seconds:
                trace.finished = False
                break
            due = pace is not None and pace.due(step, elapsed)
            try:
                losses.append(_step(run, make, trace, x, y, step, pace if due else None))
            except Exception as error:  # the user's own fault is a finding
                trace.events.append(Event(step, "error", text=str(error), facts={"error": error}))
                trace.finished = False
                break
            if not np.isfinite(losses[-1]) and not _note_nonfinite(trace, losses):
                break
        mean = float(np.mean(losses[start:])) if len(losses) > start else float("nan")
        stopped = not trace.finished or not np.isfinite(mean)
        if best is not None:
            best.look(run, last=stopped or epoch + 1 == epochs)
        if stopped or (epoch + 1) % every == 0 or epoch + 1 == epochs:
            _evaluate(trace, run, epoch + 1, len(losses), mean, kept, reading)
        else:
            trace.epochs.append(EpochSample(epoch + 1, len(losses), mean))
        if progress is not None:
            progress(epoch + 1, epochs)
        if stopped:
            break
    trace.losses = np.array(losses, dtype=np.float32)
    trace.seconds = time.perf_counter() - began
    trace.overhead = pace.spent if pace is not None else 0.0
    return Trained(run, trace, first)


def train_mode(model: Any) -> None:
    """Both frameworks' modules have `train()`."""
    model.train()


def _step(
    run: Setup, make: Step, trace: Trace, x: Any, y: Any, step: int, pace: Pace | None
) -> float:
    framework, began = run.framework, time.perf_counter()
    seen = sample = None
    if pace is not None:
        seen = framework.observe(run.model, x, y, run.loss)
        if seen.error is not None:
            raise seen.error
        sample = sample_of(seen, step, framework.rate(run.optimizer))
        trace.samples.append(sample)
        trace.layers = trace.layers or layer_facts(seen)
    observed = time.perf_counter()
    loss = make(x, y)
    if run.schedule is not None:
        run.schedule.step()
    stepped = time.perf_counter()
    if pace is not None:
        assert seen is not None
        assert sample is not None
        with_update(sample, seen, framework.parameters(run.model))
        pace.measured(step, time.perf_counter() - stepped + observed - began)
    return loss


def _note_nonfinite(trace: Trace, losses: list[float]) -> bool:
    """Note the first loss that is not finite; whether to go on (a few steps, to be sure)."""
    if not any(e.kind == "non-finite" for e in trace.events):
        trace.events.append(Event(len(losses) - 1, "non-finite", "loss", f"loss {losses[-1]}"))
    return int(np.sum(~np.isfinite(losses[-3:]))) < 3


@dataclass
class _Best:
    """The weights of the epoch with the smallest loss on rows that were set aside."""

    x: np.ndarray
    y: np.ndarray
    loss: float = float("inf")
    state: dict[str, np.ndarray] | None = None

    def look(self, run: Setup, last: bool) -> None:
        """Keep the weights if they are better; after the last epoch take the best ones."""
        framework = run.framework
        _, loss = framework.evaluated(run.model, self.x, self.y, run.loss)
        if loss < self.loss:
            self.loss, self.state = loss, framework.state(run.model)
        if last and self.state is not None:
            framework.load(run.model, self.state)


def _setting_aside(run: Setup) -> tuple[Setup, _Best | None]:
    """`Setup.early`: the rows that are trained on, and those that choose the epoch."""
    aside = round(run.early * len(run.x))
    if not 0 < aside < len(run.x):
        return run, None
    order = np.random.default_rng(run.seed).permutation(len(run.x))
    out, kept = order[:aside], order[aside:]
    return run.with_(x=run.x[kept], y=run.y[kept]), _Best(run.x[out], run.y[out])


def _evaluate(
    trace: Trace, run: Setup, epoch: int, step: int, train_loss: float, kept: int, reading: str
) -> None:
    found = EpochSample(epoch, step, train_loss)
    trace.epochs.append(found)
    try:
        if len(run.x_held):
            outputs, loss = run.framework.evaluated(run.model, run.x_held, run.y_held, run.loss)
            found.held_out_error = error_of(outputs, run.y_held, run.task, reading)
            found.held_out_loss = loss
        outputs, loss = run.framework.evaluated(run.model, run.x[:kept], run.y[:kept], run.loss)
        found.train_error = error_of(outputs, run.y[:kept], run.task, reading)
        if epoch == 0:
            found.train_loss = loss
    except Exception as error:  # an output that the loss refuses: the step says so too
        if not any(e.kind == "error" for e in trace.events):
            trace.events.append(Event(step, "error", text=str(error), facts={"error": error}))

"""Running arms: each change at each seed once, judged on the same held-out rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.yardstick import WORST, row_errors

COMPILING = 3.0
"""Seconds below which nothing is compiled, since that cannot be broken off."""
STEPS = 20
"""That are made to see what one costs."""
NO_CHANGE = Change("no change", lambda setup: setup, kind="no change")


@dataclass(frozen=True)
class Outcome:
    """One run of an arm: each held-out row's error (2 at most), steps made, seconds taken."""

    rows: np.ndarray
    steps: int
    seconds: float

    @property
    def error(self) -> float:
        return float(self.rows.mean())


class Runner:
    """Trains arms while there is time, and remembers what came out.

    Args:
        case: whose setup is changed; its own run serves as "no change" at seed 0.
        deadline: `time.perf_counter()` at which a run is broken off.
    """

    def __init__(self, case: Case, deadline: float) -> None:
        self.case, self.deadline = case, deadline
        self.outcomes: dict[tuple[str, int, int], Outcome] = {}
        self.setups: dict[str, Setup | None] = {NO_CHANGE.kind: case.setup}
        self._step = 0.0
        self.fast = self.left > COMPILING
        self._take_watched_run()
        self._measure_step()

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.perf_counter()

    @contextmanager
    def within(self, share: float) -> Iterator[None]:
        """For a share of the time that is left."""
        deadline = self.deadline
        self.deadline = min(deadline, time.perf_counter() + share * max(0.0, self.left))
        try:
            yield
        finally:
            self.deadline = deadline

    def _take_watched_run(self) -> None:
        trace = self.case.trace
        if trace is None or self.case.trained is None or not trace.epochs:
            return
        seconds = trace.seconds - trace.overhead
        last = trace.epochs[-1]
        diverged = not np.isfinite(trace.losses[-1]) if len(trace.losses) else False
        whole = last.epoch == self.case.setup.epochs or diverged
        compiled = self.case.setup.framework.compiled_from
        if self.fast and compiled is not None and self.case.setup.steps >= compiled:
            whole = False  # the others have other last digits
        if last.held_out_error is None or not whole:
            return  # a loop of the user's own, or one that was broken off
        setup = self.case.setup
        outputs = setup.framework.outputs(self.case.final_model, setup.x_held)
        self.outcomes[NO_CHANGE.kind, 0, setup.epochs] = Outcome(
            _rows(setup, outputs), trace.steps, seconds
        )

    def _measure_step(self) -> None:
        """What a step costs: a few of them, or a tenth of a second of them, are made."""
        run = self.case.setup.fresh()
        make = run.framework.stepper(
            run.model, run.loss, run.optimizer,
            steps=run.steps * self.fast, clear=run.clear, sign=run.sign, clip=run.clip,
        )  # fmt: skip
        x, y = run.batch(run.batch_size)
        try:
            make(x, y)  # compiles
            seconds: list[float] = []
            began = time.perf_counter()
            while len(seconds) < STEPS and time.perf_counter() - began < 0.1:
                now = time.perf_counter()
                make(x, y)
                seconds.append(time.perf_counter() - now)
            self._step = float(np.median(seconds))  # a step that had to wait says nothing
        except Exception:  # what does not run costs nothing
            self._step = 0.0

    def setup(self, change: Change) -> Setup | None:
        """The changed setup; None where the change cannot be made, or there is no time to see."""
        if change.kind not in self.setups:
            if self.left <= 0:
                return None
            try:
                made = change.apply(self.case.setup)
                made.loss_kind  # noqa: B018  (one pass: does it run?)
                self.setups[change.kind] = made
            except Exception:  # Inapplicable, or the user's own code refuses what was changed
                self.setups[change.kind] = None
        return self.setups[change.kind]

    def epochs(self, change: Change, share: float = 1.0) -> int:
        """How many epochs a share of the changed setup's run is."""
        return max(1, round(share * (self.setup(change) or self.case.setup).epochs))

    def cost(self, change: Change, share: float = 1.0) -> float:
        """About how many seconds a run takes: its steps, and what the runs before took besides (to
        compile, to judge)."""
        setup = self.setup(change) or self.case.setup
        besides = [o.seconds - o.steps * self._step for o in self.outcomes.values()]
        steps = self.epochs(change, share) * setup.steps_per_epoch
        return steps * self._step + max(0.0, float(np.mean(besides or [0.0])))

    def known(self, change: Change, seed: int, share: float = 1.0) -> Outcome | None:
        """What came out, if it was run."""
        return self.outcomes.get((change.kind, seed, self.epochs(change, share)))

    def run(self, change: Change, seed: int, share: float = 1.0) -> Outcome | None:
        """One run over a share of the epochs; None where the change cannot be made or the time is
        over."""
        setup = self.setup(change)
        if setup is None:
            return None
        epochs = self.epochs(change, share)
        key = (change.kind, seed, epochs)
        if key not in self.outcomes:
            if self.cost(change, share) > self.left:
                return None
            began = time.perf_counter()
            trained = train(
                setup,
                seed=seed,
                epochs=epochs,
                seconds=self.left,
                evaluations=1,
                fast=self.fast,
            )
            trace = trained.trace
            if not trace.finished and not any(e.kind == "error" for e in trace.events):
                return None  # the time was over
            try:
                outputs = setup.framework.outputs(trained.setup.model, setup.x_held)
                rows = _rows(setup, outputs)
            except Exception:  # what does not run is as bad as can be
                rows = np.full(len(setup.x_held), WORST)
            if any(e.kind == "error" for e in trace.events):
                rows = np.full(len(setup.x_held), WORST)
            self.outcomes[key] = Outcome(rows, trace.steps, time.perf_counter() - began)
        return self.outcomes[key]


def _rows(setup: Setup, outputs: np.ndarray) -> np.ndarray:
    if not np.isfinite(outputs).all():
        return np.full(len(setup.x_held), WORST)
    return np.minimum(row_errors(outputs, setup.y_held, setup.task, setup.reading), WORST)

"""`fit(..., watch=True)`: the measurements of a training run, and what the rules make of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.frameworks.ours import Ours
from chainrule.lens.diagnose.trace import EpochSample
from chainrule.lens.diagnose.watch import PROBED, Watch


class Watched:
    """The run of a `fit`, told to a `Watch`. Beside it nothing changes: a step that is measured is
    recorded in a pass of its own, which leaves no trace.

    Args:
        data, held_out: (inputs, targets), as `fit` trains on them.
        warn: is given a line of text where a finding shows that the run cannot work.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        loss: Callable[[Any, Any], Any],
        data: tuple[np.ndarray, np.ndarray],
        held_out: tuple[np.ndarray, np.ndarray] | None,
        *,
        epochs: int,
        batch_size: int,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.watch = Watch(Ours(), model, optimizer, loss=loss)
        self.watch.given(data, held_out, epochs=epochs, batch_size=batch_size)
        self.data, self.held_out = data, held_out
        self.model, self.loss = model, loss
        self._began = time.perf_counter()
        self.warn = warn or (lambda line: print(line, file=sys.stderr, flush=True))
        self._told: set[tuple[str, str]] = set()

    def _start(self) -> None:
        """Losses and errors before the first step, once a pass has told what they are."""
        framework, (x, y) = self.watch.framework, self.data
        found = EpochSample(0, 0, float("nan"))
        mine = framework.outputs(self.model, x[:PROBED])
        found.train_loss = framework.loss_of(self.loss, mine, y[:PROBED])
        self._errors(found, self._held_out())
        self.watch.trace.epochs.append(found)

    def _held_out(self) -> np.ndarray | None:
        """The outputs for the held-out rows."""
        if self.held_out is None:
            return None
        return self.watch.framework.outputs(self.model, self.held_out[0])

    def before(self, x: Any, y: Any) -> None:
        """A batch is about to be learnt from."""
        watch = self.watch
        if watch.due():
            with watch.measuring():
                run = watch.framework.observe(self.model, x, y, self.loss)
            if run.error is None:  # else the step itself says so
                watch.saw(run)
                if not watch.step:
                    with watch.aside():
                        self._start()

    def after(self, loss: float) -> None:
        """It was."""
        self.watch.loss(loss)
        if np.isfinite(loss):
            self.watch.stepped()
            if self.watch.step == 1:
                with self.watch.aside():
                    self._tell(self._ask(("static",)))

    def epoch(
        self, number: int, train_loss: float, outputs: np.ndarray | None, held_out: float | None
    ) -> None:
        """An epoch ended; `outputs` are those of the held-out rows, `held_out` their loss."""
        found = EpochSample(number, self.watch.step, train_loss, held_out)
        self.watch.trace.epochs.append(found)
        with self.watch.aside() as allowed:
            if allowed:
                self._errors(found, outputs)

    def _errors(self, found: EpochSample, outputs: np.ndarray | None) -> None:
        """The yardsticks, on rows that are learnt from and on those that are not."""
        watch, (x, y) = self.watch, self.data
        mine = watch.framework.outputs(self.model, x[:PROBED])
        found.train_error = watch.error(mine, y[:PROBED])
        if outputs is not None and self.held_out is not None:
            found.held_out_error = watch.error(outputs, self.held_out[1])

    def _tell(self, found: Diagnosis) -> Diagnosis:
        """Say what cannot work, each thing once."""
        for finding in found.findings:
            key = (finding.rule, finding.where)
            if finding.severity == "error" and key not in self._told:
                self._told.add(key)
                self.warn(f"warning: {finding.rule} at {finding.where}: {finding.claim}")
        return found

    def finish(self, error: BaseException | None = None) -> Diagnosis:
        """The end, by an error or without: the findings of the static and the live rules."""
        epochs = self.watch.trace.epochs
        if error is None and epochs and epochs[-1].train_error is None:
            self._errors(epochs[-1], self._held_out())
        self.watch.finish()
        self.watch.trace.finished = error is None
        return self._tell(self._ask(("static", "live")))

    def _ask(self, stages: tuple[str, ...]) -> Diagnosis:
        seconds = max(0.25, 0.02 * (time.perf_counter() - self._began))
        return self.watch.diagnose(stages=stages, seconds=seconds)

"""The same run again with one thing changed: whether what a rule suspects is the cause."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.training import train


@dataclass(frozen=True)
class Again:
    """The run as it was and as it would have been, after the same number of epochs, from the same
    first weights and with the rows in the same order.

    Attributes:
        epochs: after so many.
        loss, changed_loss: held-out loss (training loss where nothing is held out).
        error, changed_error: held-out error ÷ a constant's.
        train_error, changed_train_error: on training rows, in evaluation mode.
    """

    epochs: int
    loss: float
    changed_loss: float
    error: float
    changed_error: float
    train_error: float
    changed_train_error: float


SECONDS = 2.0


def again(case: Case, change: Change) -> Again | None:
    """The run again, changed, for at most 2 s or as long as the run took, and half of the time that
    is left; None where it does not apply, or too little of it could be run to be compared."""
    if case.trace is None or case.time_left < 0.5:
        return None
    try:
        setup = change.apply(case.setup)
        seconds = min(max(SECONDS, case.trace.seconds), 0.5 * case.time_left)
        # Compiling the step would take as long as the run may take.
        trained = train(setup, seconds=seconds, evaluations=12, fast=False)
    except ChainruleError:  # a change that the user's network does not bear answers nothing
        return None
    looked = {e.epoch: e for e in case.trace.epochs if e.train_error is not None}
    for found in reversed(trained.trace.epochs):
        before = looked.get(found.epoch)
        if before is None or found.train_error is None or found.epoch == 0:
            continue
        if found.epoch < min(3, case.setup.epochs):
            return None
        held = found.held_out_error is not None and before.held_out_error is not None
        return Again(
            found.epoch,
            _number(before.held_out_loss if held else before.train_loss),
            _number(found.held_out_loss if held else found.train_loss),
            _number(before.held_out_error if held else before.train_error),
            _number(found.held_out_error if held else found.train_error),
            _number(before.train_error),
            _number(found.train_error),
        )
    return None


def _number(value: float | None) -> float:
    return float("nan") if value is None or not np.isfinite(value) else float(value)

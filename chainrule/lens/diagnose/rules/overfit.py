"""overfit: the held-out loss rose again while the training loss went on falling."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.curves import Turn, loss_interval, turn_of
from chainrule.lens.diagnose.measure.learning import learning
from chainrule.lens.diagnose.measure.probes import classes_of, compared
from chainrule.lens.diagnose.rules.rule import Rule

RISE = 0.15
LOOKS = 3
APART = 0.8
"""The error of the training rows ÷ that of held-out rows, both at the last weights, is less."""


class Overfit(Rule):
    """The held-out curve's turn: its least value, how far it rose since, against what one look and
    one row vary by, while the training loss fell.

    Where more rows are misjudged than at the turn it costs; where only the loss rose, the network
    became too sure of itself (Guo et al., ICML 2017), which is worth knowing and no fault.
    """

    name = "overfit"
    stage = "deep"
    looks_at = "whether the held-out loss rose from its minimum while the training loss fell"

    def look(self, case: Case) -> Iterable[Finding]:
        setup, trace = case.setup, case.trace
        if trace is None or case.trained is None or len(setup.x_held) < 10:
            raise Missing("there are no held-out losses")
        turn = turn_of(trace)
        if turn is None:
            raise Missing("the held-out loss was looked at too rarely")
        if turn.after < LOOKS or turn.rise < RISE or not turn.train_last < 0.9 * turn.train_least:
            return
        how = learning(case)
        if how is not None and not how.error < APART * how.held_out:
            return  # the last weights fit the rows that were learnt from no better than others
        outputs = setup.framework.outputs(case.final_model, setup.x_held)
        loss, spread = loss_interval(setup.framework, setup.loss, outputs, setup.y_held)
        # Losses of the same rows at two epochs go together by half at least, so that their
        # difference varies by no more than one of them.
        doubt = 1.645 * float(np.hypot(turn.noise, spread))
        if not turn.last - turn.least > doubt:
            return
        least, last = _errors(case, turn, outputs)
        yield _finding(turn, doubt, (least, last), _costs(case, least, last), loss)


def _errors(case: Case, turn: Turn, outputs: np.ndarray) -> tuple[float, float]:
    """The held-out error ÷ a constant's at the turn and at the end: for real targets the mean
    square, for classes the share of wrong rows.

    The trace's error of classes is the mean of that ratio and of the log loss ÷ the labels'
    entropy (`yardstick.error_of`), so that with a log loss the ratio at the turn follows from it.
    """
    if case.setup.task == "real":
        return turn.error_least, turn.error_last
    last, _, _ = compared(outputs, case.setup.y_held, case.setup.task)
    if case.loss.kind not in ("cross_entropy", "nll", "bce", "bce_with_logits"):
        return turn.error_least - turn.error_last + last, last
    _, counts = np.unique(classes_of(case.setup.y_held), return_counts=True)
    shares = counts / counts.sum()
    entropy = -float(shares @ np.log(shares))
    return max(2 * turn.error_least - turn.least / max(entropy, 1e-9), 0.0), last


def _costs(case: Case, least: float, last: float) -> bool:
    """Whether the error itself rose, by more than as many rows vary by (of a mean square the loss
    has said so already)."""
    rows = len(case.setup.x_held)
    real = case.setup.task == "real"
    spread = 0.0 if real else 2 * float(np.sqrt(max(least, 1 / rows) / rows))
    return last - least > max(0.04, 0.12 * least, spread)


def _finding(
    turn: Turn, doubt: float, errors: tuple[float, float], costs: bool, loss: float
) -> Finding:
    least, last = errors
    less = (
        f"and the held-out error from {least:.3g} to {last:.3g}"
        if costs
        else f"while the held-out error hardly changed ({least:.3g}, then {last:.3g})"
    )
    return Finding(
        Overfit.name,
        "data",
        f"the held-out loss was least at epoch {turn.epoch} ({turn.least:.3g}) and rose by "
        f"{turn.rise:.0%} to {turn.last:.3g} since, {less} of a constant's",
        (
            Measured("held-out loss at the end − at its least", turn.last - turn.least,
                     f"below {doubt:.2g}", "what looks and rows vary by, 95 %"),
            Measured("training loss at the end", turn.train_last, "",
                     f"{turn.train_least:.3g} at epoch {turn.epoch}"),
            Measured("held-out ÷ training loss at the end", loss / max(turn.train_last, 1e-12), ""),
            Measured("held-out error at the end ÷ a constant's", last,
                     f"{least:.3g}", f"at epoch {turn.epoch}"),
        ),
        "after the turn each step fits what is peculiar to the training rows: held-out loss = "
        "bias² + variance + noise, and only the variance still grows (Geman, Bienenstock & "
        f"Doursat, Neural Computation 1992). The best weights were those of epoch {turn.epoch}",
        "warning" if costs else "advice",
        0.55 if costs else 0.3,
        (changes.stop_early(), changes.set_decay(1e-2), changes.add_dropout(0.3)),
    )  # fmt: skip

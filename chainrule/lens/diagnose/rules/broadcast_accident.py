"""broadcast-accident: shapes that do not fit, and are stretched until they do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.targets import is_labels

EQUAL = 1e-5


class BroadcastAccident(Rule):
    """(n, 1) − (n,) is (n, n): every prediction minus every target. The mean of its squares is the
    same whichever target belongs to which row, and is least where all predictions are the mean."""

    name = "broadcast-accident"
    stage = "static"
    looks_at = "whether each prediction is compared with its own target"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        if run.outputs is None or run.y is None or not np.ndim(run.outputs):
            return
        out, y = np.asarray(run.outputs), np.asarray(run.y)
        if y.dtype.kind not in "biuf" or len(out) != len(y) or len(y) < 3:
            return
        if case.loss.kind in ("cross_entropy", "nll"):
            return
        if out.size == y.size and out.shape != y.shape:
            if run.error is not None:
                yield self._refused(case, out, y)
            elif self._any_order(case, out, y):
                yield self._every_pair(case, out, y)
        elif self._repeated(case, out, y):
            yield self._one_for_all(case, out, y)

    def _any_order(self, case: Case, out: np.ndarray, y: np.ndarray) -> bool:
        """Whether the loss is the same for the targets in another order, outputs being random."""
        p = np.random.default_rng(0).uniform(0.2, 0.8, out.shape).astype(out.dtype)
        ramp = np.argsort(y.reshape(len(y), -1)[:, 0], kind="stable")
        if np.array_equal(y[ramp], y[ramp[::-1]]):
            return False
        try:
            one = case.framework.loss_of(case.setup.loss, p, y[ramp])
            other = case.framework.loss_of(case.setup.loss, p, y[ramp[::-1]])
            twice = case.framework.loss_of(case.setup.loss, 2 * p, y[ramp])
        except Exception:  # a loss that takes these outputs alone
            return False
        moved = abs(twice - one) > EQUAL * abs(one)
        return bool(np.isfinite(one) and moved and abs(one - other) <= EQUAL * abs(one))

    def _refused(self, case: Case, out: np.ndarray, y: np.ndarray) -> Finding:
        return self._says(
            f"the loss refuses outputs of the shape {out.shape} with targets of {y.shape}: they "
            "would be paired each with each",
            (Measured("shape of the outputs", str(out.shape)),
             Measured("shape of the targets", str(y.shape), str(out.shape)),
             Measured("the message", str(case.first.error)[:300])),
            out, y,
        )  # fmt: skip

    def _every_pair(self, case: Case, out: np.ndarray, y: np.ndarray) -> Finding:
        n = len(y)
        return self._says(
            f"outputs {out.shape} and targets {y.shape} broadcast to ({n}, {n}): every output is "
            "compared with every target, and their order does not change the loss",
            (Measured("shape of the outputs", str(out.shape)),
             Measured("shape of the targets", str(y.shape), str(out.shape)),
             Measured("change of the loss when targets are put in another order", 0.0, "not 0")),
            out, y,
        )  # fmt: skip

    def _says(
        self, claim: str, evidence: tuple[Measured, ...], out: np.ndarray, y: np.ndarray
    ) -> Finding:
        return Finding(
            self.name, "loss", claim, evidence,
            "Σ_ij (p_i − y_j)² is least at p_i = ȳ for every i: the network is taught the mean. "
            f"Write targets.reshape({_from_rows(out)}) or outputs.reshape({_from_rows(y)})",
            "error", 0.98, (changes.reshape_targets(),),
            explains=("not-learning", "model-error", "label-mismatch", "capacity-too-small",
                      "too-few-steps", "learning-rate-too-low", "over-regularised",
                      "target-scale", "input-scale", "batch-size"),
        )  # fmt: skip

    def _repeated(self, case: Case, out: np.ndarray, y: np.ndarray) -> bool:
        """One class number beside several outputs, compared number by number."""
        elementwise = case.loss.kind in ("mse", "mae", "huber", "bce", "bce_with_logits")
        return (
            elementwise and y.size == len(y) and out.ndim == 2 and out.shape[1] > 1
            and (case.setup.task != "real" or is_labels(np.asarray(case.setup.y)))
        )  # fmt: skip

    def _one_for_all(self, case: Case, out: np.ndarray, y: np.ndarray) -> Finding:
        refused = case.first.error is not None
        return Finding(
            self.name, "loss",
            f"the {out.shape[1]} outputs of a row are compared with one class number "
            + ("(the loss refuses)" if refused else "(it is repeated for each)"),
            (Measured("shape of the outputs", str(out.shape)),
             Measured("shape of the targets", str(y.shape), str(out.shape))),
            "a loss that compares number by number needs a number for each output: one-hot rows, "
            "or "
            "cross-entropy, which takes class numbers",
            "error", 0.95, (changes.fit_head(case.setup),),
            explains=("not-learning", "model-error", "loss-output-mismatch", "target-encoding",
                      "output-activation", "target-scale"),
        )  # fmt: skip


def _from_rows(values: np.ndarray) -> str:
    return ", ".join(["-1", *map(str, values.shape[1:])])

"""hidden-softmax: softmax as the activation of a hidden layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.head import SOFTMAXES
from chainrule.lens.diagnose.layers import NORMS, TRANSPARENT, WEIGHTED
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rules.rule import Rule

THROUGH = (TRANSPARENT | NORMS) - {"add", "multiply"}


class HiddenSoftmax(Rule):
    """Units of a softmax share a total of 1, so that n of them give 1/n on average, and the
    Jacobian diag(p) − ppᵀ has entries of the size 1/n: signal and gradient shrink by n per layer.

    A softmax that weighs values (attention, a mixture's gates) multiplies something that was
    computed; here its result goes into the next layer's weights.
    """

    name = "hidden-softmax"
    stage = "static"
    looks_at = "softmax as a hidden layer's activation"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        for layer in run.layers:
            at = layer.activation_op
            if layer.activation not in (*SOFTMAXES, "log_softmax") or layer.last or at is None:
                continue
            if not _feeds_weights(run, at):
                continue
            op, n = run.ops[at], layer.units
            with np.errstate(all="ignore"):
                ratio = (float(np.linalg.norm(layer.delta) / np.linalg.norm(op.gradient))
                         if layer.delta is not None and op.gradient is not None
                         and np.any(op.gradient) else float("nan"))  # fmt: skip
            spread = float(np.std(op.value, axis=0).mean())
            yield Finding(
                self.name,
                op.path or layer.path,
                f"{op.name} is the activation of the hidden layer {written(layer.path)}: its {n} "
                f"units add up to 1, and the gradient shrinks by {1 / ratio:.3g} in it"
                if ratio else
                f"{op.name} is the activation of the hidden layer {written(layer.path)}: its {n} "
                "units add up to 1, and no gradient passes it",
                (
                    Measured("gradient after ÷ before it", ratio, f"about 1; 1/n = {1 / n:.3g}"),
                    Measured("how much a unit differs between examples", spread, "about 1"),
                ),
                f"∂p/∂z = diag(p) − ppᵀ has entries of about 1/n = {1 / n:.3g}, and one unit can "
                "only "
                "grow where others shrink",
                "error",
                0.93,
                (
                    *((changes.replace_module(op.path, "ReLU"),) if op.path else ()),
                    changes.use_activation("ReLU"),
                ),
                explains=("vanishing-gradients", "learning-rate-too-low", "too-few-steps",
                          "capacity-too-small", "not-learning", "bad-initialisation"),
            )  # fmt: skip


def _feeds_weights(run: Pass, at: int) -> bool:
    """Whether a later layer's weights take the result as it is."""
    for reader in run.readers[at]:
        op = run.ops[reader]
        if op.name in WEIGHTED and any(p is not None for p in op.parameters):
            # p @ M without a bias reads a learned memory: that is attention.
            return op.name != "matmul" or _has_bias(run, reader)
        if op.name in THROUGH and _feeds_weights(run, reader):
            return True
    return False


def _has_bias(run: Pass, at: int) -> bool:
    return any(
        run.ops[r].name == "add" and any(p is not None for p in run.ops[r].parameters)
        for r in run.readers[at]
    )

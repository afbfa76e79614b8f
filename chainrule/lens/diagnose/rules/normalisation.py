"""normalisation: layers that undo what stands before them, or have nothing to go by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.layers import NORMS
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rules.rule import Rule

FEW = 4


class Normalisation(Rule):
    """(x − mean)/√(var + ε): a constant added before is taken away again, and the variance of one
    number is 0."""

    name = "normalisation"
    stage = "static"
    looks_at = "what stands before normalisation layers, and over how much they normalise"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        for i, op in run.model_ops():
            if op.name in NORMS:
                single = self._of_one(run, i)
                if single is not None:
                    yield single
            if op.name in ("drop", "dropout"):
                yield from self._dropout_before(run, i)
        for layer in run.layers:
            if layer.norm in ("batch_norm", "instance_norm") and layer.bias is not None:
                yield self._bias_before(layer.path, layer.units, layer.norm)
        if any(op.name == "batch_norm" for op in run.ops):
            yield from self._small_batch(case)

    def _of_one(self, run: Pass, at: int) -> Finding | None:
        """A normalisation whose result is its bias, whatever comes in."""
        op = run.ops[at]
        value = op.value
        taken = next((v for v in op.operands if isinstance(v, np.ndarray)), None)
        if op.name in ("batch_norm", "batch_norm_eval") or value.ndim < 2 or len(value) < 4:
            return None
        if (
            np.ptp(value, axis=0).max() > 1e-6
            or taken is None
            or np.ptp(taken, axis=0).max() < 1e-6
        ):
            return None
        return Finding(
            self.name, run.place(at),
            f"{op.name} normalises one number by itself: its result is the same for every example",
            (Measured("spread of its results over the examples", 0.0, "about 1"),),
            "(x − x)/√(0 + ε) = 0: the mean of one number is the number, and its variance 0",
            "error", 0.97,
            (changes.remove_module(op.path),) if op.path else (),
            explains=("not-learning", "vanishing-gradients", "capacity-too-small"),
        )  # fmt: skip

    def _bias_before(self, path: str, units: int, norm: str) -> Finding:
        return Finding(
            self.name, path,
            f"the {units} biases of {written(path)} stand before {norm}, which takes every "
            "constant away again",
            (Measured("biases without effect", units, "0"),),
            "(z + b − mean(z + b)) = z − mean(z): ∂L/∂b = 0 up to rounding. Write bias=False",
            "advice", 0.2,
        )  # fmt: skip

    def _dropout_before(self, run: Pass, at: int) -> Iterable[Finding]:
        after = run.readers[at]
        while len(after) == 1 and run.ops[after[0]].name in ("linear", "add", "relu", "flatten"):
            after = run.readers[after[0]]
        if len(after) != 1 or run.ops[after[0]].name != "batch_norm":
            return
        op = run.ops[at]
        p = float(op.attrs.get("p", 0.5))
        yield Finding(
            self.name, run.place(at),
            f"dropout stands before the batch normalisation {written(run.ops[after[0]].path)}: the "
            "variance that "
            f"it keeps for evaluation is about {1 / max(1 - p, 1e-3):.3g} times that of evaluation",
            (Measured("p", p, "0 before batch normalisation"),),
            "dropout raises the second moment from E[x²] to E[x²]/(1 − p) in training only (Li et "
            "al. "
            "2019, Understanding the Disharmony between Dropout and Batch Normalization)",
            "advice", 0.25, (changes.remove_module(op.path),) if op.path else (),
        )  # fmt: skip

    def _small_batch(self, case: Case) -> Iterable[Finding]:
        size, rows = case.setup.batch_size, len(case.setup.x)
        run = case.first
        at = next(i for i, op in enumerate(run.ops) if op.name == "batch_norm")
        place, value = run.place(at), run.ops[at].value
        places = int(np.prod(value.shape[2:])) if value.ndim > 2 else 1
        if size * places == 1:
            yield Finding(
                self.name, place,
                "batch normalisation is trained on batches of one row: the normalised value is "
                "always "
                "0",
                (Measured("numbers that a mean is taken of", 1, "16 or more"),),
                "(x − mean)/√(var + ε) with one row is (x − x)/√ε = 0",
                "error", 0.96, (changes.set_batch_size(min(32, rows)),),
                explains=("not-learning", "model-error", "vanishing-gradients", "batch-size"),
            )  # fmt: skip
        elif size * places <= FEW:
            yield Finding(
                self.name, place,
                f"batch normalisation takes its statistics of {size * places} numbers: they are "
                "off by "
                f"about {1 / np.sqrt(2 * (size * places - 1)):.0%}",
                (Measured("numbers that a mean is taken of", size * places, "16 or more"),),
                "the standard deviation of n numbers has the relative error 1/√(2(n − 1))",
                "advice", 0.3, (changes.set_batch_size(min(32, rows)),),
            )  # fmt: skip

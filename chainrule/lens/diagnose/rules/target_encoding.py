"""target-encoding: the targets are written in another form than the loss reads."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.head import classes_of, head_of
from chainrule.lens.diagnose.loss_forms import class_axis
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.severity import weighed

IGNORED = -100
"""The label that both frameworks' cross-entropies leave out."""
CONSEQUENCES = (
    "model-error", "non-finite", "not-learning", "label-mismatch", "unused-classes",
    "class-imbalance", "target-scale", "loss-output-mismatch", "broadcast-accident",
    "capacity-too-small", "too-few-steps", "learning-rate-too-low", "overfit", "label-noise",
    "output-activation",
)  # fmt: skip


class TargetEncoding(Rule):
    """Labels are whole numbers 0 … C − 1, rows of probabilities add up to 1, numbers are not scaled
    labels."""

    name = "target-encoding"
    stage = "static"
    looks_at = "whether targets are in the form that the loss reads"

    def look(self, case: Case) -> Iterable[Finding]:
        y = np.asarray(case.setup.y)
        if y.dtype.kind not in "biuf" or not len(y):
            return
        for found in (self._constant(y), self._scaled_rows(case, y), self._labels(case, y),
                      self._scaled(case, y), self._numbers(case, y)):  # fmt: skip
            if found is not None:
                yield found
                return

    def _constant(self, y: np.ndarray) -> Finding | None:
        if len(y) < 8 or not np.all(y == y[0]):
            return None
        value = y[0].tolist() if y[0].size <= 4 else "one row"
        return _says(
            f"all {len(y)} targets are {value}: there is nothing to tell apart",
            "the constant output is perfect; whole numbers that were divided (y // 255), or a "
            "column "
            "that was lost, are the usual causes",
            (Measured("different targets", 1, "2 or more"),), "error", 0.97, (),
        )  # fmt: skip

    def _labels(self, case: Case, y: np.ndarray) -> Finding | None:
        """Class numbers for a loss that takes class numbers."""
        head = head_of(case)
        kind = case.loss.kind
        if kind not in ("cross_entropy", "nll") or head is None or head.values.ndim < 2:
            return None
        shape = head.values.shape
        rows = y[: len(head.values)]
        if classes_of(case, head) == 1:
            return None  # loss-output-mismatch says it
        if y.dtype.kind == "f":
            return self._float_labels(case, y, shape, kind)
        if y.ndim == len(shape) and rows.shape == shape:
            return self._integer_rows(case, y, kind) if case.first.error is not None else None
        classes = classes_of(case, head)
        valid = y[y != IGNORED]
        if not valid.size:
            return None
        low, high = int(valid.min()), int(valid.max())
        if low >= 0 and high < classes:
            return None
        count = len(np.unique(valid))
        row = int(np.argwhere((y != IGNORED) & ((y < 0) | (y >= classes)))[0][0])
        from_one = low == 1 and high == count
        return _says(
            f"the labels are {low} … {high}, and {classes} outputs stand for the classes "
            f"0 … {classes - 1}: row {case.setup.row(row)} has the "
            f"label {y[row].reshape(-1)[0]}",
            "cross-entropy takes −log p[y]: y is a position among the outputs"
            + ("; these labels begin at 1" if from_one else ""),
            (Measured("labels", f"{low} … {high}", f"0 … {classes - 1}"),
             Measured("different labels", count, f"at most {classes}")),
            "error", 0.98,
            (changes.encode_targets(), changes.fit_head(case.setup))
            if count <= classes else (changes.fit_head(case.setup), changes.encode_targets()),
        )  # fmt: skip

    def _float_labels(
        self, case: Case, y: np.ndarray, shape: tuple[int, ...], kind: str
    ) -> Finding | None:
        if y[: shape[0]].shape == shape:
            axis = class_axis(y[:64], (min(64, len(y)), *shape[1:]))
            if axis is not None or y.ndim != 2:
                return None
            total = y.sum(1, dtype=np.float64)
            return _says(
                f"the target rows of {kind} add up to {total.min():.4g} … {total.max():.4g}, and "
                "rows "
                "of probabilities add up to 1",
                "−Σ_j y_j log p_j is a cross-entropy where Σ_j y_j = 1; several ones in a row are "
                "choices of their own, and want binary cross-entropy",
                (Measured("Σ of the first row", float(total[0]), "1"),),
                weighed(case, bad="warning", unknown="warning"), 0.6,
                (changes.use_loss("bce_with_logits"),),
            )  # fmt: skip
        if case.first.error is None:
            return None
        whole = bool(np.array_equal(y, np.round(y)))
        return _says(
            f"{kind} takes class numbers, and the targets are {y.dtype} numbers of the shape "
            f"{y.shape}" + ("" if whole else f" such as {y.reshape(-1)[0]:.4g}"),
            "floating-point targets are read as a probability for each class; class numbers are "
            "whole",
            (Measured("targets", f"{y.dtype} {y.shape}", f"int64 ({len(y)},)"),),
            "error", 0.96, (changes.encode_targets(), changes.fit_head(case.setup)),
        )  # fmt: skip

    def _integer_rows(self, case: Case, y: np.ndarray, kind: str) -> Finding:
        return _says(
            f"{kind} takes class numbers of the shape ({len(y)},), and the targets are "
            f"whole-numbered rows {y.shape}: one-hot rows are probabilities and have to be floats",
            "labels are positions; one-hot rows are a distribution each",
            (Measured("targets", f"{y.dtype} {y.shape}", f"({len(y)},), or float rows"),),
            "error", 0.95, (changes.encode_targets(), changes.fit_head(case.setup)),
        )  # fmt: skip

    def _scaled_rows(self, case: Case, y: np.ndarray) -> Finding | None:
        """One-hot rows that were multiplied by something."""
        if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind != "f" or len(y) < 8:
            return None
        one = float(y.max())
        if one == 1 or not np.all((y == 0) | (y == one)) or not np.all((y != 0).sum(1) == 1):
            return None
        return _says(
            f"the targets are one-hot rows times {one:.4g}",
            f"a row of probabilities adds up to 1, these to {one:.4g}: so small are the outputs "
            "that "
            "are wanted, or the gradients of a cross-entropy. Pixels are divided by 255, labels "
            "are "
            "not",
            (Measured("the largest target", one, "1"),), "error", 0.96, (changes.encode_targets(),),
        )  # fmt: skip

    def _scaled(self, case: Case, y: np.ndarray) -> Finding | None:
        """Class numbers that were divided like pixels."""
        if case.setup.task != "real" or y.size != len(y) or y.dtype.kind != "f" or len(y) < 20:
            return None
        values = np.unique(y)
        if not 2 <= len(values) <= 100 or values[0] < 0 or len(y) < 4 * len(values):
            return None
        for divisor in (255, 256):
            whole = values * divisor
            near = np.abs(whole - np.round(whole)).max() < 1e-3
            if near and np.round(whole[-1]) < 2 * len(values):
                return _says(
                    f"the targets are class numbers divided by {divisor}: 0 … {values[-1]:.4g} in "
                    f"steps of 1/{divisor}",
                    "pixels are divided by 255, labels are not: the loss is tiny from the start "
                    f"(variance {y.var():.2g}), and so are its gradients",
                    (Measured("different targets", len(values)),
                     Measured(f"largest target × {divisor}", float(whole[-1]), "no whole number")),
                    "error", 0.96,
                    (changes.combine(changes.encode_targets(), changes.fit_head(case.setup)),),
                )  # fmt: skip
        return None

    def _numbers(self, case: Case, y: np.ndarray) -> Finding | None:
        """Class numbers learnt as amounts by one output."""
        head = head_of(case)
        if case.loss.kind not in ("mse", "mae", "huber") or head is None or y.size != len(y):
            return None
        if case.setup.task != "classes" or head.values.shape[:1] != (head.values.size,):
            return None
        values = np.unique(y)
        if len(values) < 3:
            return None
        return _says(
            f"the {len(values)} classes are learnt as the amounts {values[0]:g} … {values[-1]:g} "
            "by "
            "one output",
            "squared error says that class 2 lies between 1 and 3, and that 0 is twice as far "
            "from 2 "
            "as from 1; classes have no such order",
            (Measured("classes", len(values)), Measured("outputs", 1, len(values).__str__())),
            weighed(case, bad="warning", unknown="advice")
            if head.low == -np.inf or head.high >= values[-1] else "error",
            0.6, (changes.fit_head(case.setup),),
        )  # fmt: skip


def _says(
    claim: str, cause: str, evidence: tuple[Measured, ...], severity: str, strength: float,
    remedies: tuple[Change, ...],
) -> Finding:  # fmt: skip
    return Finding(
        "target-encoding", "data", claim, evidence, cause, severity, strength, remedies,
        explains=CONSEQUENCES if severity != "advice" else (),
    )  # fmt: skip

"""unused-classes: outputs for classes that never occur."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.head import classes_of, head_of
from chainrule.lens.diagnose.loss_forms import class_axis
from chainrule.lens.diagnose.rules.rule import Rule

ROWS_PER_CLASS = 10
"""With so many rows for each output a class that never occurs is not merely a rare one."""


class UnusedClasses(Rule):
    """An output that is never right only learns to be small: it costs parameters, and at the start
    ln C of loss instead of ln(classes that occur)."""

    name = "unused-classes"
    stage = "static"
    looks_at = "whether every output's class occurs among the targets"

    def look(self, case: Case) -> Iterable[Finding]:
        head = head_of(case)
        if case.loss.kind not in ("cross_entropy", "nll") or head is None or head.values.ndim < 2:
            return
        classes = classes_of(case, head)
        y = np.concatenate([np.asarray(case.setup.y), np.asarray(case.setup.y_held)])
        used = _used(y, head.values.shape, classes)
        if used is None or not 0 < len(used) < classes or used[0] < 0 or used[-1] >= classes:
            return
        unused = [c for c in range(classes) if c not in set(used.tolist())]
        single = y.size == len(y) or y.ndim == 2
        many = single and len(unused) * 2 >= classes and len(y) >= ROWS_PER_CLASS * classes
        shown = ", ".join(map(str, unused[:6])) + (", …" if len(unused) > 6 else "")
        from_one = used[0] == 1 and len(unused) == 1
        yield Finding(
            self.name,
            head.place,
            f"{len(unused)} of {classes} outputs stand for classes that never occur among "
            f"{len(y)} targets ({shown})",
            (
                Measured("outputs", classes),
                Measured("classes that occur", len(used), str(classes)),
                Measured("loss at the start by chance", float(np.log(classes)),
                         f"ln {len(used)} = {np.log(len(used)):.3g}"),
            ),
            "an output whose class never occurs only has the gradient p > 0, and is pushed down in "
            "every step" + ("; the labels begin at 1" if from_one else ""),
            "warning" if many else "advice",
            0.7 if many else 0.3,
            (changes.encode_targets(),) if from_one else (changes.fit_head(case.setup),),
        )  # fmt: skip


def _used(y: np.ndarray, shape: tuple[int, ...], classes: int) -> np.ndarray | None:
    """The class numbers that occur."""
    if y.dtype.kind not in "biuf":
        return None
    if y.shape[1:] == shape[1:]:
        if class_axis(y[: shape[0]], y[: shape[0]].shape) is None:
            return None
        axis = class_axis(y[: shape[0]], y[: shape[0]].shape)
        other = tuple(i for i in range(y.ndim) if i != (axis or 0) % y.ndim)
        return np.flatnonzero(y.any(axis=other))
    if y.dtype.kind == "f":
        return None
    return np.unique(y[y != -100])

"""What a loss is by chance, and how low it can get: training happens between these lines."""

from __future__ import annotations

from dataclasses import dataclass
from math import e, log

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.setup import labels_of


@dataclass(frozen=True)
class Chance:
    """Attributes:
    level: the loss of the best constant output; NaN where the loss is not known.
    formula: what it is made of, in words and numbers.
    floor: the least the loss can be; `floor_formula` says why where that is not 0.
    """

    level: float
    formula: str = ""
    floor: float = 0.0
    floor_formula: str = ""


def chance(case: Case) -> Chance:
    """The loss by chance and its floor of a case, per batch as the loss reduces it."""
    if "chance" not in case.memo:
        case.memo["chance"] = _chance(case)
    return case.memo["chance"]


def _chance(case: Case) -> Chance:
    facts, y = case.loss, np.asarray(case.setup.y)
    found = chance_of(facts.kind, y, _units(case), float(facts.options.get("label_smoothing", 0)))
    if facts.reduction == "sum":
        terms = case.setup.batch_size
        if facts.kind not in ("cross_entropy", "nll"):
            terms *= max(1, y[0].size)
        return Chance(found.level * terms, found.formula, found.floor * terms, found.floor_formula)
    return found


def _units(case: Case) -> int:
    outputs = case.outputs
    return int(outputs.shape[-1]) if outputs is not None and outputs.ndim else 1


def chance_of(kind: str, y: np.ndarray, units: int = 1, smoothing: float = 0.0) -> Chance:
    """The mean loss of the best constant output for these targets.

    Args:
        kind: as `LossFacts.kind`.
        y: the targets.
        units: how many outputs there are: the classes of a cross-entropy.
        smoothing: ε of label smoothing, y' = (1 − ε)y + ε/C.

    Cross-entropy: the entropy H(p) of the classes' shares, ln C where they are equally many.
    Binary cross-entropy: the mean of the columns' H(p). Squared error: the variance; absolute
    error: the mean distance from the median.

    >>> round(chance_of("cross_entropy", np.arange(10), 10).level, 4)   # ln 10
    2.3026
    >>> chance_of("mse", np.array([1.0, 3.0])).level
    1.0
    """
    y = np.asarray(y)
    if (
        not y.size
        or (y.dtype.kind == "f" and not np.isfinite(y).all())
        or y.dtype.kind not in "biuf"
    ):
        return Chance(float("nan"))
    if kind in ("cross_entropy", "nll"):
        return _of_classes(y, units, smoothing)
    if kind in ("bce", "bce_with_logits"):
        return _of_probabilities(y)
    rows = y.astype(np.float64).reshape(len(y), -1)
    if kind == "mse":
        level = float(rows.var(0).mean())
        return Chance(level, f"the targets' variance {level:.4g}")
    if kind in ("mae", "huber"):
        distance = np.abs(rows - np.median(rows, axis=0))
        if kind == "huber":
            distance = np.where(distance < 1, 0.5 * distance**2, distance - 0.5)
        level = float(distance.mean())
        return Chance(level, f"the targets' mean distance from their median, {level:.4g}")
    return Chance(float("nan"))


def entropy(shares: np.ndarray) -> float:
    """−Σ p ln p, with 0 ln 0 = 0."""
    positive = np.asarray(shares, dtype=np.float64)
    positive = positive[positive > 0]
    return float(-np.sum(positive * np.log(positive)))


def _of_classes(y: np.ndarray, units: int, smoothing: float) -> Chance:
    soft = y.dtype.kind == "f" and y.ndim > 1 and y.shape[-1] == units
    if soft:
        shares = y.reshape(-1, units).mean(0, dtype=np.float64)
        shares = shares / max(shares.sum(), 1e-12)
    else:
        _, counts = np.unique(labels_of(y) if y.ndim <= 2 else y, return_counts=True)
        shares = counts / counts.sum()
    classes = max(units, len(shares))
    if smoothing:
        shares = np.append(shares, np.zeros(classes - len(shares)))
        shares = (1 - smoothing) * shares + smoothing / classes
    level = entropy(shares)
    formula = f"the entropy of the classes' shares, {level:.4g} (ln {classes} = {log(classes):.4g})"
    floor, why = 0.0, ""
    if smoothing:
        right = 1 - smoothing + smoothing / classes
        floor = entropy(np.array([right, *[smoothing / classes] * (classes - 1)]))
        why = f"the entropy of a target smoothed by ε = {smoothing:g}"
    elif soft:
        rows = np.clip(y.reshape(-1, units).astype(np.float64), 0, None)
        floor = float(np.mean([entropy(row) for row in rows[:1000]]))
        why = "the mean entropy of the targets" if floor else ""
    return Chance(level, formula, floor, why)


def _of_probabilities(y: np.ndarray) -> Chance:
    share = y.astype(np.float64).reshape(len(y), -1).mean(0)
    if (share < 0).any() or (share > 1).any():
        return Chance(float("nan"))
    level = float(np.mean([entropy(np.array([p, 1 - p])) for p in share]))
    return Chance(level, f"the entropy of the targets' shares of ones, {level:.4g}")


def double_softmax_floor(classes: int) -> float:
    """The least cross-entropy of softmax(softmax(z)): the second one's logits lie in [0, 1], so
    that its loss is ln(1 + (C − 1)/e) at least.

    >>> round(double_softmax_floor(10), 3)
    1.461
    """
    return log(1 + (classes - 1) / e)

"""Choosing a recalibrator by cross-validation, or none where nothing helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.probability.calibration.given import labels_of, logits_of
from chainrule.probability.calibration.recalibrator import (
    ClassRecalibrator,
    Identity,
    Recalibrator,
    registered,
)
from chainrule.tensor.locate import explained

SURE = 2.0
"""Standard errors by which a method has to be better than one with fewer parameters."""


@dataclass(frozen=True)
class Recalibration:
    """What `recalibrate` chose.

    Attributes:
        recalibrator: fitted to all rows.
        scores: method -> mean log score on rows that it was not fitted to, in nats, smaller is
            better; empty where a method was asked for by name.
        gain: by how much the score of what was chosen (of the best other one, if that is the
            identity) is below the one of the identity, and the standard error of this difference
            over the rows; (0, 0) where nothing was compared.
        warnings: what keeps the result from being trusted.
    """

    recalibrator: Recalibrator
    scores: dict[str, float]
    gain: tuple[float, float]
    warnings: list[str]

    @property
    def method(self) -> str:
        """The name of what was chosen; "identity" where nothing helps."""
        return self.recalibrator.name

    def transform(self, outputs: Any) -> Any:
        """Calibrated probabilities (or, of real targets, a calibrated forecast) of any outputs."""
        return self.recalibrator.transform(outputs)

    def __str__(self) -> str:
        gain, error = self.gain
        rows = self.recalibrator.rows
        if not self.scores:
            found = f"Recalibrated by {self.method}, fitted to {rows} rows."
        elif self.method != "identity":
            found = (
                f"Recalibrated by {self.method}: on rows that it was not fitted to, of {rows}, it "
                f"lowers the log score by {gain:.4f} ± {error:.4f} nats."
            )
        elif len(self.scores) > 1:
            found = (
                f"Calibrated already, as far as {rows} rows show: no recalibration lowers the log "
                f"score by more than chance (the best by {gain:.4f} ± {error:.4f} nats)."
            )
        else:
            found = f"Not recalibrated: {rows} rows are too few for any method."
        return " ".join([found, *self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "recalibrator": self.recalibrator.to_dict(),
            "scores": dict(self.scores),
            "gain": list(self.gain),
            "warnings": list(self.warnings),
        }


@explained
def recalibrate(
    outputs: Any, y: Any, method: str = "auto", *, folds: int = 5, seed: int = 0
) -> Recalibration:
    """Fit a recalibrator to held-out rows; "auto" chooses which.

    Each method that has enough rows is fitted to all folds but one and scored on that one, by
    −ln p(label). Of those whose mean score is the best, or not above it by more than twice the
    standard error of the difference, the one with the fewest parameters is taken (as in Breiman et
    al. 1984, §3.4.3). Leaving the probabilities alone has none: where nothing helps for sure, the
    result is the identity, and says so.

    Args:
        outputs: logits or log-probabilities (rows, classes), or log-odds (rows,), of rows that
            nothing was learnt from; for the methods "variance" and "isotonic quantiles" a forecast
            as in `probability_integral_transform`.
        y: (rows,), class codes, or real targets.
        method: "auto", "identity", "temperature", "vector", "matrix", "platt", "beta",
            "isotonic", or one of the two above.
        folds: of the cross-validation.
        seed: of the folds alone.

    Raises:
        DataError: no such method, too few rows, a class without rows that the method needs.
        ShapeError: outputs and y do not belong together.

    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(0, 2, (1000, 3))
    >>> y = (true + rng.gumbel(size=true.shape)).argmax(1)  # drawn from softmax(true)
    >>> recalibrate(true, y).method, recalibrate(3 * true, y).method
    ('identity', 'temperature')
    """
    kinds = registered()
    if method != "auto":
        if not isinstance(method, str) or method not in kinds:
            raise DataError(f"there is no method {method!r}; there are auto, {', '.join(kinds)}")
        made = kinds[method]().fit(outputs, y)
        return Recalibration(made, {}, (0.0, 0.0), made.warnings)
    for told, value, least in (("folds", folds, 2), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise DTypeError(f"{told} is {value!r}; it is a whole number, {least} or more")
    logits = logits_of(outputs)
    codes = labels_of(y, logits.shape[1], len(logits))
    identity = Identity().fit(outputs, codes)  # checks what was handed over
    candidates = [
        kind
        for kind in kinds.values()
        if issubclass(kind, ClassRecalibrator) and _has_enough(kind, codes, logits.shape[1], folds)
    ]
    if candidates == [Identity]:
        score = float(_losses(identity.transform(outputs), codes).mean())
        return Recalibration(identity, {Identity.name: score}, (0.0, 0.0), identity.warnings)
    fold = _stratified(codes, int(folds), int(seed))
    losses = {kind.name: _held_out(kind, logits, codes, fold) for kind in candidates}
    scores = {name: float(loss.mean()) for name, loss in losses.items()}
    others = [name for name in scores if name != Identity.name]
    best = min(scores, key=scores.__getitem__)
    tied = [name for name, loss in losses.items() if _as_good(loss, losses[best])]
    chosen = min(tied, key=lambda name: _size(kinds[name], logits.shape[1]))
    shown = chosen if chosen != Identity.name else min(others, key=scores.__getitem__)
    difference = losses[Identity.name] - losses[shown]
    made = identity if chosen == Identity.name else kinds[chosen]().fit(outputs, codes)
    gain = float(difference.mean()), _standard_error(difference)
    return Recalibration(made, scores, gain, made.warnings)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _as_good(loss: np.ndarray, best: np.ndarray) -> bool:
    """Whether the mean loss is not above the best one's by more than chance."""
    difference = loss - best
    return float(difference.mean()) <= SURE * _standard_error(difference)


def _size(kind: type[Recalibrator], classes: int) -> int:
    assert issubclass(kind, ClassRecalibrator)
    return kind.parameters(classes)


def _has_enough(kind: type[ClassRecalibrator], codes: np.ndarray, classes: int, folds: int) -> bool:
    """Whether what it is fitted to has enough rows, and rows of each class where it matters."""
    rows = len(codes) * (folds - 1) // folds
    least = int(np.bincount(codes, minlength=classes).min())
    return rows >= kind.enough_rows(classes) and (not kind.per_class or least >= 2)


def _stratified(codes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,), the fold of each row: at random, and of each class as many in each as can be."""
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(codes), np.int64)
    fold[order] = np.arange(len(codes)) % folds
    return fold


def _held_out(
    kind: type[ClassRecalibrator], logits: np.ndarray, codes: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """(n,), −ln p(label) of each row, by a recalibrator that did not see it."""
    found = np.empty(len(codes))
    for k in np.unique(fold):
        out = fold == k
        p = kind().fit(logits[~out], codes[~out]).transform(logits[out])
        found[out] = _losses(p, codes[out])
    return found


def _losses(p: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n,), −ln p(label); what underflows to 0 counts as the smallest number there is."""
    given = p[np.arange(len(p)), codes]
    found: np.ndarray = -np.log(np.maximum(given, np.finfo(np.float64).tiny))
    return found

"""Influence functions: which training rows an answer rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError, GradientError
from chainrule.lens.interpret.case import case_of_network
from chainrule.lens.interpret.view import view_of
from chainrule.tensor.locate import explained

RESIDUAL = 1e-4
"""|(H + λ)s − g| ÷ |g| at which a solution is taken for one."""
MOST_STEPS = 200


@dataclass(frozen=True)
class Influence:
    """What leaving out each training row would do to the loss of each row asked about.

    Attributes:
        values: (n, training rows), the change of row i's loss were training row j left out and
            the network trained again, to first order: above 0, row j helps the answer.
        residual: (n,), the relative error of the linear equations that were solved.
        damping: λ.
        warnings: what keeps the numbers from being trusted, in sentences.
    """

    values: np.ndarray
    residual: np.ndarray
    damping: float
    warnings: tuple[str, ...]

    meaning: ClassVar[str] = (
        "by how much the loss of this answer would grow if one training row were left out and the "
        "network trained on from where it is"
    )
    not_meaning: ClassVar[str] = (
        "a first-order answer: exact as rows become many and the network is at its minimum; a "
        "network that is not convex could end elsewhere when trained again, and rows that say the "
        "same hide each other"
    )

    def strongest(self, row: int, count: int = 3) -> list[int]:
        """The training rows with the largest |influence| on a row, the largest first."""
        order = np.argsort(-np.abs(self.values[row]), kind="stable")
        return [int(j) for j in order[:count]]

    def to_dict(self) -> dict[str, Any]:
        return {
            "values": self.values.tolist(), "residual": self.residual.tolist(),
            "damping": self.damping, "warnings": list(self.warnings), "meaning": self.meaning,
            "not_meaning": self.not_meaning,
        }  # fmt: skip


@explained
def influence(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    training: tuple[Any, Any],
    damping: float = 0.01,
    classes: Sequence[Any] | None = None,
    reading: Any = None,
) -> Influence:
    """(1/n) ∇L(x, y)ᵀ (H + λ)⁻¹ ∇L_j for each of n training rows j (Koh, Liang 2017, eq. 2), H the
    Hessian of the mean training loss.

    (H + λ) s = ∇L is solved by conjugate gradients from products of H with vectors (Hestenes,
    Stiefel 1952; Pearlmutter 1994), and all s · ∇L_j come from one directional derivative: H is
    never there as a matrix.

    Args:
        model: a network of chainrule's or of PyTorch's, a `Classifier` or `Regressor`.
        x: rows asked about.
        y: their targets; of classes the network's own answers where left out.
        training: (X, y) that the network was trained on.
        damping: λ; where the network was trained with a penalty ½ λ |w|² beside the mean loss, that
            λ. Larger ones make the equations better natured and the answers smaller.
        classes, reading: see `interpret`.

    Raises:
        DataError: targets that are missing or do not fit.
        GradientError: the curvature is negative: the network is at no minimum.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.seed(0)
    >>> X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> model = nn.Linear(1, 2)
    >>> found = cr.influence(model, X[:1], training=(X, y), damping=0.1)
    >>> found.values.shape, bool(found.residual[0] < 1e-4)
    ((1, 4), True)
    """
    if isinstance(damping, bool) or not isinstance(damping, (int, float)) or not damping >= 0:
        raise DataError(f"damping is {damping!r}; it is a number from 0 on")
    if training is None:
        raise DataError("influence is of training rows: hand over training=(X, y)")
    case = case_of_network(view_of(model, None, classes), x, None, training, reading, y)
    subject, asked, trained = case.subject, case.asked, case.trained
    assert subject is not None
    assert trained is not None
    assert trained.x is not None
    assert asked.x is not None
    targets = asked.y
    if targets is None:
        if case.real:
            raise DataError(
                "of real targets the loss of a row needs its target: influence(…, x, y)"
            )
        targets = case.probabilities(asked).argmax(1)
    losses = subject.losses(trained.x, np.asarray(trained.y))

    def product(vector: np.ndarray) -> np.ndarray:
        found: np.ndarray = losses.product(vector) + damping * vector
        return found

    values, residuals = [], []
    for i in range(len(asked)):
        gradient = subject.losses(asked.x[i : i + 1], targets[i : i + 1]).gradient()
        solution, residual = conjugate_gradients(product, gradient)
        values.append(losses.along(solution) / len(trained))
        residuals.append(residual)
    warnings = []
    if max(residuals) > RESIDUAL:
        warnings.append(
            f"The equations are solved to {max(residuals):.2g} of the gradient only, after "
            f"{MOST_STEPS} steps: a larger damping makes them better natured."
        )
    return Influence(np.array(values), np.array(residuals), float(damping), tuple(warnings))


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], b: np.ndarray
) -> tuple[np.ndarray, float]:
    """(s with A s = b, |A s − b| ÷ |b|) for a positive definite A, known by its products (Hestenes,
    Stiefel 1952).

    Raises:
        GradientError: sᵀ A s ≤ 0 along the way: A is not positive definite.

    >>> s, residual = conjugate_gradients(lambda v: np.array([2.0, 4.0]) * v, np.array([2.0, 2.0]))
    >>> s.round(6), residual < 1e-9
    (array([1. , 0.5]), True)
    """
    s, left = np.zeros(b.shape), b.copy()
    direction, size = left.copy(), float(left @ left)
    start = size
    for _ in range(min(MOST_STEPS, 10 * len(b))):
        if size <= (RESIDUAL / 10) ** 2 * start:
            break
        moved = product(direction)
        curvature = float(direction @ moved)
        if not curvature > 0:
            slope = curvature / float(direction @ direction)
            raise GradientError(
                f"the curvature of the training loss is {slope:.2g} along a direction of the "
                "weights, and influence needs it above 0: the network is not at a minimum, or "
                "weights do not matter. Train it to the end, or take a larger damping="
            )
        step = size / curvature
        s += step * direction
        left -= step * moved
        before, size = size, float(left @ left)
        direction = left + size / before * direction
    return s, (size / start) ** 0.5 if start else 0.0

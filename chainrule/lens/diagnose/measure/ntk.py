"""The neural tangent kernel of a network at its present weights, on a few rows.

K = JJᵀ with J = ∂f/∂θ. Under small steps of gradient descent on a square loss with its mean over n
rows, the residual along K's eigenvector i decays as exp(−ηλᵢt/n): the mode takes about n/(ηλᵢ)
steps (Jacot, Gabriel & Hongler, NeurIPS 2018; Lee et al., NeurIPS 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.lens.diagnose.frameworks.framework import Framework


@dataclass(frozen=True)
class TangentKernel:
    """K and its spectrum.

    Attributes:
        kernel: (rows, rows).
        values: its eigenvalues ÷ rows, largest first.
        vectors: (rows, rows), a column for each.
    """

    kernel: np.ndarray
    values: np.ndarray
    vectors: np.ndarray

    @property
    def condition(self) -> float:
        """Largest ÷ smallest eigenvalue (above rounding)."""
        kept = self.values[self.values > self.values[0] * 1e-10]
        return float(kept[0] / kept[-1]) if len(kept) else float("inf")

    def steps(self, rate: float) -> np.ndarray:
        """About how many steps of gradient descent each mode takes: 1/(ηλᵢ)."""
        with np.errstate(divide="ignore"):
            return 1 / (rate * np.maximum(self.values, 1e-300))

    def slowest(self, residual: np.ndarray, rate: float, share: float = 0.9) -> float:
        """After how many steps `share` of the residual's square is gone; infinity where the network
        cannot get there by small changes of its weights.

        Args:
            residual: (rows,) or (rows, m): targets − outputs.
        """
        flat = np.asarray(residual, dtype=np.float64).reshape(len(self.values), -1)
        parts = np.sum((self.vectors.T @ flat) ** 2, axis=1)
        kept = self.values > self.values[0] * 1e-10
        allowed = (1 - share) * float(parts.sum())
        if parts[~kept].sum() >= allowed:
            return 0.0 if not parts.sum() else float("inf")
        low, high = 0.0, float(np.log(parts.sum() / allowed)) / (rate * self.values[kept][-1]) + 1
        for _ in range(100):
            middle = (low + high) / 2
            left = float(parts @ np.exp(-2 * rate * self.values * middle))
            low, high = (middle, high) if left > allowed else (low, middle)
        return high


def tangent_kernel(
    framework: Framework, model: Any, x: np.ndarray, *, outputs: int | None = None
) -> TangentKernel:
    """K on the rows of x, for output number `outputs`, or for a random unit vector of outputs
    (whose kernel is the mean over outputs in expectation).

    Each row is passed by itself: a network whose rows depend on each other in training
    (BatchNorm) has no kernel of rows.
    """
    seen = framework.outputs(model, x[:1])
    width = int(seen[0].size)
    direction = np.zeros(width)
    if outputs is not None:
        direction[outputs] = 1
    else:
        direction = np.random.default_rng(6).normal(size=width)
        direction /= np.linalg.norm(direction)
    along = direction.reshape(seen.shape).astype(np.float32)

    rows = []
    for i in range(len(x)):
        _, found = framework.gradients(model, x[i : i + 1], along, _along)
        rows.append(np.concatenate([found[name].reshape(-1) for name in sorted(found)]))
    jacobian = np.stack(rows).astype(np.float64)
    kernel = jacobian @ jacobian.T
    values, vectors = np.linalg.eigh(kernel / len(x))
    return TangentKernel(kernel, np.maximum(values[::-1], 0), vectors[:, ::-1])


def _along(outputs: Any, direction: Any) -> Any:
    """Σ outputs · direction, whose gradient is a row of vᵀJ."""
    return (outputs * direction).sum()

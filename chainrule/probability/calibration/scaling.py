"""Linear maps of logits, fitted to held-out labels: vector and matrix scaling."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.calibration.recalibrator import ClassRecalibrator, smoothed_targets
from chainrule.probability.calibration.temperature import fit_temperature

Penalty = tuple[float, np.ndarray, np.ndarray]
GRADIENT = 1e-5
"""What is left of the gradient where the search ends; above it the result says so."""


class _LinearScaling(ClassRecalibrator):
    """softmax(W outputs + b); targets are smoothed as in `TemperatureScaling`."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = np.zeros(0)

    @abstractmethod
    def _weights(self, free: np.ndarray, classes: int) -> np.ndarray:
        """(K, K): W of its free numbers."""

    @abstractmethod
    def _free(self, weights: np.ndarray) -> np.ndarray:
        """The adjoint of `_weights`; of a diagonal matrix also its inverse."""

    def _penalty(self, weights: np.ndarray, bias: np.ndarray) -> Penalty:
        """(what is added to the loss, its derivatives in W and b)."""
        return 0.0, np.zeros_like(weights), np.zeros_like(bias)

    def _search(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The free numbers of W; `bias` is set."""
        from scipy.optimize import minimize
        from scipy.special import log_softmax

        n, classes = logits.shape
        targets = smoothed_targets(y, classes)
        size = float(np.sqrt((logits**2).mean())) or 1.0  # the search is over W · size
        z = logits / size

        def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
            weights, bias = self._weights(vector[:-classes], classes), vector[-classes:]
            logs = log_softmax(z @ weights.T + bias, 1)
            error = (np.exp(logs) - targets) / n
            value, d_weights, d_bias = self._penalty(weights / size, bias)
            value -= float((targets * logs).sum()) / n
            gradient = self._free(error.T @ z + d_weights / size)
            return value, np.concatenate([gradient, error.sum(0) + d_bias])

        # From the best temperature on, whatever the size of the outputs is.
        first = np.eye(classes) * size / fit_temperature(logits, y)
        start = np.concatenate([self._free(first), np.zeros(classes)])
        found = minimize(
            loss, start, jac=True, method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30},
        )  # fmt: skip
        left = float(np.abs(loss(found.x)[1]).max())
        if not left < GRADIENT:
            self.warnings.append(
                f"The search for the best {self.name} ended early, with a gradient of {left:.1g}."
            )
        self.bias = found.x[-classes:] - found.x[-classes:].mean()
        free: np.ndarray = found.x[:-classes] / size
        return free

    def _mapped(self, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        found: np.ndarray = softmax(logits @ weights.T + self.bias, 1)
        return found


class VectorScaling(_LinearScaling):
    """softmax(w ∘ outputs + b): a factor and an offset for each class (Guo et al. 2017, §4.2).

    A constant added to a row of outputs, which softmax alone does not see, changes the result: hand
    over the network's own outputs, in `fit` and in `transform`.

    Attributes:
        scale: w, (classes,).
        bias: b, (classes,), of mean 0.

    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(0, 2, (4000, 3))
    >>> y = (true + rng.gumbel(size=true.shape)).argmax(1)  # drawn from softmax(true)
    >>> VectorScaling().fit(true - [1.0, 0.0, 0.0], y).bias.round(1)
    array([ 0.7, -0.3, -0.4])
    """

    name = "vector"
    stored = ("classes", "scale", "bias")

    def __init__(self) -> None:
        super().__init__()
        self.scale = np.zeros(0)

    @classmethod
    def parameters(cls, classes: int) -> int:
        return 2 * classes

    def _weights(self, free: np.ndarray, classes: int) -> np.ndarray:
        return np.diag(free)

    def _free(self, weights: np.ndarray) -> np.ndarray:
        return np.diag(weights)

    def _fit(self, logits: np.ndarray, y: np.ndarray) -> None:
        self.scale = self._search(logits, y)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        return self._mapped(logits, np.diag(self.scale))


class MatrixScaling(_LinearScaling):
    """softmax(W outputs + b) (Guo et al. 2017, §4.2), regularised off the diagonal.

    Added to the mean negative log-likelihood is
    λ/(K (K − 1)) Σ_{i≠j} w_ij² + μ/K Σ_i b_i² (ODIR: Kull et al. 2019, §3), without which K²
    numbers overfit; Guo's plain form has λ = μ = 0.

    Args:
        off_diagonal: λ.
        intercept: μ.

    Attributes:
        weights: W, (classes, classes).
        bias: b, (classes,), of mean 0.

    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(0, 2, (4000, 3))
    >>> y = (true + rng.gumbel(size=true.shape)).argmax(1)  # drawn from softmax(true)
    >>> MatrixScaling().fit(true / 2, y).weights.diagonal().round()
    array([2., 2., 2.])
    """

    name = "matrix"
    stored = ("classes", "off_diagonal", "intercept", "weights", "bias")

    def __init__(self, off_diagonal: float = 0.01, intercept: float = 0.01) -> None:
        super().__init__()
        for told, value in (("off_diagonal", off_diagonal), ("intercept", intercept)):
            if not 0 <= value < np.inf:
                raise DataError(f"{told} is {value}; a penalty is 0 or above")
        self.off_diagonal, self.intercept = float(off_diagonal), float(intercept)
        self.weights = np.zeros((0, 0))

    @classmethod
    def parameters(cls, classes: int) -> int:
        return classes * (classes + 1)

    def _weights(self, free: np.ndarray, classes: int) -> np.ndarray:
        return free.reshape(classes, classes)

    def _free(self, weights: np.ndarray) -> np.ndarray:
        return weights.reshape(-1)

    def _penalty(self, weights: np.ndarray, bias: np.ndarray) -> Penalty:
        k = len(bias)
        off = weights - np.diag(np.diag(weights))
        a, b = self.off_diagonal / (k * (k - 1)), self.intercept / k
        value = a * float((off**2).sum()) + b * float((bias**2).sum())
        return value, 2 * a * off, 2 * b * bias

    def _fit(self, logits: np.ndarray, y: np.ndarray) -> None:
        self.weights = self._search(logits, y).reshape(self.classes, self.classes)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        return self._mapped(logits, self.weights)

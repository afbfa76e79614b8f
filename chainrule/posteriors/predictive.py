"""What a posterior predicts: a mixture over weights, and whose the doubt is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.probability.calibration.given import array_of, labels_of
from chainrule.probability.conformal.law import check_coverage


def entropy(p: np.ndarray) -> np.ndarray:
    """H(p) = −Σ_k p_k ln p_k in nats, along the last axis."""
    found: np.ndarray = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), -1)
    return found


@dataclass(frozen=True)
class ClassPredictive:
    """p(y | x, D) = E_w p(y | x, w) for classes.

    H[E p] = E H[p] + MI: the entropy of the prediction is what the data leave open however well the
    weights are known (aleatoric), and the mutual information of answer and weights, which more data
    would take away (epistemic; Houlsby et al. 2011, eq. 1).

    Attributes:
        draws: (S, n, K), the probabilities under each of S draws of the weights; S = 1 for a
            deterministic network, whose MI is 0.

    >>> sure_of_both = ClassPredictive(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]))
    >>> sure_of_both.entropy.round(3), sure_of_both.aleatoric, sure_of_both.epistemic.round(3)
    (array([0.693]), array([0.]), array([0.693]))
    """

    draws: np.ndarray = field(repr=False)

    @property
    def probabilities(self) -> np.ndarray:
        """(n, K), the mean over the draws."""
        found: np.ndarray = self.draws.mean(0)
        return found

    @property
    def entropy(self) -> np.ndarray:
        """(n,) in nats, of at most ln K."""
        return entropy(self.probabilities)

    @property
    def aleatoric(self) -> np.ndarray:
        """(n,) in nats: the mean entropy of the draws."""
        found: np.ndarray = entropy(self.draws).mean(0)
        return found

    @property
    def epistemic(self) -> np.ndarray:
        """(n,) in nats: mutual information, entropy − aleatoric; never below 0."""
        if len(self.draws) == 1:
            return np.zeros(self.draws.shape[1])
        return np.maximum(self.entropy - self.aleatoric, 0.0)

    @property
    def disagreement(self) -> np.ndarray:
        """(n,): the share of draws whose likeliest class is not the prediction's."""
        found: np.ndarray = (self.draws.argmax(-1) != self.probabilities.argmax(-1)).mean(0)
        return found

    def log_prob(self, y: Any) -> np.ndarray:
        """(n,): log p(y_i | x_i, D).

        Raises:
            DataError: a label that is no class.
        """
        p = self.probabilities
        given = p[np.arange(len(p)), labels_of(y, p.shape[1], len(p))]
        with np.errstate(divide="ignore"):
            found: np.ndarray = np.log(given)
        return found


@dataclass(frozen=True)
class RealPredictive:
    """p(y | x, D) for real targets: a mixture of S equally likely normal distributions.

    Variance = E[noise²] (aleatoric) + Var of the mean (epistemic), the law of total variance.

    Attributes:
        means: (S, n), the mean under each draw of the weights, or within each component.
        noise: (S, n), the variance of y given x and the weights.
        spread: (S, n), the variance of the mean inside of a component, where it is known in closed
            form (Laplace); 0 where the draws alone show it.

    >>> two = RealPredictive(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
    >>> two.mean, two.aleatoric, two.epistemic, two.std.round(3)
    (array([1.]), array([2.]), array([1.]), array([1.732]))
    """

    means: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    spread: np.ndarray | None = field(default=None, repr=False)

    @property
    def _spread(self) -> np.ndarray:
        return np.zeros_like(self.means) if self.spread is None else self.spread

    @property
    def mean(self) -> np.ndarray:
        """(n,)."""
        found: np.ndarray = self.means.mean(0)
        return found

    @property
    def aleatoric(self) -> np.ndarray:
        """(n,), a variance: that of the data, which stays however many there are."""
        found: np.ndarray = self.noise.mean(0)
        return found

    @property
    def epistemic(self) -> np.ndarray:
        """(n,), a variance: that of the mean, which more data would take away."""
        found: np.ndarray = self.means.var(0) + self._spread.mean(0)
        return found

    @property
    def std(self) -> np.ndarray:
        """(n,): the square root of both together."""
        found: np.ndarray = np.sqrt(self.aleatoric + self.epistemic)
        return found

    @property
    def entropy(self) -> np.ndarray:
        """(n,) in nats, of the normal distribution with this variance: ½ ln 2πe σ²."""
        found: np.ndarray = 0.5 * np.log(2 * np.pi * np.e * self.std**2)
        return found

    def _targets(self, y: Any) -> np.ndarray:
        """In the shape of the mean; a single number stands for all rows.

        Raises:
            ShapeError: not one target for each mean.
        """
        found, shape = array_of(y, "targets"), self.means.shape[1:]
        if found.shape == (*shape, 1):
            found = found[..., 0]
        if found.ndim and found.shape != shape:
            raise ShapeError(
                f"the targets have the shape {found.shape}, and the prediction is of {shape}"
            )
        return found

    def cdf(self, y: Any) -> np.ndarray:
        """(n,): P(Y ≤ y_i | x_i, D); of the true targets, the probability-integral transform."""
        from scipy.special import ndtr

        scale = np.sqrt(self.noise + self._spread)
        found: np.ndarray = ndtr((self._targets(y) - self.means) / scale).mean(0)
        return found

    def log_prob(self, y: Any) -> np.ndarray:
        """(n,): log p(y_i | x_i, D) = log (1/S) Σ_s Normal(y_i; m_s, v_s)."""
        from scipy.special import logsumexp

        variance = self.noise + self._spread
        each = -0.5 * ((self._targets(y) - self.means) ** 2 / variance)
        each = each - 0.5 * np.log(2 * np.pi * variance)
        found: np.ndarray = logsumexp(each, 0) - np.log(len(self.means))
        return found

    def quantile(self, q: float) -> np.ndarray:
        """(n,): the y with P(Y ≤ y) = q, by bisection of the mixture's distribution function.

        Raises:
            DataError: q is not between 0 and 1.
        """
        from scipy.special import ndtri

        if not 0 < q < 1:
            raise DataError(f"q is {q}; a quantile is asked for between 0 and 1")
        scale = np.sqrt(self.noise + self._spread)
        ends = self.means + scale * ndtri(q)
        low, high = ends.min(0), ends.max(0)  # the mixture's quantile lies between its components'
        for _ in range(60 if len(self.means) > 1 else 0):
            middle = (low + high) / 2
            below = self.cdf(middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    def interval(self, coverage: float = 0.9) -> np.ndarray:
        """(n, 2): the quantiles (1 − coverage)/2 on both sides. It holds as far as the model does;
        a conformal interval holds whatever the model."""
        tail = (1 - check_coverage(coverage)) / 2
        return np.stack([self.quantile(tail), self.quantile(1 - tail)], -1)

"""How strange a row is, read off a network's outputs; larger is stranger."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.probability.calibration.given import array_of, probabilities_of
from chainrule.tensor.locate import explained


def _entropy(p: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.0 - np.sum(p * np.log(np.where(p > 0, p, 1.0)), -1)
    return found


@explained
def entropy_score(p: Any) -> np.ndarray:
    """(n,): H(p) = −Σ_k p_k ln p_k in nats, from 0 to ln K, of probabilities (n, K).

    High where a network cannot tell classes apart, which is so of noisy rows like those that it saw
    as well as of strange ones; a network may also be sure of what it never saw.

    >>> entropy_score([[1.0, 0.0], [0.5, 0.5]]).round(3)
    array([0.   , 0.693])
    """
    return _entropy(probabilities_of(p))


@explained
def max_probability_score(p: Any) -> np.ndarray:
    """(n,): 1 − max_k p_k (Hendrycks and Gimpel 2017), of probabilities (n, K).

    >>> max_probability_score([[1.0, 0.0], [0.5, 0.5]])
    array([0. , 0.5])
    """
    return np.asarray(1 - probabilities_of(p).max(1))


@explained
def energy_score(logits: Any, temperature: float = 1.0) -> np.ndarray:
    """(n,): −T ln Σ_k exp(f_k / T) of logits f (n, K) (Liu et al. 2020, eq. 4).

    It sees what softmax takes out: whether all logits are small. It needs logits: those of log
    probabilities are 0 for every row.

    >>> energy_score([[10.0, 0.0], [0.0, 0.0]]).round(3)
    array([-10.   ,  -0.693])
    """
    from scipy.special import logsumexp

    found = array_of(logits, "logits")
    if found.ndim != 2 or not found.shape[1]:
        raise ShapeError(f"logits have the shape {found.shape}; they are (rows, classes)")
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)):
        raise DTypeError(f"temperature is a number above 0, not {temperature!r}")
    if not 0 < temperature < np.inf:
        raise DataError(f"temperature is {temperature}; it is above 0")
    return np.asarray(-temperature * logsumexp(found / temperature, axis=1))


@explained
def disagreement_score(draws: Any) -> np.ndarray:
    """(n,): H[E p] − E H[p] in nats, how much draws from a posterior (S, n, K) disagree: the mutual
    information of answer and weights (Houlsby et al. 2011, eq. 1). 0 for a single draw.

    >>> disagreement_score([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]).round(3)
    array([0.693, 0.   ])
    """
    found = array_of(draws, "draws")
    if found.ndim != 3 or not found.shape[0]:
        raise ShapeError(
            f"draws have the shape {found.shape}; they are the probabilities under each draw of "
            "the weights, (draws, rows, classes)"
        )
    p = np.stack([probabilities_of(each, "draws") for each in found])
    return np.maximum(_entropy(p.mean(0)) - _entropy(p).mean(0), 0.0)

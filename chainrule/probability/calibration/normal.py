"""What several measures need of normal distributions."""

from __future__ import annotations

import math

import numpy as np


def absolute_mean(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E |X| of X ~ Normal(mean, std²), |mean| where std is 0 (Leone, Nelson and Nottingham 1961).

    >>> absolute_mean(np.array([0.0, 3.0]), np.array([1.0, 0.0])).round(4)  # √(2/π), 3
    array([0.7979, 3.    ])
    """
    from scipy.special import ndtr

    ratio = np.divide(mean, std, out=np.zeros_like(mean), where=std > 0)
    with np.errstate(over="ignore"):
        bell = np.exp(-(ratio**2) / 2)
    found = std * math.sqrt(2 / math.pi) * bell + mean * (2 * ndtr(ratio) - 1)
    return np.where(std > 0, found, np.abs(mean))

"""Making probabilities mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.tensor.locate import explained


@explained
def fit_temperature(logits: Any, labels: Any) -> float:
    """The T for which softmax(logits / T) fits held-out labels best (Guo et al. 2017, §4.2).

    One number cannot change which class is likeliest. Where every row is right the best T would be
    0, a certainty that n rows cannot give; so each label counts as (n + 1)/(n + 2) rather than 1,
    as in Platt 1999, §2.2.

    Args:
        logits: (rows, classes), of rows that nothing was learnt from.
        labels: (rows,), class codes.

    Returns:
        T > 0; above 1 the network was too sure, below 1 not sure enough.

    >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]] * 50)
    >>> T = fit_temperature(logits, [0, 0, 1, 1] * 50)  # sure in 98 %, right in 75 %
    >>> round(float(1 / (1 + np.exp(-4 / T))), 2)
    0.75
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    n, classes = logits.shape
    targets = np.full((n, classes), 1 / (n + 2) / (classes - 1))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)

    def loss(log_t: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_t), 1)).sum(1).mean())

    found = minimize_scalar(loss, bounds=(np.log(1e-2), np.log(1e2)), method="bounded")
    return float(np.exp(found.x))

"""Scores of class probabilities that are best, on average, for true ones; and sharpness."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.calibration.given import classified, probabilities_of
from chainrule.probability.calibration.reliability import Binning, edges_of, places
from chainrule.tensor.locate import explained


@explained
def brier_score(p: Any, y: Any) -> float:
    """(1/n) Σ_i Σ_k (p_ik − [y_i = k])², from 0, sure and right, to 2, sure and wrong (Brier 1950).

    Some halve it for two classes, which leaves (p_i − y_i)².

    Args:
        p: (rows, classes), probabilities, or (rows,) of the second of two classes.
        y: (rows,), class codes, or one-hot rows.

    Raises:
        DataError: numbers that are no probabilities, labels out of range, no rows.
        ShapeError: p and y do not belong together.

    >>> round(brier_score([[0.7, 0.2, 0.1]], [0]), 3)  # 0.3² + 0.2² + 0.1²
    0.14
    """
    probabilities, labels = classified(p, y)
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean())


@dataclass(frozen=True)
class BrierParts:
    """score = reliability − resolution + uncertainty + within_variance − within_covariance.

    Attributes:
        score: the Brier score.
        reliability: Σ_b n_b/n (confidence_b − share_b)²; 0 when calibrated.
        resolution: Σ_b n_b/n (share_b − share)²; how far the bins tell rows apart.
        uncertainty: share (1 − share); the score of always saying how often each class occurs.
        within_variance: mean square of probabilities about their bin's mean.
        within_covariance: twice their covariance with the answers, inside of bins.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float

    def to_dict(self) -> dict[str, float]:
        """JSON-able."""
        return asdict(self)


@explained
def brier_decomposition(
    p: Any, y: Any, *, bins: int = 15, binning: Binning = "width"
) -> BrierParts:
    """The Brier score taken apart into calibration, resolution and uncertainty (Murphy 1973).

    Murphy's three parts add up to the score if all probabilities of a bin are equal; the two parts
    within bins make it exact for any (Stephenson, Coelho, Jolliffe 2008, eq. 5). Each is summed
    over the classes, whose probabilities are put into bins of their own.

    Args:
        p, y: as in `brier_score`.
        bins, binning: as in `reliability`.

    >>> parts = brier_decomposition([0.8] * 10 + [0.2] * 10, [1] * 8 + [0] * 12)
    >>> [round(v, 3) for v in (parts.score, parts.reliability, parts.resolution, parts.uncertainty)]
    [0.2, 0.04, 0.32, 0.48]
    """
    probabilities, labels = classified(p, y)
    total = np.zeros(5)
    for k in range(probabilities.shape[1]):
        confidence, right = probabilities[:, k], (labels == k).astype(np.float64)
        edges = edges_of(confidence, bins, binning)
        place = places(confidence, edges)
        count = np.maximum(np.bincount(place, minlength=len(edges) - 1), 1)
        mean = (np.bincount(place, confidence, len(count)) / count)[place]
        share = (np.bincount(place, right, len(count)) / count)[place]
        base = right.mean()
        total += [
            np.mean((mean - share) ** 2),
            np.mean((share - base) ** 2),
            base * (1 - base),
            np.mean((confidence - mean) ** 2),
            2 * np.mean((right - share) * (confidence - mean)),
        ]
    return BrierParts(brier_score(probabilities, labels), *(float(part) for part in total))


@explained
def log_score(p: Any, y: Any) -> float:
    """−(1/n) Σ_i ln p_i(y_i), the mean negative log-likelihood in nats; infinite where p is 0.

    Args:
        p, y: as in `brier_score`.

    >>> round(log_score([[0.7, 0.2, 0.1]], [0]), 4)  # −ln 0.7
    0.3567
    """
    probabilities, labels = classified(p, y)
    with np.errstate(divide="ignore"):
        return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


@explained
def sharpness(p: Any) -> float:
    """How much the probabilities leave open: their mean entropy −Σ_k p_k ln p_k in nats.

    It knows nothing of labels. The sharper (smaller) the better among calibrated probabilities
    (Gneiting, Balabdaoui, Raftery 2007); it is then the `log_score` to expect (Bröcker 2009).

    Args:
        p: (rows, classes), probabilities, or (rows,) of the second of two classes.

    >>> round(sharpness([[0.5, 0.5], [1.0, 0.0]]), 4)  # (ln 2 + 0) / 2
    0.3466
    """
    probabilities = probabilities_of(p)
    if not len(probabilities):
        raise DataError("there is no row: nothing can be said about these probabilities")
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return float(-(probabilities * logs).sum(1).mean())

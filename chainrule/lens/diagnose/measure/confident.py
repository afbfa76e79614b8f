"""Label noise, from out-of-fold probabilities: which labels contradict what their rows say.

The confident joint (Northcutt, Jiang & Chuang, Confident Learning, JAIR 2021): with t_j the mean
probability of class j over the rows labelled j, row x labelled i counts as (i → j) where j is the
likeliest class with p_j(x) ≥ t_j.

Overlap of classes is no noise: it makes labels uncertain near a boundary, while flipped labels
stand far from it too. So the share of noise is measured among the half of the rows that are
farthest from any boundary (the largest lead of the likeliest class): there, clean labels agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, comb

import numpy as np

from chainrule.lens.diagnose.measure.probes import interval

NEIGHBOURS = 10
AGREE = 0.7
"""So many of a row's nearest rows bear the other label where its own is called wrong."""


@dataclass(frozen=True)
class Noise:
    """Labels that are likely wrong.

    Attributes:
        share: of the labels; `low` to `high` is a 95 % interval.
        rows: positions of the rows that are likely mislabelled, the surest first.
        better: the class that each of them likely is.
        joint: (C, C) counts: given label, likely label.
        surest: the share of disagreement among the surest quarter; `overall`: among all rows.
        neighbours: for the share of flagged rows whose nearest rows bear the other label.
        trend: how much rarer disagreement gets with the lead, within the surest half: the
            correlation × √rows, which is standard normal where labels were flipped whatever
            their rows, and clearly above 0 where classes overlap.
    """

    share: float
    low: float
    high: float
    rows: np.ndarray
    better: np.ndarray
    joint: np.ndarray
    surest: float
    overall: float
    neighbours: float
    trend: float

    @property
    def expected(self) -> float:
        """What `neighbours` would be if that share of the labels had been flipped, whatever their
        rows: of the nearest rows each bears the likelier label with the probability 1 − share."""
        p, least = 1 - self.share, ceil(AGREE * NEIGHBOURS)
        return sum(
            comb(NEIGHBOURS, k) * p**k * (1 - p) ** (NEIGHBOURS - k)
            for k in range(least, NEIGHBOURS + 1)
        )


def noise_of(scores: np.ndarray, labels: np.ndarray, features: np.ndarray) -> Noise:
    """Label noise from out-of-fold scores.

    Args:
        scores: (rows, C) estimates of P(class | row), each made without the row's own label.
        labels: (rows,) in 0 … C − 1.
        features: (rows, columns), for the neighbours.
    """
    p = np.clip(scores, 1e-6, None)
    p = p / p.sum(1, keepdims=True)
    rows, classes = p.shape
    at = np.arange(rows)
    # A class without any row has no threshold that could be passed.
    thresholds = np.array([p[labels == j, j].mean() if (labels == j).any() else np.inf
                           for j in range(classes)])  # fmt: skip
    confident = np.where(p >= thresholds, p, -1.0)
    likely = confident.argmax(1)
    counted = confident.max(1) > 0
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[counted], likely[counted]), 1)

    ranked = np.sort(p, axis=1)
    lead = ranked[:, -1] - ranked[:, -2] if classes > 1 else ranked[:, -1]
    surest = np.argsort(-lead, kind="stable")
    disagrees = (p.argmax(1) != labels).astype(np.float64)
    half = surest[: max(rows // 2, 1)]
    share, low, high = interval(disagrees[half], shares=True)

    agree = _neighbours_say(features, labels, likely)
    flagged = counted & (likely != labels)
    supported = flagged & (agree >= AGREE)
    found = at[supported]
    found = found[np.argsort(p[found, labels[found]] - p[found, likely[found]], kind="stable")]
    return Noise(
        share, low, high, found, likely[found], joint,
        float(disagrees[surest[: max(rows // 4, 1)]].mean()),
        float(disagrees.mean()),
        float(supported.sum() / max(flagged.sum(), 1)),
        -_correlation(lead[half], disagrees[half]) * float(np.sqrt(len(half))),
    )  # fmt: skip


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


def _neighbours_say(features: np.ndarray, labels: np.ndarray, said: np.ndarray) -> np.ndarray:
    """For each row the share of its nearest rows whose label is `said`."""
    gram = features @ features.T
    size = np.diag(gram)
    distance = size[:, None] + size[None, :] - 2 * gram
    np.fill_diagonal(distance, np.inf)
    count = min(NEIGHBOURS, len(labels) - 1)
    nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
    found: np.ndarray = (labels[nearest] == said[:, None]).mean(1)
    return found

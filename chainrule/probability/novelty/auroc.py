"""How well a score tells two samples apart: the area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.conformal.law import check_share
from chainrule.probability.conformal.scores import reals_of
from chainrule.tensor.locate import explained


@dataclass(frozen=True)
class Auroc:
    """The area under the ROC curve, with its interval.

    Attributes:
        value: P(a score of `out` is above one of `in`), ties counted half: 0.5 tells nothing, 1 is
            perfect, below 0.5 the score points the wrong way.
        low, high: its confidence interval.
        confidence: of the interval.

    >>> print(Auroc(0.84, 0.8, 0.88, 0.95))
    0.840 (0.800–0.880)
    """

    value: float
    low: float
    high: float
    confidence: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def _midranks(x: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(x))


@explained
def auroc(scores_in: Any, scores_out: Any, *, confidence: float = 0.95) -> Auroc:
    """How well scores tell strange rows from those like what was seen.

    θ = 1/(mn) Σ_i Σ_j [out_i > in_j] + ½ [out_i = in_j], and the normal interval with the variance
    of DeLong, DeLong and Clarke-Pearson 1988, S₁₀/m + S₀₁/n, cut at 0 and 1. Where that variance is
    0, as it is of samples that do not overlap, it proves nothing, and the interval is
    θ ± √(ln(2/(1 − confidence)) / (2 min(m, n))) (Hoeffding 1963, §5).

    Args:
        scores_in: (n,), of rows like those that were seen; larger is stranger.
        scores_out: (m,), of strange rows.
        confidence: of the interval.

    >>> print(auroc([0.1, 0.2, 0.3, 0.4], [0.35, 0.5, 0.6]))
    0.917 (0.686–1.000)
    >>> print(auroc([0.0, 0.1, 0.2], [1.0, 2.0, 3.0]))  # three rows of each prove little
    1.000 (0.216–1.000)
    """
    from scipy.special import ndtri

    confidence = check_share(confidence, "confidence")
    inside, outside = reals_of(scores_in, "scores_in"), reals_of(scores_out, "scores_out")
    n, m = len(inside), len(outside)
    if n < 2 or m < 2:
        raise DataError(f"{n} scores against {m}: at least two of each are needed")
    ranks = _midranks(np.concatenate([outside, inside]))
    above = (ranks[:m] - _midranks(outside)) / n  # of each strange row, the share of `in` below it
    below = 1 - (ranks[m:] - _midranks(inside)) / m
    value, variance = float(above.mean()), above.var(ddof=1) / m + below.var(ddof=1) / n
    wide = float(
        ndtri((1 + confidence) / 2) * np.sqrt(variance)
        if variance > 0
        else np.sqrt(np.log(2 / (1 - confidence)) / (2 * min(m, n)))
    )
    return Auroc(value, max(0.0, value - wide), min(1.0, value + wide), confidence)

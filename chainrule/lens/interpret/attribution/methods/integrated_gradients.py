"""Integrated gradients: the slope along the way from a baseline, added up."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.attribution.attribute import Asked, Attribution

TOLERANCE = 0.01
"""The error of completeness that is let pass, as a share of Σ |values|."""
FIRST, MOST = 16, 512
"""Steps of the integral: doubled until it is complete, at most so many."""


def attribution(asked: Asked, steps: int | None = None) -> Attribution:
    """(x − b) ∘ ∫₀¹ ∂F/∂x (b + α(x − b)) dα, by Gauss and Legendre's rule (Sundararajan et al.
    2017, eq. 1).

    Args:
        steps: of the integral; None doubles them for the rows that are not complete yet, until
            Σ values = F(x) − F(b) within 1 % of Σ |values|.
    """
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise DataError(f"steps is {steps!r}; it is a whole number from 1 on")
    away, output, base = asked.x - asked.start, asked.outputs, asked.base
    values, taken = np.zeros(asked.x.shape), np.zeros(len(asked.x), np.int64)
    left, count = np.arange(len(asked.x)), FIRST if steps is None else steps
    while len(left):
        values[left] = away[left] * _mean_gradient(asked, away, left, count)
        taken[left] = count
        shares = values[left].reshape(len(left), -1)
        missing = np.abs(output[left] - base[left] - shares.sum(1))
        if steps is not None or count >= MOST:
            break
        left, count = left[missing > TOLERANCE * np.abs(shares).sum(1)], 2 * count
    return Attribution(
        "integrated-gradients", values, output, base,
        "what each input added to the output on the straight way from the baseline to this row; "
        "the shares add up to the difference of the two outputs",
        "another baseline gives other shares, and rows on the way may be like none the network "
        "saw; it is no statement about what would happen if the input were changed in the world",
        complete=True, notes={"steps": taken.tolist()},
    )  # fmt: skip


def _mean_gradient(asked: Asked, away: np.ndarray, rows: np.ndarray, steps: int) -> np.ndarray:
    """(len(rows), …), many rows and steps in one pass."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = np.zeros((len(rows), *asked.x.shape[1:]))
    together = max(1, asked.at_once // len(rows))
    for at in range(0, steps, together):
        share = (nodes[at : at + together] + 1) / 2
        way = share.reshape(-1, 1, *[1] * (asked.x.ndim - 1)) * away[rows]
        points = (asked.start + way).astype(asked.x.dtype).reshape(-1, *asked.x.shape[1:])
        slope = asked.gradient(points, np.tile(asked.target[rows], len(share)))
        slope = slope.reshape(len(share), len(rows), *asked.x.shape[1:])
        total += np.tensordot(weights[at : at + together] / 2, slope, 1)
    return total

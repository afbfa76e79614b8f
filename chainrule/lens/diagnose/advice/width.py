"""How the error falls with a layer's width: L(w) = L∞ + a·w^−b."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.lens.diagnose.advice.advice import WidthCurve

EXPONENTS = np.geomspace(0.05, 4.0, 40)
DRAWS = 200


def width_curve(
    path: str, widths: Sequence[int], errors: Sequence[Sequence[float]], now: int
) -> WidthCurve:
    """Fit L(w) = L∞ + a·w^−b with L∞, a ≥ 0 by least squares, and draw seeds again for intervals.

    Args:
        widths: of the layer; at least 4 for a curve that says anything.
        errors: for each width the held-out error of every seed, the same seeds throughout.
        now: the layer's width.
    """
    w = np.asarray(widths, dtype=np.float64)
    table = np.asarray(errors, dtype=np.float64)
    seeds = table.shape[1]
    floor, a, b = fitted(w, table.mean(1))
    rng = np.random.default_rng(9)
    drawn = np.array(
        [fitted(w, table[:, rng.integers(0, seeds, seeds)].mean(1)) for _ in range(DRAWS)]
    )
    gains = gain_of(drawn[:, 1], drawn[:, 2], now)
    low, high = np.percentile(gains, [5, 95])
    b_low, b_high = np.percentile(drawn[:, 2], [5, 95])
    return WidthCurve(
        path, tuple(int(v) for v in widths), tuple(tuple(map(float, row)) for row in table), now,
        floor, a, b, (float(b_low), float(b_high)),
        float(gain_of(np.array(a), np.array(b), now)), (float(low), float(high)),
    )  # fmt: skip


def gain_of(a: np.ndarray, b: np.ndarray, now: int) -> np.ndarray:
    """L(w) − L(2w) = a·w^−b·(1 − 2^−b)."""
    found: np.ndarray = a * float(now) ** -b * (1 - 2.0**-b)
    return found


def fitted(w: np.ndarray, losses: np.ndarray) -> tuple[float, float, float]:
    """(L∞, a, b): for each b a line through (w^−b, L) with neither part below 0; the best."""
    basis = w[None, :] ** -EXPONENTS[:, None]
    mean, centre = losses.mean(), basis.mean(1)
    spread = np.maximum(((basis - centre[:, None]) ** 2).sum(1), 1e-30)
    a = ((basis - centre[:, None]) * (losses - mean)).sum(1) / spread
    floor = mean - a * centre
    # A bound that is passed is the solution's edge: a = 0 leaves the mean, L∞ = 0 a line through 0.
    through = (basis * losses).sum(1) / np.maximum((basis**2).sum(1), 1e-30)
    a, floor = np.where(floor < 0, through, a), np.maximum(floor, 0)
    a, floor = np.maximum(a, 0), np.where(a < 0, mean, floor)
    rest = ((floor[:, None] + a[:, None] * basis - losses) ** 2).sum(1)
    best = int(rest.argmin())
    return float(floor[best]), float(a[best]), float(EXPONENTS[best])

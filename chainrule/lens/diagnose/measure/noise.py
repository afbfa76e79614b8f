"""The noise of gradients: how large a batch is worth its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose.case import Case

BATCHES = 16


@dataclass(frozen=True)
class Noise:
    """Attributes:
    scale: B = tr Σ/|G|², the batch size at which noise and signal are equal; infinite where no
        signal rises above the noise.
    signal: |G|², of the true gradient; `variance`: tr Σ, of one example's.
    rows: the batch size that it was measured with.
    """

    scale: float
    signal: float
    variance: float
    rows: int


def noise_scale(gradients: Sequence[np.ndarray] | np.ndarray, rows: int) -> Noise:
    """The simple noise scale tr Σ/|G|² from gradients of equal batches (McCandlish et al. 2018,
    appendix A.1).

    Args:
        gradients: (K, parameters), each the mean gradient over another `rows` examples; K ≥ 2.

    For a batch of B examples E|G_B|² = |G|² + tr Σ/B. The small batches are those given, the big
    one is all of them; both sides are averages before they are divided:
    |G|² = (B_b|G_b|² − B_s|G_s|²)/(B_b − B_s), tr Σ = (|G_s|² − |G_b|²)/(1/B_s − 1/B_b).
    """
    flat = np.asarray(gradients, dtype=np.float64)
    count = len(flat)
    small = float(np.mean(np.sum(flat**2, axis=1)))
    big = float(np.sum(flat.mean(0) ** 2))
    large = rows * count
    signal = (large * big - rows * small) / (large - rows)
    variance = (small - big) / (1 / rows - 1 / large)
    scale = variance / signal if signal > 0 else float("inf")
    return Noise(max(scale, 0.0), max(signal, 0.0), max(variance, 0.0), rows)


def gradient_noise(case: Case, *, last: bool = False) -> Noise | None:
    """The noise scale at the first weights (or the last ones); None where there are too few rows
    for two batches."""
    setup = case.setup
    rows = min(setup.batch_size, len(setup.x) // 2)
    if rows < 1 or len(setup.x) < 4:
        return None
    name = f"gradient_noise:{last}"
    if name not in case.memo:
        model = case.final_model if last else setup.model
        order = np.random.default_rng(2).permutation(len(setup.x))
        count = min(BATCHES, len(setup.x) // rows)
        found = []
        for k in range(count):
            take = order[k * rows : (k + 1) * rows]
            _, gradients = case.framework.gradients(model, setup.x[take], setup.y[take], setup.loss)
            found.append(np.concatenate([g.reshape(-1) for g in gradients.values()]))
        case.memo[name] = noise_scale(np.stack(found), rows)
    return case.memo[name]

"""What a weight matrix or a layer's values span: ranks, coherence, units that do nothing."""

from __future__ import annotations

import numpy as np

DORMANT = 0.025
"""A unit is dormant below this share of its layer's mean activity (Sokar et al. 2023)."""


def effective_rank(matrix: np.ndarray) -> float:
    """exp(−Σ pᵢ ln pᵢ) with pᵢ = σᵢ/Σσ (Roy & Vetterli 2007): n for n equal singular values, 1 for
    rank one, 0 for zeros.

    >>> round(effective_rank(np.eye(5)), 6)
    5.0
    """
    sigma = np.linalg.svd(_flat(matrix), compute_uv=False)
    total = sigma.sum()
    if not total > 0:
        return 0.0
    p = sigma / total
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def stable_rank(matrix: np.ndarray) -> float:
    """‖W‖²_F / ‖W‖₂²: the rank, without what hardly counts (Rudelson & Vershynin 2007).

    >>> round(stable_rank(np.diag([2.0, 1.0])), 6)
    1.25
    """
    sigma = np.linalg.svd(_flat(matrix), compute_uv=False)
    return float(np.sum(sigma**2) / sigma[0] ** 2) if sigma.size and sigma[0] > 0 else 0.0


def coherence(rows: np.ndarray) -> float:
    """max |cos(wᵢ, wⱼ)| over pairs i ≠ j of rows, each of which is a unit's weights; 1: two units
    are the same, up to a factor. Rows of zeros are left out; 0 where fewer than two remain.

    >>> coherence(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
    1.0
    """
    flat = _flat(rows)
    length = np.linalg.norm(flat, axis=1)
    flat = flat[length > 0] / length[length > 0, None]
    if len(flat) < 2:
        return 0.0
    cosines = np.abs(flat @ flat.T)
    np.fill_diagonal(cosines, 0.0)
    return float(min(cosines.max(), 1.0))


def dead_units(values: np.ndarray) -> np.ndarray:
    """(units,) of bool: which are exactly 0 in every row of (rows, units)."""
    return np.asarray(~np.any(values != 0, axis=0))


def dormant_units(values: np.ndarray) -> np.ndarray:
    """(units,) of bool: whose mean |h| is at most 0.025 of the layer's mean (Sokar et al. 2023)."""
    activity = np.abs(values).mean(0, dtype=np.float64)
    mean = activity.mean()
    return np.asarray(activity <= DORMANT * mean) if mean > 0 else np.ones(len(activity), bool)


def _flat(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix, dtype=np.float64)
    return matrix.reshape(len(matrix), -1)

"""Singular values of layers' Jacobians, ∂h_l/∂h_{l−1} = D_l W_l, and of the chain of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.sampling import slope_of

EXACT = 512
"""Matrices of at most so many rows and columns are decomposed; larger ones by power iteration."""
EXAMPLES = 8


@dataclass(frozen=True)
class Spectrum:
    """Attributes:
    path: the layer, or "a → b" for a chain.
    largest, median: singular values, averaged over a few examples (median None if not exact).
    """

    path: str
    largest: float
    median: float | None

    @property
    def isometry(self) -> float | None:
        """σ_max/σ_median: 1 where all directions pass equally (dynamical isometry, Pennington et
        al. 2017)."""
        return None if not self.median else self.largest / self.median


def spectra(run: Pass) -> list[Spectrum]:
    """The Jacobian of every dense layer of a pass, and of the chain of all of them where one feeds
    the next. Layers whose activation is not elementwise, and convolutions, are left out."""
    found: list[Spectrum] = []
    chains: list[tuple[Layer, list[np.ndarray]]] = []
    for layer in run.layers:
        factors = _factors(layer, run)
        if factors is None:
            chains = []
            continue
        found.append(_spectrum(layer.path, [[f] for f in factors]))
        chains.append((layer, factors))
    if len(chains) > 1 and len(chains) == len(run.layers) and _fits(chains):
        name = f"{chains[0][0].path} → {chains[-1][0].path}"
        several = [[factors[e] for _, factors in reversed(chains)] for e in range(_examples(run))]
        found.append(_spectrum(name, several))
    return found


def chain(run: Pass) -> str:
    """The singular values of the whole chain in a sentence; "" where there is no such chain."""
    found = [s for s in spectra(run) if "→" in s.path and s.isometry is not None]
    if not found:
        return ""
    sigma, middle = found[0].largest, found[0].median
    return (
        f"the Jacobian of the layers {found[0].path} has the largest singular value {sigma:.3g} "
        f"and the median {middle:.3g} (both near 1 where signals pass, Pennington et al. 2017)"
    )


def _fits(chains: list[tuple[Layer, list[np.ndarray]]]) -> bool:
    return all(
        b[1][0].shape[1] == a[1][0].shape[0] and not b[0].residual and not a[0].norm
        for a, b in pairwise(chains)
    )


def _examples(run: Pass) -> int:
    return min(EXAMPLES, len(run.x))


def _factors(layer: Layer, run: Pass) -> list[np.ndarray] | None:
    """D W for a few examples, (out, in) each."""
    weight = run.parameters.get(layer.weight or "")
    if layer.kind != "linear" or weight is None or weight.ndim != 2 or layer.z.ndim != 2:
        return None
    matrix = weight if weight.shape[0] == layer.units else weight.T
    slope = slope_of(layer, run)
    if slope is None or not np.isfinite(slope).all() or layer.norm:
        return None
    rows = np.broadcast_to(slope, layer.z.shape)[: _examples(run)]
    return [row[:, None].astype(np.float64) * matrix for row in rows]


def _spectrum(path: str, several: Sequence[Sequence[np.ndarray]]) -> Spectrum:
    found = [singular_values(factors) for factors in several]
    largest = float(np.mean([s[0] for s in found]))
    exact = all(len(s) > 1 or min(f[-1].shape[1], f[0].shape[0]) == 1
                for s, f in zip(found, several, strict=True))  # fmt: skip
    median = float(np.mean([np.median(s) for s in found])) if exact else None
    return Spectrum(path, largest, median)


def singular_values(factors: Sequence[np.ndarray], iterations: int = 15) -> np.ndarray:
    """Those of the product of `factors`, largest first: all if it is small, else the largest
    alone, by power iteration on JᵀJ without forming the product.

    >>> singular_values([np.diag([2.0, 1.0]), np.diag([3.0, 1.0])]).tolist()
    [6.0, 1.0]
    """
    if max(max(f.shape) for f in factors) <= EXACT:
        product = factors[0]
        for factor in factors[1:]:
            product = product @ factor
        return np.asarray(np.linalg.svd(product, compute_uv=False))
    v: Any = np.random.default_rng(0).standard_normal(factors[-1].shape[1])
    sizes = [0.0]
    for _ in range(iterations):
        v = v / max(float(np.linalg.norm(v)), 1e-300)
        for factor in reversed(factors):
            v = factor @ v
        sizes.append(float(np.linalg.norm(v)))
        for factor in factors:
            v = factor.T @ v
    return np.array(sizes[-1:])

"""Whether targets are related to features at all: against permuted targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 20
ROWS = 400
"""So many rows show a relation that explains a hundredth of the variance."""
PENALTIES = tuple(10.0**k for k in range(-4, 3))
"""λ, where the kernel of a row with itself is about 1."""
NEIGHBOURS = 3


@dataclass(frozen=True)
class Relation:
    """How targets are related to features.

    Attributes:
        explained: the share of the targets' variance that the best of several kernel ridge
            regressions explains of rows left out.
        chance, spread: its mean and standard deviation with permuted targets.
        strength: standard deviations above chance: of `explained`, or of what a row's target has
            in common with those of its nearest rows, whichever is more.
    """

    explained: float
    chance: float
    spread: float
    strength: float


def relation_of(features: np.ndarray, targets: np.ndarray) -> Relation:
    """Targets (rows, m) against features (rows, columns). For each permutation kernel and penalty
    are chosen anew, so that choosing explains nothing."""
    rng = np.random.default_rng(3)
    features, targets = features[:ROWS], targets[:ROWS]
    sketch = sketched(targets, 4)
    bases = [basis(kernel) for _, kernel in kernels(features)]
    nearest = nearest_of(features, NEIGHBOURS)

    def measured(y: np.ndarray) -> tuple[float, float]:
        return max(best_of(b, y)[0] for b in bases), _in_common(nearest, y)

    own = np.array(measured(sketch))
    permuted = np.array(
        [measured(sketch[rng.permutation(len(sketch))]) for _ in range(PERMUTATIONS)]
    )
    # Where a heavy penalty makes every permutation explain nothing, their spread says nothing
    # either: one degree of freedom in n rows explains about 1/n by chance.
    mean, spread = permuted.mean(0), np.maximum(permuted.std(0), 1.5 / len(targets))
    return Relation(
        float(own[0]), float(mean[0]), float(spread[0]), float(np.max((own - mean) / spread))
    )


def _in_common(nearest: np.ndarray, y: np.ndarray) -> float:
    """Σ (yᵢ − ȳ)·(mean over i's nearest rows − ȳ) ÷ Σ (yᵢ − ȳ)²."""
    centred = y - y.mean(0)
    total = float(np.sum(centred**2)) or 1.0
    return float(np.sum(centred * centred[nearest].mean(1))) / total


def nearest_of(features: np.ndarray, count: int) -> np.ndarray:
    """(rows, count): the positions of each row's nearest other rows."""
    gram = features @ features.T
    size = np.diag(gram)
    distance = size[:, None] + size[None, :] - 2 * gram
    np.fill_diagonal(distance, np.inf)
    count = min(count, len(features) - 1)
    found: np.ndarray = np.argpartition(distance, count - 1, axis=1)[:, :count]
    return found


def kernels(features: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Linear with an offset, and Gaussian at two widths: the median distance and a third of it."""
    columns = max(features.shape[1], 1)
    gram = features @ features.T
    size = np.diag(gram)
    distance = np.maximum(size[:, None] + size[None, :] - 2 * gram, 0)
    apart = distance[~np.eye(len(distance), dtype=bool)]
    median = float(np.median(apart)) or 1.0
    return [
        ("linear", gram / columns + 1),
        ("gaussian", np.exp(-distance / median) + 1),
        ("narrow gaussian", np.exp(-distance / (0.1 * median)) + 1),
    ]


def basis(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(eigenvalues, eigenvectors)."""
    values, vectors = np.linalg.eigh(kernel)
    return np.maximum(values, 0), vectors


def best_of(
    decomposed: tuple[np.ndarray, np.ndarray], targets: np.ndarray
) -> tuple[float, np.ndarray]:
    """(explained, leave-one-out predictions) at the penalty that explains most.

    With K = VSVᵀ and A = K + λI, the row's own target leaves its prediction as

        ŷ₋ᵢ = yᵢ − [A⁻¹y]ᵢ / [A⁻¹]ᵢᵢ     (Rasmussen & Williams, Gaussian Processes for ML, eq. 5.12)

    so one eigendecomposition gives every λ and every row out of fold.
    """
    values, vectors = decomposed
    mean = targets.mean(0)
    centred = targets - mean
    total = float(np.sum(centred**2)) or 1.0
    turned, squares = vectors.T @ centred, vectors**2
    best = (-np.inf, targets)
    for penalty in PENALTIES:
        inverse = 1 / (values + penalty)
        residual = (vectors @ (turned * inverse[:, None])) / (squares @ inverse)[:, None]
        explained = 1 - float(np.sum(residual**2)) / total
        if explained > best[0]:
            best = (explained, targets - residual)
    return best


def sketched(targets: np.ndarray, columns: int) -> np.ndarray:
    """At most so many columns: random sums of them, with the same relation to the inputs."""
    if targets.shape[1] <= columns:
        return targets
    return targets @ np.random.default_rng(4).normal(size=(targets.shape[1], columns))

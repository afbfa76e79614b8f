"""A normal distribution over weights, by the eigenvectors of its precision.

Full, Kronecker-factored and diagonal curvature differ in their eigenvectors alone. A prior
precision that is the same all over a block adds to the eigenvalues and leaves the eigenvectors as
they are, so that the evidence of another prior costs no new decomposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import DataError


@dataclass(frozen=True)
class Block:
    """A symmetric matrix U diag(values) Uᵀ of some weights, U = left ⊗ right.

    The weights are an (a, b) array, flattened by rows: (left ⊗ right) vec(V) = vec(left V rightᵀ).

    Attributes:
        values: (a, b), the eigenvalues.
        left: (a, a), orthogonal; None is the identity.
        right: (b, b), the same.
    """

    values: np.ndarray
    left: np.ndarray | None = None
    right: np.ndarray | None = None

    def rotated(self, vectors: np.ndarray) -> np.ndarray:
        """Uᵀ v of each row: (m, ab) to (m, ab)."""
        v = vectors.reshape(-1, *self.values.shape)
        v = v if self.left is None else self.left.T @ v
        v = v if self.right is None else v @ self.right
        return v.reshape(vectors.shape)

    def back(self, vectors: np.ndarray) -> np.ndarray:
        """U v of each row: (m, ab) to (m, ab)."""
        v = vectors.reshape(-1, *self.values.shape)
        v = v if self.left is None else self.left @ v
        v = v if self.right is None else v @ self.right.T
        return v.reshape(vectors.shape)

    def inverse_diagonal(self) -> np.ndarray:
        """The diagonal of the inverse: (ab,), Σ_i U_ji² / values_i."""
        found = 1 / self.values
        found = found if self.left is None else self.left**2 @ found
        found = found if self.right is None else found @ (self.right**2).T
        return found.reshape(-1)

    def shares(self, precision: np.ndarray, starts: Sequence[int]) -> tuple:
        """`Gaussian.shares` of this block alone."""
        diagonal = self.left is None and self.right is None
        if diagonal or (len(starts) == 1 and (precision == precision[0]).all()):
            ratio = precision / self.values.reshape(-1)  # the same in eigenvectors' coordinates
            return np.add.reduceat(ratio, starts), np.diag(np.add.reduceat(ratio**2, starts))
        assert self.left is not None
        ratios = (self.left / self.values[:, 0]) @ self.left.T * precision
        twice = np.add.reduceat(np.add.reduceat(ratios * ratios.T, starts, 0), starts, 1)
        return np.add.reduceat(np.diag(ratios), starts), twice

    def plus(self, scale: float, precision: np.ndarray) -> Block:
        """scale · this + diag(precision), where precision has one number a weight: (ab,).

        Raises:
            DataError: a Kronecker product, and a precision that is not the same in all of it.
        """
        dense = self.left is not None or self.right is not None
        if not dense or (precision == precision[0]).all():
            values = scale * self.values + precision.reshape(self.values.shape)
            return Block(values, self.left, self.right)
        if self.left is None or self.right is not None:
            raise DataError(
                "the eigenvectors of a Kronecker product hold for a prior that has one precision "
                "in all of a parameter, and this has several. Give one for each parameter "
                "(precision='per layer' finds them), or take structure='full' or 'diag'."
            )
        matrix = (scale * self.left * self.values[:, 0]) @ self.left.T + np.diag(precision)
        return dense_block(matrix)


def require_finite(*parts: np.ndarray) -> None:
    """
    Raises:
        DataError: a part of a curvature is not finite.
    """
    if not all(np.isfinite(part).all() for part in parts):
        raise DataError(
            "the curvature of the likelihood is not finite: squares of what goes through the "
            "network are too large for its dtype. Standardise the inputs and the targets."
        )


def dense_block(matrix: np.ndarray) -> Block:
    """A block of a positive semidefinite matrix (p, p).

    Eigenvalues that rounding made negative are 0.
    """
    require_finite(matrix)
    values, vectors = np.linalg.eigh(matrix)
    return Block(np.maximum(values, 0.0)[:, None], vectors)


class Gaussian:
    """Normal(mean, precision⁻¹) of a weight vector, its precision block by block.

    Attributes:
        mean: (P,).
        blocks: whose sizes add up to P, in the order of the weights.
    """

    def __init__(self, mean: np.ndarray, blocks: Sequence[Block]) -> None:
        self.mean, self.blocks = mean, tuple(blocks)
        ends = np.cumsum([block.values.size for block in self.blocks])
        self._parts = [
            slice(end - b.values.size, end) for end, b in zip(ends, self.blocks, strict=True)
        ]

    @property
    def log_det(self) -> float:
        """log det of the precision."""
        return float(sum(np.log(block.values).sum() for block in self.blocks))

    @property
    def variances(self) -> np.ndarray:
        """(P,), the variance of each weight."""
        return np.concatenate([block.inverse_diagonal() for block in self.blocks])

    def shares(self, precision: np.ndarray, starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(G,) and (G, G): what of this distribution's precision A is the prior's, by groups.

        γ_g = tr(A⁻¹ Λ_g) and Γ_gh = tr(A⁻¹ Λ_g A⁻¹ Λ_h), with Λ_g the prior's precision of the
        weights from starts[g] on, up to the next group's.

        Args:
            precision: (P,), the prior's.
        """
        single, double = np.zeros(len(starts)), np.zeros((len(starts),) * 2)
        for part, block in zip(self._parts, self.blocks, strict=True):
            first = int(np.searchsorted(starts, part.start, "right")) - 1
            inside = [s - part.start for s in starts[first + 1 :] if s < part.stop]
            own = slice(first, first + 1 + len(inside))
            once, twice = block.shares(precision[part], [0, *inside])
            single[own] += once
            double[own, own] += twice
        return single, double

    def whitened(self, vectors: np.ndarray) -> np.ndarray:
        """precision^(−½) v of each row, in the eigenvectors' coordinates: (m, P) to (m, P).

        The product of two such rows is uᵀ precision⁻¹ v.
        """
        found = np.empty(vectors.shape)
        for part, block in zip(self._parts, self.blocks, strict=True):
            found[:, part] = block.rotated(vectors[:, part]) / np.sqrt(block.values.reshape(-1))
        return found

    def deviations(self, normals: np.ndarray) -> np.ndarray:
        """What draws differ from the mean by, from standard normal numbers: (m, P) to (m, P)."""
        found = np.empty(normals.shape)
        for part, block in zip(self._parts, self.blocks, strict=True):
            found[:, part] = block.back(normals[:, part] / np.sqrt(block.values.reshape(-1)))
        return found

    def matrix(self) -> np.ndarray:
        """The precision as a dense matrix, (P, P)."""
        found = np.zeros((len(self.mean), len(self.mean)))
        for part, block in zip(self._parts, self.blocks, strict=True):
            each = block.rotated(np.eye(block.values.size)) * block.values.reshape(-1)
            found[part, part] = block.back(each)
        return found

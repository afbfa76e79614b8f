"""The curvature of a single dense layer, whose Jacobian is known: J = 1 ⊗ [φ, 1].

f = W φ + b has ∂f_k/∂W_ld = δ_kl φ_d, so that sums of JᵀΛJ over rows are products of matrices: what
the last layer of a network costs is little more than its features.
"""

from __future__ import annotations

import numpy as np

from chainrule.nn.layers.linear import Linear
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.laplace.curvature import (
    Curvature,
    check_dense,
    chunks,
    second_order,
)
from chainrule.posteriors.laplace.gaussian import Block, dense_block
from chainrule.tensor.products import on_one_thread


def is_linear(joint: Joint) -> bool:
    """Whether the model is one dense layer on vectors."""
    return type(joint.model) is Linear and joint.x.ndim == 2


@on_one_thread()
def of_linear(joint: Joint, structure: str, outputs: np.ndarray) -> Curvature:
    """What `full`, `kron` and `diag` give, of such a model and its outputs (n, K)."""
    if structure == "full":
        check_dense(joint)
    phi = joint.x
    value, slope, d, p = second_order(joint, outputs)
    gradient = {"weight": slope.astype(phi.dtype).T @ phi, "bias": slope.sum(0)}
    blocks = _STRUCTURES[structure](joint, phi, d, p)
    return Curvature(blocks, outputs, value, _joined(joint, gradient))


def _kron(joint: Joint, phi: np.ndarray, d: np.ndarray, p: np.ndarray | None) -> list[Block]:
    total = np.zeros((d.shape[1],) * 2) if p is None else -(p.T @ p)
    np.fill_diagonal(total, d.sum(0))
    a, b = dense_block(phi.T @ phi / len(phi)), dense_block(total)
    factors = {"weight": Block(b.values * a.values.T, b.left, a.left), "bias": b}
    return [factors[name] for name in joint.names]


def _diag(joint: Joint, phi: np.ndarray, d: np.ndarray, p: np.ndarray | None) -> list[Block]:
    diagonals = {"weight": d.T.astype(phi.dtype) @ np.square(phi), "bias": d.sum(0)}
    return [Block(_joined(joint, diagonals)[:, None])]


def _full(joint: Joint, phi: np.ndarray, d: np.ndarray, p: np.ndarray | None) -> list[Block]:
    """Σ Λ ⊗ [φ 1][φ 1]ᵀ, in the order of the weights.

    Between two classes Λ is −p pᵀ, and all of those blocks together the product of one matrix
    p ⊗ [φ 1], a row of it for each of the data. Those of a class with itself are by d: in the
    difference of p and p² float32 would leave nothing of a class that is nearly certain.
    """
    wide = np.column_stack([phi, np.ones(len(phi), phi.dtype)])
    (n, k), m = d.shape, wide.shape[1]
    total = np.zeros((k, m, k, m))
    if p is not None:
        narrow = p.astype(phi.dtype)
        for rows in chunks(n, k * m):
            crossed = (narrow[rows, :, None] * wide[rows, None]).reshape(-1, k * m)
            total -= (crossed.T @ crossed).reshape(total.shape)
    root = np.sqrt(d).astype(phi.dtype)
    for i in range(k):
        rooted = root[:, i, None] * wide
        total[i, :, i] = rooted.T @ rooted
    places = np.arange(k * m).reshape(k, m)
    order = {"weight": places[:, :-1], "bias": places[:, -1]}
    chosen = np.concatenate([order[name].reshape(-1) for name in joint.names])
    return [dense_block(total.reshape(k * m, k * m)[np.ix_(chosen, chosen)])]


_STRUCTURES = {"full": _full, "kron": _kron, "diag": _diag}


def _joined(joint: Joint, parts: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([parts[name].reshape(-1) for name in joint.names]).astype(np.float64)


def jacobians(joint: Joint, x: np.ndarray) -> np.ndarray:
    """(n, K, P): ∂f/∂w of each row."""
    assert isinstance(joint.model, Linear)
    k = joint.model.out_features
    units = np.eye(k, dtype=joint.dtype)
    parts = {
        "weight": (units[:, :, None] * x[:, None, None, :]).reshape(len(x), k, -1),
        "bias": np.broadcast_to(units, (len(x), k, k)),
    }
    return np.concatenate([parts[name] for name in joint.names], -1)

"""Singular values and singular vectors."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from chainrule.ops.arithmetic import abs
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import operation
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    decomposed,
    floating,
    lapack,
    matrix,
    pack,
    packed,
    parts,
    real,
    real_dtype,
    spread_diagonal,
    take_diagonal,
)
from chainrule.ops.operation import conjugate
from chainrule.ops.reduction import max, sum
from chainrule.ops.solving import solve
from chainrule.ops.spectra import (
    SINGULAR,
    derivative_of_basis,
    derivative_of_vectors,
    gaps,
    vanishing,
)
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
INTERNAL = ("complement", "svd_")

SVDResult = namedtuple("SVDResult", ["U", "S", "Vh"])


def _svd(x: np.ndarray) -> np.ndarray:
    u, s, vh = decomposed(np.linalg.svd, x, full_matrices=False)
    return packed(u, s.astype(x.dtype), vh, ends=(2, 1, 2))


def _svd_parts(y: Tensor, m: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """(U, σ, V)."""
    k = min(m, n)
    u, s, vh = parts(y, (m, k), (k,), (k, n))
    return u, real(s), adjoint(vh)


def _svd_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    m, n = x.shape[-2:]
    (u, s, v), (gu, gs, gv) = _svd_parts(y, m, n), _svd_parts(g, m, n)
    hu, hv = matmul(adjoint(u), gu), matmul(adjoint(v), gv)
    sku, skv = (hu - adjoint(hu)) * 0.5, (hv - adjoint(hv)) * 0.5
    turning, stretching = sku + skv, sku - skv
    rest_u = gu - matmul(u, hu) if m > n else None
    rest_v = gv - matmul(v, hv) if n > m else None
    rest = rest_u if rest_u is not None else rest_v
    there = derivative_of_vectors(
        gs, s, turning, hu + hv, u, stretching, _longest(rest), what="singular value",
        instead=SINGULAR,
    )  # fmt: skip
    inner = spread_diagonal(where(there, gs, 0)) + _shared(s, turning, stretching)
    result = matmul(u, matmul(inner, adjoint(v)))
    if rest_u is not None:
        result = result + matmul(rest_u * _inverse(s)[..., None, :], adjoint(v))
    if rest_v is not None:
        result = result + matmul(u, adjoint(rest_v * _inverse(s)[..., None, :]))
    return result


def _shared(s: Tensor, symmetric: Tensor, antisymmetric: Tensor) -> Tensor:
    """The two parts over σ_j − σ_i and σ_j + σ_i, without those that are 0 over 0."""
    apart, same = gaps(s)
    sums = s[..., None, :] + s[..., :, None]
    none = vanishing(s)
    none = none[..., None, :] & none[..., :, None]
    turned = where(same, 0, symmetric) / apart
    return turned + where(none, 0, antisymmetric) / where(none, 1, sums)


def _inverse(s: Tensor) -> Tensor:
    """1/σ, and 0 for those that are 0."""
    zero = vanishing(s)
    return where(zero, 0, 1 / where(zero, 1, s))


def _longest(x: Tensor | None) -> Tensor | None:
    """The largest modulus in each column."""
    return None if x is None else max(abs(x), -2)


def _svd_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    m, n = x.shape[-2:]
    u, s, v = _svd_parts(y, m, n)
    right = matmul(t, v)
    inner = matmul(adjoint(u), right)
    symmetric = (inner + adjoint(inner)) * 0.5
    antisymmetric = (inner - adjoint(inner)) * 0.5
    off = where(Tensor(np.eye(s.shape[-1], dtype=bool)), 0, symmetric)
    left = matmul(adjoint(t), u)
    rest_u = right - matmul(u, inner) if m > n else None
    rest_v = left - matmul(v, adjoint(inner)) if n > m else None
    rest = rest_u if rest_u is not None else rest_v
    slopes = real(take_diagonal(inner))
    there = derivative_of_vectors(
        slopes * 0, s, off, inner, None, antisymmetric, _longest(rest), what="singular value",
        instead=SINGULAR,
    )  # fmt: skip
    slopes = where(there, slopes, 0)
    du = matmul(u, _shared(s, off, antisymmetric))
    dv = matmul(v, _shared(s, off, -antisymmetric))
    if rest_u is not None:
        du = du + rest_u * _inverse(s)[..., None, :]
    if rest_v is not None:
        dv = dv + rest_v * _inverse(s)[..., None, :]
    return pack(du, slopes, adjoint(dv), ends=(2, 1, 2), dtype=x.dtype)


def _svd_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    m, n = matrix(x)
    k = min(m, n)
    return (*x.shape[:-2], m * k + k + k * n), x.dtype


def _slanted(*shape: int) -> np.ndarray:
    """Sample matrices of full rank."""
    return sampled(*shape) + np.eye(shape[-2], shape[-1])


def _any_samples() -> list:
    return [
        ((sampled(3, 3) + np.diag([3.0, 0.0, 6.0]),), {}),
        ((sampled(2, 3, 2),), {}),
        ((sampled(2, 4),), {}),
        ((_slanted(4, 3)[::-1].T,), {}),
        ((sampled(1, 1),), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((2, 0)),), {}),
        ((np.zeros((0, 2, 3)),), {}),
    ]


@operation(
    formula="x = U diag(σ) Vᴴ, Uᴴ U = Vᴴ V = I",
    display_only=True,
    shape=_svd_shape,
    forward=_svd,
    vjp=_svd_vjp,
    jvp=_svd_jvp,
    operations=lambda y, x: 14 * math.prod(x.shape) * min(x.shape[-2:]),
    lower="lapack",
    batch=along(),
    source="Giles, An extended collection of matrix derivative results (2008), §3.2; the phases by "
    "Wan and Zhang, Automatic differentiation for complex valued SVD, arXiv:1909.02659",
    samples=_any_samples,
)
def svd_(x: Any, /) -> Any:
    """(U, σ, Vᴴ), the thin ones, behind one another along the last axis."""
    return floating(x), {}


def _complement(x: np.ndarray) -> np.ndarray:
    return lapack(np.linalg.qr, x, mode="complete")[0][..., x.shape[-1] :]


def _complement_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    used = matmul(adjoint(y), g)
    g = where(derivative_of_basis(g, (used - adjoint(used)) * 0.5), g, 0)
    return -matmul(y, adjoint(solve(matmul(adjoint(x), x), matmul(adjoint(x), g))))


def _complement_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return -matmul(x, solve(matmul(adjoint(x), x), matmul(adjoint(t), y)))


@operation(
    formula="xᴴ y = 0, yᴴ y = I",
    display_only=True,
    shape=lambda x: ((*x.shape[:-1], x.shape[-2] - x.shape[-1]), x.dtype),
    forward=_complement,
    vjp=_complement_vjp,
    jvp=_complement_jvp,
    lower="lapack",
    batch=along(),
    source="xᴴ y = 0 gives dy = −x (xᴴ x)⁻¹ dxᴴ y, and a part along y that turns the basis only",
    samples=lambda: [
        ((sampled(3, 2),), {}),
        ((sampled(2, 2, 1),), {}),
        ((np.zeros((0, 2, 1)),), {}),
    ],
)
def complement(x: Any, /) -> Any:
    """Orthonormal columns that are at right angles to the columns of x, as many as complete it."""
    return floating(x), {}


@located
def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """(U, S, Vh): the singular value decomposition of matrices (…, m, n).

    A = U diag(S) Vh, with S (…, k) descending, k = min(m, n), U (…, m, k) and Vh (…, k, n). With
    `full_matrices` U is (…, m, m) and Vh (…, n, n): the columns that this adds complete a basis.

    Where singular values are equal, or 0, singular vectors have no derivative, and asking for one
    is a GradientError that names them, unless the loss provably does not depend on their basis.

    Raises:
        ShapeError: it is no matrix.
        GradientError: in the derivative, see above.

    >>> import chainrule as cr
    >>> cr.linalg.svd(cr.asarray([[0.0, 2.0], [1.0, 0.0]])).S
    tensor([2., 1.])
    """
    (x,) = floating(x)
    m, n = matrix(x)
    u, s, v = _svd_parts(svd_(x), m, n)
    if full_matrices and m > n:
        u = concat([u, complement(u)], axis=-1)
    if full_matrices and n > m:
        v = concat([v, complement(v)], axis=-1)
    return SVDResult(u, s, adjoint(v))


def _svdvals_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    return (*x.shape[:-2], min(matrix(x))), real_dtype(x.dtype)


def _svdvals_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    u, _, vh = svd(x, full_matrices=False)
    return matmul(u * g[..., None, :], vh)


def _svdvals_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    u, _, vh = svd(x, full_matrices=False)
    return real(sum(conjugate(u) * matmul(t, adjoint(vh)), -2))


@operation(
    formula="y[…, i] = √(λ_i(xᴴ x)), descending",
    display_only=True,
    shape=_svdvals_shape,
    forward=lambda x: decomposed(np.linalg.svd, x, compute_uv=False),
    vjp=_svdvals_vjp,
    jvp=_svdvals_jvp,
    operations=lambda y, x: 4 * math.prod(x.shape) * min(x.shape[-2:]),
    lower="lapack",
    batch=along(),
    source="dσ_i = Re u_iᴴ dA v_i",
    samples=_any_samples,
)
def svdvals(x: Any, /) -> Any:
    """The singular values (…, min(m, n)) of matrices (…, m, n), descending.

    Where some are equal, the derivative of what depends on them symmetrically is exact; of one
    alone, and where one is 0, there is a kink, and the slope is that of one of the branches.

    Raises:
        ShapeError: it is no matrix.

    >>> import chainrule as cr
    >>> cr.linalg.svdvals(cr.asarray([[3.0, 0.0], [0.0, -4.0]]))
    tensor([4., 3.])
    """
    return floating(x), {}

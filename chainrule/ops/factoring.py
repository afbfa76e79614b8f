"""Factors of matrices: QR, LU, and products of Householder reflections."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DTypeError, ShapeError
from chainrule.ops.batching import along
from chainrule.ops.choosing import tril, triu
from chainrule.ops.declare import constant_op, operation
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    floating,
    lapack,
    matrix,
    pack,
    packed,
    parts,
    real,
    spread_diagonal,
    square,
    take_diagonal,
)
from chainrule.ops.operation import operands
from chainrule.ops.singular_values import complement
from chainrule.ops.solving import solve_triangular
from chainrule.ops.structure import expand_dims, matrix_transpose, squeeze
from chainrule.tensor import dtypes
from chainrule.tensor.creation import zeros
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
INTERNAL = ("lu_", "pivot_order", "qr_")

QRResult = namedtuple("QRResult", ["Q", "R"])
LUResult = namedtuple("LUResult", ["P", "L", "U"])
LUFactorResult = namedtuple("LUFactorResult", ["LU", "pivots"])


# QR


def _qr(x: np.ndarray) -> np.ndarray:
    q, r = lapack(np.linalg.qr, x)
    return packed(q, r, ends=(2, 2))


def _qr_parts(y: Tensor, m: int, n: int) -> list[Tensor]:
    return parts(y, (m, n), (n, n))


def _over(a: Tensor, r: Tensor) -> Tensor:
    """a R⁻¹ for upper triangular R."""
    return solve_triangular(r, a, upper=True, left=False)


def _over_adjoint(a: Tensor, r: Tensor) -> Tensor:
    """a R⁻ᴴ for upper triangular R."""
    return solve_triangular(adjoint(r), a, upper=False, left=False)


def _qr_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    m, n = x.shape[-2:]
    (q, r), (gq, gr) = _qr_parts(y, m, n), _qr_parts(g, m, n)
    inner = triu(matmul(gr, adjoint(r)) - matmul(adjoint(q), gq))
    inner = inner + adjoint(inner) - spread_diagonal(real(take_diagonal(inner)).astype(x.dtype))
    return _over_adjoint(gq + matmul(q, inner), r)


def _qr_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    q, r = _qr_parts(y, *x.shape[-2:])
    turned = _over(t, r)
    inner = matmul(adjoint(q), turned)
    # Qᴴ dA R⁻¹ = Ω + dR R⁻¹, with Ω antisymmetric and the other upper triangular, real diagonal.
    upper = inner + adjoint(inner)
    upper = triu(upper) - spread_diagonal(take_diagonal(upper)) * 0.5
    dq = turned - matmul(q, upper)
    return pack(dq, matmul(upper, r), ends=(2, 2), dtype=x.dtype)


def _qr_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    m, n = matrix(x)
    return (*x.shape[:-2], m * n + n * n), x.dtype


@operation(
    formula="x = Q R, Qᴴ Q = I, R upper triangular",
    display_only=True,
    shape=_qr_shape,
    forward=_qr,
    vjp=_qr_vjp,
    jvp=_qr_jvp,
    operations=lambda y, x: 4 * math.prod(x.shape) * x.shape[-1],
    lower="lapack",
    batch=along(),
    source="Walter and Lehmann, Algorithmic differentiation of linear algebra functions, "
    "arXiv:1001.1654",
    samples=lambda: [
        ((sampled(3, 3) + np.diag([3.0, 0.0, 6.0]),), {}),
        ((sampled(2, 4, 2),), {}),
        ((sampled(2, 3).T,), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((2, 0)),), {}),
        ((np.zeros((0, 3, 2)),), {}),
    ],
)
def qr_(x: Any, /) -> Any:
    """(Q, R), the thin ones, of matrices with no more columns than rows, packed."""
    return floating(x), {}


@located
def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """(Q, R) with A = Q R, orthonormal columns in Q and R upper triangular, of matrices (…, m, n).

    Args:
        mode: "reduced": Q is (…, m, k) and R (…, k, n), k = min(m, n); "complete": Q is (…, m, m)
            and R (…, m, n).

    Its derivative needs the first k columns of A to be independent; it is refused, with the
    diagonal element of R that is 0, where they are not.

    Raises:
        ShapeError: it is no matrix, or another mode.
        LinAlgError: in the derivative, see above.

    >>> import chainrule as cr
    >>> q, r = cr.linalg.qr(cr.asarray([[3.0, 1.0], [4.0, 2.0]]))
    >>> cr.round(cr.abs(r) * 10)
    tensor([[50., 22.],
            [ 0.,  4.]])
    """
    if mode not in ("reduced", "complete"):
        raise ShapeError(f"the mode is 'reduced' or 'complete', not {mode!r}")
    (x,) = floating(x)
    m, n = matrix(x)
    k = min(m, n)
    q, r = _qr_parts(qr_(x[..., :k] if n > m else x), m, k)
    if n > m:
        r = concat([r, matmul(adjoint(q), x[..., k:])], axis=-1)
    elif m > n and mode == "complete":
        q = concat([q, complement(q)], axis=-1)
        r = concat([r, zeros((*x.shape[:-2], m - n, n), dtype=x.dtype)], axis=-2)
    return QRResult(q, r)


# LU


def _lu(x: np.ndarray) -> np.ndarray:
    batch, (m, n) = x.shape[:-2], x.shape[-2:]
    both, pivots = np.empty_like(x), np.zeros((*batch, min(m, n)), x.dtype)
    from scipy.linalg.lapack import get_lapack_funcs  # not with the module: it is slow to import

    (getrf,) = get_lapack_funcs(("getrf",), dtype=x.dtype)
    for place in np.ndindex(*batch) if x.size else ():
        both[place], pivots[place], _ = getrf(x[place])
    return packed(both, pivots, ends=(2, 1))


def _order(pivots: np.ndarray, *, rows: int) -> np.ndarray:
    if pivots.min(initial=0) < 0 or pivots.max(initial=-1) >= rows:
        raise BoundsError(f"pivots name rows 0 … {rows - 1}, and these are {pivots.tolist()}")
    order = np.empty((*pivots.shape[:-1], rows), np.int64)
    order[...] = np.arange(rows)
    for place in np.ndindex(*pivots.shape[:-1]):
        for i, j in enumerate(pivots[place].tolist()):
            order[(*place, i)], order[(*place, j)] = order[(*place, j)], order[(*place, i)]
    return order


@constant_op(
    formula="y: the rows 0, 1, … after row i and row x[…, i] changed places, for each i in turn",
    display_only=True,
    shape=lambda x, *, rows: ((*x.shape[:-1], rows), dtypes.int64),
    forward=_order,
    reason="it is an order of integers",
    lower="lapack",
    batch=along(),
    samples=lambda: [
        ((np.array([2, 1, 2]),), {"rows": 3}),
        ((np.array([[1, 1], [0, 1]]),), {"rows": 3}),
    ],
)
def pivot_order(x: Any, /, *, rows: int) -> Any:
    """In which order LAPACK's pivots put the rows."""
    return operands(x), {"rows": rows}


def _permutation(pivots: Tensor, rows: int, dtype: np.dtype) -> Tensor:
    """P, with A = P L U."""
    order = pivot_order(pivots, rows=rows)
    return (order[..., None, :] == Tensor(np.arange(rows)[:, None])).astype(dtype)


def _triangles(both: Tensor) -> tuple[Tensor, Tensor]:
    m, n = both.shape[-2:]
    k = min(m, n)
    lower = tril(both[..., :k], k=-1) + Tensor(np.eye(m, k, dtype=both.dtype))
    return lower, triu(both[..., :k, :])


def _lu_parts(y: Tensor, m: int, n: int) -> tuple[Tensor, Tensor]:
    """(L and U in one, pivots)."""
    both, pivots = parts(y, (m, n), (min(m, n),))
    return both, real(pivots).astype(dtypes.int64)


def _lu_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    m, n = x.shape[-2:]
    k = min(m, n)
    both, pivots = _lu_parts(y, m, n)
    (lower, upper), p = _triangles(both), _permutation(pivots, m, x.dtype)
    g = parts(g, (m, n), (k,))[0]
    l1, u1 = lower[..., :k, :], upper[..., :k]
    gl, gu = tril(g[..., :k, :k], k=-1), triu(g[..., :k, :k])
    rest: Tensor | None = None
    if m > n:  # L₂ = A₂ U₁⁻¹
        rest = _over_adjoint(g[..., k:, :], u1)
        gu = gu - triu(matmul(adjoint(lower[..., k:, :]), rest))
    elif n > m:  # U₂ = L₁⁻¹ A₂
        rest = solve_triangular(adjoint(l1), g[..., k:], upper=True, unitriangular=True)
        gl = gl - tril(matmul(rest, adjoint(upper[..., k:])), k=-1)
    inner = tril(matmul(adjoint(l1), gl), k=-1) + triu(matmul(gu, adjoint(u1)))
    inner = solve_triangular(adjoint(l1), inner, upper=True, unitriangular=True)
    result = _over_adjoint(inner, u1)
    if rest is not None:
        result = concat([result, rest], axis=-2 if m > n else -1)
    return matmul(p, result)


def _lu_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    m, n = x.shape[-2:]
    k = min(m, n)
    both, pivots = _lu_parts(y, m, n)
    (lower, upper), p = _triangles(both), _permutation(pivots, m, x.dtype)
    t = matmul(matrix_transpose(p), t)
    l1, u1 = lower[..., :k, :], upper[..., :k]
    inner = solve_triangular(l1, t[..., :k, :k], upper=False, unitriangular=True)
    inner = _over(inner, u1)
    dl, du = matmul(l1, tril(inner, k=-1)), matmul(triu(inner), u1)
    both = dl + du
    if m > n:
        rest = _over(t[..., k:, :] - matmul(lower[..., k:, :], du), u1)
        both = concat([both, rest], axis=-2)
    elif n > m:
        right = t[..., k:] - matmul(dl, upper[..., k:])
        rest = solve_triangular(l1, right, upper=False, unitriangular=True)
        both = concat([both, rest], axis=-1)
    still = zeros((*x.shape[:-2], k), dtype=x.dtype)
    return pack(both, still, ends=(2, 1), dtype=x.dtype)


def _lu_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    m, n = matrix(x)
    return (*x.shape[:-2], m * n + min(m, n)), x.dtype


@operation(
    formula="x = P L U, P a permutation, L lower triangular with ones, U upper triangular",
    display_only=True,
    shape=_lu_shape,
    forward=_lu,
    vjp=_lu_vjp,
    jvp=_lu_jvp,
    operations=lambda y, x: 2 * math.prod(x.shape) * min(x.shape[-2:]) // 3,
    lower="lapack",
    batch=along(),
    source="L⁻¹ Pᵀ dA U⁻¹ = L⁻¹ dL + dU U⁻¹, of which the first is strictly lower triangular",
    samples=lambda: [
        ((sampled(3, 3) + np.diag([3.0, 0.0, 6.0]),), {}),
        ((sampled(2, 4, 2),), {}),
        ((sampled(2, 4),), {}),
        ((sampled(2, 3).T,), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ],
)
def lu_(x: Any, /) -> Any:
    """(L below the diagonal and U above, LAPACK's pivots), packed."""
    return floating(x), {}


@located
def lu(x: Any, /) -> LUResult:
    """(P, L, U) with A = P L U: a permutation, L with ones on its diagonal, U upper triangular.

    Rows are exchanged so that pivots are large. Of A (…, m, n), with k = min(m, n), P is (…, m, m),
    L (…, m, k) and U (…, k, n). The permutation is constant for derivatives, which need the leading
    k columns to be independent.

    >>> import chainrule as cr
    >>> cr.linalg.lu(cr.asarray([[1.0, 2.0], [2.0, 2.0]])).U
    tensor([[2., 2.],
            [0., 1.]])
    """
    (x,) = floating(x)
    m, n = matrix(x)
    both, pivots = _lu_parts(lu_(x), m, n)
    return LUResult(_permutation(pivots, m, x.dtype), *_triangles(both))


@located
def lu_factor(x: Any, /) -> LUFactorResult:
    """(LU, pivots) for `lu_solve`: L below the diagonal, U on and above it, and the exchanges.

    Step i exchanged the rows i and pivots[i], counted from 0, as SciPy has it.

    >>> import chainrule as cr
    >>> cr.linalg.lu_factor(cr.asarray([[1.0, 2.0], [2.0, 2.0]])).pivots
    tensor([1, 1], dtype=int64)
    """
    (x,) = floating(x)
    return LUFactorResult(*_lu_parts(lu_(x), *matrix(x)))


@located
def lu_solve(LU: Any, pivots: Any, b: Any, /) -> Tensor:
    """The x of A x = b, from `lu_factor(A)`; b is a vector (n,) or matrices (…, n, k).

    >>> import chainrule as cr
    >>> a = cr.asarray([[1.0, 2.0], [2.0, 2.0]])
    >>> cr.linalg.lu_solve(*cr.linalg.lu_factor(a), cr.asarray([3.0, 4.0]))
    tensor([1., 1.])
    """
    both, b = floating(LU, b)
    n = square(both)
    (pivots,) = operands(pivots)
    if pivots.dtype.kind not in "iu":
        raise DTypeError(f"pivots are whole numbers, not {pivots.dtype}")
    if pivots.shape != both.shape[:-1]:
        raise ShapeError(
            f"the pivots that belong to LU of {both.shape} have the shape {both.shape[:-1]}, not "
            f"{pivots.shape}"
        )
    if b.ndim == 1:
        return squeeze(lu_solve(both, pivots, expand_dims(b, -1)), -1)
    right = matmul(matrix_transpose(_permutation(pivots, n, both.dtype)), b)
    inner = solve_triangular(both, right, upper=False, unitriangular=True)
    return solve_triangular(both, inner, upper=True)


# Householder


@located
def householder_product(x: Any, tau: Any, /) -> Tensor:
    """The first n columns of H₁ H₂ … H_k, with H_i = I − τ_i v_i v_iᴴ (LAPACK's orgqr, ungqr).

    Args:
        x: (…, m, n), n ≤ m; v_i is column i below the diagonal, with a 1 on it and 0 above.
        tau: (…, k), k ≤ n.

    >>> import chainrule as cr
    >>> cr.linalg.householder_product(cr.asarray([[0.0], [1.0]]), cr.asarray([1.0]))
    tensor([[ 0.],
            [-1.]])
    """
    x, tau = floating(x, tau)
    m, n = matrix(x)
    k = tau.shape[-1] if tau.ndim else -1
    if not (n <= m and 0 <= k <= n and tau.shape[:-1] == x.shape[:-2]):
        raise ShapeError(
            "reflections of (…, m, n) with n ≤ m take factors (…, k) with k ≤ n; here are "
            f"{x.shape} and {tau.shape}"
        )
    vectors = tril(x, k=-1) + Tensor(np.eye(m, n, dtype=x.dtype))
    result = Tensor(np.eye(m, n, dtype=x.dtype))
    for i in reversed(range(k)):
        v = vectors[..., i : i + 1]
        result = result - tau[..., i, None, None] * matmul(v, matmul(adjoint(v), result))
    return result if k else result + zeros((*x.shape[:-2], m, n), dtype=x.dtype)

"""Determinants and their logarithms, and the adjugate, which is their derivative."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from chainrule.ops.batching import trailing
from chainrule.ops.choosing import where
from chainrule.ops.complex import imag
from chainrule.ops.declare import operation
from chainrule.ops.domain import sampled
from chainrule.ops.joining import stack
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    cubic,
    decomposed,
    floating,
    lapack,
    parts,
    real,
    regular,
    spread_diagonal,
    square,
    square_shape,
    take_diagonal,
)
from chainrule.ops.operation import conjugate
from chainrule.ops.reduction import prod, sum
from chainrule.ops.solving import inv
from chainrule.ops.structure import expand_dims, matrix_transpose, squeeze
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
INTERNAL = ("adjugate", "slogdet_")

SlogdetResult = namedtuple("SlogdetResult", ["sign", "logabsdet"])


def _adjugate(x: np.ndarray) -> np.ndarray:
    u, s, vh = decomposed(np.linalg.svd, x)
    n = x.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    phase = np.linalg.det(u) * np.linalg.det(vh)
    left = np.conj(np.swapaxes(vh, -1, -2)) * others[..., None, :]
    return phase[..., None, None] * (left @ np.conj(np.swapaxes(u, -1, -2)))


def _factors(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(U, V, det U · det Vᴴ, P) with P_ij the product of all singular values but i and j."""
    from chainrule.ops.singular_values import svd

    u, s, vh = svd(x)
    n = x.shape[-1]
    left_out = np.eye(n, dtype=bool)
    left_out = left_out[:, None, :] | left_out[None, :, :]
    others = prod(where(Tensor(left_out), 1, s[..., None, None, :]), -1)
    others = where(Tensor(np.eye(n, dtype=bool)), 0, others)
    return u, adjoint(vh), det(u) * det(vh), others.astype(x.dtype)


def _around(f: Tensor, others: Tensor) -> Tensor:
    """The derivative of the adjugate of a diagonal matrix, in the direction f."""
    diagonal = matmul(others, expand_dims(take_diagonal(f), -1))
    return spread_diagonal(squeeze(diagonal, -1)) - others * f


def _adjugate_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    u, v, phase, others = _factors(x)
    inner = _around(matmul(adjoint(v), matmul(g, u)), others)
    return conjugate(phase)[..., None, None] * matmul(u, matmul(inner, adjoint(v)))


def _adjugate_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    u, v, phase, others = _factors(x)
    inner = _around(matmul(adjoint(u), matmul(t, v)), others)
    return phase[..., None, None] * matmul(v, matmul(inner, adjoint(u)))


@operation(
    formula="x y = y x = det(x) I, also where x is singular",
    display_only=True,
    shape=square_shape,
    forward=_adjugate,
    vjp=_adjugate_vjp,
    jvp=_adjugate_jvp,
    operations=cubic(20),
    lower="lapack",
    batch=trailing(2),
    source="adj(U S Vᴴ) = det(U Vᴴ) V adj(S) Uᴴ; adj(S) is a polynomial in S",
    samples=lambda: [
        ((regular(3, 3),), {}),
        ((np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0]) + np.diag([1.0, 0.0, 0.0]),), {}),
        ((regular(2, 2, 2),), {}),
        ((np.zeros((0, 0)),), {}),
    ],
)
def adjugate(x: Any, /) -> Any:
    """The transpose of the matrix of cofactors, which is the derivative of the determinant."""
    return floating(x), {}


def _stacked(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    square(x)
    return x.shape[:-2], x.dtype


@operation(
    formula="y[…] = Σ over permutations p of sign(p) · Π_i x[…, i, p(i)]",
    display_only=True,
    shape=_stacked,
    forward=lambda x: lapack(np.linalg.det, x),
    vjp=lambda g, x, y: g[..., None, None] * adjoint(adjugate(x)),
    jvp=lambda t, x, y: sum(matrix_transpose(adjugate(x)) * t, (-2, -1)),
    operations=cubic(2 / 3),
    lower="lapack",
    batch=trailing(2),
    source="Jacobi: d det(A) = tr(adj(A) dA), which holds for singular A too",
    samples=lambda: [
        ((regular(3, 3),), {}),
        ((regular(2, 3, 2, 2),), {}),
        ((np.array([[1.0, 2.0], [2.0, 4.0]]),), {}),
        ((np.diag([1.0, 0.0, 0.0]),), {}),
        ((sampled(1, 1),), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ],
)
def det(x: Any, /) -> Any:
    """The determinants of square matrices (…, n, n). Of large ones they overflow: see `slogdet`.

    The derivative, the transposed adjugate, exists for singular matrices too.

    Raises:
        ShapeError: the matrices are not square.

    >>> import chainrule as cr
    >>> cr.linalg.det(cr.asarray([[1.0, 2.0], [3.0, 5.0]])).item()
    -1.0
    """
    return floating(x), {}


def _slogdet(x: np.ndarray) -> np.ndarray:
    sign, size = lapack(np.linalg.slogdet, x)
    return np.stack([sign, size.astype(x.dtype)], -1)


def _slogdet_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    along = real(g[..., 1])
    if x.dtype.kind == "c":
        turning = imag(conjugate(g[..., 0]) * y[..., 0])
        along = along - turning * Tensor(np.asarray(1j, x.dtype))
    return along[..., None, None] * adjoint(inv(x))


def _slogdet_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:

    trace = sum(take_diagonal(matmul(inv(x), t)), -1)
    if x.dtype.kind != "c":
        return stack([trace * 0, trace], axis=-1)
    turning = y[..., 0] * imag(trace) * Tensor(np.asarray(1j, x.dtype))
    return stack([turning, real(trace).astype(x.dtype)], axis=-1)


@operation(
    formula="det(x) = sign · exp(logabsdet)",
    display_only=True,
    shape=lambda x: ((*_stacked(x)[0], 2), x.dtype),
    forward=_slogdet,
    vjp=_slogdet_vjp,
    jvp=_slogdet_jvp,
    operations=cubic(2 / 3),
    lower="lapack",
    batch=trailing(2),
    source="d log|det A| = Re tr(A⁻¹ dA)",
    samples=lambda: [
        ((regular(3, 3),), {}),
        ((-regular(2, 3, 3),), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ],
)
def slogdet_(x: Any, /) -> Any:
    """(sign, log |det|) side by side along the last axis."""
    return floating(x), {}


@located
def slogdet(x: Any, /) -> SlogdetResult:
    """(sign, logabsdet) of the determinants of square matrices (…, n, n), without overflow.

    A singular matrix has the sign 0 and the logarithm −∞; there the derivative is refused.

    >>> import chainrule as cr
    >>> sign, logabsdet = cr.linalg.slogdet(cr.asarray([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.item(), logabsdet.item()
    (-1.0, 0.0)
    """
    packed = slogdet_(x)
    sign, size = parts(packed, (), ())
    return SlogdetResult(sign, real(size))


@located
def logdet(x: Any, /) -> Tensor:
    """log det of square matrices (…, n, n): NaN where a real determinant is negative.

    >>> import chainrule as cr
    >>> cr.linalg.logdet(cr.asarray([[1.0, 0.0], [0.0, 1.0]])).item()
    0.0
    """
    from chainrule.ops.exponential import log

    sign, size = slogdet(as_operand(x))
    if sign.dtype.kind == "c":
        return size + log(sign)
    return where(sign < 0, Tensor(np.asarray(np.nan, size.dtype)), size)

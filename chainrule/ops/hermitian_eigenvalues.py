"""Eigenvalues and eigenvectors of symmetric and Hermitian matrices."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import operation
from chainrule.ops.domain import sampled
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    decomposed,
    floating,
    hermitian,
    hermitian_part,
    pack,
    packed,
    parts,
    real,
    real_dtype,
    spread_diagonal,
    square,
    take_diagonal,
)
from chainrule.ops.operation import conjugate
from chainrule.ops.reduction import sum
from chainrule.ops.spectra import EIGEN, derivative_of_vectors, gaps
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
INTERNAL = ("eigh_",)

EighResult = namedtuple("EighResult", ["eigenvalues", "eigenvectors"])


def _eigh(x: np.ndarray) -> np.ndarray:
    values, vectors = decomposed(np.linalg.eigh, hermitian(x))
    return packed(values.astype(x.dtype), vectors, ends=(1, 2))


def _eigh_parts(y: Tensor, n: int) -> tuple[Tensor, Tensor]:
    values, vectors = parts(y, (n,), (n, n))
    return real(values), vectors


def _eigh_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    n = x.shape[-1]
    (values, v), (gl, gv) = _eigh_parts(y, n), _eigh_parts(g, n)
    used = matmul(adjoint(v), gv)
    turning = (used - adjoint(used)) * 0.5
    there = derivative_of_vectors(
        gl, values, turning, used, v, None, None, what="eigenvalue", instead=EIGEN
    )
    apart, same = gaps(values)
    inner = spread_diagonal(where(there, gl, 0)) + where(same, 0, turning) / apart
    return matmul(v, matmul(inner, adjoint(v)))


def _eigh_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    values, v = _eigh_parts(y, x.shape[-1])
    inner = matmul(adjoint(v), matmul(hermitian_part(t), v))
    apart, same = gaps(values)
    off = where(Tensor(np.eye(x.shape[-1], dtype=bool)), 0, inner)
    slopes = real(take_diagonal(inner))
    there = derivative_of_vectors(
        slopes * 0, values, off, inner, None, None, None, what="eigenvalue", instead=EIGEN
    )
    slopes = where(there, slopes, 0)
    turned = matmul(v, where(same, 0, inner) / apart)
    return pack(slopes, turned, ends=(1, 2), dtype=x.dtype)


def _eigh_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    n = square(x)
    return (*x.shape[:-2], n + n * n), x.dtype


def _symmetric(*shape: int) -> np.ndarray:
    """Sample symmetric matrices with eigenvalues that are well apart."""
    a = sampled(*shape)
    return (a + np.swapaxes(a, -1, -2)) / 2 + np.diag(3.0 * np.arange(shape[-1]))


def _symmetric_samples() -> list:
    return [
        ((_symmetric(3, 3),), {}),
        ((_symmetric(2, 2, 2),), {}),
        ((_symmetric(3, 3)[::-1, ::-1].T,), {}),
        ((sampled(1, 1),), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ]


@operation(
    formula="x = V diag(λ) Vᴴ, Vᴴ V = I",
    display_only=True,
    shape=_eigh_shape,
    forward=_eigh,
    vjp=_eigh_vjp,
    jvp=_eigh_jvp,
    operations=lambda y, x: 9 * math.prod(x.shape) * x.shape[-1],
    lower="lapack",
    batch=along(),
    source="Giles, An extended collection of matrix derivative results (2008), §3.1",
    samples=_symmetric_samples,
)
def eigh_(x: Any, /) -> Any:
    """(λ, V) behind one another along the last axis."""
    return floating(x), {}


@located
def eigh(x: Any, /) -> EighResult:
    """(eigenvalues, eigenvectors) of symmetric (Hermitian) matrices (…, n, n).

    A = V diag(λ) Vᴴ, with λ (…, n) ascending and the eigenvectors in the columns of V. What is
    decomposed is the Hermitian part of A, so that derivatives are symmetric.

    Where eigenvalues are equal, eigenvectors have no derivative, and asking for one is a
    GradientError that names them, unless the loss provably does not depend on their basis.

    Raises:
        ShapeError: the matrices are not square.
        LinAlgError: a matrix is not symmetric.
        GradientError: in the derivative, see above; complex eigenvectors have an arbitrary phase,
            and so has a loss that depends on it.

    >>> import chainrule as cr
    >>> cr.linalg.eigh(cr.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    (x,) = floating(x)
    n = square(x)
    return EighResult(*_eigh_parts(eigh_(x), n))


def _values_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    square(x)
    return x.shape[:-1], real_dtype(x.dtype)


@operation(
    formula="det(x − y[…, i] I) = 0, ascending",
    display_only=True,
    shape=_values_shape,
    forward=lambda x: decomposed(np.linalg.eigvalsh, hermitian(x)),
    vjp=lambda g, x, y: _along_vectors(g, eigh(x).eigenvectors),
    jvp=lambda t, x, y: _of_vectors(hermitian_part(t), eigh(x).eigenvectors),
    operations=lambda y, x: 4 * math.prod(x.shape) * x.shape[-1],
    lower="lapack",
    batch=along(),
    source="dλ_i = v_iᴴ dA v_i",
    samples=_symmetric_samples,
)
def eigvalsh(x: Any, /) -> Any:
    """The eigenvalues (…, n) of symmetric (Hermitian) matrices (…, n, n), ascending.

    Where some are equal, the derivative of what depends on them symmetrically (their sum, the
    determinant) is exact; of one alone there is a kink, and it is given the slope of one of the
    branches, as of the maximum of equal numbers.

    Raises:
        ShapeError: the matrices are not square.
        LinAlgError: a matrix is not symmetric.

    >>> import chainrule as cr
    >>> cr.linalg.eigvalsh(cr.asarray([[0.0, 1.0], [1.0, 0.0]]))
    tensor([-1.,  1.])
    """
    return floating(x), {}


def _along_vectors(g: Tensor, v: Tensor) -> Tensor:
    return matmul(v * g[..., None, :], adjoint(v))


def _of_vectors(t: Tensor, v: Tensor) -> Tensor:
    return real(sum(conjugate(v) * matmul(t, v), -2))

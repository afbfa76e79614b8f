"""Eigenvalues and eigenvectors of matrices that need not be symmetric."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from chainrule.errors import GradientError
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import constant_op, operation
from chainrule.ops.domain import sampled
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    decomposed,
    floating,
    pack,
    packed,
    parts,
    real,
    real_dtype,
    spread_diagonal,
    square,
    take_diagonal,
)
from chainrule.ops.operation import conjugate, operands
from chainrule.ops.reduction import sum
from chainrule.ops.solving import solve
from chainrule.ops.spectra import EIGEN, derivative_of_vectors, gaps
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
INTERNAL = ("derivative_of_eigenvalues", "eig_")

EigResult = namedtuple("EigResult", ["eigenvalues", "eigenvectors"])


def _complex(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "c" else np.dtype(f"c{2 * dtype.itemsize}")


def _independent(v: np.ndarray) -> np.ndarray:
    limit = 0.1 / np.sqrt(np.finfo(real_dtype(v.dtype)).eps)
    for place in np.ndindex(*v.shape[:-2]) if v.size else ():
        condition = float(np.linalg.cond(v[place]))
        if not condition < limit:
            which = f"matrix {place} of the batch" if place else "the matrix"
            raise GradientError(
                f"{which} is defective, or within rounding of one that is: it has fewer "
                f"independent eigenvectors than rows (their condition is {condition:.2g}), and "
                "its eigenvalues have no derivative. If the matrix is symmetric write eigh or "
                "eigvalsh"
            )
    return np.ones(v.shape[:-1], bool)


@constant_op(
    formula="y = true, or an error where the columns of x do not span the space",
    display_only=True,
    shape=lambda x: (x.shape[:-1], np.dtype(bool)),
    forward=_independent,
    reason="it is a check",
    lower="lapack",
    batch=along(),
    samples=lambda: [((np.eye(2),), {}), ((np.ones((2, 1, 1)),), {})],
)
def derivative_of_eigenvalues(x: Any, /) -> Any:
    """True, or a GradientError where eigenvectors are linearly dependent."""
    return operands(x), {}


def _eig(x: np.ndarray) -> np.ndarray:
    values, vectors = decomposed(np.linalg.eig, x)
    dtype = _complex(x.dtype)
    return packed(values.astype(dtype), vectors.astype(dtype), ends=(1, 2))


def _eig_parts(y: Tensor, n: int) -> list[Tensor]:
    return parts(y, (n,), (n, n))


def _in_field(x: Tensor, like: Tensor) -> Tensor:
    """The real part, where the operand is real."""
    return x if like.dtype.kind == "c" else real(x)


def _eig_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    n = x.shape[-1]
    (values, v), (gl, gv) = _eig_parts(y, n), _eig_parts(g, n)
    used = matmul(adjoint(v), gv)
    diagonal = take_diagonal(used)
    # Eigenvectors keep their length, so that growing along themselves does not count.
    inner = used - matmul(adjoint(v), v) * real(diagonal)[..., None, :].astype(v.dtype)
    there = derivative_of_vectors(
        gl, values, inner, used, v, None, None, what="eigenvalue", instead=EIGEN
    )
    gl = where(derivative_of_eigenvalues(v), where(there, gl, 0), 0)
    apart, same = gaps(values)
    inner = spread_diagonal(gl) + where(same, 0, inner) / conjugate(apart)
    return _in_field(solve(adjoint(v), matmul(inner, adjoint(v))), x)


def _eig_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    values, v = _eig_parts(y, x.shape[-1])
    inner = solve(v, matmul(t.astype(v.dtype), v))
    slopes = take_diagonal(inner)
    off = where(Tensor(np.eye(x.shape[-1], dtype=bool)), 0, inner)
    there = derivative_of_vectors(
        slopes * 0, values, off, inner, None, None, None, what="eigenvalue", instead=EIGEN
    )
    slopes = where(derivative_of_eigenvalues(v), where(there, slopes, 0), 0)
    apart, same = gaps(values)
    turned = matmul(v, where(same, 0, inner) / apart)
    growth = real(sum(conjugate(v) * turned, -2))[..., None, :]
    return pack(slopes, turned - v * growth.astype(v.dtype), ends=(1, 2), dtype=v.dtype)


def _eig_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    n = square(x)
    return (*x.shape[:-2], n + n * n), _complex(x.dtype)


def _samples() -> list:
    return [
        ((sampled(3, 3) + np.diag([0.0, 3.0, 6.0]),), {}),
        ((np.array([[1.0, -2.0], [1.0, 0.5]]),), {}),
        ((sampled(2, 2, 2) + np.diag([0.0, 4.0]),), {}),
        ((sampled(1, 1),), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ]


@operation(
    formula="x V = V diag(λ)",
    display_only=True,
    shape=_eig_shape,
    forward=_eig,
    vjp=_eig_vjp,
    jvp=_eig_jvp,
    operations=lambda y, x: 25 * math.prod(x.shape) * x.shape[-1],
    lower="lapack",
    batch=along(),
    source="Giles, An extended collection of matrix derivative results (2008), §3.1; the length of "
    "the eigenvectors by Boeddeker et al., arXiv:1701.00392, §4.6",
    samples=_samples,
)
def eig_(x: Any, /) -> Any:
    """(λ, V), complex, behind one another along the last axis."""
    return floating(x), {}


@located
def eig(x: Any, /) -> EigResult:
    """(eigenvalues, eigenvectors) of square matrices (…, n, n), complex, in no particular order.

    A V = V diag(λ), with columns of V of length 1. For symmetric matrices `eigh` is better.

    Raises:
        ShapeError: the matrices are not square.
        GradientError: in the derivative: eigenvalues are equal, the matrix has too few
            eigenvectors, or the loss depends on the phase of one, which is arbitrary.

    >>> import chainrule as cr
    >>> cr.linalg.eig(cr.asarray([[0.0, -1.0], [1.0, 0.0]])).eigenvalues
    tensor([0.+1.j, 0.-1.j], dtype=complex64)
    """
    (x,) = floating(x)
    n = square(x)
    return EigResult(*_eig_parts(eig_(x), n))


def _eigvals_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    square(x)
    return x.shape[:-1], _complex(x.dtype)


def _eigvals_vjp(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    values, v = eig(x)
    none = Tensor(np.zeros(v.shape, v.dtype))
    there = derivative_of_vectors(
        g, values, none, none, None, None, None, what="eigenvalue", instead=EIGEN
    )
    g = where(derivative_of_eigenvalues(v), where(there, g, 0), 0)
    return _in_field(solve(adjoint(v), g[..., :, None] * adjoint(v)), x)


def _eigvals_jvp(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    v = eig(x).eigenvectors
    inner = solve(v, matmul(t.astype(v.dtype), v))
    slopes = take_diagonal(inner)
    return where(derivative_of_eigenvalues(v), slopes, 0)


@operation(
    formula="det(x − y[…, i] I) = 0",
    display_only=True,
    shape=_eigvals_shape,
    forward=lambda x: decomposed(np.linalg.eigvals, x).astype(_complex(x.dtype)),
    vjp=_eigvals_vjp,
    jvp=_eigvals_jvp,
    operations=lambda y, x: 10 * math.prod(x.shape) * x.shape[-1],
    lower="lapack",
    batch=along(),
    source="dλ_i = (V⁻¹ dA V)_ii",
    samples=_samples,
)
def eigvals(x: Any, /) -> Any:
    """The eigenvalues (…, n) of square matrices (…, n, n), complex, in no particular order.

    Raises:
        ShapeError: the matrices are not square.
        GradientError: in the derivative, where eigenvalues are equal and the loss depends on one
            alone, or where the matrix has too few eigenvectors.

    >>> import chainrule as cr
    >>> cr.linalg.eigvals(cr.asarray([[0.0, -1.0], [1.0, 0.0]]))
    tensor([0.+1.j, 0.-1.j], dtype=complex64)
    """
    return floating(x), {}

"""Systems of linear equations: the inverse, general and triangular matrices, Cholesky."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import LinAlgError, ShapeError
from chainrule.ops.batching import trailing
from chainrule.ops.choosing import tril, triu
from chainrule.ops.declare import operation
from chainrule.ops.domain import sampled
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    cubic,
    decomposed,
    fit,
    floating,
    hermitian,
    hermitian_part,
    lapack,
    matrix,
    positive,
    regular,
    singular,
    spread_diagonal,
    square,
    square_shape,
    take_diagonal,
    well_conditioned,
)
from chainrule.ops.structure import expand_dims, matrix_transpose, squeeze
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
INTERNAL = ("solve_", "solve_triangle", "solve_triangular_")


# The inverse, and solving


def _inverse(x: np.ndarray) -> np.ndarray:
    try:
        y = lapack(np.linalg.inv, x)
    except LinAlgError as error:
        raise _which(x) or error from None
    well_conditioned(x, y)
    return y


def _which(x: np.ndarray) -> LinAlgError | None:
    """Which of a stack of matrices is singular."""
    for place in np.ndindex(*x.shape[:-2]):
        condition = float(np.linalg.cond(x[place]))
        if not condition < 1 / np.finfo(x.dtype).eps:
            return singular(place, condition, x.dtype)
    return None


@operation(
    formula="A y = y A = I",
    display_only=True,
    shape=square_shape,
    forward=_inverse,
    vjp=lambda g, x, y: -matmul(matmul(adjoint(y), g), adjoint(y)),
    jvp=lambda t, x, y: -matmul(matmul(y, t), y),
    operations=cubic(2),
    lower="lapack",
    batch=trailing(2),
    source="d(A⁻¹) = −A⁻¹ dA A⁻¹, from A A⁻¹ = I",
    samples=lambda: [
        ((regular(3, 3),), {}),
        ((regular(2, 2, 2),), {}),
        ((regular(3, 3).T,), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ],
)
def inv(x: Any, /) -> Any:
    """The inverse of square matrices (…, n, n). To solve equations, `solve` is faster and better.

    Raises:
        ShapeError: the matrices are not square.
        LinAlgError: a matrix is singular to the precision of its dtype; it names which, and its
            condition.

    >>> import chainrule as cr
    >>> cr.linalg.inv(cr.asarray([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    return floating(x), {}


def _solve_shape(a: Any, b: Any, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
    n = square(a)
    m, k = matrix(b)
    if n != m:
        raise ShapeError(f"A of {a.shape} has {n} equations, and b of {b.shape} {m} rows")
    return (*broadcast_shapes(a.shape[:-2], b.shape[:-2]), n, k), a.dtype


def _solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    try:
        y = lapack(np.linalg.solve, a, b)
    except LinAlgError as error:
        raise _which(a) or error from None
    # Only a solution that is very large can come from a matrix that is singular up to rounding.
    sizes = [np.abs(v).max(initial=0) for v in (a, y, b)]
    if sizes[0] * sizes[1] * np.sqrt(np.finfo(a.dtype).eps) > sizes[2]:
        well_conditioned(a, lapack(np.linalg.inv, a))
    return y


def _solve_vjp(g: Tensor, a: Tensor, b: Tensor, y: Tensor) -> tuple:
    gb = solve_(adjoint(a), g)
    return fit(-matmul(gb, adjoint(y)), a), fit(gb, b)


def _solve_jvp(t: tuple, a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    ta, tb = t
    right = None if ta is None else -matmul(ta, y)
    return solve_(a, tb if right is None else right if tb is None else tb + right)


@operation(
    formula="A y = B",
    display_only=True,
    shape=_solve_shape,
    forward=_solve,
    vjp=_solve_vjp,
    jvp=_solve_jvp,
    operations=cubic(2 / 3),
    lower="lapack",
    batch=trailing(2),
    source="dX = A⁻¹ (dB − dA X), from A X = B",
    samples=lambda: [
        ((regular(3, 3), sampled(3, 2)), {}),
        ((regular(2, 1, 2, 2), sampled(3, 2, 1)), {}),
        ((regular(2, 2), sampled(2, 2, 2)), {}),
        ((np.zeros((0, 0)), np.zeros((0, 3))), {}),
        ((regular(2, 2), np.zeros((2, 0))), {}),
    ],
)
def solve_(a: Any, b: Any, /) -> Any:
    """The X of A X = B, for matrices B."""
    return floating(a, b), {}


@located
def solve(x1: Any, x2: Any, /) -> Tensor:
    """The x of A x = b, for square A (…, n, n) and b a vector (n,) or matrices (…, n, k).

    The stacks broadcast. Derivative: for b it is solved with Aᴴ, and ∂L/∂A = −(∂L/∂b) xᴴ.

    Raises:
        ShapeError: A is not square, or b has another number of rows.
        LinAlgError: a matrix is singular to the precision of its dtype.

    >>> import chainrule as cr
    >>> cr.linalg.solve(cr.asarray([[2.0, 0.0], [0.0, 4.0]]), cr.asarray([1.0, 1.0]))
    tensor([0.5 , 0.25])
    """
    a, b = floating(x1, x2)
    if b.ndim == 1:
        return squeeze(solve_(a, expand_dims(b, -1)), -1)
    return solve_(a, b)


# Triangular systems


def _triangular_shape(a: Any, b: Any, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
    return _solve_shape(a, b)


def _triangular(a: np.ndarray, b: np.ndarray, *, upper: bool, unit: bool) -> np.ndarray:
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*batch, *b.shape[-2:]), a.dtype)
    if not y.size:
        return y
    if not unit:
        zero = np.argwhere(np.diagonal(a, 0, -2, -1) == 0)
        if len(zero):
            *which, i = map(int, zero[0])
            stack = f" of matrix {tuple(which)} of the batch" if which else ""
            raise LinAlgError(
                f"element ({i}, {i}) on the diagonal{stack} is 0: the triangular matrix is singular"
            )
    a, b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, y.shape)
    from scipy.linalg.lapack import get_lapack_funcs  # not with the module: it is slow to import

    (trtrs,) = get_lapack_funcs(("trtrs",), dtype=a.dtype)
    for place in np.ndindex(*batch):
        # A row-major matrix is the transpose of a column-major one, which LAPACK wants.
        y[place] = trtrs(a[place].T, b[place], lower=upper, trans=1, unitdiag=unit)[0]
    return y


def _half(x: Tensor, upper: bool, unit: bool) -> Tensor:
    """The triangle that was read."""
    return (triu if upper else tril)(x, k=(1 if upper else -1) if unit else 0)


def _triangular_vjp(
    g: Tensor, a: Tensor, b: Tensor, y: Tensor, *, upper: bool, unit: bool
) -> tuple:
    gb = solve_triangle(adjoint(a), g, not upper, unit)
    return fit(_half(-matmul(gb, adjoint(y)), upper, unit), a), fit(gb, b)


def _triangular_jvp(
    t: tuple, a: Tensor, b: Tensor, y: Tensor, *, upper: bool, unit: bool
) -> Tensor:
    ta, tb = t
    right = None if ta is None else -matmul(_half(ta, upper, unit), y)
    right = tb if right is None else right if tb is None else tb + right
    return solve_triangle(a, right, upper, unit)


def solve_triangle(a: Tensor, b: Tensor, upper: bool, unit: bool = False) -> Tensor:
    return solve_triangular_(a, b, upper=upper, unit=unit)


@operation(
    formula="T y = B, with T the upper or lower triangle of A",
    display_only=True,
    shape=_triangular_shape,
    forward=_triangular,
    vjp=_triangular_vjp,
    jvp=_triangular_jvp,
    operations=lambda y, a, b, **attrs: math.prod(y.shape) * a.shape[-1],
    lower="lapack",
    batch=trailing(2),
    samples=lambda: [
        ((regular(3, 3), sampled(3, 2)), {"upper": True}),
        ((regular(2, 1, 2, 2), sampled(3, 2, 1)), {"upper": False}),
        ((regular(3, 3), sampled(3, 1)), {"upper": False, "unit": True}),
        ((np.zeros((0, 0)), np.zeros((0, 3))), {"upper": True}),
    ],
)
def solve_triangular_(a: Any, b: Any, /, *, upper: bool, unit: bool = False) -> Any:
    """The X of T X = B for a triangle T of A, of which nothing else is read."""
    return floating(a, b), {"upper": bool(upper), "unit": bool(unit)}


@located
def solve_triangular(
    a: Any, b: Any, /, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """The X of A X = B (of X A = B where `left` is False), for triangular A (…, n, n).

    Only the triangle is read: the upper one or the lower one, and its diagonal is taken as 1 where
    `unitriangular` is True. B is a vector (n,) or matrices; stacks broadcast.

    Raises:
        ShapeError: A is not square, or B does not fit.
        LinAlgError: an element on the diagonal is 0.

    >>> import chainrule as cr
    >>> lower = cr.asarray([[2.0, 0.0], [1.0, 1.0]])
    >>> cr.linalg.solve_triangular(lower, cr.asarray([2.0, 3.0]), upper=False)
    tensor([1., 2.])
    """
    a, b = floating(a, b)
    if b.ndim == 1:
        if not left:
            a, upper = matrix_transpose(a), not upper
        return squeeze(solve_triangle(a, expand_dims(b, -1), upper, unitriangular), -1)
    if left:
        return solve_triangle(a, b, upper, unitriangular)
    matrix(b)
    turned = matrix_transpose(a), matrix_transpose(b)
    return matrix_transpose(solve_triangle(*turned, not upper, unitriangular))


# Cholesky


def _cholesky(x: np.ndarray, *, upper: bool) -> np.ndarray:
    whole = hermitian(x)
    try:
        y = decomposed(np.linalg.cholesky, whole)
    except LinAlgError:
        from scipy.linalg.lapack import get_lapack_funcs

        (potrf,) = get_lapack_funcs(("potrf",), dtype=x.dtype)
        for place in np.ndindex(*x.shape[:-2]):
            _, minor = potrf(whole[place], lower=True)
            if minor > 0:
                which = f"matrix {place} of the batch" if place else "the matrix"
                smallest = np.linalg.eigvalsh(whole[place])[0]
                raise LinAlgError(
                    f"{which} is not positive definite: its leading minor of order {minor} is not "
                    f"positive, and its smallest eigenvalue is {smallest:.3g}. A covariance needs "
                    "more samples than columns; or add a small multiple of the identity."
                ) from None
        raise
    return np.conj(np.swapaxes(y, -1, -2)) if upper else y


def _phi(x: Tensor) -> Tensor:
    """The lower triangle, with half of the diagonal."""
    return tril(x) - spread_diagonal(take_diagonal(x)) * 0.5


def _cholesky_vjp(g: Tensor, x: Tensor, y: Tensor, *, upper: bool) -> Tensor:
    if upper:
        g, y = adjoint(g), adjoint(y)
    inner = hermitian_part(_phi(matmul(adjoint(y), tril(g))))
    # L⁻ᴴ S L⁻¹, as two triangular solves.
    left = solve_triangle(adjoint(y), inner, True)
    return adjoint(solve_triangle(adjoint(y), adjoint(left), True))


def _cholesky_jvp(t: Tensor, x: Tensor, y: Tensor, *, upper: bool) -> Tensor:
    lower = adjoint(y) if upper else y
    left = solve_triangle(lower, hermitian_part(t), False)
    inner = adjoint(solve_triangle(lower, adjoint(left), False))
    tangent = matmul(lower, _phi(inner))
    return adjoint(tangent) if upper else tangent


@operation(
    formula="x = y yᴴ, y lower triangular with a positive diagonal",
    display_only=True,
    shape=square_shape,
    forward=_cholesky,
    vjp=_cholesky_vjp,
    jvp=_cholesky_jvp,
    operations=cubic(1 / 3),
    lower="lapack",
    batch=trailing(2),
    source="Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, eqs. 8 and 10",
    samples=lambda: [
        ((positive(3, 3),), {}),
        ((positive(2, 2, 2),), {"upper": True}),
        ((positive(3, 3)[::-1, ::-1].T,), {}),
        ((np.zeros((0, 0)),), {}),
        ((np.zeros((0, 2, 2)),), {}),
    ],
)
def cholesky(x: Any, /, *, upper: bool = False) -> Any:
    """The Cholesky factor of symmetric (Hermitian) positive definite matrices (…, n, n).

    The lower triangular L of A = L Lᴴ; where `upper` is True the upper triangular U = Lᴴ of
    A = Uᴴ U. What is factored is the Hermitian part of A, so that derivatives are symmetric.

    Raises:
        ShapeError: the matrices are not square.
        LinAlgError: a matrix is not symmetric, or not positive definite; it names the leading minor
            that fails, and which matrix of the batch.

    >>> import chainrule as cr
    >>> cr.linalg.cholesky(cr.asarray([[4.0, 2.0], [2.0, 2.0]]))
    tensor([[2., 0.],
            [1., 1.]])
    """
    return floating(x), {"upper": bool(upper)}


@located
def cholesky_solve(b: Any, factor: Any, /, *, upper: bool = False) -> Tensor:
    """The X of A X = B, from the Cholesky factor of A (`factor`, lower unless `upper`).

    >>> import chainrule as cr
    >>> a = cr.asarray([[4.0, 2.0], [2.0, 2.0]])
    >>> cr.linalg.cholesky_solve(cr.asarray([[2.0], [1.0]]), cr.linalg.cholesky(a))
    tensor([[0.5],
            [0. ]])
    """
    factor, b = floating(factor, b)
    vector = b.ndim == 1
    if vector:
        b = expand_dims(b, -1)
    lower = adjoint(factor) if upper else factor
    x = solve_triangle(adjoint(lower), solve_triangle(lower, b, False), True)
    return squeeze(x, -1) if vector else x

"""Functions of matrices: powers, exponential, root and logarithm, pseudo-inverse, least squares."""

from __future__ import annotations

import math
import sys
import warnings
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, LinAlgError, ShapeError
from chainrule.ops.arithmetic import abs
from chainrule.ops.batching import along
from chainrule.ops.declare import composite, operation
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.matrices import (
    adjoint,
    decomposed,
    finite,
    floating,
    matrix,
    positive,
    regular,
    square,
    square_shape,
)
from chainrule.ops.norms import matrix_rank, relative_tolerance
from chainrule.ops.operation import operands
from chainrule.ops.reduction import sum
from chainrule.ops.running import cumulative_prod
from chainrule.ops.singular_values import svdvals
from chainrule.ops.solving import inv
from chainrule.ops.structure import broadcast_to, expand_dims, flip, squeeze
from chainrule.tensor.creation import ones_like, zeros, zeros_like
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes, normalise_shape
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"

LstsqResult = namedtuple("LstsqResult", ["solution", "residuals", "rank", "singular_values"])


@composite(
    formula="x · x · … · x, n times",
    display_only=True,
    samples=lambda: [
        ((sampled(3, 3), 3), {}),
        ((regular(2, 2, 2), -2), {}),
        ((sampled(2, 2), 1), {}),
        ((np.zeros((0, 0)), 2), {}),
    ],
)
def matrix_power(x: Tensor, /, n: int) -> Tensor:
    """The n-th power of square matrices (…, m, m); of negative n, that of the inverse.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: n is no whole number.
        LinAlgError: n is negative and a matrix is singular.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_power(cr.asarray([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    size = square(x)
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise DTypeError(f"the power of a matrix is a whole number, not {n!r}")
    n = n.__index__()
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        return broadcast_to(Tensor(np.eye(size, dtype=x.dtype)), x.shape)
    result: Tensor | None = None
    while True:
        if n % 2:
            result = x if result is None else matmul(result, x)
        n //= 2
        if not n:
            return result  # type: ignore[return-value]
        x = matmul(x, x)


@located
def multi_dot(arrays: Sequence[Any], /) -> Tensor:
    """The product of several matrices, in the order of multiplications that costs least.

    The first and the last may be vectors.

    Raises:
        ShapeError: less than two arrays, or shapes that do not fit.

    >>> import chainrule as cr
    >>> a = cr.ones((2, 3))
    >>> cr.linalg.multi_dot([a, a.mT, a]).shape
    (2, 3)
    """
    if not isinstance(arrays, (list, tuple)) or len(arrays) < 2:
        raise ShapeError("multi_dot takes a list of two arrays or more")
    given = list(operands(*arrays))
    vectors = given[0].ndim == 1, given[-1].ndim == 1
    if vectors[0]:
        given[0] = expand_dims(given[0], 0)
    if vectors[1]:
        given[-1] = expand_dims(given[-1], 1)
    for i, (a, b) in enumerate(zip(given, [*given[1:], given[-1]], strict=True)):
        if a.ndim != 2 or (i < len(given) - 1 and a.shape[-1] != b.shape[0]):
            raise ShapeError(
                f"the arrays {', '.join(str(x.shape) for x in given)} do not form a chain of "
                f"matrices (m, n) (n, k) …, at position {i}"
            )
    sizes = [x.shape[0] for x in given] + [given[-1].shape[1]]
    result = _in_order(given, _splits(sizes), 0, len(given) - 1)
    if vectors[0]:
        result = squeeze(result, 0)
    return squeeze(result, -1) if vectors[1] else result


def _splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each part of the chain (Cormen et al., Introduction to Algorithms, §15.2)."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


def _in_order(given: list[Tensor], split: dict[tuple[int, int], int], i: int, j: int) -> Tensor:
    if i == j:
        return given[i]
    k = split[i, j]
    return matmul(_in_order(given, split, i, k), _in_order(given, split, k + 1, j))


# Analytic functions, whose derivative is a corner of the function of a larger matrix


def _corner(function: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """The derivative in a direction: f([[A, E], [0, A]]) = [[f(A), Df(A) E], [0, f(A)]]."""
    n = x.shape[-1]
    above = concat([x, direction], axis=-1)
    below = concat([zeros_like(x), x], axis=-1)
    return function(concat([above, below], axis=-2))[..., :n, n:]


def _of_each(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """A function of one matrix, of each of a stack; real where they are."""
    finite(x)
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-2]) if x.size else ():
        found = function(x[place])
        which = f"matrix {place} of the batch" if place else "the matrix"
        if np.iscomplexobj(found) and y.dtype.kind != "c":
            if np.abs(found.imag).max() > 1e3 * np.finfo(x.dtype).eps * np.abs(found).max():
                raise LinAlgError(
                    f"{which} has negative eigenvalues, so that the result is complex. Write "
                    "x.astype(cr.complex64) first, or cr.complex128"
                )
            found = found.real
        if not np.isfinite(found).all():
            raise LinAlgError(f"{which} is singular, or too large: there is no finite result")
        y[place] = found
    return y


def _of_scipy(name: str) -> Callable[[np.ndarray], np.ndarray]:
    import scipy.linalg  # not with the module: it is slow to import

    return getattr(scipy.linalg, name)


def _wide(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """One of SciPy's functions in float64; what it warns of is an error."""
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return function(wide)
        except (Warning, ValueError) as error:
            raise LinAlgError(f"the result is not accurate, or does not exist: {error}") from None


def _logarithm(x: np.ndarray) -> np.ndarray:
    if decomposed(np.linalg.svd, x, compute_uv=False)[-1] == 0:
        return np.full_like(x, np.inf)
    return _wide(_of_scipy("logm"), x)


_ANALYTIC = {
    "display_only": True,
    "shape": square_shape,
    "operations": lambda y, x: 20 * math.prod(x.shape) * x.shape[-1],
    "lower": "lapack",
    "batch": along(),
    "source": "Mathias, A chain rule for matrix functions and applications (1996), theorem 2.1",
}


@operation(
    formula="y = Σ_k x^k / k!",
    forward=lambda x: _of_each(_of_scipy("expm"), x),
    vjp=lambda g, x, y: _corner(matrix_exp, adjoint(x), g),
    jvp=lambda t, x, y: _corner(matrix_exp, x, t),
    samples=lambda: [
        ((sampled(3, 3),), {}),
        ((sampled(2, 2, 2),), {}),
        ((np.eye(2),), {}),
        ((np.zeros((2, 2)),), {}),
        ((np.zeros((0, 0)),), {}),
    ],
    **_ANALYTIC,
)
def matrix_exp(x: Any, /) -> Any:
    """The exponential of square matrices (…, n, n): Σ Aᵏ/k!, which solves y′ = A y.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_exp(cr.asarray([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return floating(x), {}


@operation(
    formula="y y = x, with eigenvalues of positive real part",
    forward=lambda x: _of_each(lambda a: _wide(_of_scipy("sqrtm"), a), x),
    vjp=lambda g, x, y: _corner(matrix_sqrt, adjoint(x), g),
    jvp=lambda t, x, y: _corner(matrix_sqrt, x, t),
    samples=lambda: [
        ((positive(3, 3),), {}),
        ((sampled(2, 2, 2) + 4 * np.eye(2),), {}),
        ((np.eye(2),), {}),
        ((np.zeros((0, 0)),), {}),
    ],
    **_ANALYTIC,
)
def matrix_sqrt(x: Any, /) -> Any:
    """The principal square root of square matrices (…, n, n): Y with Y Y = A.

    Its derivative is exact at equal eigenvalues too; it does not exist where A is singular.

    Raises:
        LinAlgError: a real matrix has negative eigenvalues; or in the derivative, a singular one.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_sqrt(cr.asarray([[4.0, 0.0], [0.0, 9.0]]))
    tensor([[2., 0.],
            [0., 3.]])
    """
    return floating(x), {}


@operation(
    formula="matrix_exp(y) = x",
    forward=lambda x: _of_each(_logarithm, x),
    vjp=lambda g, x, y: _corner(matrix_log, adjoint(x), g),
    jvp=lambda t, x, y: _corner(matrix_log, x, t),
    samples=lambda: [
        ((positive(3, 3),), {}),
        ((sampled(2, 2, 2) + 4 * np.eye(2),), {}),
        ((np.eye(2),), {}),
        ((np.zeros((0, 0)),), {}),
    ],
    **_ANALYTIC,
)
def matrix_log(x: Any, /) -> Any:
    """The principal logarithm of square matrices (…, n, n): Y with matrix_exp(Y) = A.

    Its derivative is exact at equal eigenvalues too.

    Raises:
        LinAlgError: a matrix is singular, or is real and has negative eigenvalues.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_log(cr.asarray([[1.0, 0.0], [0.0, 1.0]]))
    tensor([[0., 0.],
            [0., 0.]])
    """
    return floating(x), {}


# The pseudo-inverse and least squares


def _pinv_shape(x: Any, rtol: Any) -> tuple[tuple[int, ...], np.dtype]:
    m, n = matrix(x)
    if rtol is not None and broadcast_shapes(x.shape[:-2], rtol.shape) != x.shape[:-2]:
        raise ShapeError(f"tolerances of {rtol.shape} are not one for each matrix of {x.shape}")
    return (*x.shape[:-2], n, m), x.dtype


def _pinv(x: np.ndarray, rtol: np.ndarray | None) -> np.ndarray:
    u, s, vh = decomposed(np.linalg.svd, x, full_matrices=False)
    limit = np.asarray(max(x.shape[-2:]) * np.finfo(x.dtype).eps) if rtol is None else rtol
    zero = s <= (limit * s.max(-1, initial=0))[..., None]
    inverse = np.where(zero, 0, 1 / np.where(zero, 1, s)).astype(x.dtype)
    adjoint_of = [np.conj(np.swapaxes(a, -1, -2)) for a in (u, vh)]
    return (adjoint_of[1] * inverse[..., None, :]) @ adjoint_of[0]


def _pinv_vjp(g: Tensor, x: Tensor, rtol: Any, y: Tensor) -> tuple:
    yh, gh = adjoint(y), adjoint(g)
    result = -matmul(yh, matmul(g, yh))
    left = matmul(gh, matmul(y, yh))
    right = matmul(matmul(yh, y), gh)
    result = result + left - matmul(x, matmul(y, left)) + right - matmul(matmul(right, y), x)
    return result, None


def _pinv_jvp(t: tuple, x: Tensor, rtol: Any, y: Tensor) -> Tensor:
    yh, th = adjoint(y), adjoint(t[0])
    result = -matmul(y, matmul(t[0], y))
    left = matmul(matmul(y, yh), th)
    right = matmul(th, matmul(yh, y))
    return result + left - matmul(matmul(left, x), y) + right - matmul(y, matmul(x, right))


@operation(
    formula="x y x = x, y x y = y, x y and y x Hermitian",
    display_only=True,
    shape=_pinv_shape,
    forward=_pinv,
    vjp=_pinv_vjp,
    jvp=_pinv_jvp,
    operations=lambda y, x, *rest: 14 * math.prod(x.shape) * min(x.shape[-2:]),
    lower="lapack",
    batch=along(),
    source="Golub and Pereyra, The differentiation of pseudo-inverses (1973), eq. 4.12",
    samples=lambda: [
        ((sampled(3, 2) + np.eye(3, 2),), {}),
        ((sampled(2, 2, 4) + np.eye(2, 4),), {}),
        ((regular(3, 3).T,), {}),
        ((np.zeros((2, 0)),), {}),
        ((np.zeros((0, 2, 3)),), {}),
    ],
)
def pinv(x: Any, /, *, rtol: Any = None) -> Any:
    """The Moore–Penrose pseudo-inverse (…, n, m) of matrices (…, m, n).

    Args:
        rtol: singular values up to rtol times the largest count as 0; max(m, n) · ε if left out.

    The derivative is that along changes that keep the rank; where columns or rows are dependent,
    other changes make the pseudo-inverse jump.

    >>> import chainrule as cr
    >>> cr.linalg.pinv(cr.asarray([[2.0, 0.0], [0.0, 0.0]]))
    tensor([[0.5, 0. ],
            [0. , 0. ]])
    """
    return (*floating(x), relative_tolerance(rtol)), {}


@located
def lstsq(a: Any, b: Any, /, *, rcond: Any = None) -> LstsqResult:
    """(solution, residuals, rank, singular_values): the shortest x that minimises ‖A x − b‖.

    Args:
        a: matrices (…, m, n) of any rank.
        b: a vector (m,) or matrices (…, m, k).
        rcond: as in `pinv`, `rtol`.

    `residuals` are the sums of squares ‖A x − b‖² (…, k). The solution's derivative is that along
    changes of A that keep its rank.

    >>> import chainrule as cr
    >>> a = cr.asarray([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> cr.round(cr.linalg.lstsq(a, cr.asarray([1.0, 3.0, 5.0])).solution)
    tensor([1., 2.])
    """
    a, b = floating(a, b)
    m, _ = matrix(a)
    vector = b.ndim == 1
    if vector:
        b = expand_dims(b, -1)
    if matrix(b)[0] != m:
        raise ShapeError(f"A of {a.shape} has {m} equations, and b of {b.shape} {b.shape[-2]} rows")
    x = matmul(pinv(a, rtol=rcond), b)
    rest = abs(matmul(a, x) - b)
    residuals = sum(rest * rest, -2)
    if vector:
        x, residuals = squeeze(x, -1), squeeze(residuals, -1)
    return LstsqResult(x, residuals, matrix_rank(a, rtol=rcond), svdvals(a))


@composite(
    formula="y[…, i, j] = x[…, i]^j",
    samples=lambda: [((sampled(3),), {}), ((sampled(2, 3),), {"N": 4}), ((np.zeros(2),), {"N": 0})],
    formula_view=lambda x, y, N=None, increasing=True: ({"x": x}, y),
)
def vander(x: Tensor, /, *, N: int | None = None, increasing: bool = True) -> Tensor:
    """Vandermonde matrices: the powers 0, 1, … N − 1 of each element, in columns.

    Args:
        N: how many columns; as many as x has elements if left out.
        increasing: False puts the highest power first, as `numpy.vander` does.

    >>> import chainrule as cr
    >>> cr.linalg.vander(cr.asarray([2.0, 3.0]), N=3)
    tensor([[1., 2., 4.],
            [1., 3., 9.]])
    """
    if x.ndim == 0:
        raise ShapeError("a Vandermonde matrix is of one axis or more, not of a single number")
    (count,) = normalise_shape(x.shape[-1] if N is None else N)
    if not count:
        return zeros((*x.shape, 0), dtype=x.dtype)
    if count > sys.maxsize // max(x.size * x.dtype.itemsize, 1):
        raise ShapeError(f"a matrix of {count} columns does not fit into memory")
    first = ones_like(x)[..., None]
    factors = broadcast_to(x[..., None], (*x.shape, count - 1))
    powers = cumulative_prod(concat([first, factors], axis=-1), axis=-1)
    return powers if increasing else flip(powers, axis=-1)

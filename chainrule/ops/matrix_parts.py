"""Parts of matrices and matrices made of parts: diagonals, Kronecker and cross products."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat, stack
from chainrule.ops.matrices import matrix
from chainrule.ops.reduction import sum
from chainrule.ops.structure import moveaxis, reshape
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor

ALSO_IN = {"linalg": ("cross", "diagonal", "kron", "trace")}


def _whole(k: Any) -> int:
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise DTypeError(f"the offset of a diagonal is a whole number, not {k!r}")
    k = int(k.__index__())
    if abs(k) >= 2**31:
        raise ShapeError(f"no matrix has a diagonal {k}")
    return k


@composite(
    formula="y[…, i] = x[…, i, i + offset]",
    display_only=True,
    samples=lambda: [
        ((sampled(3, 3),), {}),
        ((sampled(2, 3, 4),), {"offset": 1}),
        ((sampled(4, 3).T,), {"offset": -1}),
        ((sampled(2, 2),), {"offset": 5}),
        ((np.zeros((0, 3)),), {}),
    ],
)
def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices (…, m, n); `offset` > 0 is above the main one, < 0 below.

    >>> import chainrule as cr
    >>> cr.diagonal(cr.asarray([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    k = _whole(offset)
    m, n = matrix(x)
    i = np.arange(max(min(m + min(k, 0), n - max(k, 0)), 0))
    return x[..., i - min(k, 0), i + max(k, 0)]


@composite(
    formula="y[…] = Σ_i x[…, i, i + offset]",
    display_only=True,
    samples=lambda: [
        ((sampled(3, 3),), {}),
        ((sampled(2, 3, 4),), {"offset": 1}),
        ((np.zeros((0, 3)),), {}),
    ],
)
def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sums of the diagonals of matrices (…, m, n).

    >>> import chainrule as cr
    >>> cr.trace(cr.asarray([[1.0, 2.0], [3.0, 4.0]])).item()
    5.0
    """
    return sum(diagonal(x, offset=offset), -1, dtype=dtype)


@composite(
    formula="y[…, i, i + offset] = x[…, i], and 0 elsewhere",
    display_only=True,
    samples=lambda: [
        ((sampled(3),), {}),
        ((sampled(2, 3),), {"offset": 1}),
        ((sampled(3, 2).T,), {"offset": -2}),
        ((np.zeros((0,)),), {}),
    ],
)
def diag_embed(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """Square matrices with x (…, n) on a diagonal, zeros elsewhere.

    >>> import chainrule as cr
    >>> cr.diag_embed(cr.asarray([1.0, 2.0]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    k = _whole(offset)
    if x.ndim == 0:
        raise ShapeError("a diagonal has one axis or more, and this is a single number")
    if k:
        x = concat([x, zeros((*x.shape[:-1], abs(k)), dtype=x.dtype)], axis=-1)
    n = x.shape[-1]
    rows = x[..., None] if k >= 0 else x[..., None, :]
    return where(Tensor(np.eye(n, k=k, dtype=bool)), rows, zeros((), dtype=x.dtype))


@located
def diag(x: Any, /, *, k: int = 0) -> Tensor:
    """The k-th diagonal of a matrix; of a vector, the matrix that has it there. As `numpy.diag`.

    >>> import chainrule as cr
    >>> cr.diag(cr.diag(cr.asarray([1.0, 2.0])))
    tensor([1., 2.])
    """
    x = as_operand(x)
    if x.ndim not in (1, 2):
        raise ShapeError(
            f"diag is of a vector or a matrix, and this has the shape {x.shape}; of stacks write "
            "diagonal or diag_embed"
        )
    return diag_embed(x, offset=k) if x.ndim == 1 else diagonal(x, offset=k)


@composite(
    formula="y[i p + k, j q + l] = a[i, j] · b[k, l], for b of p rows and q columns",
    display_only=True,
    samples=lambda: [
        ((sampled(2, 3), sampled(3, 2)), {}),
        ((sampled(2), sampled(3)), {}),
        ((sampled(2, 2, 2), sampled(3)), {}),
        ((np.array(0.5), sampled(2)), {}),
        ((np.zeros((0, 2)), sampled(2, 2)), {}),
    ],
)
def kron(a: Tensor, b: Tensor, /) -> Tensor:
    """The Kronecker product: b, times each element of a, in blocks. Axes are aligned at the right.

    >>> import chainrule as cr
    >>> cr.kron(cr.asarray([1.0, 2.0]), cr.asarray([1.0, 1.0]))
    tensor([1., 1., 2., 2.])
    """
    n = max(a.ndim, b.ndim)
    left = (1,) * (n - a.ndim) + a.shape
    right = (1,) * (n - b.ndim) + b.shape
    rows = reshape(a, tuple(size for k in left for size in (k, 1)))
    columns = reshape(b, tuple(size for k in right for size in (1, k)))
    return reshape(rows * columns, tuple(p * q for p, q in zip(left, right, strict=True)))


@composite(
    formula="y[…, 0] = a[…, 1] · b[…, 2] − a[…, 2] · b[…, 1], and so on in turn",
    display_only=True,
    samples=lambda: [
        ((sampled(3), sampled(3) + 1), {}),
        ((sampled(2, 3), sampled(3) + 1), {}),
        ((sampled(3, 2), sampled(3, 1) + 1), {"axis": -2}),
        ((np.zeros((0, 3)), sampled(3)), {}),
    ],
)
def cross(a: Tensor, b: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three along an axis: at right angles to both.

    Raises:
        ShapeError: the axis has not the size 3, or the other axes do not broadcast.

    >>> import chainrule as cr
    >>> cr.cross(cr.asarray([1.0, 0.0, 0.0]), cr.asarray([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    n = max(a.ndim, b.ndim)
    a, b = (reshape(x, (1,) * (n - x.ndim) + x.shape) for x in (a, b))
    axis = normalise_axis(axis, n)
    if a.shape[axis] != 3 or b.shape[axis] != 3:
        raise ShapeError(
            f"a cross product is of vectors of 3, and along axis {axis} the shapes {a.shape} and "
            f"{b.shape} have {a.shape[axis]} and {b.shape[axis]}"
        )
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    (a0, a1, a2), (b0, b1, b2) = ([v[..., i] for i in range(3)] for v in (a, b))
    return stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=axis)

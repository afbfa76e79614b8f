"""Lengths of vectors and sizes of matrices: norms, the condition, the rank."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, sqrt
from chainrule.ops.batching import trailing
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, constant_op
from chainrule.ops.domain import sampled
from chainrule.ops.matrices import decomposed, floating, matrix, real_dtype, regular, square
from chainrule.ops.reduction import max, min, sum
from chainrule.ops.singular_values import svdvals
from chainrule.ops.solving import inv
from chainrule.ops.structure import expand_dims, squeeze
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes, normalise_axes, reduced_shape
from chainrule.tensor.tensor import Tensor

NAMESPACE = "linalg"
ALSO_IN = {"": ("norm",)}
INTERNAL = ("relative_tolerance",)


def _order(ord: Any) -> float:
    """The order of a norm as a number."""
    if isinstance(ord, (bool, str)) or not isinstance(ord, (int, float, np.number)):
        raise DTypeError(
            f"the order of a vector's norm is a number, inf or -inf, not {ord!r}; 'fro' and 'nuc' "
            "are norms of matrices, cr.linalg.matrix_norm"
        )
    if math.isnan(ord):
        raise DTypeError("the order of a norm is a number, not NaN")
    return float(ord)


def _wide(x: Tensor) -> Tensor:
    """In a floating-point dtype that sums can be taken in."""
    if x.dtype.kind in "biu":
        return x.astype(dtypes.default_float)
    return x.astype(dtypes.float32) if x.dtype.itemsize == 2 else x


def _result(y: Tensor, x: Tensor) -> Tensor:
    wanted = dtypes.default_float if x.dtype.kind in "biu" else real_dtype(x.dtype)
    return y if y.dtype == wanted else y.astype(wanted)


def _powers(x: Tensor, p: float, axes: tuple[int, ...]) -> Tensor:
    """(Σ|x|ᵖ)^(1/p) with the axes kept; relative to the largest, so that nothing overflows."""
    a = abs(x)
    largest = max(a, axes, keepdims=True).stop_gradient()
    scale = where((largest > 0) & (largest < np.inf), largest, 1)
    a = a / scale
    # At 0 the slope of a power, and of a root, may be infinite; PyTorch's convention is 0.
    zero = a == 0
    if p == 2:
        total = sum(a * a, axes, keepdims=True)
    else:
        raised = where(zero, 1, a) ** p
        total = sum(where(zero, 0 if p > 0 else np.inf, raised), axes, keepdims=True)
    none = total == 0
    total = where(none, 1, total)
    return where(none, 0, sqrt(total) if p == 2 else total ** (1 / p)) * scale


@composite(
    formula="y[…] = (Σ_k abs(x[…, k])^ord)^(1/ord)",
    display_only=True,
    samples=lambda: [
        ((sampled(2, 3),), {}),
        ((sampled(2, 3, 2),), {"axis": (0, 2), "ord": 3}),
        ((sampled(2, 3).T,), {"axis": -1, "keepdims": True, "ord": 1}),
        ((sampled(4),), {"ord": np.inf}),
        ((sampled(4),), {"ord": -np.inf}),
        ((sampled(4),), {"ord": -1.5}),
        ((sampled(2, 3),), {"axis": 1, "ord": 0}),
        ((sampled(),), {}),
        ((np.zeros((0, 3)),), {"axis": 0, "ord": 3}),
        ((np.zeros((2, 0)),), {"axis": 0}),
    ],
)
def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """The length of vectors along an axis, several, or of all elements together.

    Args:
        ord: 2 is the Euclidean length, 1 the sum of moduli, inf the largest and -inf the smallest
            of them, 0 how many are not 0; any other p gives (Σ|x|ᵖ)^(1/p).

    No order overflows before the result does. The derivative at 0 is 0, as in PyTorch.

    Raises:
        DTypeError: an order that is no number.
        ShapeError: -inf of no elements.

    >>> import chainrule as cr
    >>> cr.linalg.vector_norm(cr.asarray([[3.0, 4.0], [0.0, 0.0]]), axis=1)
    tensor([5., 0.])
    """
    p = _order(ord)
    axes = normalise_axes(axis, x.ndim)
    v = _wide(x)
    shape = reduced_shape(x.shape, axes, True)
    if 0 in [x.shape[a] for a in axes]:
        if p < 0 and 0 not in shape:
            raise ShapeError(f"there is no norm of order {ord} of no elements (shape {x.shape})")
        y = zeros(shape, dtype=real_dtype(v.dtype))
    elif p == 0:
        y = sum((v != 0).astype(real_dtype(v.dtype)), axes, keepdims=True)
    elif p == 1:
        y = sum(abs(v), axes, keepdims=True)
    elif math.isinf(p):
        y = (max if p > 0 else min)(abs(v), axes, keepdims=True)
    elif not math.prod(x.shape):
        y = zeros(shape, dtype=real_dtype(v.dtype))
    else:
        y = _powers(v, p, axes)
    return _result(y if keepdims else squeeze(y, axes), x)


_OF_MATRICES = ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)


@composite(
    formula="‖x‖_F = √(Σ_ij abs(x[…, i, j])²), ‖x‖_nuc = Σ_i σ_i, ‖x‖₂ = max_i σ_i, "
    "‖x‖₁ = max_j Σ_i abs(x[…, i, j]), ‖x‖_∞ = max_i Σ_j abs(x[…, i, j])",
    display_only=True,
    samples=lambda: [
        *[((sampled(3, 2) + np.eye(3, 2),), {"ord": o}) for o in _OF_MATRICES],
        ((sampled(2, 2, 3),), {"keepdims": True}),
        ((sampled(3, 3)[::-1].T,), {"ord": 1}),
        ((np.zeros((0, 3)),), {"ord": "nuc"}),
        ((np.zeros((0, 2, 2)),), {"ord": 2}),
    ],
)
def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """A norm of matrices (…, m, n).

    Args:
        ord: "fro": the root of the sum of squares; "nuc": the sum of singular values; 2 and -2: the
            largest and the smallest singular value; 1 and -1: the largest and smallest sum of
            moduli of a column; inf and -inf: of a row.

    Where singular values are equal or 0, the spectral and nuclear norms have a kink, and the
    derivative is one of the slopes there.

    Raises:
        ShapeError: it is no matrix, another order, or a smallest of none.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_norm(cr.asarray([[3.0, 0.0], [0.0, 4.0]]), ord="nuc").item()
    7.0
    """
    m, n = matrix(x)
    if isinstance(ord, bool) or ord not in _OF_MATRICES:
        raise ShapeError(
            f"there is no matrix norm {ord!r}; there are 'fro', 'nuc', 1, -1, 2, -2, inf and -inf. "
            "Of the elements as one vector write vector_norm(x, axis=(-2, -1), ord=…)"
        )
    v = _wide(x)
    if ord == "fro":
        y = _powers(v, 2.0, (x.ndim - 2, x.ndim - 1)) if math.prod(x.shape) else None
    elif not m * n:
        if ord == -2 or (ord == -1 and not n) or (ord == -math.inf and not m):
            raise ShapeError(f"there is no matrix norm {ord} of no elements (shape {x.shape})")
        y = None
    elif ord == "nuc":
        y = expand_dims(sum(svdvals(v), -1, keepdims=True), -1)
    elif ord in (2, -2):
        y = expand_dims((max if ord > 0 else min)(svdvals(v), -1, keepdims=True), -1)
    else:
        along = -2 if ord in (1, -1) else -1
        y = sum(abs(v), along, keepdims=True)
        y = (max if ord > 0 else min)(y, -3 - along, keepdims=True)
    if y is None:
        y = zeros((*x.shape[:-2], 1, 1), dtype=real_dtype(v.dtype))
    return _result(y if keepdims else squeeze(y, (x.ndim - 2, x.ndim - 1)), x)


@located
def norm(x: Any, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """A norm of vectors or matrices, as `numpy.linalg.norm` and `torch.linalg.norm` have it.

    Without `ord` the Euclidean length, along an axis, several, or of all elements. With it: along
    one axis that of `vector_norm`, over a pair of axes that of `matrix_norm`; where no axis is
    named, x is a vector or a matrix itself.

    >>> import chainrule as cr
    >>> cr.norm(cr.asarray([[3.0, 4.0], [0.0, 0.0]]), axis=1)
    tensor([5., 0.])
    """
    x = as_operand(x)
    if ord is None:
        return vector_norm(x, axis=axis, keepdims=keepdims)
    if axis is None:
        if x.ndim not in (1, 2):
            raise ShapeError(
                f"a norm of order {ord!r} is of a vector or a matrix, and this has the shape "
                f"{x.shape}; name one axis, or a pair"
            )
        axis = tuple(range(x.ndim))
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == 1:
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)
    if len(axes) != 2:
        raise ShapeError(f"a norm of order {ord!r} is over one axis or a pair, not over {axes}")
    normalise_axes(axes, x.ndim)
    rows, columns = (a % x.ndim for a in axes)
    rest = [a for a in range(x.ndim) if a not in (rows, columns)]
    y = matrix_norm(x.permute((*rest, rows, columns)), ord=ord)
    if keepdims:
        for a in sorted((rows, columns)):
            y = expand_dims(y, a)
    return y


@composite(
    formula="y[…] = ‖x‖_p · ‖x⁻¹‖_p",
    display_only=True,
    samples=lambda: [
        ((regular(3, 3),), {}),
        ((regular(2, 3, 3),), {"p": "fro"}),
        ((sampled(3, 2) + np.eye(3, 2),), {"p": -2}),
        ((regular(3, 3),), {"p": 1}),
        ((np.zeros((0, 2, 2)),), {}),
    ],
)
def cond(x: Tensor, /, *, p: Any = None) -> Tensor:
    """The condition of matrices: how much a relative error may grow when an equation is solved.

    Args:
        p: which norm: 2 (or None) is the ratio of the largest to the smallest singular value, inf
            for a singular matrix, and -2 its inverse; the other norms are those of `matrix_norm`,
            of square and regular matrices.

    >>> import chainrule as cr
    >>> cr.linalg.cond(cr.asarray([[10.0, 0.0], [0.0, 2.0]])).item()
    5.0
    """
    (x,) = floating(x)
    if p is not None and p not in (2, -2):
        square(x)
        return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)
    if not math.prod(matrix(x)):
        raise ShapeError(f"an empty matrix has no condition (shape {x.shape})")
    s = svdvals(x)
    return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]


def relative_tolerance(rtol: Any) -> Tensor | None:
    """One number, or one for each matrix of a stack; None is the default."""
    if rtol is None:
        return None
    rtol = as_operand(rtol)
    if rtol.dtype.kind not in "iuf":
        raise DTypeError(f"a tolerance is a real number, not {rtol.dtype}")
    return rtol


def _rank_shape(x: Any, rtol: Any) -> tuple[tuple[int, ...], np.dtype]:
    matrix(x)
    return broadcast_shapes(x.shape[:-2], () if rtol is None else rtol.shape), dtypes.int64


def _rank(x: np.ndarray, rtol: np.ndarray | None) -> np.ndarray:
    s = decomposed(np.linalg.svd, x, compute_uv=False)
    if rtol is None:
        rtol = np.asarray(np.max(x.shape[-2:]) * np.finfo(x.dtype).eps)
    largest = s.max(-1, initial=0)
    return np.asarray(np.sum(s > (rtol * largest)[..., None], -1, dtype=np.int64))


@constant_op(
    formula="how many singular values are above rtol · max_i σ_i",
    display_only=True,
    shape=_rank_shape,
    forward=_rank,
    reason="a rank is an integer",
    lower="lapack",
    batch=trailing(2, 0),
    samples=lambda: [
        ((np.outer([1.0, 2.0, 3.0], [1.0, -1.0]),), {}),
        ((sampled(2, 3, 3) + np.eye(3),), {"rtol": 1e-3}),
        ((np.zeros((2, 0)),), {}),
    ],
)
def matrix_rank(x: Any, /, *, rtol: Any = None) -> Any:
    """How many columns of matrices (…, m, n) are independent: an integer, without a derivative.

    Args:
        rtol: singular values up to rtol times the largest count as 0; max(m, n) · ε if left out.

    >>> import chainrule as cr
    >>> cr.linalg.matrix_rank(cr.asarray([[1.0, 2.0], [2.0, 4.0]])).item()
    1
    """
    return (*floating(x), relative_tolerance(rtol)), {}

"""Products of vectors, matrices and tensors: the core of dense layers and of attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import maximum, sqrt
from chainrule.ops.batching import aligned
from chainrule.ops.declare import bilinear, composite
from chainrule.ops.domain import sampled
from chainrule.ops.operation import conjugate, operands
from chainrule.ops.reduction import sum
from chainrule.ops.structure import (
    broadcast_to,
    expand_dims,
    matrix_transpose,
    permute_dims,
    reshape,
    squeeze,
)
from chainrule.tensor import dtypes
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes, normalise_axis
from chainrule.tensor.tensor import Tensor

ALSO_IN = {"linalg": ("matmul", "outer", "tensordot", "vecdot")}


def _matmul_shape(a: Any, b: Any) -> tuple[tuple[int, ...], np.dtype]:
    if a.dtype.kind == "b" and b.dtype.kind == "b":
        raise DTypeError("products are of numbers; convert the booleans with astype first")
    if not a.shape or not b.shape:
        raise ShapeError(
            f"a matrix product is of arrays with dimensions: {a.shape} @ {b.shape}. To scale by a "
            "number write *."
        )
    n, m = a.shape[-1], b.shape[-2 if len(b.shape) > 1 else 0]
    if n != m:
        hint = ""
        if len(b.shape) > 1 and n == b.shape[-1]:
            hint = " If the weight is stored (out, in), write x @ W.mT, or use nn.Linear."
        elif len(a.shape) > 1 and a.shape[-2] == m:
            hint = " Did you mean a.mT @ b?"
        raise ShapeError(f"the inner sizes differ: {a.shape} @ {b.shape}, {n} against {m}.{hint}")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1]
    columns = b.shape[-1:] if len(b.shape) > 1 else ()
    return (*batch, *rows, *columns), dtypes.promote(a.dtype, b.dtype)


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype != b.dtype:
        dtype = dtypes.promote(a.dtype, b.dtype)
        a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    if a.dtype.kind == "V":  # bfloat16, which NumPy has no products of
        return np.asarray(_matmul(a.astype(np.float32), b.astype(np.float32))).astype(a.dtype)
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
        # One large product instead of a stack of small ones.
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        return (rows @ b).reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(a, b)


def _matrices(g: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Vectors as matrices of one row or one column."""
    if len(b.shape) == 1:
        g, b = expand_dims(g, -1), expand_dims(b, -1)
    if len(a.shape) == 1:
        g, a = expand_dims(g, -2), expand_dims(a, -2)
    return g, a, b


def _by_left(g: Tensor, a: Any, b: Any) -> Tensor:
    g, a, b = _matrices(g, a, b)
    return matmul(g, matrix_transpose(b))


def _by_right(g: Tensor, a: Any, b: Any) -> Tensor:
    vector = len(b.shape) == 1
    g, a, b = _matrices(g, a, b)
    if len(b.shape) == 2 < len(a.shape):
        # The sum over the batch is inside the product: one call rather than a stack and a sum.
        g, a = (reshape(v, (math.prod(v.shape[:-1]), v.shape[-1])) for v in (g, a))
    product = matmul(matrix_transpose(a), g)
    return squeeze(product, -1) if vector else product


def _matmul_view(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> tuple[dict, np.ndarray]:
    """Vectors seen as matrices of one row or column."""
    if b.ndim == 1:
        y = y[..., None]
    if a.ndim == 1:
        y = np.expand_dims(y, -2)
    return {"a": np.atleast_2d(a), "b": b[:, None] if b.ndim == 1 else b}, y


def _matmul_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    """Products of many examples: of vectors with one matrix, one product of matrices."""
    a, b = operands
    row, column = a.ndim - batched[0] == 1, b.ndim - batched[1] == 1
    if not batched[1] and (column or (row and b.ndim == 2)):
        return matmul(a, b)
    if not batched[0] and (row or (column and a.ndim == 2)):
        return matmul(a, b) if not column else matmul(b, a if row else matrix_transpose(a))
    # Vectors as matrices of one row or one column.
    a = expand_dims(a, -2) if row else a
    b = expand_dims(b, -1) if column else b
    y = op.apply(aligned((a, b), batched, (2, 2)), attrs)
    y = squeeze(y, -1) if column else y
    return squeeze(y, -1 if column else -2) if row else y


_MATMUL_SHAPES = (
    ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((5, 2, 3), (3, 4)),
    ((2, 1, 2, 3), (3, 3, 2)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,)), ((2, 0), (0, 3)),
)  # fmt: skip


@bilinear(
    formula="y[…, i, j] = Σ_k a[…, i, k] · b[…, k, j]",
    shape=_matmul_shape,
    forward=_matmul,
    transpose=(_by_left, _by_right),  # ∂L/∂a = g bᵀ,  ∂L/∂b = aᵀ g
    operations=lambda y, a, b: 2 * math.prod(y.shape) * a.shape[-1],
    lower="gemm",
    batch=_matmul_each,
    operator="matmul",
    formula_view=_matmul_view,
    samples=lambda: [
        *(((sampled(*m), sampled(*n)), {}) for m, n in _MATMUL_SHAPES),
        ((sampled(4, 3).T, sampled(3, 4).T), {}),
    ],
)
def matmul(a: Any, b: Any, /) -> Any:
    """The matrix product, of vectors, matrices and broadcast stacks of matrices.

    Raises:
        ShapeError: the inner sizes differ; it says which way round a weight is stored.

    >>> import chainrule as cr
    >>> cr.asarray([[1.0, 2.0]]) @ cr.asarray([[3.0], [4.0]])
    tensor([[11.]])
    """
    return operands(a, b), {}


def _linear_check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.ndim != 2:
        raise ShapeError(f"the weight of a linear layer is (out, in), not {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        hint = ""
        if x.ndim > 2 and math.prod(x.shape[1:]) == weight.shape[1]:
            hint = f" Flatten the {x.shape[1:]} first: nn.Flatten()."
        elif x.ndim and x.shape[-1] == weight.shape[0]:
            hint = " The weight is stored (out, in); is it transposed?"
        raise ShapeError(
            f"the input's last size is {x.shape[-1] if x.ndim else 'missing'} in {x.shape}, and "
            f"the weight (out, in) = {weight.shape} takes {weight.shape[1]}.{hint}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"the bias has the shape {bias.shape}, and the weight {weight.shape} has "
            f"{weight.shape[0]} outputs"
        )
    given = (x, weight) if bias is None else (x, weight, bias)
    for operand in given:
        if operand.dtype != weight.dtype or not dtypes.is_float(operand.dtype):
            raise DTypeError(
                "input, weight and bias have one floating-point dtype, and here are "
                f"{', '.join(str(o.dtype) for o in given)}; write x.astype(weight.dtype)"
            )


def _linear_kernel(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, tuple]:
    y = np.dot(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), weight.T)
    if bias is not None:
        y += bias
    return (y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[0])), ()


def _linear_pullback(
    wanted: Sequence[bool],
    g: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    y: Any,
    residual: Any,
) -> tuple[np.ndarray | None, ...]:
    from chainrule.ops.reduction import pairwise_sum

    count = math.prod(x.shape[:-1])
    rows = g.reshape(count, g.shape[-1])
    return (
        np.dot(rows, weight).reshape(x.shape) if wanted[0] else None,
        np.dot(rows.T, x.reshape(count, x.shape[-1])) if wanted[1] else None,
        pairwise_sum(rows, (0,), False) if wanted[2] else None,
    )


def _linear_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Any:
    """The same weight for every example is a larger batch; else by the definition."""
    return NotImplemented if any(batched[1:]) else op.apply(operands, attrs)


@composite(
    formula="y[…, i] = Σ_j weight[i, j] · x[…, j] + bias[i]",
    kernel=_linear_kernel,
    pullback=_linear_pullback,
    check=_linear_check,
    batch=_linear_each,
    operations=lambda y, x, weight, *rest: 2 * math.prod(y.shape) * x.shape[-1],
    lower="gemm",
    formula_view=lambda x, weight, bias, y: (
        {"x": x, "weight": weight, "bias": np.zeros(len(weight)) if bias is None else bias},
        y,
    ),
    samples=lambda: [
        ((sampled(4, 3), sampled(2, 3), sampled(2)), {}),
        ((sampled(2, 4, 3), sampled(2, 3), sampled(2)), {}),
        ((sampled(3), sampled(2, 3)), {}),
        ((sampled(0, 3), sampled(2, 3), sampled(2)), {}),
    ],
)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, /) -> Tensor:
    """x Wᵀ + b: a dense layer, with W stored (out, in).

    >>> import chainrule as cr
    >>> cr.linear(cr.asarray([1.0, 2.0]), cr.asarray([[3.0, 4.0]]), cr.asarray([0.5]))
    tensor([11.5])
    """
    y = matmul(x, matrix_transpose(weight))
    return y if bias is None else y + bias


@composite(
    formula="y[…] = Σ_k conj(a[…, k]) · b[…, k]",
    samples=lambda: [
        ((sampled(2, 3), sampled(3)), {}),
        ((sampled(2, 3), sampled(2, 1)), {"axis": 0}),
    ],
    formula_view=lambda a, b, y, axis=-1: (
        dict(zip("ab", (np.moveaxis(v, axis, -1) for v in np.broadcast_arrays(a, b)), strict=True)),
        y,
    ),
)
def vecdot(a: Tensor, b: Tensor, /, *, axis: int = -1) -> Tensor:
    """The dot product of vectors along an axis: how much two directions agree.

    Of complex vectors, a is conjugated, so that a vector's with itself is its squared length.

    Raises:
        ShapeError: the vectors differ in length.

    >>> import chainrule as cr
    >>> cr.vecdot(cr.asarray([1.0, 2.0]), cr.asarray([3.0, 4.0])).item()
    11.0
    """
    axis = normalise_axis(axis, max(a.ndim, b.ndim)) - max(a.ndim, b.ndim)
    sizes = [x.shape[axis] if x.ndim >= -axis else None for x in (a, b)]
    if sizes[0] != sizes[1]:
        raise ShapeError(
            f"along axis {axis} the vectors of {a.shape} and {b.shape} differ in length; only the "
            "other axes broadcast"
        )
    products = conjugate(a) * b
    return sum(products, axis, dtype=products.dtype)


@composite(
    formula="y[i, j] = a[i] · b[j]",
    samples=lambda: [((sampled(2), sampled(3)), {})],
)
def outer(a: Tensor, b: Tensor, /) -> Tensor:
    """Every product of an element of a with one of b.

    >>> import chainrule as cr
    >>> cr.outer(cr.asarray([1.0, 2.0]), cr.asarray([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"outer is of two vectors, not of {a.shape} and {b.shape}")
    return expand_dims(a, 1) * expand_dims(b, 0)


@composite(
    formula="y = Σ over the named axes of a · b",
    display_only=True,
    samples=lambda: [
        ((sampled(2, 3, 4), sampled(3, 4, 5)), {}),
        ((sampled(2, 3), sampled(4, 2)), {"axes": ((0,), (1,))}),
        ((sampled(2), sampled(3)), {"axes": 0}),
    ],
)
def tensordot(a: Tensor, b: Tensor, /, *, axes: Any = 2) -> Tensor:
    """The product of two tensors, added up over axes of both.

    Args:
        axes: how many of a's last axes meet b's first, or a pair of sequences of axes.
    """
    if hasattr(axes, "__index__"):
        n = int(axes)
        if not 0 <= n <= min(a.ndim, b.ndim):
            raise ShapeError(f"{n} axes of {a.shape} cannot meet {n} of {b.shape}")
        left, right = tuple(range(a.ndim - n, a.ndim)), tuple(range(n))
    else:
        if not isinstance(axes, (tuple, list)) or len(axes) != 2:
            raise DTypeError(f"axes is a whole number or a pair of sequences of axes, not {axes!r}")
        left, right = (
            tuple(normalise_axis(i, x.ndim) for i in (n if isinstance(n, (tuple, list)) else (n,)))
            for n, x in zip(axes, (a, b), strict=True)
        )
        if len({*left}) < len(left) or len({*right}) < len(right):
            raise ShapeError(f"an axis is named twice in {axes}")
    sizes = [a.shape[i] for i in left], [b.shape[i] for i in right]
    if sizes[0] != sizes[1]:
        raise ShapeError(f"the axes to add up over have the sizes {sizes[0]} and {sizes[1]}")
    keep_a = tuple(i for i in range(a.ndim) if i not in left)
    keep_b = tuple(i for i in range(b.ndim) if i not in right)
    inner = math.prod(sizes[0])
    rows = reshape(permute_dims(a, keep_a + left), (math.prod(a.shape[i] for i in keep_a), inner))
    columns = reshape(
        permute_dims(b, right + keep_b), (inner, math.prod(b.shape[i] for i in keep_b))
    )
    shape = tuple(a.shape[i] for i in keep_a) + tuple(b.shape[i] for i in keep_b)
    return reshape(matmul(rows, columns), shape)


@located
def dot(a: Any, b: Any, /) -> Tensor:
    """The dot product of two vectors; ShapeError for anything else (write matmul)."""
    a, b = operands(a, b)
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(
            f"dot is of two vectors, not of {a.shape} and {b.shape}; write a @ b for matrices"
        )
    return matmul(a, b)


@composite(
    formula="y[…] = (Σ_k a[…, k] · b[…, k]) / (max(√(Σ_k a[…, k]²), ε) · max(√(Σ_k b[…, k]²), ε))",
    formula_view=lambda a, b, y, axis=-1, eps=1e-8: (
        {
            **dict(
                zip(
                    "ab",
                    (np.moveaxis(v, axis, -1) for v in np.broadcast_arrays(a, b)),
                    strict=True,
                )
            ),
            "ε": eps,
        },
        y,
    ),
    samples=lambda: [
        ((sampled(2, 3), sampled(3)), {}),
        ((sampled(2, 3), sampled(2, 3) + 1), {"axis": 0}),
        ((sampled(1, 2, 3), sampled(2, 1, 3)), {"axis": -2}),
    ],
)
def cosine_similarity(a: Tensor, b: Tensor, /, *, axis: int = -1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along an axis: 1 same way, 0 at right angles.

    >>> import chainrule as cr
    >>> cr.cosine_similarity(cr.asarray([1.0, 0.0]), cr.asarray([0.0, 2.0])).item()
    0.0
    """

    shape = broadcast_shapes(a.shape, b.shape)
    a, b = (v if v.shape == shape else broadcast_to(v, shape) for v in (a, b))

    def length(v: Tensor) -> Tensor:
        return maximum(sqrt(maximum(sum(v * v, axis), eps * eps)), eps)

    return sum(a * b, axis) / (length(a) * length(b))

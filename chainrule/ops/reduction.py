"""Reductions along axes, running sums, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.arithmetic import sqrt
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, constant_op, linear, operation
from chainrule.ops.operation import conjugate
from chainrule.ops.structure import broadcast_to, flip, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import normalise_axes, reduced_shape
from chainrule.tensor.tensor import Tensor

INTERNAL = (
    "pairwise_sum", "along_axes", "along_axis", "composite_axes", "elements", "sum_dtype",
    "accumulator", "nonempty_axes", "reduction_samples",
)  # fmt: skip

Axes = tuple[int, ...]
_BLOCK = 128  # NumPy's own pairwise summation stops splitting here
_ROWS = 32  # so many rows are added one after another; each costs a rounding


def pairwise_sum(x: np.ndarray, axes: Axes, keepdims: bool, dtype: Any = None) -> np.ndarray:
    """The sum, accumulated pairwise along outer axes too, where NumPy adds row after row.

    Rounding then grows with log n rather than n (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, §4.2). Halves are added up as float32.
    """
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        goal = dtype or x.dtype
        return pairwise_sum(x.astype(accumulator(goal)), axes, keepdims).astype(goal, copy=False)
    if (
        x.dtype.kind in "fc"
        and axes
        and x.ndim > 1
        and x.ndim - 1 not in axes
        and math.prod(x.shape[a] for a in axes) > _BLOCK
    ):
        moved = np.moveaxis(x, axes, range(len(axes)))
        flat = moved.reshape(-1, *moved.shape[len(axes) :])
        while len(flat) > _ROWS:
            whole = len(flat) // _ROWS * _ROWS
            sums = np.add.reduce(flat[:whole].reshape(-1, _ROWS, *flat.shape[1:]), 1, dtype)
            rest = np.add.reduce(flat[whole:], 0, dtype, keepdims=True)
            flat = np.concatenate([sums, rest]) if whole < len(flat) else sums
        total = np.add.reduce(flat, 0, dtype=dtype)
        return total.reshape(reduced_shape(x.shape, axes, True)) if keepdims else total
    return np.add.reduce(x, axes, dtype, keepdims=keepdims)  # type: ignore[call-overload]


def sum_dtype(x: Any) -> np.dtype:
    """Booleans and small integers are added up as int64, as the standard has it."""
    if x.dtype.kind in "bi":
        return dtypes.int64
    return dtypes.uint64 if x.dtype.kind == "u" else x.dtype


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which numbers of a dtype are added up or multiplied: halves as float32."""
    return dtypes.float32 if dtype.itemsize == 2 and dtype.kind in "fV" else dtype


def _last(x: np.ndarray, axes: Axes) -> np.ndarray:
    """The reduced axes moved to the end and made one."""
    kept = [a for a in range(x.ndim) if a not in axes]
    number = math.prod(x.shape[a] for a in axes)
    return x.transpose(*kept, *axes).reshape(*(x.shape[a] for a in kept), number)


def along_axes(x: np.ndarray, y: np.ndarray, axes: Axes, **attrs: Any) -> tuple[dict, np.ndarray]:
    """How a reduction's formula sees its operand and result: `x[…, k]`, `y[…]`."""
    kept = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    return {"x": _last(x, axes)}, y.reshape(kept)


def composite_axes(
    x: np.ndarray, y: np.ndarray, axis: Any = None, **attrs: Any
) -> tuple[dict, np.ndarray]:
    """The same for a composite, whose axis is as the user wrote it."""
    return along_axes(x, y, normalise_axes(axis, x.ndim))


def along_axis(x: np.ndarray, y: np.ndarray, axis: Any, **attrs: Any) -> tuple[dict, np.ndarray]:
    """How a formula along one axis sees its operand and result: `x[…, i]`, `y[…, i]`."""
    return {"x": np.moveaxis(x, axis, -1)}, np.moveaxis(y, axis, -1)


def reduction_samples(positive: bool = False) -> Callable[[], list]:
    def samples() -> list:
        x = np.sin(np.arange(1.0, 25.0) * 1.7).reshape(2, 3, 4)
        x = np.abs(x) + 0.2 if positive else x
        return [
            ((x,), {}),
            ((x,), {"axis": 1}),
            ((x,), {"axis": (0, 2), "keepdims": True}),
            ((x[0, 0, 0],), {}),
            ((np.swapaxes(x, 0, 2)[::2],), {"axis": -1}),
        ]

    return samples


def _reduces(x: Any, *, axes: Axes, keepdims: bool) -> tuple[tuple[int, ...], np.dtype]:
    return reduced_shape(x.shape, axes, keepdims), x.dtype


def _expand(g: Tensor, x: Any, axes: Axes, keepdims: bool) -> Tensor:
    """A reduction's cotangent, spread over what was reduced."""
    if not keepdims:
        g = reshape(g, reduced_shape(x.shape, axes, True))
    return broadcast_to(g, x.shape)


def elements(y: Any, x: Any, **attrs: Any) -> int:
    return math.prod(x.shape)


@linear(
    formula="y[…] = Σ_k x[…, k]",
    shape=lambda x, *, axes, keepdims, dtype: (reduced_shape(x.shape, axes, keepdims), dtype),
    forward=lambda x, *, axes, keepdims, dtype: pairwise_sum(x, axes, keepdims, dtype),
    transpose=lambda g, x, *, axes, keepdims, dtype: _expand(g, x, axes, keepdims),
    operations=elements,
    lower="reduce",
    batch=along("axes"),
    method="sum",
    formula_view=along_axes,
    samples=lambda: [*reduction_samples()(), ((np.zeros((0, 3)),), {"axis": 0})],
)
def sum(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Any:
    """The sum over an axis, several, or all.

    >>> import chainrule as cr
    >>> cr.sum(cr.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([4., 6.])
    """
    x = as_operand(x)
    kind = sum_dtype(x) if dtype is None else dtypes.as_dtype(dtype)
    dtypes.check_parts(x.dtype, kind)
    return (x,), {"axes": normalise_axes(axis, x.ndim), "keepdims": bool(keepdims), "dtype": kind}


def _number_of(x: Any, axis: Any) -> int:
    return math.prod(x.shape[a] for a in normalise_axes(axis, x.ndim))


def _mean_kernel(x: np.ndarray, *, axis: Any, keepdims: bool) -> tuple[np.ndarray, tuple]:
    axes = normalise_axes(axis, x.ndim)
    n = math.prod([x.shape[a] for a in axes])
    total = pairwise_sum(x, axes, keepdims, accumulator(x.dtype))
    return (total * total.dtype.type(1 / n if n else math.nan)).astype(x.dtype, copy=False), ()


def _mean_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: Any, residual: Any, axis: Any, keepdims: bool
) -> tuple[np.ndarray]:
    axes = normalise_axes(axis, x.ndim)
    n = math.prod([x.shape[a] for a in axes])
    result = np.empty_like(x)
    result[...] = (g if keepdims else g.reshape(reduced_shape(x.shape, axes, True))) * (
        1 / (n or 1)
    )
    return (result,)


@composite(
    formula="y[…] = (Σ_k x[…, k]) / |k|",
    kernel=_mean_kernel,
    pullback=_mean_pullback,
    operations=elements,
    method="mean",
    batch=along("axis"),
    formula_view=composite_axes,
    samples=reduction_samples(),
)
def mean(x: Tensor, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over an axis, several, or all; of integers, a float.

    >>> import chainrule as cr
    >>> cr.mean(cr.asarray([1.0, 2.0, 6.0])).item()
    3.0
    """
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    n = _number_of(x, axis)
    wide = accumulator(x.dtype)
    y = sum(x, axis, dtype=wide, keepdims=keepdims) * (1 / n if n else math.nan)
    return y if wide == x.dtype else y.astype(x.dtype)


@composite(
    formula="μ[…] = (Σ_k x[…, k]) / |k|; y[…] = (Σ_k (x[…, k] − μ[…])²) / (|k| − c)",
    operations=lambda y, x, **attrs: 4 * math.prod(x.shape),
    method="var",
    formula_view=lambda x, y, axis=None, correction=0.0, keepdims=False: (
        {**composite_axes(x, y, axis)[0], "c": correction},
        composite_axes(x, y, axis)[1],
    ),
    samples=lambda: [
        (a, {**k, "correction": c}) for a, k in reduction_samples()()[:3] for c in (0, 1)
    ],
)
def var(
    x: Tensor, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """The variance: the mean squared distance from the mean, with n − correction in place of n.

    Of complex numbers it is real.

    `correction` is 0 as in the Array API and NumPy; PyTorch's default is 1.
    """
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    n = _number_of(x, axis) - correction
    centred = x - mean(x, axis, keepdims=True)
    square = centred * centred if x.dtype.kind != "c" else (centred * centred.conj()).real
    return sum(square, axis, keepdims=keepdims) * (1 / n if n > 0 else math.nan)


@composite(
    formula="μ[…] = (Σ_k x[…, k]) / |k|; y[…] = √((Σ_k (x[…, k] − μ[…])²) / (|k| − c))",
    operations=lambda y, x, **attrs: 4 * math.prod(x.shape),
    method="std",
    formula_view=lambda x, y, axis=None, correction=0.0, keepdims=False: (
        {**composite_axes(x, y, axis)[0], "c": correction},
        composite_axes(x, y, axis)[1],
    ),
    samples=lambda: [(a, {**k, "correction": 1}) for a, k in reduction_samples()()[:3]],
)
def std(
    x: Tensor, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """The standard deviation, the root of `var`; of equal numbers, the derivative is 0."""
    from chainrule.ops.choosing import where

    # The root's slope is infinite at 0, and times the variance's 0 gives NaN; PyTorch's convention.
    v = var(x, axis, correction=correction, keepdims=keepdims)
    return where(v == 0, 0.0, sqrt(where(v == 0, 1.0, v)))


def _prod_rest(x: Tensor, axes: Axes) -> Tensor:
    """For each element, the product of the others along the axes, with no division by it."""
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    order = (*kept, *axes)
    moved = x.permute(order)
    flat = reshape(moved, (*(x.shape[a] for a in kept), math.prod(x.shape[a] for a in axes)))
    one = flat[..., :1] * 0 + 1
    from chainrule.ops.joining import concat
    from chainrule.ops.running import cumulative_prod

    before = cumulative_prod(concat([one, flat[..., :-1]], axis=-1), axis=-1)
    after = concat([flat[..., 1:], one], axis=-1)
    after = flip(cumulative_prod(flip(after, axis=-1), axis=-1), axis=-1)
    inverse = tuple(int(i) for i in np.argsort(order))
    return reshape(before * after, moved.shape).permute(inverse)


def _prod_jvp(t: Tensor, x: Tensor, y: Tensor, *, axes: Axes, keepdims: bool, dtype: Any) -> Tensor:
    return sum(t * _prod_rest(x, axes), axes, keepdims=keepdims)


@operation(
    formula="y[…] = Π_k x[…, k]",
    shape=lambda x, *, axes, keepdims, dtype: (reduced_shape(x.shape, axes, keepdims), dtype),
    forward=lambda x, *, axes, keepdims, dtype: np.multiply.reduce(
        x, axes, accumulator(dtype), keepdims=keepdims
    ).astype(dtype, copy=False),
    vjp=lambda g, x, y, *, axes, keepdims, dtype: (
        _expand(g, x, axes, keepdims) * conjugate(_prod_rest(x, axes)) if x.size else x * 0
    ),
    jvp=_prod_jvp,
    operations=elements,
    lower="reduce",
    batch=along("axes"),
    method="prod",
    formula_view=along_axes,
    samples=lambda: [
        *reduction_samples()(),
        ((np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]]),), {"axis": 1}),
    ],
)
def prod(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Any:
    """The product over an axis, several, or all; its derivative is right at zeros, too."""
    x = as_operand(x)
    kind = sum_dtype(x) if dtype is None else dtypes.as_dtype(dtype)
    dtypes.check_parts(x.dtype, kind)
    return (x,), {"axes": normalise_axes(axis, x.ndim), "keepdims": bool(keepdims), "dtype": kind}


def nonempty_axes(x: Any, axis: Any, keepdims: bool, name: str) -> Any:
    x = as_operand(x)
    axes = normalise_axes(axis, x.ndim)
    if 0 in [x.shape[a] for a in axes]:
        raise ShapeError(f"no {name} exists of nothing: {x.shape} is empty along axes {axes}")
    return (x,), {"axes": axes, "keepdims": bool(keepdims)}


def _share_of_ties(x: Tensor, y: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    """1/m for each of the m elements that attain the extreme, else 0 (PyTorch's amax)."""
    hit = x == (y if keepdims else reshape(y, reduced_shape(x.shape, axes, True)))
    share = where(hit, 1.0, 0.0).astype(x.dtype)
    return share / sum(share, axes, keepdims=True)


def _extreme(word: str, reduce: np.ufunc) -> dict[str, Any]:
    return {
        "formula": f"y[…] = {word}_k x[…, k]",
        "shape": _reduces,
        "forward": lambda x, *, axes, keepdims: reduce.reduce(x, axes, keepdims=keepdims),
        "choice": _share_of_ties,
        "vjp": lambda g, x, y, share, *, axes, keepdims: _expand(g, x, axes, keepdims) * share,
        "jvp": lambda t, x, y, share, *, axes, keepdims: sum(t * share, axes, keepdims=keepdims),
        "operations": elements,
        "lower": "reduce",
        "batch": along("axes"),
        "formula_view": along_axes,
        "method": word,
        "samples": reduction_samples(),
    }


@operation(**_extreme("max", np.maximum))
def max(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest element over an axis, several, or all.

    Where several are equally large the derivative is shared among them, as in PyTorch's `amax`.
    """
    return nonempty_axes(x, axis, keepdims, "largest element")


@operation(**_extreme("min", np.minimum))
def min(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The smallest element over an axis, several, or all; ties as in `max`."""
    return nonempty_axes(x, axis, keepdims, "smallest element")


def _arg(word: str, find: Callable[..., Any]) -> dict[str, Any]:
    return {
        "formula": f"y[…] = arg{word}_k x[…, k]",
        "shape": lambda x, *, axes, keepdims: (
            reduced_shape(x.shape, axes, keepdims),
            dtypes.int64,
        ),
        "forward": lambda x, *, axes, keepdims: np.asarray(find(_last(x, axes), -1)).reshape(
            reduced_shape(x.shape, axes, keepdims)
        ),
        "reason": "an index jumps, and is flat in between",
        "operations": elements,
        "lower": "reduce",
        "batch": along("axes"),
        "formula_view": along_axes,
        "method": f"arg{word}",
        "samples": lambda: [
            s for s in reduction_samples()() if not isinstance(s[1].get("axis"), tuple)
        ],
    }


@constant_op(**_arg("max", np.argmax))
def argmax(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The index of the first largest element along an axis, or in the flattened array."""
    return nonempty_axes(x, axis, keepdims, "largest element")


@constant_op(**_arg("min", np.argmin))
def argmin(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The index of the first smallest element along an axis, or in the flattened array."""
    return nonempty_axes(x, axis, keepdims, "smallest element")


def _truth(name: str, forward: Callable[..., Any], formula: str) -> dict[str, Any]:
    return {
        "formula": formula,
        "shape": lambda x, *, axes, keepdims: (
            reduced_shape(x.shape, axes, keepdims),
            dtypes.bool_,
        ),
        "forward": lambda x, *, axes, keepdims: forward(x, axes, keepdims=keepdims),
        "reason": "a truth value jumps",
        "operations": elements,
        "lower": "reduce",
        "batch": along("axes"),
        "formula_view": along_axes,
        "method": name,
        "samples": lambda: [
            ((np.array([[True, False], [True, True]]),), {"axis": 1}),
            ((np.array([[0.0, 2.0], [0.0, 0.0]]),), {}),
        ],
    }


def _truth_arguments(x: Any, axis: Any, keepdims: bool) -> Any:
    x = as_operand(x)
    return (x,), {"axes": normalise_axes(axis, x.ndim), "keepdims": bool(keepdims)}


@constant_op(**_truth("any", np.any, "y[…] = max_k (1 if x[…, k] ≠ 0 else 0)"))
def any(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Whether some element is true (not zero)."""
    return _truth_arguments(x, axis, keepdims)


@constant_op(**_truth("all", np.all, "y[…] = min_k (1 if x[…, k] ≠ 0 else 0)"))
def all(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Whether every element is true (not zero)."""
    return _truth_arguments(x, axis, keepdims)

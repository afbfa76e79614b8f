"""Operations that move numbers and change none: reshape, permute, broadcast, join, pad, choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import AxisError, DTypeError, ShapeError
from chainrule.ops.batching import along, trailing, widened
from chainrule.ops.declare import Operation, composite, constant_op, linear
from chainrule.ops.domain import sampled
from chainrule.ops.operation import operands
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, check_device
from chainrule.tensor.locate import explained, located
from chainrule.tensor.shapes import (
    broadcast_shapes,
    normalise_axes,
    normalise_axis,
    normalise_shape,
)
from chainrule.tensor.tensor import Tensor, attach

INTERNAL = ("identity", "sum_to", "no_cost", "alike")
ALSO_IN = {"linalg": ("matrix_transpose",)}


def no_cost(y: Any, *xs: Any, **attrs: Any) -> int:
    return 0


def _view(op: Operation) -> Operation:
    """Mark an operation whose result may look into its operand's memory."""
    op.is_view = True
    return op


@_view
@linear(
    formula="x",
    shape=lambda x: (x.shape, x.dtype),
    forward=lambda x: x.view(),  # a view has a base, by which a cell finds it before a write
    transpose=lambda g, x: g,
    operations=no_cost,
    lower="view",
    batch=trailing(0),
    samples=lambda: [((sampled(2, 3),), {}), ((sampled(),), {})],
)
def identity(x: Any, /) -> Any:
    """x itself, as a value of its own in the graph."""
    return operands(x), {}


@_view
@constant_op(
    formula="x",
    shape=lambda x: (x.shape, x.dtype),
    forward=lambda x: x.view(),
    reason="it is where derivatives were asked to stop",
    operations=no_cost,
    lower="view",
    batch=trailing(0),
    method="stop_gradient",
    samples=lambda: [((sampled(2, 3),), {})],
)
def stop_gradient(x: Any, /) -> Any:
    """x as a constant: no derivative flows through.

    >>> import chainrule as cr
    >>> cr.grad(lambda x: x * cr.stop_gradient(x))(cr.asarray(3.0)).item()
    3.0
    """
    return operands(x), {}


def _astype_shape(x: Any, *, dtype: np.dtype) -> tuple[tuple[int, ...], np.dtype]:
    dtypes.check_parts(x.dtype, dtype)
    return x.shape, dtype


@linear(
    formula="x",
    shape=_astype_shape,
    forward=lambda x, *, dtype: x.astype(dtype),
    transpose=lambda g, x, *, dtype: g,  # in x's dtype, as every cotangent
    operations=no_cost,
    lower="convert",
    batch=trailing(0),
    method="astype",
    samples=lambda: [((sampled(2, 3), dtypes.float64), {})],
)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """x in another dtype. Derivatives pass between floating-point dtypes.

    Raises:
        DTypeError: x is complex and the dtype is not.

    >>> import chainrule as cr
    >>> cr.asarray([1.7, -1.7]).astype(cr.int64)
    tensor([ 1, -1], dtype=int64)
    """
    check_device(device)
    return operands(x), {"dtype": dtypes.as_dtype(dtype)}


def alike(*xs: Tensor) -> Sequence[Tensor]:
    """Tensors of which integers beside floats are floats too: what is linear is so in all."""
    if len({x.dtype for x in xs}) == 1:
        return xs
    found = [x.dtype for x in xs if dtypes.is_float(x.dtype)]
    return [x if not found or dtypes.is_float(x.dtype) else astype(x, found[0]) for x in xs]


def _reshape_arguments(x: Tensor, shape: Any) -> tuple[int, ...]:
    try:
        sizes = [int(n.__index__()) for n in ((shape,) if hasattr(shape, "__index__") else shape)]
    except (TypeError, AttributeError):
        raise DTypeError(f"a shape is made of whole numbers, not {shape!r}") from None
    if sizes.count(-1) > 1 or any(n < -1 for n in sizes):
        raise ShapeError(f"a shape may leave one size open with -1, and {tuple(sizes)} is none")
    if -1 in sizes:
        known = int(np.prod([n for n in sizes if n != -1]))
        if known == 0 or x.size % known:
            raise ShapeError(
                f"{x.size} elements of shape {x.shape} do not divide into {tuple(sizes)}"
            )
        sizes[sizes.index(-1)] = x.size // known
    if int(np.prod(sizes)) != x.size:
        raise ShapeError(
            f"{x.size} elements of shape {x.shape} do not fit the shape {tuple(sizes)}, which "
            f"holds {int(np.prod(sizes))}. Leave one size open with -1."
        )
    return tuple(sizes)


@_view
@linear(
    formula="y⟨n⟩ = x⟨n⟩",
    shape=lambda x, *, shape: (shape, x.dtype),
    forward=lambda x, *, shape: x.reshape(shape),
    transpose=lambda g, x, *, shape: reshape(g, x.shape),
    operations=no_cost,
    lower="view",
    batch=lambda op, xs, _, attrs, size: op.apply(xs, {"shape": (size, *attrs["shape"])}),
    samples=lambda: [
        ((sampled(2, 6), (3, -1)), {}),
        ((sampled(), (1, 1)), {}),
        ((sampled(0, 3), (3, 0)), {}),
    ],
)
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Any:
    """The same elements, in row-major order, in another shape; one size may be -1.

    >>> import chainrule as cr
    >>> cr.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]], dtype=int64)
    """
    x = as_operand(x)
    return (x,), {"shape": _reshape_arguments(x, shape)}


@attach("reshape")
@explained
def _reshape(self: Tensor, *shape: Any, copy: bool | None = None) -> Tensor:
    """The same elements in another shape, given as one tuple or as numbers."""
    return reshape(self, shape[0] if len(shape) == 1 else shape)


def _axes_permutation(x: Tensor, axes: Any) -> tuple[int, ...]:
    result = tuple(normalise_axis(a, x.ndim) for a in axes)
    if sorted(result) != list(range(x.ndim)):
        raise AxisError(
            f"a permutation names each of the {x.ndim} axes of {x.shape} once, and {tuple(axes)} "
            "does not"
        )
    return result


@_view
@linear(
    formula="y[permuted] = x[…]",
    display_only=True,
    shape=lambda x, *, axes: (tuple(x.shape[a] for a in axes), x.dtype),
    forward=lambda x, *, axes: x.transpose(axes),
    transpose=lambda g, x, *, axes: permute_dims(g, tuple(int(i) for i in np.argsort(axes))),
    operations=no_cost,
    lower="view",
    batch=lambda op, xs, _, attrs, size: op.apply(
        xs, {"axes": (0, *(a + 1 for a in attrs["axes"]))}
    ),
    samples=lambda: [((sampled(2, 3, 4), (2, 0, 1)), {}), ((sampled(), ()), {})],
)
def permute_dims(x: Any, /, axes: Any) -> Any:
    """x with its axes in another order: axis i of the result is axis axes[i] of x."""
    x = as_operand(x)
    return (x,), {"axes": _axes_permutation(x, axes)}


@attach("permute")
@explained
def _permute(self: Tensor, *axes: Any) -> Tensor:
    """x with its axes in another order."""
    return permute_dims(
        self, axes[0] if len(axes) == 1 and not hasattr(axes[0], "__index__") else axes
    )


@attach("transpose")
@explained
def _transpose(self: Tensor, *axes: Any) -> Tensor:
    """Two axes exchanged, `x.transpose(0, 1)`; all reversed with none; NumPy's tuple, too."""
    if not axes:
        return permute_dims(self, tuple(range(self.ndim))[::-1])
    if len(axes) == 2 and self.ndim != 2:
        return swapaxes(self, *axes)
    return _permute(self, *axes)


@composite(
    formula="y[…, j, i] = x[…, i, j]",
    operations=no_cost,
    samples=lambda: [((sampled(2, 3),), {}), ((sampled(2, 3, 4),), {})],
)
def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two axes exchanged."""
    if x.ndim < 2:
        raise ShapeError(f"a matrix has two axes or more, and this is of shape {x.shape}")
    return swapaxes(x, -1, -2)


@located
def swapaxes(x: Any, axis1: int, axis2: int, /) -> Tensor:
    """Two axes exchanged."""
    x = as_operand(x)
    axes = list(range(x.ndim))
    i, j = normalise_axis(axis1, x.ndim), normalise_axis(axis2, x.ndim)
    axes[i], axes[j] = axes[j], axes[i]
    return permute_dims(x, tuple(axes))


@located
def moveaxis(x: Any, source: Any, destination: Any, /) -> Tensor:
    """Axes moved to other positions, the rest kept in order."""
    x = as_operand(x)
    froms = (source,) if hasattr(source, "__index__") else tuple(source)
    tos = (destination,) if hasattr(destination, "__index__") else tuple(destination)
    froms = tuple(normalise_axis(a, x.ndim) for a in froms)
    tos = tuple(normalise_axis(a, x.ndim) for a in tos)
    if len(froms) != len(tos):
        raise AxisError(f"moveaxis has {len(froms)} axes to move and {len(tos)} places for them")
    order = [a for a in range(x.ndim) if a not in froms]
    for to, fro in sorted(zip(tos, froms, strict=True)):
        order.insert(to, fro)
    return permute_dims(x, tuple(order))


def _property(name: str, get: Any) -> None:
    attach(name)(property(get))


def _t(self: Tensor) -> Tensor:
    """The transpose of a matrix."""
    if self.ndim != 2:
        raise ShapeError(
            f"T is for a matrix, and this has the shape {self.shape}; write x.mT for a stack of "
            "matrices, or permute the axes by name"
        )
    return permute_dims(self, (1, 0))


_property("T", _t)
_property("mT", lambda self: matrix_transpose(self))


@_view
@linear(
    formula="x",
    shape=lambda x, *, shape: (_broadcast_target(x, shape), x.dtype),
    forward=lambda x, *, shape: np.broadcast_to(x, shape),
    transpose=lambda g, x, *, shape: sum_to(g, x.shape),
    operations=no_cost,
    lower="view",
    batch=lambda op, xs, _, attrs, size: op.apply(
        (widened(xs[0], len(attrs["shape"]) + 1 - xs[0].ndim),),
        {"shape": (size, *attrs["shape"])},
    ),
    method="broadcast_to",
    samples=lambda: [
        ((sampled(3, 1), (2, 3, 4)), {}),
        ((sampled(), (2,)), {}),
        ((sampled(1, 2), (0, 2)), {}),
    ],
)
def broadcast_to(x: Any, /, shape: Any) -> Any:
    """x repeated along axes of size 1, and along new axes in front, to fill `shape`."""
    return operands(x), {"shape": normalise_shape(shape)}


def _broadcast_target(x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    if broadcast_shapes(x.shape, shape) != shape:
        raise ShapeError(f"the shape {x.shape} does not broadcast to {shape}")
    return shape


def _sum_to(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    from chainrule.ops.reduction import pairwise_sum

    lead = x.ndim - len(shape)
    axes = (
        *range(lead),
        *(lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1),
    )
    return pairwise_sum(x, axes, False, _summed(x)).reshape(shape)


def _summed(x: Any) -> np.dtype:
    from chainrule.ops.reduction import sum_dtype

    return sum_dtype(x)


@linear(
    formula="sum over the axes along which shape was broadcast",
    display_only=True,
    shape=lambda x, *, shape: (shape, _summed(x)) if _broadcast_of(shape, x.shape) else None,
    forward=_sum_to,
    transpose=lambda g, x, *, shape: broadcast_to(g, x.shape),
    operations=lambda y, x, **attrs: int(np.prod(x.shape)),
    lower="reduce",
    batch=lambda op, xs, _, attrs, size: _sum_each(xs[0], attrs["shape"]),
    method="sum_to",
    samples=lambda: [((sampled(2, 3, 4), (3, 1)), {}), ((sampled(2, 3), ()), {})],
)
def sum_to(x: Any, /, shape: Any) -> Any:
    """The sum over the axes that broadcasting `shape` to x repeated: broadcast_to's transpose."""
    return operands(x), {"shape": normalise_shape(shape)}


def _sum_each(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Each example of a batch summed to a shape."""
    between = (1,) * (x.ndim - 1 - len(shape))
    return reshape(sum_to(x, (x.shape[0], *between, *shape)), (x.shape[0], *shape))


def _broadcast_of(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    if len(small) > len(large) or broadcast_shapes(small, large) != large:
        raise ShapeError(f"{large} is not what {small} broadcasts to")
    return True


@composite(
    formula="y⟨n⟩ = x⟨n⟩",
    operations=no_cost,
    samples=lambda: [((sampled(2, 3),), {"axis": 1})],
)
def expand_dims(x: Tensor, /, axis: int | tuple[int, ...] = 0) -> Tensor:
    """x with an axis of size 1 put in at `axis` (or at several)."""
    axes = (axis,) if hasattr(axis, "__index__") else tuple(axis)
    ndim = x.ndim + len(axes)
    wanted = {normalise_axis(a, ndim) for a in axes}
    if len(wanted) != len(axes):
        raise AxisError(f"an axis is named twice in {axes}")
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in wanted else next(rest) for i in range(ndim)))


@composite(
    formula="y⟨n⟩ = x⟨n⟩",
    operations=no_cost,
    samples=lambda: [((sampled(1, 3, 1),), {"axis": (0, 2)}), ((sampled(1, 3),), {"axis": 0})],
)
def squeeze(x: Tensor, /, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x without axes of size 1: the named ones, or all with None."""
    if axis is None:
        axes = tuple(i for i, n in enumerate(x.shape) if n == 1)
    else:
        axes = normalise_axes(axis, x.ndim)
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(
                f"axis {a} of {x.shape} has the size {x.shape[a]} and cannot be squeezed away; "
                "only axes of size 1 can"
            )
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


attach("squeeze")(explained(lambda self, axis=None: squeeze(self, axis)))
attach("unsqueeze")(explained(lambda self, axis: expand_dims(self, axis)))


@composite(
    formula="y⟨n⟩ = x⟨n⟩",
    operations=no_cost,
    samples=lambda: [((sampled(2, 3, 4),), {"start_axis": 1}), ((sampled(),), {})],
)
def flatten(x: Tensor, /, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from `start_axis` to `end_axis` made into one."""
    if x.ndim == 0:
        return reshape(x, (1,))
    a, b = normalise_axis(start_axis, x.ndim), normalise_axis(end_axis, x.ndim)
    if a > b:
        raise AxisError(f"flatten goes from start_axis {a} to end_axis {b}, which lies before it")
    merged = int(np.prod(x.shape[a : b + 1]))
    return reshape(x, (*x.shape[:a], merged, *x.shape[b + 1 :]))


attach("flatten")(
    explained(lambda self, start_axis=0, end_axis=-1: flatten(self, start_axis, end_axis))
)


@_view
@linear(
    formula="y = x, read backwards along the axes",
    display_only=True,
    shape=lambda x, *, axes: (x.shape, x.dtype),
    forward=lambda x, *, axes: np.flip(x, axes),
    transpose=lambda g, x, *, axes: flip(g, axis=axes),
    operations=no_cost,
    lower="view",
    batch=along("axes"),
    samples=lambda: [((sampled(2, 3),), {"axis": 1}), ((sampled(2, 3),), {})],
)
def flip(x: Any, /, *, axis: Any = None) -> Any:
    """x with the order of its elements reversed along an axis, several, or all."""
    x = as_operand(x)
    return (x,), {"axes": normalise_axes(axis, x.ndim)}


@located
def tile(x: Any, repetitions: Sequence[int], /) -> Tensor:
    """x repeated along each axis as often as `repetitions` says."""
    x = as_operand(x)
    counts = (repetitions,) if hasattr(repetitions, "__index__") else tuple(repetitions)
    ndim = max(x.ndim, len(counts))
    shape = (1,) * (ndim - x.ndim) + x.shape
    counts = (1,) * (ndim - len(counts)) + counts
    between = tuple(n for size in shape for n in (1, size))
    wide = tuple(n for count, size in zip(counts, shape, strict=True) for n in (count, size))
    final = tuple(c * n for c, n in zip(counts, shape, strict=True))
    return reshape(broadcast_to(reshape(x, between), wide), final)


@located
def broadcast_arrays(*arrays: Any) -> tuple[Tensor, ...]:
    """Arrays broadcast to the shape that they have in common.

    Raises:
        ShapeError: two sizes differ and neither is 1.

    >>> import chainrule as cr
    >>> a, b = cr.broadcast_arrays(cr.asarray([1.0, 2.0]), cr.asarray([[3.0], [4.0]]))
    >>> a.shape, b.shape
    ((2, 2), (2, 2))
    """
    tensors = operands(*arrays)
    if not tensors:
        return ()
    shape = broadcast_shapes(*(x.shape for x in tensors))
    return tuple(broadcast_to(x, shape) for x in tensors)


@located
def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Vectors spread over a common grid: one array for each, all of one shape."""
    vectors = [as_operand(a) for a in arrays]
    if any(v.ndim > 1 for v in vectors) or indexing not in ("xy", "ij"):
        raise ShapeError(
            'meshgrid takes vectors, and indexing="xy" or "ij"; here are '
            f"{[v.shape for v in vectors]} and {indexing!r}"
        )
    n = len(vectors)
    order = list(range(n))
    if indexing == "xy" and n > 1:
        order[:2] = [1, 0]
    sizes = tuple(vectors[order.index(i)].size for i in range(n))
    return tuple(
        broadcast_to(reshape(v, tuple(v.size if a == place else 1 for a in range(n))), sizes)
        for v, place in zip(vectors, order, strict=True)
    )

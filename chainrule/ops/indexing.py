"""Reading and writing parts of arrays: slices, integers, masks, take, gather, scatter-add."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DTypeError, GradientError, ShapeError
from chainrule.ops.batched_indexing import ALL, ARRAY, add_each, get_each, set_each
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, linear
from chainrule.ops.domain import sampled
from chainrule.ops.operation import operands
from chainrule.ops.structure import expand_dims, stop_gradient, sum_to
from chainrule.tensor import dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.creation import as_operand, asarray
from chainrule.tensor.graph import OFF, state
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes, normalise_axis
from chainrule.tensor.tensor import Tensor, attach

INTERNAL = ("replace", "getitem", "setitem", "add_at", "key_along", "add_to")

_ARRAY, _ALL = ARRAY, ALL


def _static(key: Any, shape: tuple[int, ...]) -> tuple[tuple, list[Tensor]]:
    """(hashable pattern, index arrays) of a key; masks become indices of their true elements."""
    parts = key if isinstance(key, tuple) else (key,)
    pattern: list[Any] = []
    arrays: list[Tensor] = []
    masks: list[tuple[int, tuple[int, ...]]] = []
    for part in parts:
        if part is None or part is Ellipsis:
            pattern.append(part)
        elif isinstance(part, slice):
            pattern.append((_whole(part.start), _whole(part.stop), _whole(part.step)))
            if pattern[-1][2] == 0:
                raise ShapeError("the step of a slice cannot be 0")
        elif isinstance(part, (bool, np.bool_)):
            raise DTypeError("True and False are no indices; write x[None] for a new axis")
        elif isinstance(part, (Tensor, np.ndarray, list)) or hasattr(part, "__array__"):
            index = as_operand(part) if not isinstance(part, list) else _listed(part)
            if index.dtype == dtypes.bool_:
                if not index.ndim:
                    raise DTypeError("a mask without dimensions stands alone, as in x[mask]")
                masks.append((len(pattern), index.shape))
                found = np.nonzero(index._concrete("a mask"))
                pattern.extend([_ARRAY] * len(found))
                arrays.extend(Tensor(f) for f in found)
            elif index.dtype.kind in "iu":
                if state.tracer is not None and isinstance(part, Tensor):
                    index = state.tracer.lift(index)
                if index.ndim == 0 and index._value is not None:
                    pattern.append(int(index._value))
                else:
                    pattern.append(_ARRAY)
                    arrays.append(index)
            else:
                raise DTypeError(
                    f"indices are whole numbers or a boolean mask, and these are {index.dtype}. "
                    "Write indices.astype(cr.int64)."
                )
        else:
            pattern.append(_whole(part))
    for position, mask in masks:
        _check_mask(mask, shape, pattern, position)
    return tuple(pattern), arrays


def _check_mask(
    mask: tuple[int, ...], shape: tuple[int, ...], pattern: list[Any], position: int
) -> None:
    start = sum(p is not None for p in pattern[:position])
    if Ellipsis in pattern[:position]:  # then the axes are counted from the right
        start = len(shape) - sum(p is not None for p in pattern[position:])
    covered = shape[start : start + len(mask)]
    # A mask without elements chooses none, whatever the sizes, as in NumPy.
    if len(mask) != len(covered) or any(
        m not in (0, n) for m, n in zip(mask, covered, strict=True)
    ):
        raise BoundsError(
            f"a mask has the shape of what it covers: this one is {mask}, and lies on {covered} "
            f"of {shape}"
        )


def _truth(key: Any) -> bool | None:
    """The value of a mask that has no dimensions and is the whole key; None for other keys."""
    if isinstance(key, tuple) and len(key) == 1:
        (key,) = key
    if not isinstance(key, (Tensor, np.ndarray, np.bool_)) or key.shape or key.dtype.kind != "b":
        return None
    return bool(as_operand(key)._concrete("a mask"))


def _listed(part: list) -> Tensor:
    index = asarray(part)
    return index if index.size else index.astype(dtypes.int64)


def _whole(part: Any) -> int | None:
    if part is None:
        return None
    if hasattr(part, "__index__"):
        return int(part.__index__())
    raise DTypeError(f"an index is a whole number, a slice, a mask or indices, not {part!r}")


def _key(pattern: tuple, arrays: Any) -> tuple:
    """The NumPy key for a pattern and its index arrays."""
    rest = iter(arrays)
    return tuple(
        next(rest) if p == _ARRAY else slice(*p) if isinstance(p, tuple) else p for p in pattern
    )


def _check_bounds(shape: tuple[int, ...], pattern: tuple, arrays: Any) -> None:
    used = sum(p is not None and p is not Ellipsis for p in pattern)
    if used > len(shape):
        raise BoundsError(f"{used} indices for {len(shape)} dimensions of {shape}")
    if pattern.count(Ellipsis) > 1:
        raise BoundsError("an index has at most one ellipsis (…)")
    rest = iter(arrays)
    axis = 0
    for p in pattern:
        if p is None:
            continue
        if p is Ellipsis:
            axis += len(shape) - used
            continue
        n = shape[axis]
        if isinstance(p, int) and not -n <= p < n:
            raise BoundsError(
                f"the index {p} lies outside of axis {axis} of {shape}; valid are {-n} … {n - 1}"
                if n
                else f"axis {axis} of {shape} is empty, and was indexed by {p}"
            )
        if p == _ARRAY:
            values = next(rest)._value
            if values is not None and values.size:
                low, high = int(values.min()), int(values.max())
                if low < -n or high >= n:
                    bad = high if high >= n else low
                    raise BoundsError(
                        f"the index {bad} lies outside of axis {axis} of {shape}; "
                        f"valid are {-n} … {n - 1}"
                    )
        axis += 1


def _indexed_shape(x: Any, *arrays: Any, pattern: tuple) -> tuple[tuple[int, ...], np.dtype]:
    _check_bounds(x.shape, pattern, arrays)
    if arrays:
        broadcast_shapes(*(a.shape for a in arrays))
    probe = np.broadcast_to(np.empty((), np.int8), x.shape)
    # Shapes alone: index arrays of zeros are inside of any axis that is not empty.
    keys = [np.zeros(a.shape, np.intp) for a in arrays]
    try:
        return probe[_key(pattern, keys)].shape, x.dtype
    except IndexError as error:
        raise BoundsError(str(error)) from None


@linear(
    formula="y = x at the key",
    display_only=True,
    shape=_indexed_shape,
    forward=lambda x, *arrays, pattern: x[_key(pattern, arrays)],
    transpose=lambda g, x, *arrays, pattern: (
        add_at(g, *arrays, pattern=pattern, shape=x.shape),
        *(None for _ in arrays),
    ),
    operations=lambda *a, **k: 0,
    lower="gather",
    batch=get_each,
    samples=lambda: [
        ((sampled(4, 3), (slice(None, None, -2), 1)), {}),
        ((sampled(4, 3), (Ellipsis, None, 0)), {}),
        ((sampled(4, 3), (np.array([0, 2, 2]),)), {}),
        ((sampled(4, 3), (np.array([[0], [3]]), np.array([0, 1]))), {}),
        ((sampled(2, 3), (np.array([[True, False, True], [False, True, False]]),)), {}),
        ((sampled(4, 3), (slice(0, 0),)), {}),
    ],
)
def getitem(x: Any, key: Any, /) -> Any:
    """x[key]: slices, integers, new axes, an ellipsis, masks and integer arrays, as in NumPy.

    Negative steps are allowed. An element that is read several times gets the sum of its
    derivatives. An index out of range is an error. A mask without dimensions puts an axis of size
    1 in front if it is true, of size 0 if not.
    """
    x = as_operand(x)
    truth = _truth(key)
    if truth is not None:
        x, key = expand_dims(x, 0), slice(0, int(truth))
    pattern, arrays = _static(key, x.shape)
    return (x, *arrays), {"pattern": pattern}


def _add_part(array: np.ndarray, g: np.ndarray, *, pattern: tuple) -> None:
    array[_key(pattern, ())] += g


getitem.is_view = getitem.checks_values = True
getitem.add_cotangent = _add_part


@attach("__getitem__")
def _getitem(self: Tensor, key: Any) -> Tensor:
    return getitem(self, key)


def _scatter(g: np.ndarray, *arrays: np.ndarray, pattern: tuple, shape: tuple) -> np.ndarray:
    result = np.zeros(shape, g.dtype)
    key = _key(pattern, arrays)
    if not arrays:
        result[key] = g
    elif g.size and pattern == (_ALL,) * (len(pattern) - len(arrays)) + (_ARRAY,) * len(arrays):
        # Index arrays along axes side by side are one list of indices along these axes as one.
        front, end = len(pattern) - len(arrays), len(pattern)
        place = np.ravel_multi_index(np.broadcast_arrays(*arrays), shape[front:end], mode="wrap")
        rows = result.reshape(*shape[:front], math.prod(shape[front:end]), *shape[end:])
        values = g.reshape(*shape[:front], place.size, *shape[end:])
        if rows.ndim == 1:
            np.add.at(rows, place.reshape(-1), values)
        else:
            _add_rows(np.moveaxis(rows, front, 0), place.reshape(-1), np.moveaxis(values, front, 0))
    else:
        np.add.at(result, key, g)
    return result


def _add_rows(result: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """result[rows[i]] += values[i], by sorting the rows: an embedding's gradient."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    result[ordered[starts]] = np.add.reduceat(values[order], starts, axis=0)


@linear(
    formula="y = 0 everywhere, plus g added at the key",
    display_only=True,
    shape=lambda g, *arrays, pattern, shape: (shape, g.dtype),
    forward=_scatter,
    transpose=lambda h, g, *arrays, pattern, shape: (
        getitem.apply((h, *arrays), {"pattern": pattern}),
        *(None for _ in arrays),
    ),
    operations=lambda y, g, *arrays, **k: int(np.prod(g.shape)),
    lower="scatter",
    batch=add_each,
    samples=lambda: [
        ((sampled(3, 2), np.array([0, 2, 2])), {"pattern": (_ARRAY,), "shape": (4, 2)}),
        ((sampled(2, 2),), {"pattern": ((0, None, 2), (1, None, None)), "shape": (4, 3)}),
    ],
)
def add_at(g: Any, /, *arrays: Any, pattern: tuple, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape, with g added where `getitem` with this pattern and these arrays reads."""
    return (*operands(g), *operands(*arrays)), {"pattern": pattern, "shape": tuple(shape)}


def _set_shape(x: Any, v: Any, *arrays: Any, pattern: tuple) -> tuple[tuple[int, ...], np.dtype]:
    part, _ = _indexed_shape(x, *arrays, pattern=pattern)
    if broadcast_shapes(v.shape, part) != part:
        raise ShapeError(f"a value of shape {v.shape} does not fit into the part {part}")
    if v.dtype.kind == "c" and x.dtype.kind != "c":
        raise DTypeError(
            f"{x.dtype} would drop the imaginary part of {v.dtype}; write the value's .real, or "
            "x.astype(cr.complex64) first"
        )
    return x.shape, x.dtype


def _set(x: np.ndarray, v: np.ndarray, *arrays: np.ndarray, pattern: tuple) -> np.ndarray:
    result = x.copy()
    result[_key(pattern, arrays)] = v
    return result


def _stays(shape: tuple[int, ...], part: tuple[int, ...], arrays: Any, pattern: tuple) -> Tensor:
    """Which of the values that are written stay: of several at one place, the last."""
    numbers = Tensor(np.arange(math.prod(part)).reshape(part))
    owner = setitem.apply(
        (Tensor(np.zeros(shape, np.int64)), numbers, *arrays), {"pattern": pattern}
    )
    return getitem.apply((owner, *arrays), {"pattern": pattern}) == numbers


def _set_transpose(g: Tensor, x: Any, v: Any, *arrays: Any, pattern: tuple) -> tuple:
    zero = Tensor(np.zeros((), g.dtype))
    part = getitem.apply((g, *arrays), {"pattern": pattern})
    if arrays:
        part = where(_stays(x.shape, part.shape, arrays, pattern), part, zero)
    if part.shape != v.shape:
        part = sum_to(part, v.shape)
    kept = setitem.apply((g, zero, *arrays), {"pattern": pattern})
    value = part if dtypes.is_float(v.dtype) else None
    return (kept, value, *(None for _ in arrays))


@linear(
    formula="y = x, but v at the key",
    display_only=True,
    shape=_set_shape,
    forward=_set,
    transpose=_set_transpose,
    operations=lambda *a, **k: 0,
    lower="scatter",
    batch=set_each,
    samples=lambda: [
        ((sampled(4, 3), (slice(1, 3), 0), sampled(2) + 5), {}),
        ((sampled(4, 3), (np.array([0, 2]),), np.array(1.5)), {}),
        ((sampled(4, 3), (np.array([0, 2, 0]),), sampled(3, 3) + 5), {}),
    ],
)
def setitem(x: Any, key: Any, value: Any, /) -> Any:
    """x with `value` at `key`, as a new array: what `x[key] = value` gives the handle x."""
    x = as_operand(x)
    pattern, arrays = _static(key, x.shape)
    if isinstance(value, int) and x.dtype.kind in "iu":
        value = asarray(value, dtype=x.dtype)  # refuses what does not fit, and would wrap around
    part = as_operand(value)
    if part.dtype.kind == "c" and x.dtype.kind != "c":
        raise DTypeError(f"a complex value does not fit into an array of {x.dtype}")
    python = isinstance(value, (float, complex, list, tuple))
    if python and dtypes.is_float(part.dtype) and dtypes.is_float(x.dtype):
        part = asarray(value, dtype=x.dtype)  # Python's numbers have x's precision
    elif dtypes.is_float(x.dtype) and not dtypes.is_float(part.dtype):
        part = part.astype(x.dtype)  # so that it is linear in what it is linear in
    return (x, part, *arrays), {"pattern": pattern}


@attach("__setitem__")
def _setitem(self: Tensor, key: Any, value: Any) -> None:
    truth = _truth(key)
    if truth is not None:
        if not truth:
            return
        key = ...
    replace(self, setitem(self, key, value))


def replace(target: Tensor, result: Tensor) -> Tensor:
    """Give the handle `target` a new value and node; the same handle comes back."""
    if result.shape != target.shape:
        raise ShapeError(
            f"an update in place keeps the shape {target.shape}, and this would give {result.shape}"
        )
    if target.requires_grad and target.is_leaf and state.depth != OFF:
        raise GradientError(
            "a parameter (a tensor that was given requires_grad) was changed in place while "
            "operations are recorded: the gradient would belong to neither value. Write "
            "`with cr.no_grad():` around it, or make a new tensor: y = x + 1."
        )
    if state.batches and result._value is None:
        state.batches[-1].note_update(target)
    if result.dtype != target.dtype:
        if not np.can_cast(result.dtype, target.dtype, "same_kind"):
            raise DTypeError(
                f"an update in place keeps the dtype {target.dtype}, and this gives {result.dtype}"
            )
        result = result.astype(target.dtype)
    if isinstance(target, Cell):
        target.assign(result)
    else:
        target._value, target._node = result._value, result._node
        target._base = None
    return target


@located
def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Tensor:
    """The slices of x at `indices` along an axis.

    >>> import chainrule as cr
    >>> cr.take(cr.asarray([10.0, 20.0, 30.0]), cr.asarray([2, 0]))
    tensor([30., 10.])
    """
    x, indices = operands(x, indices)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(f"take of an array of shape {x.shape} needs an axis=")
        axis = 0
    position = normalise_axis(axis, x.ndim)
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"indices are whole numbers, and these are {indices.dtype}")
    return getitem(x, (*(slice(None),) * position, indices))


@located
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Tensor:
    """x[…, indices[…, i], …]: one element of x for each index, along an axis (also `gather`).

    >>> import chainrule as cr
    >>> cr.take_along_axis(cr.asarray([[1.0, 2.0], [3.0, 4.0]]), cr.asarray([[1], [0]]), axis=1)
    tensor([[2.],
            [3.]])
    """
    x, indices = operands(x, indices)
    return getitem(x, key_along(x, indices, normalise_axis(axis, x.ndim), spread=True))


def key_along(x: Tensor, indices: Tensor, axis: int, spread: bool = False) -> tuple[Tensor, ...]:
    """The key that has `indices` along an axis, and each place's own along the others.

    With `spread`, the array and the indices are broadcast along the other axes.
    """
    if indices.ndim != x.ndim:
        raise ShapeError(
            f"indices {indices.shape} along an axis have as many dimensions as the array {x.shape}"
        )
    grid: list[Tensor] = []
    for a, n in enumerate(x.shape):
        if a == axis:
            grid.append(indices)
        else:
            size = n if spread else indices.shape[a]
            shape = tuple(size if i == a else 1 for i in range(x.ndim))
            grid.append(Tensor(np.arange(size).reshape(shape)))
    return tuple(grid)


@located
def gather(x: Any, axis: int, indices: Any, /) -> Tensor:
    """PyTorch's name and argument order for `take_along_axis`."""
    return take_along_axis(x, indices, axis=axis)


def add_to(x: Tensor, key: tuple, src: Tensor) -> Tensor:
    """x with src added at the key, what meets adding up."""
    pattern, arrays = _static(key, x.shape)
    _indexed_shape(x, *arrays, pattern=pattern)
    return x + add_at(src.astype(x.dtype), *arrays, pattern=pattern, shape=x.shape)


@located
def scatter_add(x: Any, axis: int, indices: Any, src: Any, /) -> Tensor:
    """x with src[…, i, …] added at indices[…, i, …] along an axis; what meets, adds up.

    PyTorch's argument order; the transpose of `gather`.

    >>> import chainrule as cr
    >>> cr.scatter_add(cr.zeros(3), 0, cr.asarray([0, 2, 2]), cr.asarray([1.0, 2.0, 3.0]))
    tensor([1., 0., 5.])
    """
    x, indices, src = operands(x, indices, src)
    if src.shape != indices.shape:
        raise ShapeError(
            f"each index has a number to add: indices {indices.shape}, and src {src.shape}"
        )
    return add_to(x, key_along(x, indices, normalise_axis(axis, x.ndim)), src)


@located
def one_hot(labels: Any, num_classes: int, /, *, dtype: Any = None) -> Tensor:
    """A one at each label, zeros elsewhere, along a new last axis.

    >>> import chainrule as cr
    >>> cr.one_hot(cr.asarray([1, 0]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    labels = as_operand(labels)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"labels are whole numbers, and these are {labels.dtype}")
    kind = dtypes.default_float if dtype is None else dtypes.as_dtype(dtype)
    identity = Tensor(np.eye(num_classes, dtype=kind))
    return take(identity, labels, axis=0)


def _embed_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Any:
    """One table for all examples is a larger batch of indices; else by the definition."""
    return NotImplemented if batched[1] else op.apply(operands, attrs)


def _check_embedding(indices: Tensor, weight: Tensor, *, padding_idx: int | None) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(
            f"indices are whole numbers, and these are {indices.dtype}. Write "
            "indices.astype(cr.int64); are weight and indices exchanged?"
        )
    if weight.ndim != 2:
        raise ShapeError(f"the table of vectors is (how many, size), not {weight.shape}")
    values = indices._value
    if values is not None and values.size:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= weight.shape[0]:
            raise BoundsError(
                f"there is no vector {low if low < 0 else high}: the table {weight.shape} has "
                f"0 … {weight.shape[0] - 1}. Is num_embeddings the number of different indices?"
            )


@composite(
    formula="y[…, j] = weight[x[…], j]",
    check=_check_embedding,
    batch=_embed_each,
    operations=lambda *a, **k: 0,
    lower="gather",
    formula_view=lambda x, weight, y, padding_idx: ({"x": x, "weight": weight}, y),
    samples=lambda: [
        ((np.array([[0, 2], [2, 1]]), sampled(4, 3)), {}),
        ((np.array(3), sampled(4, 3)), {}),
        ((np.zeros((0,), np.int64), sampled(4, 3)), {}),
    ],
)
def embedding(x: Tensor, weight: Tensor, /, padding_idx: int | None = None) -> Tensor:
    """The row of `weight` for each index.

    Args:
        x: whole numbers of any shape (…).
        weight: (how many, size); the result is (…, size).
        padding_idx: the index whose row gets no derivative.

    >>> import chainrule as cr
    >>> cr.embedding(cr.asarray([1, 0]), cr.asarray([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    found = getitem(weight, x)
    if padding_idx is None:
        return found
    return where(expand_dims(x == padding_idx, -1), stop_gradient(found), found)

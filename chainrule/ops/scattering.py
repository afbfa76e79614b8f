"""Writing to many places of an array at once: scatter, its reductions, and segments.

What meets at one place is written over, added up, averaged, or the largest, the smallest or the
product of it is taken. A segment reduction is such a scatter along the first axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DTypeError, ShapeError
from chainrule.ops.choosing import where
from chainrule.ops.declare import operation
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import add_at, add_to, getitem, key_along, setitem
from chainrule.ops.joining import concat
from chainrule.ops.operation import operands
from chainrule.ops.reduction import prod
from chainrule.ops.structure import broadcast_to, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, full, ones, zeros
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import is_whole, normalise_axis
from chainrule.tensor.tensor import Tensor

INTERNAL = ("extreme_at",)

Key = tuple[Any, ...]


def _whole(indices: Any, name: str = "indices") -> Tensor:
    indices = as_operand(indices)
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{name} are whole numbers, and these are {indices.dtype}")
    return indices


def _aligned(x: Any, axis: Any, indices: Any, src: Any) -> tuple[Tensor, Key, Tensor]:
    """(x, key, src) of a scatter along an axis; of `src` only as much as there are indices."""
    x, indices = as_operand(x), _whole(indices)
    src = as_operand(src)
    place = normalise_axis(axis, x.ndim)
    if src.ndim == 0:
        src = broadcast_to(src, indices.shape)
    key = key_along(x, indices, place)
    if src.ndim != indices.ndim or any(
        m > n for m, n in zip(indices.shape, src.shape, strict=True)
    ):
        raise ShapeError(
            f"each index has a number to write: indices {indices.shape}, and src {src.shape}"
        )
    if any(
        m > n for a, (m, n) in enumerate(zip(indices.shape, x.shape, strict=True)) if a != place
    ):
        raise ShapeError(
            f"indices {indices.shape} are for more places than {x.shape} has beside axis {place}"
        )
    if src.shape != indices.shape:
        src = src[tuple(slice(0, n) for n in indices.shape)]
    return x, key, src if src.dtype == x.dtype else src.astype(x.dtype)


@located
def scatter(x: Any, axis: int, indices: Any, src: Any, /) -> Tensor:
    """x with src[…, i, …] at indices[…, i, …] along an axis; of what meets the last stays.

    PyTorch's argument order; `src` may be one number.

    >>> import chainrule as cr
    >>> cr.scatter(cr.zeros(4), 0, cr.asarray([0, 2]), cr.asarray([1.0, 2.0]))
    tensor([1., 0., 2., 0.])
    """
    x, key, src = _aligned(x, axis, indices, src)
    return setitem(x, key, src)


# The largest and the smallest of what meets


def _pattern(key: Key) -> tuple[tuple, tuple]:
    """A key of index arrays and whole slices as (pattern, arrays) of `getitem`."""
    pattern = tuple("array" if isinstance(k, Tensor) else (None, None, None) for k in key)
    return pattern, tuple(k for k in key if isinstance(k, Tensor))


def _numpy_key(pattern: tuple, arrays: Any) -> tuple:
    rest = iter(arrays)
    return tuple(next(rest) if p == "array" else slice(None) for p in pattern)


def _extreme(
    x: np.ndarray, src: np.ndarray, *arrays: np.ndarray, pattern: tuple, word: str
) -> np.ndarray:
    y = x.copy()
    function: Any = {"max": np.maximum, "min": np.minimum}[word]
    function.at(y, _numpy_key(pattern, arrays), src)
    return y


def _at(x: Tensor, arrays: Any, pattern: tuple) -> Tensor:
    return getitem.apply((x, *arrays), {"pattern": pattern})


def _shares(x: Tensor, src: Tensor, *rest: Tensor, pattern: tuple, word: str) -> Tensor:
    """1/m for each of the m numbers that attain an extreme, else 0: those of x, then of src."""
    *arrays, y = rest
    mine = (x == y).astype(x.dtype)
    theirs = (src == _at(y, arrays, pattern)).astype(x.dtype)
    number = mine + add_at(theirs, *arrays, pattern=pattern, shape=x.shape)
    number = where(number == 0, 1, number)  # where a NaN is the largest, which equals nothing
    parts = mine / number, theirs / _at(number, arrays, pattern)
    return concat([reshape(p, (-1,)) if p.size else reshape(p, (0,)) for p in parts])


def _apart(share: Tensor, x: Any, src: Any) -> tuple[Tensor, Tensor]:
    cut = math.prod(x.shape)
    return reshape(share[:cut], x.shape), reshape(share[cut:], src.shape)


def _extreme_vjp(
    g: Tensor, x: Any, src: Any, *rest: Any, pattern: tuple, word: str
) -> tuple[Tensor | None, ...]:
    *arrays, _, share = rest
    mine, theirs = _apart(share, x, src)
    return (g * mine, _at(g, arrays, pattern) * theirs, *(None for _ in arrays))


def _extreme_jvp(tangents: Any, x: Any, src: Any, *rest: Any, pattern: tuple, word: str) -> Tensor:
    *arrays, y, share = rest
    mine, theirs = _apart(share, x, src)
    total = zeros(y.shape, dtype=y.dtype)
    if tangents[0] is not None:
        total = total + tangents[0] * mine
    if tangents[1] is not None:
        total = total + add_at(tangents[1] * theirs, *arrays, pattern=pattern, shape=x.shape)
    return total


@operation(
    formula="y = x, at the key the largest (smallest) of x and every src that is meant for it",
    display_only=True,
    shape=lambda x, src, *arrays, pattern, word: (x.shape, x.dtype),
    forward=_extreme,
    choice=_shares,
    vjp=_extreme_vjp,
    jvp=_extreme_jvp,
    operations=lambda y, x, src, *arrays, **attrs: math.prod(src.shape),
    lower="scatter",
    samples=lambda: [
        (
            (sampled(4, 2), sampled(3, 2) + 0.3, np.array([0, 2, 2])),
            {"pattern": ("array", (None, None, None)), "word": word},
        )
        for word in ("max", "min")
    ],
)
def extreme_at(x: Any, src: Any, /, *arrays: Any, pattern: tuple, word: str) -> Any:
    """x with the largest or smallest of itself and what is meant for each place.

    Where several are equal the derivative is shared among them, as in PyTorch's `scatter_reduce`.
    """
    return operands(x, src, *arrays), {"pattern": pattern, "word": word}


# Every reduction


def _counts(x: Tensor, key: Key, src: Tensor) -> Tensor:
    """How many numbers are written to each place."""
    kind = dtypes.real_of(x.dtype) if dtypes.is_float(x.dtype) else dtypes.int64
    return add_to(zeros(x.shape, dtype=kind), key, ones(src.shape, dtype=kind))


def _product(x: Tensor, key: Key, src: Tensor) -> Tensor:
    """x times what is written to each place: a table with a row for each, filled up with ones."""
    pattern, arrays = _pattern(key)
    numbers = np.arange(math.prod(x.shape)).reshape(x.shape)
    rows = numbers[_numpy_key(pattern, [a._concrete("indices of a product") for a in arrays])]
    rows = np.broadcast_to(rows, src.shape).reshape(-1)
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=numbers.size)
    table = np.full((numbers.size, int(counts.max(initial=0)) + 1), src.size)
    starts = np.cumsum(counts) - counts
    table[rows[order], np.arange(rows.size) - starts[rows[order]]] = order
    padded = concat([reshape(src, (src.size,)), ones((1,), dtype=src.dtype)])
    return x * reshape(prod(padded[Tensor(table)], 1, dtype=x.dtype), x.shape)


def _limit(dtype: np.dtype, word: str) -> Any:
    """What leaves any maximum (minimum) as it is."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min if word == "max" else info.max)
    return -math.inf if word == "max" else math.inf


def _reduced(x: Tensor, key: Key, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    if x.dtype.kind == "c" and reduce in ("amax", "amin"):
        raise DTypeError("complex numbers have no order; none is the largest or smallest")
    if reduce == "mean" and not dtypes.is_float(x.dtype):
        raise DTypeError(f"means are of floating-point numbers, and these are {x.dtype}")
    start, counts = x, None
    if reduce == "mean" or not include_self:
        counts = _counts(x, key, src)
    if not include_self:
        neutral = {"sum": 0, "mean": 0, "prod": 1}
        word = reduce.removeprefix("a")
        start = full(x.shape, neutral.get(reduce, _limit(x.dtype, word)), dtype=x.dtype)
    if reduce in ("sum", "mean"):
        y = add_to(start, key, src)
    elif reduce == "prod":
        y = _product(start, key, src)
    else:
        pattern, arrays = _pattern(key)
        y = extreme_at(start, src, *arrays, pattern=pattern, word=reduce.removeprefix("a"))
    if reduce == "mean":
        assert counts is not None
        number = counts + 1 if include_self else where(counts == 0, 1, counts)
        y = y / number
    return y if include_self else where(counts > 0, y, x)  # type: ignore[operator]


@located
def scatter_reduce(
    x: Any, axis: int, indices: Any, src: Any, /, reduce: str, *, include_self: bool = True
) -> Tensor:
    """x with all of src that is meant for a place reduced there; PyTorch's argument order.

    Args:
        indices, src: src[…, i, …] is meant for indices[…, i, …] along the axis.
        reduce: "sum", "mean", "prod", "amax" or "amin".
        include_self: whether what x has at a place is one of the numbers.

    >>> import chainrule as cr
    >>> places, src = cr.asarray([0, 2, 2]), cr.asarray([1.0, 2.0, 4.0])
    >>> cr.scatter_reduce(cr.ones(3), 0, places, src, "prod")
    tensor([1., 1., 8.])
    """
    if reduce not in ("sum", "mean", "prod", "amax", "amin"):
        raise DTypeError(f'reduce is "sum", "mean", "prod", "amax" or "amin", not {reduce!r}')
    x, key, src = _aligned(x, axis, indices, src)
    return _reduced(x, key, src, reduce, include_self)


# By one list of indices along an axis


def _key_of(x: Tensor, axis: Any, index: Any) -> tuple[int, Key]:
    place, index = normalise_axis(axis, x.ndim), _whole(index, "an index")
    if index.ndim > 1:
        raise ShapeError(f"the index along an axis is one list of numbers, not {index.shape}")
    return place, (*(slice(None),) * place, reshape(index, (-1,)))


@located
def index_select(x: Any, axis: int, index: Any, /) -> Tensor:
    """PyTorch's name and argument order for `take`."""
    x = as_operand(x)
    return x[_key_of(x, axis, index)[1]]


@located
def index_add(x: Any, axis: int, index: Any, source: Any, /, *, alpha: float = 1) -> Tensor:
    """x with alpha · source[…, i, …] added at index[i] along an axis; what meets, adds up.

    >>> import chainrule as cr
    >>> cr.index_add(cr.zeros((3, 2)), 0, cr.asarray([2, 2]), cr.ones((2, 2)))[2]
    tensor([2., 2.])
    """
    x, source = operands(x, source)
    place, key = _key_of(x, axis, index)
    wanted = (*x.shape[:place], key[place].shape[0], *x.shape[place + 1 :])
    if source.shape != wanted:
        raise ShapeError(
            f"what is added at these indices has the shape {wanted}, not {source.shape}"
        )
    return add_to(x, key, source if alpha == 1 else source * alpha)


@located
def index_copy(x: Any, axis: int, index: Any, source: Any, /) -> Tensor:
    """x with source[…, i, …] at index[i] along an axis; of what meets the last stays.

    >>> import chainrule as cr
    >>> cr.index_copy(cr.zeros(3), 0, cr.asarray([2]), cr.asarray([5.0]))
    tensor([0., 0., 5.])
    """
    x, source = operands(x, source)
    return setitem(x, _key_of(x, axis, index)[1], source)


@located
def index_fill(x: Any, axis: int, index: Any, value: Any, /) -> Tensor:
    """x with one number at all of `index` along an axis.

    >>> import chainrule as cr
    >>> cr.index_fill(cr.zeros(3), 0, cr.asarray([0, 2]), 7.0)
    tensor([7., 0., 7.])
    """
    x = as_operand(x)
    return setitem(x, _key_of(x, axis, index)[1], value)


# Segments


def _segments(data: Any, segment_ids: Any, num_segments: Any) -> tuple[Tensor, Tensor, int]:
    data, ids = as_operand(data), _whole(segment_ids, "segment_ids")
    if data.ndim == 0 or ids.shape != data.shape[:1]:
        raise ShapeError(
            f"there is a segment for each row of the data: {ids.shape} for {data.shape}"
        )
    values = ids._value
    if num_segments is None:
        values = ids._concrete("segment_ids without num_segments")
        num_segments = int(values.max()) + 1 if values.size else 0
    if not is_whole(num_segments):
        raise DTypeError(f"num_segments is a whole number, not {num_segments!r}")
    number = int(num_segments)
    if number < 0:
        raise ShapeError(f"num_segments is at least 0, not {number}")
    if values is not None and values.size and not 0 <= values.min() <= values.max() < number:
        bad = int(values.min()) if values.min() < 0 else int(values.max())
        raise BoundsError(f"there is no segment {bad}; valid are 0 … {number - 1}")
    return data, ids, number


def _segment(data: Any, segment_ids: Any, num_segments: Any, reduce: str, empty: Any) -> Tensor:
    x, ids, number = _segments(data, segment_ids, num_segments)
    word = reduce.removeprefix("a")
    value = _limit(x.dtype, word) if empty is None else empty
    start = full((number, *x.shape[1:]), value, dtype=x.dtype)
    return _reduced(start, (ids,), x, reduce, include_self=reduce != "mean")


@located
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """The sums of the rows of each segment.

    Args:
        data: (n, …).
        segment_ids: (n,) whole numbers, in any order: which segment each row belongs to.
        num_segments: how many segments there are; by default the largest number and one.

    Raises:
        BoundsError: a row belongs to a segment that there is not.

    >>> import chainrule as cr
    >>> cr.segment_sum(cr.asarray([1.0, 2.0, 4.0]), cr.asarray([0, 1, 0]))
    tensor([5., 2.])
    """
    return _segment(data, segment_ids, num_segments, "sum", 0)


@located
def segment_mean(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """The means of the rows of each segment, as in `segment_sum`; 0 where there are none."""
    return _segment(data, segment_ids, num_segments, "mean", 0)


@located
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """The largest of the rows of each segment; −∞ (or the least integer) where there are none."""
    return _segment(data, segment_ids, num_segments, "amax", None)


@located
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """The smallest of the rows of each segment; ∞ (or the largest integer) where there are none."""
    return _segment(data, segment_ids, num_segments, "amin", None)


@located
def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None) -> Tensor:
    """The products of the rows of each segment; 1 where there are none."""
    return _segment(data, segment_ids, num_segments, "prod", 1)

"""PyTorch's changes of shape, joining, cutting and indexing that are short compositions of ours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import chainrule as cr
from tests.against.torch_names import Lacks, axes_of, same

Maker = Callable[..., Any]


def along(x: Any, axis: int, part: Any) -> Any:
    """x[:, …, part] with the part at an axis."""
    return x[(slice(None),) * (axis % x.ndim) + (part,)]


def expand(x: Any, shape: Any) -> Any:
    new = [None] * (len(shape) - x.ndim) + list(x.shape)
    return cr.broadcast_to(x, tuple(o if n == -1 else n for n, o in zip(shape, new, strict=True)))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Of the axes named, those of size 1: by the standard the others are an error."""
    named = () if axis == () else axes_of(x, axis)
    return cr.squeeze(x, tuple(a for a in named if x.ndim and x.shape[a] == 1))


def select(x: Any, axis: int, index: int) -> Any:
    return along(x, axis, index)


def narrow(x: Any, axis: int, start: Any, length: int) -> Any:
    start = int(start) + (x.shape[axis] if int(start) < 0 else 0)
    return along(x, axis, slice(start, start + length))


def sliced(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return along(x, dim, slice(start, end, step))


def scattered(place: Maker) -> Maker:
    """x with another array in the place that a view of it has."""

    def call(x: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
        numbers = cr.reshape(cr.arange(math.prod(x.shape)), x.shape)
        index = cr.reshape(place(numbers, *args, **kwargs), (-1,))
        flat = cr.index_copy(cr.reshape(x, (-1,)), 0, index, cr.reshape(source, (-1,)))
        return cr.reshape(flat, x.shape)

    return call


def diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return cr.diagonal(cr.moveaxis(x, (dim1, dim2), (-2, -1)), offset=offset)


def diag_embed(x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    return cr.moveaxis(cr.diag_embed(x, offset=offset), (-2, -1), (dim1, dim2))


def windows(x: Any, axis: int, size: int, step: int) -> Any:
    if x.ndim == 0:
        x = cr.reshape(x, (1,))
        return cr.reshape(x, (1,)) if size else x[:0]
    count = (x.shape[axis] - size) // step + 1
    index = np.arange(count)[:, None] * step + np.arange(size)
    taken = cr.take(x, cr.asarray(index.reshape(-1)), axis=axis)
    split = cr.unflatten(taken, axis, (count, size))
    return cr.moveaxis(split, axis % x.ndim + 1, -1)


def strided(x: Any, size: Any, stride: Any, storage_offset: int = 0) -> Any:
    index = np.full(tuple(size), int(storage_offset or 0))
    for n, (length, step) in enumerate(zip(size, stride, strict=True)):
        index += (np.arange(length) * step).reshape((-1,) + (1,) * (len(size) - 1 - n))
    return cr.take(cr.reshape(x, (-1,)), cr.asarray(index.reshape(-1))).reshape(index.shape)


def at_least(n: int) -> Maker:
    def one(x: Any) -> Any:
        if n == 1 or x.ndim == 0:
            return cr.reshape(x, (1,) * max(n - x.ndim, 0) + x.shape)
        x = cr.reshape(x, (1, *x.shape)) if x.ndim == 1 else x
        return cr.expand_dims(x, -1) if n == 3 and x.ndim == 2 else x

    def call(*xs: Any) -> Any:
        xs = xs[0] if isinstance(xs[0], (list, tuple)) else xs
        return one(xs[0]) if len(xs) == 1 else [one(x) for x in xs]

    return call


def column_stack(xs: Sequence[Any]) -> Any:
    return cr.concat([cr.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in xs], axis=1)


def split_at(axis: Any) -> Maker:
    return lambda x, parts: cr.tensor_split(x, parts, axis(x))


def block_diag(*xs: Any) -> Any:
    xs = tuple(at_least(2)(x) for x in xs)
    width = sum(x.shape[1] for x in xs)
    before = itertools.accumulate((x.shape[1] for x in xs), initial=0)
    return cr.concat(
        [
            cr.pad(x, ((0, 0), (b, width - b - x.shape[1])))
            for x, b in zip(xs, before, strict=False)
        ],
        axis=0,
    )


def cartesian_prod(*xs: Any) -> Any:
    if len(xs) == 1:
        return xs[0]
    grids = cr.meshgrid(*xs, indexing="ij")
    return cr.stack([cr.reshape(g, (-1,)) for g in grids], axis=-1)


def combinations(x: Any, r: int = 2, with_replacement: bool = False) -> Any:
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    index = np.array(list(choose(range(x.shape[0]), r)), dtype=np.int64).reshape(-1, r)
    return cr.take(x, cr.asarray(index.reshape(-1))).reshape(index.shape)


def cat(xs: Sequence[Any], dim: int = 0) -> Any:
    """PyTorch leaves out arrays of the shape (0,) among others."""
    kept = [x for x in xs if x.shape != (0,)] or xs
    return cr.concat(kept, axis=dim)


def gather(x: Any, axis: int, index: Any, sparse_grad: bool = False) -> Any:
    if index.ndim != x.ndim:
        raise Lacks("empty indices of another number of axes than the array")
    return same("gather")(x, axis, index)


def take_along_dim(x: Any, index: Any, dim: Any = None) -> Any:
    if dim is None:
        x, index = cr.reshape(x, (-1,)), cr.reshape(index, (-1,))
    return cr.take_along_axis(x, index, axis=-1 if dim is None else dim)


def get(x: Any, index: Any) -> Any:
    """PyTorch's lists of numbers in an index are arrays."""
    items = index if isinstance(index, tuple) else (index,)
    return x[tuple(cr.asarray(i) if isinstance(i, list) else i for i in items)]


def index_put(x: Any, index: Any, values: Any, accumulate: bool = False) -> Any:
    def place(numbers: Any) -> Any:
        return get(numbers, tuple(index))

    if not accumulate:
        full = cr.broadcast_to(values, place(cr.reshape(cr.arange(x.size), x.shape)).shape)
        return scattered(place)(x, full)
    numbers = place(cr.reshape(cr.arange(x.size), x.shape))
    source = cr.reshape(cr.broadcast_to(values, numbers.shape), (-1,))
    flat = cr.index_add(cr.reshape(x, (-1,)), 0, cr.reshape(numbers, (-1,)), source)
    return cr.reshape(flat, x.shape)


def put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    op = cr.index_add if accumulate else cr.index_copy
    index = cr.reshape(index, (-1,))
    return op(cr.reshape(x, (-1,)), 0, index, cr.reshape(source, (-1,))).reshape(x.shape)


def scatter(x: Any, axis: int, index: Any, src: Any, reduce: str | None = None) -> Any:
    if not isinstance(src, cr.Tensor):
        src = cr.full(index.shape, src, dtype=x.dtype)
    if reduce is None:
        return same("scatter")(x, axis, index, src)
    return same("scatter_reduce")(x, axis, index, src, {"add": "sum", "multiply": "prod"}[reduce])


def index_reduce(
    x: Any, axis: int, index: Any, source: Any, reduce: str, include_self: bool = True
) -> Any:
    if x.ndim == 0:
        return index_reduce(x.reshape((1,)), 0, index, source.reshape((1,)), reduce, include_self)[
            0
        ]
    shape = [1] * x.ndim
    shape[axis] = -1
    full = cr.broadcast_to(cr.reshape(index, tuple(shape)), source.shape)
    return cr.scatter_reduce(x, axis, full, source, reduce, include_self=include_self)


SHAPES: dict[str, Maker] = {
    "expand": expand,
    "expand_copy": expand,
    "expand_as": lambda x, y: cr.broadcast_to(x, y.shape),
    "reshape_as": lambda x, y: cr.reshape(x, y.shape),
    "view_as": lambda x, y: cr.reshape(x, y.shape),
    "ravel": lambda x: cr.reshape(x, (-1,)),
    "flatten": lambda x, start_dim=0, end_dim=-1: cr.flatten(x, start_dim, end_dim),
    "squeeze": squeeze,
    "squeeze.multiple": squeeze,
    "squeeze_copy": squeeze,
    "t": lambda x: x if x.ndim < 2 else x.mT,
    "t_copy": lambda x: x if x.ndim < 2 else x.mT,
    "T": lambda x: x if x.ndim < 2 else x.mT,
    "H": lambda x: cr.conj(x if x.ndim < 2 else x.mT),
    "mH": lambda x: cr.conj(x.mT),
    "select": select,
    "narrow": narrow,
    "narrow_copy": narrow,
    "slice": sliced,
    "select_scatter": scattered(select),
    "slice_scatter": scattered(sliced),
    "diagonal_scatter": scattered(diagonal),
    "diagonal": diagonal,
    "diagonal_copy": diagonal,
    "diag_embed": diag_embed,
    "linalg.diagonal": lambda x, offset=0, dim1=-2, dim2=-1: diagonal(x, offset, dim1, dim2),
    "diagflat": lambda x, offset=0: cr.diag(cr.reshape(x, (-1,)), k=offset),
    "unfold": windows,
    "unfold_copy": windows,
    "as_strided": strided,
    "as_strided_copy": strided,
    "atleast_1d": at_least(1),
    "atleast_2d": at_least(2),
    "atleast_3d": at_least(3),
    "column_stack": column_stack,
    "block_diag": block_diag,
    "cat": cat,
    "cartesian_prod": cartesian_prod,
    "combinations": combinations,
    "hsplit": split_at(lambda x: 0 if x.ndim == 1 else 1),
    "vsplit": split_at(lambda x: 0),
    "dsplit": split_at(lambda x: 2),
    "fliplr": lambda x: cr.flip(x, axis=1),
    "flipud": lambda x: cr.flip(x, axis=0),
    "meshgrid.variadic_tensors": lambda *xs, indexing="ij": cr.meshgrid(
        *map(at_least(1), xs), indexing=indexing
    ),
    "meshgrid.list_of_tensors": lambda xs, indexing="ij": cr.meshgrid(
        *map(at_least(1), xs), indexing=indexing
    ),
    "broadcast_tensors": lambda *xs: cr.broadcast_arrays(*xs),
    "broadcast_shapes": lambda *shapes: cr.broadcast_shapes(
        *((s,) if isinstance(s, int) else s for s in shapes)
    ),
    "sum_to_size": lambda x, *shape: x.sum_to(
        tuple(shape[0]) if shape and not isinstance(shape[0], int) else shape
    ),
    "repeat_interleave": lambda x, repeats, dim=None, output_size=None: cr.repeat(
        x, repeats, axis=dim
    ),
    "take": lambda x, index: cr.take(cr.reshape(x, (-1,)), cr.reshape(index, (-1,))).reshape(
        index.shape
    ),
    "take_along_dim": take_along_dim,
    "__getitem__": get,
    "index_put": index_put,
    "put": put,
    "scatter": scatter,
    **{f"index_reduce.{how}": index_reduce for how in ("mean", "prod", "amin", "amax")},
    "inner": lambda a, b: (
        a * b if 0 in (a.ndim, b.ndim) else cr.tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))
    ),
    "fill": lambda x, value: cr.full_like(x, value),
    "zero_": cr.zeros_like,
    "gather": gather,
}

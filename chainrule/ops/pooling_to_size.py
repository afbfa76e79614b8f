"""Pooling to a size: as many windows as are asked for, each as large as it must be.

Window i of m on an axis of n is ⌊i n / m⌋ … ⌈(i + 1) n / m⌉ − 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import getitem, take_along_axis
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.pooling import adaptive_avg_pool2d, averages, check_images, target_size
from chainrule.ops.pooling_ranks import Pooled
from chainrule.ops.reduction import argmax
from chainrule.ops.structure import broadcast_to, reshape
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


def _rank_check(rank: int) -> Callable[..., None]:
    return lambda x, **attrs: check_images(rank, x)


@composite(
    formula="y[…, i] = Σ_k a[i, k] · x[…, k]",
    check=_rank_check(1),
    operations=lambda y, x, output_size: 2 * math.prod(x.shape),
    formula_view=lambda x, y, output_size: (
        {"x": x, "a": averages(x.shape[-1], y.shape[-1], np.float64)},
        y,
    ),
    samples=lambda: [((sampled(2, 3, 6), 1), {}), ((sampled(2, 7), 4), {})],
)
def adaptive_avg_pool1d(x: Tensor, /, output_size: Any) -> Tensor:
    """The means of as many windows as make a sequence of a length.

    >>> import chainrule as cr
    >>> cr.adaptive_avg_pool1d(cr.asarray([[1.0, 3.0, 2.0, 4.0]]), 2)
    tensor([[2., 3.]])
    """
    (size,) = target_size(x, output_size, 1)
    y = adaptive_avg_pool2d(reshape(x, (*x.shape[:-1], 1, x.shape[-1])), (1, size))
    return reshape(y, (*x.shape[:-1], size))


@composite(
    formula="y[…, h, i, j] = Σ_{a, k, l} A[h, a] · B[i, k] · C[j, l] · x[…, a, k, l]",
    check=_rank_check(3),
    operations=lambda y, x, output_size: 2 * math.prod(x.shape),
    formula_view=lambda x, y, output_size: (
        {
            "x": x,
            **{
                name: averages(x.shape[axis], y.shape[axis], np.float64)
                for name, axis in (("A", -3), ("B", -2), ("C", -1))
            },
        },
        y,
    ),
    samples=lambda: [((sampled(2, 3, 4, 5, 2), 1), {}), ((sampled(2, 5, 3, 4), (3, None, 3)), {})],
)
def adaptive_avg_pool3d(x: Tensor, /, output_size: Any) -> Tensor:
    """The means of as many windows as make a volume of a size; None keeps an axis as it is.

    >>> import chainrule as cr
    >>> cr.adaptive_avg_pool3d(cr.ones((1, 3, 7, 5, 4)), (2, None, 1)).shape
    (1, 3, 2, 5, 1)
    """
    deep, *flat = target_size(x, output_size, 3)
    y = adaptive_avg_pool2d(reshape(x, (math.prod(x.shape[:-3]), *x.shape[-3:])), tuple(flat))
    columns = reshape(y, (*x.shape[:-2], math.prod(flat)))
    y = matmul(Tensor(averages(x.shape[-3], deep, x.dtype)), columns)
    return reshape(y, (*x.shape[:-3], deep, *flat))


def _window_pixels(size: tuple[int, ...], parts: tuple[int, ...]) -> np.ndarray:
    """(number of windows, pixels of the largest): the pixels of each, of which the last again and
    again where it has fewer; window i of m on an axis of n is ⌊i n / m⌋ … ⌈(i + 1) n / m⌉ − 1."""
    sides = []
    for n, m in zip(size, parts, strict=True):
        i = np.arange(m)[:, None]
        start, stop = i * n // m, -(-(i + 1) * n // m)
        sides.append(np.minimum(start + np.arange(int((stop - start).max())), stop - 1))
    rank, grid = len(size), []
    for axis, side in enumerate(sides):
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = side.shape
        grid.append(side.reshape(shape))
    flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*grid)), size)
    return flat.reshape(math.prod(parts), -1)


def _adaptive_max(rank: int, x: Any, output_size: Any) -> Pooled:
    x = as_operand(x)
    check_images(rank, x)
    parts = target_size(x, output_size, rank)
    lead, size = x.shape[:-rank], x.shape[-rank:]
    pixels = Tensor(_window_pixels(size, parts))
    flat = reshape(x, (*lead, math.prod(size)))
    best = argmax(getitem(flat, (Ellipsis, pixels)), -1, keepdims=True)
    spread = broadcast_to(pixels, (*best.shape[:-1], pixels.shape[-1]))
    places = reshape(take_along_axis(spread, best), best.shape[:-1])
    values = take_along_axis(flat, places)
    return Pooled(reshape(values, (*lead, *parts)), reshape(places, (*lead, *parts)))


@located
def adaptive_max_pool1d_with_indices(x: Any, /, output_size: Any) -> Pooled:
    """(values, indices): `adaptive_max_pool1d`, and which element of the sequence it was."""
    return _adaptive_max(1, x, output_size)


@located
def adaptive_max_pool2d_with_indices(x: Any, /, output_size: Any) -> Pooled:
    """(values, indices): `adaptive_max_pool2d`, and which pixel it was, in reading order."""
    return _adaptive_max(2, x, output_size)


@located
def adaptive_max_pool3d_with_indices(x: Any, /, output_size: Any) -> Pooled:
    """(values, indices): `adaptive_max_pool3d`, and which place of the volume it was."""
    return _adaptive_max(3, x, output_size)


def _adaptive_max_declaration(rank: int) -> dict[str, Any]:
    size, output = (5, 4, 3)[:rank], (3, 4, 2)[:rank]
    return {
        "formula": "y = the largest x of each window ⌊i n / m⌋ … ⌈(i + 1) n / m⌉ − 1",
        "display_only": True,
        "operations": lambda y, x, output_size: math.prod(x.shape),
        "samples": lambda: [
            ((sampled(2, 3, *size), 1), {}),
            ((sampled(2, *size), output), {}),
            ((sampled(0, 1, *size), 2), {}),
        ],
    }


@composite(**_adaptive_max_declaration(1))
def adaptive_max_pool1d(x: Tensor, /, output_size: Any) -> Tensor:
    """The largest of each of as many windows as make a sequence of a length.

    >>> import chainrule as cr
    >>> cr.adaptive_max_pool1d(cr.asarray([[1.0, 3.0, 2.0, 4.0]]), 2)
    tensor([[3., 4.]])
    """
    return _adaptive_max(1, x, output_size).values


@composite(**_adaptive_max_declaration(2))
def adaptive_max_pool2d(x: Tensor, /, output_size: Any) -> Tensor:
    """The largest of each of as many windows as make an image of a size; None keeps an axis.

    >>> import chainrule as cr
    >>> cr.adaptive_max_pool2d(cr.ones((1, 3, 7, 5)), (2, None)).shape
    (1, 3, 2, 5)
    """
    return _adaptive_max(2, x, output_size).values


@composite(**_adaptive_max_declaration(3))
def adaptive_max_pool3d(x: Tensor, /, output_size: Any) -> Tensor:
    """The largest of each of as many windows as make a volume of a size; None keeps an axis."""
    return _adaptive_max(3, x, output_size).values

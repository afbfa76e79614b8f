"""Pooling of sequences and volumes by that of images, by powers, and to a size; and unpooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, sign
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import take_along_axis
from chainrule.ops.pooling import (
    avg_pool2d,
    check_images,
    max_pool2d,
    pool_places,
    pool_window,
    window_counts,
)
from chainrule.ops.scattering import scatter
from chainrule.ops.structure import reshape
from chainrule.ops.windows import formula_names, pixel_names
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import sizes
from chainrule.tensor.tensor import Tensor

INTERNAL = ("Pooled",)


class Pooled(NamedTuple):
    """The largest numbers, and where in the image (its pixels numbered in reading order)."""

    values: Tensor
    indices: Tensor


# A sequence as an image of height 1; a volume as its planes, then along its depth

Pool = Callable[..., Tensor]


def _along_sequence(pool: Pool, x: Tensor, steps: dict[str, Any]) -> Tensor:
    still = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    flat = {name: (still[name], *steps[name]) for name in steps}
    y = pool(reshape(x, (*x.shape[:-1], 1, x.shape[-1])), **flat)
    return reshape(y, (*y.shape[:-2], y.shape[-1]))


def _through_volume(pool: Pool, x: Tensor, steps: dict[str, Any]) -> Tensor:
    still = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    lead, depth = x.shape[:-3], x.shape[-3]
    planes = reshape(x, (math.prod(lead), *x.shape[-3:]))
    y = pool(planes, **{name: steps[name][1:] for name in steps})
    size = y.shape[-2:]
    columns = reshape(y, (math.prod(lead), 1, depth, math.prod(size)))
    y = pool(columns, **{name: (steps[name][0], still[name]) for name in steps})
    return reshape(y, (*lead, y.shape[-2], *size))


def _ranked(rank: int, pool: Pool, x: Tensor, **steps: Any) -> Tensor:
    if steps.get("stride", 1) is None:
        steps["stride"] = steps["kernel_size"]
    steps = {name: sizes(value, rank, name) for name, value in steps.items()}
    if rank == 2:
        return pool(x, **steps)
    return (_along_sequence if rank == 1 else _through_volume)(pool, x, steps)


# The largest


def _rank_check(rank: int) -> Callable[..., None]:
    return lambda x, **attrs: check_images(rank, x)


def _operations(rank: int) -> Callable[..., int]:
    def operations(y: Any, x: Any, kernel_size: Any, **attrs: Any) -> int:
        return math.prod(y.shape) * math.prod(sizes(kernel_size, rank, "kernel_size"))

    return operations


def _view(rank: int) -> Callable[..., Any]:
    def view(x: np.ndarray, y: np.ndarray, **attrs: Any) -> tuple[dict, np.ndarray]:
        window = pool_window(x.shape[-rank:], **attrs)
        return {"x": x, "w": np.zeros(window["kernel"]), **formula_names(**window)}, y

    return view


def _samples(rank: int, last: dict[str, Any]) -> Callable[[], list]:
    def samples() -> list:
        size = (4, 5, 6)[:rank]
        return [
            ((sampled(2, 3, *size), 2), {}),
            (
                (sampled(2, *size), (3, 2, 2)[:rank]),
                {"stride": 2, "padding": 1, "ceil_mode": True},
            ),
            ((sampled(1, 1, *size), 2), last),
        ]

    return samples


def _max_declaration(rank: int) -> dict[str, Any]:
    places, within, pixels = pixel_names(rank)
    return {
        "formula": f"y[…, {places}] = max_{{{within}}} (x[…, {pixels}] + 0 · w[{within}])",
        "check": _rank_check(rank),
        "operations": _operations(rank),
        "formula_view": _view(rank),
        "samples": _samples(rank, {"stride": 1, "dilation": 2}),
    }


@composite(**_max_declaration(1))
def max_pool1d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The largest number of each window of a sequence (batch, channels, length), as `max_pool2d`.

    >>> import chainrule as cr
    >>> cr.max_pool1d(cr.asarray([[1.0, 3.0, 2.0, 4.0]]), 2)
    tensor([[3., 4.]])
    """
    pool = partial(max_pool2d, ceil_mode=ceil_mode)
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    return _ranked(1, pool, x, kernel_size=kernel_size, **steps)


@composite(**_max_declaration(3))
def max_pool3d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The largest number of each window of a volume (batch, channels, depth, height, width).

    >>> import chainrule as cr
    >>> cr.max_pool3d(cr.ones((1, 2, 4, 6, 6)), 2).shape
    (1, 2, 2, 3, 3)
    """
    pool = partial(max_pool2d, ceil_mode=ceil_mode)
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    return _ranked(3, pool, x, kernel_size=kernel_size, **steps)


def _winners(x: Tensor, window: dict[str, Any]) -> Tensor:
    """The pixel that is the largest of each window of an image, as its number in reading order."""
    which = pool_places(x, **window).astype(dtypes.int64)
    sides = []
    numbers = which // window["kernel"][1], which % window["kernel"][1]
    for axis, number in enumerate(numbers):
        start = np.arange(which.shape[axis - 2]) * window["stride"][axis]
        start = start.reshape(-1, *(1,) * (1 - axis)) - window["padding"][axis][0]
        sides.append(number * window["dilation"][axis] + Tensor(start))
    return sides[0] * x.shape[-1] + sides[1]


def _max_with_indices(
    rank: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Pooled:
    x = as_operand(x)
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    largest = (max_pool1d, max_pool2d, max_pool3d)[rank - 1]
    values = largest(x, kernel_size, **steps, ceil_mode=ceil_mode)
    window = pool_window(x.shape[-rank:], kernel_size, **steps, ceil_mode=ceil_mode)
    if rank == 2:
        return Pooled(values, _winners(x, window))
    if rank == 1:
        still = {"kernel": 1, "stride": 1, "dilation": 1, "padding": (0, 0)}
        flat = {name: (still[name], *window[name]) for name in window}
        indices = _winners(reshape(x, (*x.shape[:-1], 1, x.shape[-1])), flat)
        return Pooled(values, reshape(indices, values.shape))
    # In each plane, then of the planes.
    flat = {name: value[1:] for name, value in window.items()}
    deep = {
        "kernel": (window["kernel"][0], 1), "stride": (window["stride"][0], 1),
        "dilation": (window["dilation"][0], 1), "padding": (window["padding"][0], (0, 0)),
    }  # fmt: skip
    size = x.shape[-2:]
    inside = _winners(x, flat)
    seen = take_along_axis(
        reshape(x, (*x.shape[:-2], -1)), reshape(inside, (*inside.shape[:-2], -1))
    )
    plane = _winners(seen, deep) // seen.shape[-1]
    place = take_along_axis(reshape(inside, seen.shape), plane, axis=-2)
    return Pooled(values, reshape(plane * math.prod(size) + place, values.shape))  # fmt: skip


@located
def max_pool1d_with_indices(
    x: Any, /, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Pooled:  # fmt: skip
    """(values, indices): `max_pool1d`, and which element of the sequence it was.

    >>> import chainrule as cr
    >>> cr.max_pool1d_with_indices(cr.asarray([[1.0, 3.0, 2.0, 4.0]]), 2).indices
    tensor([[1, 3]], dtype=int64)
    """
    return _max_with_indices(1, x, kernel_size, stride, padding, dilation, ceil_mode)


@located
def max_pool2d_with_indices(
    x: Any, /, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Pooled:  # fmt: skip
    """(values, indices): `max_pool2d`, and which pixel it was, numbered in reading order.

    >>> import chainrule as cr
    >>> cr.max_pool2d_with_indices(cr.reshape(cr.arange(4.0), (1, 2, 2)), 2).indices.item()
    3
    """
    return _max_with_indices(2, x, kernel_size, stride, padding, dilation, ceil_mode)


@located
def max_pool3d_with_indices(
    x: Any, /, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Pooled:  # fmt: skip
    """(values, indices): `max_pool3d`, and which place of the volume it was."""
    return _max_with_indices(3, x, kernel_size, stride, padding, dilation, ceil_mode)


def _unpool(
    rank: int, x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    x, indices = as_operand(x), as_operand(indices)
    check_images(rank, x)
    if indices.shape != x.shape:
        raise ShapeError(f"there is an index for each number: {indices.shape} for {x.shape}")
    window = pool_window((1,) * rank, kernel_size, stride, 0, 1, False)
    edges = sizes(padding, rank, "padding")
    parts = zip(x.shape[-rank:], window["kernel"], window["stride"], edges, strict=True)
    size = tuple((n - 1) * s - 2 * p + k for n, k, s, p in parts)
    if output_size is not None:
        size = tuple(int(n) for n in tuple(output_size)[-rank:])
    lead = x.shape[:-rank]
    empty = zeros((*lead, math.prod(size)), dtype=x.dtype)
    flat = (*lead, math.prod(x.shape[-rank:]))
    return reshape(scatter(empty, -1, reshape(indices, flat), reshape(x, flat)), (*lead, *size))


@located
def max_unpool1d(
    x: Any, indices: Any, /, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """A sequence with x at `indices` (of `max_pool1d_with_indices`), and zeros elsewhere."""
    return _unpool(1, x, indices, kernel_size, stride, padding, output_size)


@located
def max_unpool2d(
    x: Any, indices: Any, /, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """An image with x at `indices` (of `max_pool2d_with_indices`), and zeros elsewhere.

    Args:
        output_size: the image's height and width, where the window and stride leave them open.

    >>> import chainrule as cr
    >>> x = cr.reshape(cr.arange(4.0), (1, 2, 2))
    >>> cr.max_unpool2d(*cr.max_pool2d_with_indices(x, 2), 2)
    tensor([[[0., 0.],
             [0., 3.]]])
    """
    return _unpool(2, x, indices, kernel_size, stride, padding, output_size)


@located
def max_unpool3d(
    x: Any, indices: Any, /, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """A volume with x at `indices` (of `max_pool3d_with_indices`), and zeros elsewhere."""
    return _unpool(3, x, indices, kernel_size, stride, padding, output_size)


# The mean


def _average_view(rank: int) -> Callable[..., Any]:
    def view(
        x: np.ndarray, y: np.ndarray, count_include_pad: bool = True,
        divisor_override: Any = None, **attrs: Any,
    ) -> tuple[dict, np.ndarray]:  # fmt: skip
        size = x.shape[-rank:]
        window = pool_window(size, dilation=1, **attrs)
        counts = window_counts(size, window, count_include_pad, divisor_override)
        names = formula_names(**window)
        return {"x": x, "w": np.ones(window["kernel"]), "n": counts, **names}, y

    return view


def _average_declaration(rank: int) -> dict[str, Any]:
    places, within, pixels = pixel_names(rank)
    return {
        "formula": f"y[…, {places}] = (Σ_{{{within}}} x[…, {pixels}] · w[{within}]) / n[{places}]",
        "check": _rank_check(rank),
        "operations": _operations(rank),
        "formula_view": _average_view(rank),
        "samples": _samples(rank, {"padding": 1, "count_include_pad": False}),
    }


@composite(**_average_declaration(1))
def avg_pool1d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of a sequence (batch, channels, length), as `avg_pool2d`.

    >>> import chainrule as cr
    >>> cr.avg_pool1d(cr.asarray([[1.0, 3.0, 2.0, 4.0]]), 2)
    tensor([[2., 3.]])
    """
    pool = partial(avg_pool2d, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    return _ranked(1, pool, x, kernel_size=kernel_size, stride=stride, padding=padding)


@composite(**_average_declaration(3))
def avg_pool3d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of a volume (batch, channels, depth, height, width).

    >>> import chainrule as cr
    >>> cr.avg_pool3d(cr.ones((1, 2, 4, 6, 6)), 2).shape
    (1, 2, 2, 3, 3)
    """
    steps = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    pool = partial(avg_pool2d, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    if divisor_override is None:
        return _ranked(3, pool, x, **steps)
    total = _ranked(3, partial(pool, divisor_override=1), x, **steps)
    window = pool_window(x.shape[-3:], **steps, dilation=1, ceil_mode=ceil_mode)
    counts = window_counts(x.shape[-3:], window, count_include_pad, divisor_override)
    return total * Tensor((1 / counts).astype(x.dtype))


# The mean of powers


def _power_view(rank: int) -> Callable[..., Any]:
    def view(
        x: np.ndarray, y: np.ndarray, norm_type: float, kernel_size: Any, stride: Any,
        ceil_mode: bool,
    ) -> tuple[dict, np.ndarray]:  # fmt: skip
        steps = {"kernel_size": kernel_size, "stride": stride, "padding": 0}
        values, y = _average_view(rank)(x, y, **steps, ceil_mode=ceil_mode)
        return {**values, "power": norm_type, "size": values["w"].size}, y

    return view


def _power_declaration(rank: int) -> dict[str, Any]:
    places, within, pixels = pixel_names(rank)
    return {
        "formula": f"y[…, {places}] = ((Σ_{{{within}}} (x[…, {pixels}]^power) · w[{within}]) · "
        f"size / n[{places}])^(1 / power)",
        "check": _rank_check(rank),
        "operations": lambda y, x, **attrs: 4 * math.prod(x.shape),
        "formula_view": _power_view(rank),
        "samples": lambda: [
            ((sampled(2, 3, *(4, 5, 6)[:rank]), 2, 2), {}),
            ((np.abs(sampled(2, *(4, 5, 6)[:rank])) + 0.3, 3, 2), {"stride": 1}),
            ((sampled(1, 1, *(5, 5, 5)[:rank]), 4.0, 2), {"ceil_mode": True}),
        ],
    }


def _power_pool(
    rank: int, x: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    if isinstance(norm_type, bool) or not isinstance(norm_type, (int, float)) or norm_type == 0:
        raise DTypeError(f"norm_type is a power other than 0, not {norm_type!r}")
    number = math.prod(sizes(kernel_size, rank, "kernel_size"))
    mean = (avg_pool1d, avg_pool2d, avg_pool3d)[rank - 1]
    total = mean(x**norm_type, kernel_size, stride, ceil_mode=ceil_mode) * number
    # The root's slope is infinite at 0; PyTorch's convention is that the derivative there is 0.
    nothing = total == 0
    size = where(nothing, 1.0, abs(total)) ** (1 / norm_type)
    return where(nothing, 0.0, sign(total) * size)


@composite(**_power_declaration(1))
def lp_pool1d(
    x: Tensor, /, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) over each window of a sequence, with p = `norm_type`; 1 gives the sum.

    >>> import chainrule as cr
    >>> cr.lp_pool1d(cr.asarray([[3.0, 4.0]]), 2, 2)
    tensor([[5.]])
    """
    return _power_pool(1, x, norm_type, kernel_size, stride, ceil_mode)


@composite(**_power_declaration(2))
def lp_pool2d(
    x: Tensor, /, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) over each window of an image, with p = `norm_type`; 1 gives the sum.

    Of a window that hangs over the edge by `ceil_mode`, the sum is scaled up to a whole window's.
    """
    return _power_pool(2, x, norm_type, kernel_size, stride, ceil_mode)


@composite(**_power_declaration(3))
def lp_pool3d(
    x: Tensor, /, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ xᵖ)^(1/p) over each window of a volume, with p = `norm_type`; 1 gives the sum."""
    return _power_pool(3, x, norm_type, kernel_size, stride, ceil_mode)

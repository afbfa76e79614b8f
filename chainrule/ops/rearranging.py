"""Images rearranged: windows as columns and back, channels as pixels and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.structure import no_cost, permute_dims, reshape
from chainrule.ops.windows import (
    add_windows,
    formula_names,
    image_padding,
    places,
    window_steps,
    windows,
)
from chainrule.tensor.shapes import pair
from chainrule.tensor.tensor import Tensor


def _steps(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Any]:
    steps = window_steps(kernel=kernel_size, stride=stride, dilation=dilation)
    return {**steps, "padding": image_padding(pair(padding, "padding"), **steps)}


def _unfold_view(x: np.ndarray, y: np.ndarray, **attrs: Any) -> tuple[dict, np.ndarray]:
    """The columns as windows: (…, channels, k, l, rows, columns)."""
    steps = _steps(**attrs)
    shape = (*x.shape[:-2], *steps["kernel"], *places(x.shape[-2:], **steps))
    return {"x": x, **formula_names(**steps)}, y.reshape(shape)


_FOLDS: list[Any] = [
    ((2, 3, 4, 5), {"kernel_size": (2, 3)}),
    ((2, 5, 6), {"kernel_size": 2, "stride": 2, "dilation": (1, 2), "padding": 1}),
    ((0, 1, 4, 4), {"kernel_size": 2}),
]


@composite(
    formula="y[…, c, k, l, i, j] = x[…, c, s · i + d · k − p, t · j + e · l − r]",
    formula_view=_unfold_view,
    operations=no_cost,
    samples=lambda: [((sampled(*shape),), attrs) for shape, attrs in _FOLDS],
)
def unfold(
    x: Tensor, /, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of an image as columns (im2col).

    Args:
        x: (batch, channels, height, width), or one image without the batch.
        kernel_size, dilation, padding, stride: the windows, each one number or a pair.

    Returns:
        (batch, channels · k · l, number of windows), in which a column is one window's numbers.

    >>> import chainrule as cr
    >>> cr.unfold(cr.reshape(cr.arange(6.0), (1, 2, 3)), 2)
    tensor([[0., 1.],
            [1., 2.],
            [3., 4.],
            [4., 5.]])
    """
    if x.ndim not in (3, 4):
        raise ShapeError(
            f"the input is (batch, channels, height, width) or one image without the batch, not "
            f"{x.shape}"
        )
    steps = _steps(kernel_size, dilation, padding, stride)
    seen = windows(x, steps.pop("kernel"), **steps)
    lead, inner, found = x.shape[:-3], seen.shape[-5:-2], seen.shape[-2:]
    return reshape(seen, (*lead, math.prod(inner), math.prod(found)))


def _fold_samples() -> list:
    found = []
    defaults: dict[str, Any] = {"dilation": 1, "padding": 0, "stride": 1}
    for shape, attrs in _FOLDS:
        steps = _steps(**{**defaults, **attrs})
        rows = shape[-3] * math.prod(steps["kernel"])
        columns = math.prod(places(shape[-2:], **steps))
        found.append(((sampled(*shape[:-3], rows, columns), shape[-2:]), attrs))
    return found


@composite(
    formula="y = an image of zeros, to which every column was added as the window that it is",
    display_only=True,
    operations=lambda y, x, **attrs: math.prod(x.shape),
    samples=_fold_samples,
)
def fold(
    x: Tensor, /, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Tensor:  # fmt: skip
    """An image to which columns are added as windows (col2im): the transpose of `unfold`.

    What overlaps adds up, so it undoes `unfold` only where the windows lie side by side.

    Args:
        x: (batch, channels · k · l, number of windows), or without the batch.
        output_size: the image's height and width.

    >>> import chainrule as cr
    >>> cr.fold(cr.ones((1, 4, 2)), (2, 3), 2)
    tensor([[[[1., 2., 1.],
              [1., 2., 1.]]]])
    """
    steps = _steps(kernel_size, dilation, padding, stride)
    size, inner = pair(output_size, "output_size"), math.prod(steps["kernel"])
    found = places(size, **steps)
    if x.ndim not in (2, 3) or x.shape[-2] % inner or x.shape[-1] != math.prod(found):
        raise ShapeError(
            f"an image of {size} has {math.prod(found)} such windows of {inner} numbers for each "
            f"channel: (batch, channels · {inner}, {math.prod(found)}), not {x.shape}"
        )
    shape = (*x.shape[:-2], x.shape[-2] // inner, *steps["kernel"], *found)
    return add_windows(reshape(x, shape), size=size, **steps)


def _factor(value: Any, name: str) -> int:
    return window_steps(1, **{name: value})[name][0]


@composite(
    formula="y[…, c, i, j] = x[…, c · r² + r · (i − r · floor(i / r)) + j − r · floor(j / r), "
    "floor(i / r), floor(j / r)]",
    formula_view=lambda x, y, upscale_factor: ({"x": x, "r": upscale_factor}, y),
    operations=no_cost,
    samples=lambda: [((sampled(2, 8, 2, 3), 2), {}), ((sampled(9, 2, 1), 3), {})],
)
def pixel_shuffle(x: Tensor, /, upscale_factor: int) -> Tensor:
    """Every r² channels spread out over r × r pixels: (…, c r², h, w) to (…, c, h r, w r).

    (Shi et al. 2016, Real-time single image and video super-resolution, arXiv:1609.05158.)

    >>> import chainrule as cr
    >>> cr.pixel_shuffle(cr.reshape(cr.arange(4.0), (4, 1, 1)), 2)
    tensor([[[0., 1.],
             [2., 3.]]])
    """
    r = _factor(upscale_factor, "upscale_factor")
    if x.ndim < 3 or x.shape[-3] % r**2:
        raise ShapeError(
            f"the input is (…, channels · {r**2}, height, width) for a factor of {r}, not {x.shape}"
        )
    *lead, channels, height, width = x.shape
    n = len(lead)
    apart = reshape(x, (*lead, channels // r**2, r, r, height, width))
    mixed = permute_dims(apart, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return reshape(mixed, (*lead, channels // r**2, height * r, width * r))


@composite(
    formula="y[…, c, i, j] = x[…, floor(c / r²), r · i + floor(c / r) − r · floor(c / r²), "
    "r · j + c − r · floor(c / r)]",
    formula_view=lambda x, y, downscale_factor: ({"x": x, "r": downscale_factor}, y),
    operations=no_cost,
    samples=lambda: [((sampled(2, 2, 4, 6), 2), {}), ((sampled(1, 3, 3), 3), {})],
)
def pixel_unshuffle(x: Tensor, /, downscale_factor: int) -> Tensor:
    """Every r × r pixels put into r² channels: (…, c, h r, w r) to (…, c r², h, w).

    >>> import chainrule as cr
    >>> cr.pixel_unshuffle(cr.ones((1, 3, 4, 6)), 2).shape
    (1, 12, 2, 3)
    """
    r = _factor(downscale_factor, "downscale_factor")
    if x.ndim < 3 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(
            f"the input is (…, channels, height, width) with sides that {r} divides, not {x.shape}"
        )
    *lead, channels, height, width = x.shape
    n = len(lead)
    apart = reshape(x, (*lead, channels, height // r, r, width // r, r))
    mixed = permute_dims(apart, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    return reshape(mixed, (*lead, channels * r**2, height // r, width // r))


@composite(
    formula="y[…, c, i, j] = x[…, m · (c − g · floor(c / g)) + floor(c / g), i, j]",
    formula_view=lambda x, y, groups: (
        {"x": x, "g": groups, "m": x.shape[-3] // groups},
        y,
    ),
    operations=no_cost,
    samples=lambda: [((sampled(2, 6, 2, 2), 3), {})],
)
def channel_shuffle(x: Tensor, /, groups: int) -> Tensor:
    """Channels of different groups put side by side: (…, g · c, h, w), read as g rows of c.

    (Zhang et al. 2018, ShuffleNet, arXiv:1707.01083.)

    >>> import chainrule as cr
    >>> cr.channel_shuffle(cr.reshape(cr.arange(4.0), (1, 4, 1, 1)), 2).flatten()
    tensor([0., 2., 1., 3.])
    """
    g = _factor(groups, "groups")
    if x.ndim < 3 or x.shape[-3] % g:
        raise ShapeError(
            f"the input is (…, channels, height, width), and {g} groups divide the channels, not "
            f"{x.shape}"
        )
    *lead, channels, height, width = x.shape
    n = len(lead)
    apart = reshape(x, (*lead, g, channels // g, height, width))
    return reshape(permute_dims(apart, (*range(n), n + 1, n, n + 2, n + 3)), x.shape)

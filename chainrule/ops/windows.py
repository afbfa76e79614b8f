"""Windows of an image: what convolution and pooling look at, as a view and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import trailing
from chainrule.ops.declare import linear
from chainrule.ops.domain import sampled
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import sizes

INTERNAL = (
    "windows", "add_windows", "image_padding", "places", "window_steps", "window_view",
    "add_window_arrays", "formula_names", "pixel_names", "in_single",
)  # fmt: skip

Pair = tuple[int, int]
Sizes = tuple[int, ...]


def places(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, padding: Any) -> Any:
    """How many windows fit along each axis of an image; ShapeError where none does."""
    found = []
    for n, k, s, d, (before, after) in zip(size, kernel, stride, dilation, padding, strict=True):
        reach = d * (k - 1) + 1
        if reach > n + before + after:
            raise ShapeError(
                f"a window of {'×'.join(map(str, kernel))}"
                + (f" with dilation {dilation}" if max(dilation) > 1 else "")
                + f" does not fit into the image of {'×'.join(map(str, size))} with padding "
                f"{padding}"
            )
        found.append((n + before + after - reach) // s + 1)
    return tuple(found)


def image_padding(padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """((top, bottom), (left, right)) from a number, one for each axis, "valid" or "same"."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if max(stride) > 1:
            raise ShapeError(f'padding="same" keeps the size only with stride 1, not {stride}')
        both = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in both)
    if isinstance(padding, str):
        raise DTypeError(
            f'padding is a number, one for each axis, "same" or "valid", not {padding!r}'
        )
    edges = sizes(padding, len(kernel), "padding")
    if min(edges) < 0:
        crop = ", ".join(["1:-1"] * len(kernel))
        raise ShapeError(f"padding is at least 0, not {padding!r}; crop by x[..., {crop}]")
    return tuple((n, n) for n in edges)


def window_steps(rank: int = 2, **named: Any) -> dict[str, Any]:
    """Attributes of a window as one number for each axis, all at least 1."""
    steps = {name: sizes(value, rank, name) for name, value in named.items()}
    for name, value in steps.items():
        if min(value) < 1:
            raise ShapeError(f"{name} is at least 1, not {value}")
    return steps


def in_single(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """A function of arrays that adds up in float32 what came in half precision, and gives back
    the dtype that came."""

    @wraps(function)
    def wide(*arrays: Any, **attrs: Any) -> np.ndarray:
        dtype = arrays[0].dtype
        if dtype.itemsize > 2:
            return function(*arrays, **attrs)
        return function(*(a.astype(np.float32) for a in arrays), **attrs).astype(dtype)

    return wide


def window_view(
    x: np.ndarray, *, kernel: Pair, stride: Pair, dilation: Pair, padding: Any
) -> np.ndarray:
    rows, columns = places(x.shape[-2:], kernel, stride, dilation, padding)
    (top, bottom), (left, right) = padding
    if top or bottom or left or right:
        height, width = x.shape[-2:]
        inside = x
        x = np.zeros((*x.shape[:-2], height + top + bottom, width + left + right), x.dtype)
        x[..., top : top + height, left : left + width] = inside
    *lead, down, right = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:-2], *kernel, rows, columns),
        (*lead, down * dilation[0], right * dilation[1], down * stride[0], right * stride[1]),
        writeable=False,
    )


def _windows_shape(
    x: Any, *, kernel: Pair, stride: Pair, dilation: Pair, padding: Any
) -> tuple[tuple[int, ...], np.dtype]:
    if len(x.shape) < 2:
        raise ShapeError(f"an image has height and width as its last axes, not {x.shape}")
    found = places(x.shape[-2:], kernel, stride, dilation, padding)
    return (*x.shape[:-2], *kernel, *found), x.dtype


# What formulas call the axes of the windows, those within a window, and the attributes along each.
_PLACES, _WITHIN = "ijh", "klz"
_STRIDES, _DILATIONS, _EDGES = "stγ", "deδ", "prε"


def formula_names(*, stride: Sizes, dilation: Sizes, padding: Any, **rest: Any) -> dict[str, int]:
    """How formulas call the attributes of a window."""
    return {
        **dict(zip(_STRIDES, stride, strict=False)),
        **dict(zip(_DILATIONS, dilation, strict=False)),
        **{name: before for name, (before, _) in zip(_EDGES, padding, strict=False)},
    }


def pixel_names(rank: int) -> tuple[str, str, str]:
    """How formulas call the windows ("i, j"), what is in one ("k, l"), and the pixel at both.

    >>> pixel_names(1)
    ('i', 'k', 's · i + d · k − p')
    """
    pixels = [
        f"{s} · {i} + {d} · {k} − {p}"
        for s, i, d, k, p in zip(_STRIDES, _PLACES, _DILATIONS, _WITHIN, _EDGES, strict=True)
    ]
    return ", ".join(_PLACES[:rank]), ", ".join(_WITHIN[:rank]), ", ".join(pixels[:rank])


@linear(
    formula="y[…, k, l, i, j] = x[…, s · i + d · k − p, t · j + e · l − r]",
    shape=_windows_shape,
    forward=window_view,
    transpose=lambda g, x, **attrs: add_windows(g, size=x.shape[-2:], **attrs),
    operations=lambda *a, **k: 0,
    lower="gather",
    batch=trailing(2),
    formula_view=lambda x, y, **attrs: ({"x": x, **formula_names(**attrs)}, y),
    samples=lambda: [
        ((sampled(2, 4, 5), (2, 3)), {"padding": ((0, 0), (0, 0))}),
        ((sampled(5, 6), (2, 2)), {"stride": 2, "dilation": (1, 2), "padding": ((1, 0), (0, 2))}),
    ],
)
def windows(x: Any, kernel: Any, /, *, stride: Any = 1, dilation: Any = 1, padding: Any) -> Any:
    """Every window of an image, without a copy: (…, height, width) to (…, k, l, rows, columns).

    Args:
        kernel: the windows' height and width.
        stride, dilation: how far apart windows are, and the pixels of one.
        padding: ((top, bottom), (left, right)) zeros around the image.
    """
    steps = window_steps(kernel=kernel, stride=stride, dilation=dilation)
    return (as_operand(x),), {**steps, "padding": padding}


@in_single
def add_window_arrays(
    g: np.ndarray, *, size: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Any
) -> np.ndarray:
    (top, bottom), (left, right) = padding
    rows, columns = g.shape[-2:]
    shape = (*g.shape[:-4], size[0] + top + bottom, size[1] + left + right)
    total = np.zeros(shape, g.dtype)
    for k in range(kernel[0]):
        for m in range(kernel[1]):
            down, over = k * dilation[0], m * dilation[1]
            total[
                ...,
                down : down + stride[0] * (rows - 1) + 1 : stride[0],
                over : over + stride[1] * (columns - 1) + 1 : stride[1],
            ] += g[..., k, m, :, :]
    return total[..., top : top + size[0], left : left + size[1]]


@linear(
    formula="y[…, u, v] = Σ of g[…, k, l, i, j] over s · i + d · k − p = u, t · j + e · l − r = v",
    display_only=True,
    shape=lambda g, *, size, **attrs: ((*g.shape[:-4], *size), g.dtype),
    forward=add_window_arrays,
    transpose=lambda h, g, *, size, kernel, **attrs: windows(h, kernel, **attrs),
    operations=lambda y, g, **attrs: math.prod(g.shape),
    lower="scatter",
    batch=trailing(4),
    samples=lambda: [
        (
            (sampled(2, 2, 2, 2, 3),),
            {
                "size": (4, 6), "kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1),
                "padding": ((0, 0), (1, 0)),
            },
        )
    ],
)  # fmt: skip
def add_windows(
    g: Any, /, *, size: Any, kernel: Any, stride: Any, dilation: Any, padding: Any
) -> Any:
    """An image of a size, to which every window was added at its place: the transpose of
    `windows`."""
    steps = window_steps(kernel=kernel, stride=stride, dilation=dilation)
    return (as_operand(g),), {"size": tuple(size), **steps, "padding": padding}

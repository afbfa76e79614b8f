"""Windows of an image: what convolution and pooling look at, as a view and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.declare import linear
from chainrule.ops.domain import sampled
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import pair

INTERNAL = (
    "windows", "add_windows", "image_padding", "places", "pairs_of_steps", "window_view",
    "add_window_arrays", "formula_names",
)  # fmt: skip

Pair = tuple[int, int]


def places(size: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Any) -> Pair:
    """How many windows fit along height and width; ShapeError where none does."""
    found = []
    for n, k, s, d, (before, after) in zip(size, kernel, stride, dilation, padding, strict=True):
        reach = d * (k - 1) + 1
        if reach > n + before + after:
            raise ShapeError(
                f"a window of {kernel[0]}×{kernel[1]}"
                + (f" with dilation {dilation}" if max(dilation) > 1 else "")
                + f" does not fit into the image of {size[0]}×{size[1]} with padding {padding}"
            )
        found.append((n + before + after - reach) // s + 1)
    return found[0], found[1]


def image_padding(padding: Any, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """((top, bottom), (left, right)) from a number, a pair, "valid" or "same"."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ShapeError(f'padding="same" keeps the size only with stride 1, not {stride}')
        both = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in both)
    if isinstance(padding, str):
        raise DTypeError(f'padding is a number, a pair, "same" or "valid", not {padding!r}')
    height, width = pair(padding, "padding")
    if min(height, width) < 0:
        raise ShapeError(f"padding is at least 0, not {padding!r}; crop by x[..., 1:-1, 1:-1]")
    return (height, height), (width, width)


def pairs_of_steps(**named: Any) -> dict[str, Pair]:
    """Attributes of a window as pairs, each at least 1."""
    pairs = {name: pair(value, name) for name, value in named.items()}
    for name, value in pairs.items():
        if min(value) < 1:
            raise ShapeError(f"{name} is at least 1, not {value}")
    return pairs


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


def formula_names(*, stride: Pair, dilation: Pair, padding: Any, **rest: Any) -> dict[str, int]:
    """How formulas call the attributes of a window."""
    return {
        **dict(zip(("s", "t"), stride, strict=True)),
        **dict(zip(("d", "e"), dilation, strict=True)),
        "p": padding[0][0],
        "r": padding[1][0],
    }


@linear(
    formula="y[…, k, l, i, j] = x[…, s · i + d · k − p, t · j + e · l − r]",
    shape=_windows_shape,
    forward=window_view,
    transpose=lambda g, x, **attrs: add_windows(g, size=x.shape[-2:], **attrs),
    operations=lambda *a, **k: 0,
    lower="gather",
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
    steps = pairs_of_steps(kernel=kernel, stride=stride, dilation=dilation)
    return (as_operand(x),), {**steps, "padding": padding}


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
    steps = pairs_of_steps(kernel=kernel, stride=stride, dilation=dilation)
    return (as_operand(g),), {"size": tuple(size), **steps, "padding": padding}

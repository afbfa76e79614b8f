"""Pooling: the largest number or the mean of each window of an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.convolution import places, windows
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import take_along_axis
from chainrule.ops.joining import pad
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.reduction import argmax, sum
from chainrule.ops.structure import flatten, moveaxis, squeeze
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import pair
from chainrule.tensor.tensor import Tensor

Pair = tuple[int, int]


def _window(
    size: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """The window's attributes as pairs, and the padding on each side.

    With `ceil_mode` the last window may hang over the edge, but must begin inside of the image or
    its padding before (PyTorch's rule).
    """
    kernel = pair(kernel_size, "kernel_size")
    steps = kernel if stride is None else pair(stride, "stride")
    before, apart = pair(padding, "padding"), pair(dilation, "dilation")
    if min(*kernel, *steps, *apart) < 1 or min(before) < 0:
        raise ShapeError(
            f"a window of {kernel}, stride {steps}, dilation {apart} and padding {before}: all are "
            "at least 1, the padding at least 0"
        )
    if any(2 * p > k for p, k in zip(before, kernel, strict=True)):
        raise ShapeError(
            f"the padding {before} is more than half of the window {kernel}: some windows would "
            "see nothing but padding"
        )
    edges = []
    for n, k, s, d, p in zip(size, kernel, steps, apart, before, strict=True):
        over = 0
        if ceil_mode:
            room = n + 2 * p - d * (k - 1) - 1
            last = -(-room // s) * s
            over = last - room if last < n + p else 0
        edges.append((p, p + over))
    return {"kernel": kernel, "stride": steps, "dilation": apart, "padding": tuple(edges)}


def _check(x: Tensor, **attrs: Any) -> None:
    if x.ndim not in (3, 4):
        raise ShapeError(
            f"the input is (batch, channels, height, width) or one image without the batch, not "
            f"{x.shape}"
        )
    if not dtypes.is_float(x.dtype):
        raise DTypeError(f"pooling is for floating-point images, and this is {x.dtype}")


def _max_kernel(x: np.ndarray, **attrs: Any) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """The largest of each window, and which one it was: the first, as in PyTorch."""
    window = _window(x.shape[-2:], **attrs)
    rows, columns = places(x.shape[-2:], **window)
    with_nan = x.size > 0 and bool(np.isnan(np.min(x)))
    best: Any = None
    for n, part in enumerate(_parts(_within(x, window["padding"]), rows, columns, window)):
        if best is None:
            best, which = part.copy(), np.zeros(part.shape, np.min_scalar_type(_size(window)))
            continue
        better = part > best
        if with_nan:
            better |= part != part
        np.maximum(best, part, out=best)
        # The last place at which a window became better has the largest number.
        np.maximum(which, better * which.dtype.type(n), out=which)
    return best, (which,)


def _size(window: dict[str, Any]) -> int:
    return math.prod(window["kernel"])


def _within(x: np.ndarray, padding: Any) -> np.ndarray:
    (top, bottom), (left, right) = padding
    if not (top or bottom or left or right):
        return x
    height, width = x.shape[-2:]
    shape = (*x.shape[:-2], height + top + bottom, width + left + right)
    padded = np.full(shape, -math.inf, x.dtype)
    padded[..., top : top + height, left : left + width] = x
    return padded


def _parts(x: np.ndarray, rows: int, columns: int, window: dict[str, Any]) -> Any:
    """For each place within the window, what all windows have there."""
    (s, t), (d, e) = window["stride"], window["dilation"]
    for k in range(window["kernel"][0]):
        for m in range(window["kernel"][1]):
            down, over = k * d, m * e
            yield x[
                ..., down : down + s * (rows - 1) + 1 : s, over : over + t * (columns - 1) + 1 : t
            ]


def _max_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: Any, residual: Any, **attrs: Any
) -> tuple[np.ndarray]:
    (which,) = residual
    window = _window(x.shape[-2:], **attrs)
    (top, bottom), (left, right) = window["padding"]
    height, width = x.shape[-2:]
    total = np.zeros((*x.shape[:-2], height + top + bottom, width + left + right), g.dtype)
    apart = all(s >= k for s, k in zip(window["stride"], window["kernel"], strict=True))
    for n, part in enumerate(_parts(total, g.shape[-2], g.shape[-1], window)):
        if apart and window["dilation"] == (1, 1):  # no pixel is in two windows
            np.copyto(part, g, where=which == n)
        else:
            part += g * (which == n)
    return (total[..., top : top + height, left : left + width],)


def _view(x: np.ndarray, y: np.ndarray, **attrs: Any) -> tuple[dict, np.ndarray]:
    window = _window(x.shape[-2:], **attrs)
    (top, _), (left, _) = window["padding"]
    (s, t), (d, e) = window["stride"], window["dilation"]
    kernel = np.zeros(window["kernel"])
    return {"x": x, "w": kernel, "s": s, "t": t, "d": d, "e": e, "p": top, "r": left}, y


@composite(
    formula="y[…, i, j] = max_{k, l} (x[…, s · i + d · k − p, t · j + e · l − r] + 0 · w[k, l])",
    kernel=_max_kernel,
    pullback=_max_pullback,
    check=_check,
    operations=lambda y, x, kernel_size, **attrs: (
        math.prod(y.shape) * math.prod(pair(kernel_size, "kernel_size"))
    ),
    lower="pool",
    formula_view=_view,
    samples=lambda: [
        ((sampled(2, 3, 4, 6), 2), {}),
        ((sampled(2, 5, 7), (3, 2)), {"stride": 2, "padding": 1, "ceil_mode": True}),
        ((sampled(1, 1, 6, 6), 2), {"stride": 1, "dilation": 2}),
    ],
)
def max_pool2d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The largest number of each window; of several the first has the derivative.

    >>> import chainrule as cr
    >>> cr.max_pool2d(cr.reshape(cr.arange(4.0), (1, 2, 2)), 2).item()
    3.0
    """
    window = _window(x.shape[-2:], kernel_size, stride, padding, dilation, ceil_mode)
    padding, window["padding"] = window["padding"], ((0, 0), (0, 0))
    framed = pad(x, (*((0, 0),) * (x.ndim - 2), *padding), -math.inf)
    kernel = window.pop("kernel")
    seen = flatten(moveaxis(windows(framed, kernel, **window), (-4, -3), (-2, -1)), -2)
    return squeeze(take_along_axis(seen, argmax(seen, axis=-1, keepdims=True)), -1)


def _counts(size: Any, window: dict[str, Any], count_include_pad: bool) -> np.ndarray:
    """How many pixels each window has, (rows, columns): what its sum is divided by."""
    sides = []
    for n, k, s, (before, _), places_ in zip(
        size, window["kernel"], window["stride"], window["padding"], places(size, **window),
        strict=True,
    ):  # fmt: skip
        start = np.arange(places_) * s - before
        # What hangs over the edge by `ceil_mode` never counts: beyond the padding there is nothing.
        low, high = (-before, n + before) if count_include_pad else (0, n)
        sides.append(np.minimum(start + k, high) - np.maximum(start, low))
    return sides[0][:, None] * sides[1]


@composite(
    formula="y[…, i, j] = "
    "(Σ_{k, l} x[…, s · i + d · k − p, t · j + e · l − r] · w[k, l]) / n[i, j]",
    check=_check,
    operations=lambda y, x, kernel_size, **attrs: (
        math.prod(y.shape) * math.prod(pair(kernel_size, "kernel_size"))
    ),
    lower="pool",
    formula_view=lambda x, y, count_include_pad, **attrs: (
        {
            **_view(x, y, dilation=1, **attrs)[0],
            "w": np.ones(pair(attrs["kernel_size"], "kernel_size")),
            "n": _counts(
                x.shape[-2:], _window(x.shape[-2:], dilation=1, **attrs), count_include_pad
            ),
        },
        y,
    ),
    samples=lambda: [
        ((sampled(2, 3, 4, 6), 2), {}),
        ((sampled(2, 5, 7), (3, 2)), {"stride": 2, "padding": 1, "ceil_mode": True}),
        ((sampled(1, 1, 6, 6), 3), {"padding": 1, "count_include_pad": False}),
    ],
)
def avg_pool2d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window.

    >>> import chainrule as cr
    >>> cr.avg_pool2d(cr.reshape(cr.arange(4.0), (1, 2, 2)), 2).item()
    1.5
    """
    window = _window(x.shape[-2:], kernel_size, stride, padding, 1, ceil_mode)
    counts = _counts(x.shape[-2:], window, count_include_pad)
    kernel = window.pop("kernel")
    return sum(windows(x, kernel, **window), (-4, -3)) * Tensor((1 / counts).astype(x.dtype))


def _averages(n: int, parts: int, dtype: Any) -> np.ndarray:
    """The matrix (parts, n) that takes means of ⌊i n / parts⌋ … ⌈(i + 1) n / parts⌉ − 1."""
    i = np.arange(parts)[:, None]
    j = np.arange(n)
    inside = (j >= i * n // parts) & (j < -(-(i + 1) * n // parts))
    return (inside / inside.sum(1, keepdims=True)).astype(dtype)


@composite(
    formula="y[…, i, j] = Σ_{k, l} a[i, k] · b[j, l] · x[…, k, l]",
    check=_check,
    operations=lambda y, x, output_size: 2 * math.prod(x.shape),
    lower="pool",
    formula_view=lambda x, y, output_size: (
        {
            "x": x,
            "a": _averages(x.shape[-2], y.shape[-2], np.float64),
            "b": _averages(x.shape[-1], y.shape[-1], np.float64),
        },
        y,
    ),
    samples=lambda: [((sampled(2, 3, 4, 6), 1), {}), ((sampled(2, 5, 7), (3, 4)), {})],
)
def adaptive_avg_pool2d(x: Tensor, /, output_size: Any) -> Tensor:
    """The means of as many windows as make an image of a size: A x Bᵀ with two averaging matrices.

    >>> import chainrule as cr
    >>> cr.adaptive_avg_pool2d(cr.ones((1, 3, 7, 5)), 1).shape
    (1, 3, 1, 1)
    """
    rows, columns = pair(output_size, "output_size")
    if min(rows, columns) < 1 or 0 in x.shape[-2:]:
        raise ShapeError(f"an image of {x.shape[-2:]} has no means in {rows}×{columns} windows")
    down = Tensor(_averages(x.shape[-2], rows, x.dtype))
    across = Tensor(np.ascontiguousarray(_averages(x.shape[-1], columns, x.dtype).T))
    return matmul(matmul(down, x), across)

"""Pooling: the largest number or the mean of each window of an image."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import along, trailing
from chainrule.ops.declare import composite, constant_op, linear
from chainrule.ops.domain import sampled
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.operation import operands
from chainrule.ops.reduction import sum
from chainrule.ops.windows import formula_names, places, windows
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import is_whole, pair, sizes
from chainrule.tensor.tensor import Tensor

INTERNAL = (
    "pool_places", "pool_pick", "pool_spread", "place_dtype", "pool_window", "check_images",
    "averages", "window_counts", "target_size",
)  # fmt: skip

Pair = tuple[int, int]


def pool_window(
    size: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """The window's attributes as one number for each axis, and the padding on each side.

    With `ceil_mode` the last window may hang over the edge, but must begin inside of the image or
    its padding before (PyTorch's rule).
    """
    rank = len(size)
    kernel = sizes(kernel_size, rank, "kernel_size")
    steps = kernel if stride is None else sizes(stride, rank, "stride")
    before, apart = sizes(padding, rank, "padding"), sizes(dilation, rank, "dilation")
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
        if p and d > n:
            raise ShapeError(
                f"the dilation {apart} steps over the image of {tuple(size)}: some windows would "
                "see nothing but padding"
            )
        edges.append((p, p + over))
    return {"kernel": kernel, "stride": steps, "dilation": apart, "padding": tuple(edges)}


def check_images(rank: int, x: Tensor) -> None:
    """What pooling over `rank` axes takes."""
    if x.ndim not in (rank + 1, rank + 2):
        axes = {1: "length", 2: "height, width", 3: "depth, height, width"}[rank]
        raise ShapeError(
            f"the input is (batch, channels, {axes}) or one image without the batch, not {x.shape}"
        )
    if not dtypes.is_float(x.dtype):
        raise DTypeError(f"pooling is for floating-point images, and this is {x.dtype}")


def _check(x: Tensor, **attrs: Any) -> None:
    check_images(2, x)


# The winner of each window, as its number among the window's pixels in reading order


def place_dtype(kernel: Pair) -> np.dtype:
    """The smallest dtype that numbers the pixels of a window."""
    return np.min_scalar_type(max(math.prod(kernel) - 1, 0))


def _first_inside(
    size: Pair, *, kernel: Pair, stride: Pair, dilation: Pair, padding: Any
) -> np.ndarray:
    """(rows, columns): the first place of each window that is in the image and not its frame.

    It is the winner unless something is larger, so that no derivative is lost in the frame.
    """
    found = places(size, kernel, stride, dilation, padding)
    if padding[0][0] == padding[1][0] == 0:
        return np.zeros(found, place_dtype(kernel))
    down, over = (
        -(-np.maximum(before - np.arange(n) * s, 0) // d)
        for n, s, d, (before, _) in zip(found, stride, dilation, padding, strict=True)
    )
    return (down[:, None] * kernel[1] + over).astype(place_dtype(kernel))


def _best(x: np.ndarray, **window: Any) -> tuple[np.ndarray, np.ndarray]:
    """(the largest of each window, which of its places has it).

    The first of equals, and NaN is larger than any number, as in PyTorch.
    """
    with_nan = x.size > 0 and bool(np.isnan(np.min(x)))
    first = _first_inside(x.shape[-2:], **window)
    which = np.empty((*x.shape[:-2], *first.shape), first.dtype)
    which[...] = first
    best: Any = None
    for n, part in enumerate(_parts(_within(x, window["padding"], -math.inf), first.shape, window)):
        if best is None:
            best = part.copy()
            continue
        better = part > best
        if with_nan:
            better |= part != part
        np.maximum(best, part, out=best)
        # The last place at which a window became better has the largest number.
        np.maximum(which, better * which.dtype.type(n), out=which)
    return best, which


def _within(x: np.ndarray, padding: Any, value: float) -> np.ndarray:
    (top, bottom), (left, right) = padding
    if not (top or bottom or left or right):
        return x
    height, width = x.shape[-2:]
    shape = (*x.shape[:-2], height + top + bottom, width + left + right)
    padded = np.full(shape, value, x.dtype)
    padded[..., top : top + height, left : left + width] = x
    return padded


def _parts(x: np.ndarray, found: Any, window: dict[str, Any]) -> Any:
    """For each place within the window, what all windows have there; `found` of them."""
    (s, t), (d, e), (rows, columns) = window["stride"], window["dilation"], found
    for k in range(window["kernel"][0]):
        for m in range(window["kernel"][1]):
            down, over = k * d, m * e
            yield x[
                ..., down : down + s * (rows - 1) + 1 : s, over : over + t * (columns - 1) + 1 : t
            ]


def _pick(x: np.ndarray, which: np.ndarray, **window: Any) -> np.ndarray:
    y = np.zeros(which.shape, x.dtype)
    framed = _within(x, window["padding"], 0.0)
    for n, part in enumerate(_parts(framed, which.shape[-2:], window)):
        np.copyto(y, part, where=which == n)
    return y


def _spread(g: np.ndarray, which: np.ndarray, *, size: Pair, **window: Any) -> np.ndarray:
    (top, bottom), (left, right) = window["padding"]
    height, width = size
    total = np.zeros((*g.shape[:-2], height + top + bottom, width + left + right), g.dtype)
    apart = all(s >= k for s, k in zip(window["stride"], window["kernel"], strict=True))
    for n, part in enumerate(_parts(total, g.shape[-2:], window)):
        if apart and window["dilation"] == (1, 1):  # no pixel is in two windows
            np.copyto(part, g, where=which == n)
        else:
            np.add(part, g, out=part, where=which == n)  # a NaN stays at its winner
    return total[..., top : top + height, left : left + width]


def _pooled_shape(x: Any, **window: Any) -> tuple[int, ...]:
    return (*x.shape[:-2], *places(x.shape[-2:], **window))


def _window_samples(*, of: str) -> Any:
    """Samples of an image x or a gradient g, and of the winners w."""
    settings: Any = [
        ((2, 3, 4, 6), (2, 2), (2, 2), (1, 1), ((0, 0), (0, 0))),
        ((2, 5, 7), (3, 2), (2, 1), (1, 2), ((1, 1), (0, 1))),
        ((0, 1, 4, 4), (2, 2), (2, 2), (1, 1), ((0, 0), (0, 0))),
    ]
    samples = []
    for shape, kernel, stride, dilation, padding in settings:
        window = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
        x = sampled(*shape)
        best, which = _best(x, **window)
        given = {"x": x, "w": which, "g": sampled(*best.shape)}
        size = {"size": shape[-2:]} if "g" in of else {}
        samples.append((tuple(given[name] for name in of), {**size, **window}))
    return samples


def _operations(y: Any, x: Any, *rest: Any, kernel: Pair, **attrs: Any) -> int:
    return math.prod(y.shape) * math.prod(kernel)


@constant_op(
    formula="y[…, i, j] = the first n = l + k · (how many l) of the largest "
    "x[…, s · i + d · k − p, t · j + e · l − r]",
    display_only=True,
    shape=lambda x, **window: (_pooled_shape(x, **window), place_dtype(window["kernel"])),
    forward=lambda x, **window: _best(x, **window)[1],
    reason="a place jumps, and is flat in between",
    operations=_operations,
    lower="pool_places",
    batch=trailing(2),
    samples=lambda: _window_samples(of="x"),
)
def pool_places(x: Any, /, *, kernel: Pair, stride: Pair, dilation: Pair, padding: Any) -> Any:
    """Which pixel of each window is the largest, as its number in the order of reading."""
    window = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    return operands(x), window


@linear(
    formula="y[…, i, j] = x[…, s · i + d · k − p, t · j + e · l − r] "
    "with which[…, i, j] = l + k · (how many l)",
    display_only=True,
    shape=lambda x, which, **window: (which.shape, x.dtype),
    forward=_pick,
    transpose=lambda g, x, which, **window: (
        pool_spread(g, which, size=x.shape[-2:], **window),
        None,
    ),
    operations=_operations,
    lower="pool_pick",
    batch=along(),
    samples=lambda: _window_samples(of="xw"),
)
def pool_pick(
    x: Any, which: Any, /, *, kernel: Pair, stride: Pair, dilation: Pair, padding: Any
) -> Any:
    """The pixel of each window that has the number `which` in it."""
    window = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    return operands(x, which), window


@linear(
    formula="y[…, u, v] = Σ of g[…, i, j] over s · i + d · k − p = u, t · j + e · l − r = v "
    "with which[…, i, j] = l + k · (how many l)",
    display_only=True,
    shape=lambda g, which, *, size, **window: ((*g.shape[:-2], *size), g.dtype),
    forward=_spread,
    transpose=lambda h, g, which, *, size, **window: (pool_pick(h, which, **window), None),
    operations=_operations,
    lower="pool_spread",
    batch=along(),
    samples=lambda: _window_samples(of="gw"),
)
def pool_spread(
    g: Any, which: Any, /, *,
    size: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Any,
) -> Any:  # fmt: skip
    """An image of a size, to which each window's number was added at its winner: the transpose of
    `pool_pick`."""
    window = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    return operands(g, which), {"size": tuple(size), **window}


def _max_kernel(x: np.ndarray, **attrs: Any) -> tuple[np.ndarray, tuple[np.ndarray]]:
    best, which = _best(x, **pool_window(x.shape[-2:], **attrs))
    return best, (which,)


def _max_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: Any, residual: Any, **attrs: Any
) -> tuple[np.ndarray]:
    (which,) = residual
    return (_spread(g, which, size=x.shape[-2:], **pool_window(x.shape[-2:], **attrs)),)


def _view(x: np.ndarray, y: np.ndarray, **attrs: Any) -> tuple[dict, np.ndarray]:
    window = pool_window(x.shape[-2:], **attrs)
    return {"x": x, "w": np.zeros(window["kernel"]), **formula_names(**window)}, y


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
    window = pool_window(x.shape[-2:], kernel_size, stride, padding, dilation, ceil_mode)
    return pool_pick(x, pool_places(x, **window), **window)


def window_counts(
    size: Any, window: dict[str, Any], count_include_pad: bool, divisor_override: Any = None
) -> np.ndarray:
    """What the sum of each window, (rows, columns), is divided by: how many pixels it has."""
    if divisor_override is not None:
        if not is_whole(divisor_override):
            raise DTypeError(f"divisor_override is a whole number, not {divisor_override!r}")
        if not int(divisor_override):
            raise ShapeError("divisor_override is not 0: nothing is divided by it")
        return np.full(places(size, **window), float(divisor_override))
    sides: list[np.ndarray] = []
    for n, k, s, (before, _), places_ in zip(
        size, window["kernel"], window["stride"], window["padding"], places(size, **window),
        strict=True,
    ):  # fmt: skip
        start = np.arange(places_) * s - before
        # What hangs over the edge by `ceil_mode` never counts: beyond the padding there is nothing.
        low, high = (-before, n + before) if count_include_pad else (0, n)
        sides.append(np.minimum(start + k, high) - np.maximum(start, low))
    return reduce(np.multiply.outer, sides)


@composite(
    formula="y[…, i, j] = "
    "(Σ_{k, l} x[…, s · i + d · k − p, t · j + e · l − r] · w[k, l]) / n[i, j]",
    check=_check,
    operations=lambda y, x, kernel_size, **attrs: (
        math.prod(y.shape) * math.prod(pair(kernel_size, "kernel_size"))
    ),
    lower="pool",
    formula_view=lambda x, y, count_include_pad, divisor_override, **attrs: (
        {
            **_view(x, y, dilation=1, **attrs)[0],
            "w": np.ones(pair(attrs["kernel_size"], "kernel_size")),
            "n": window_counts(
                x.shape[-2:],
                pool_window(x.shape[-2:], dilation=1, **attrs),
                count_include_pad,
                divisor_override,
            ),
        },
        y,
    ),
    samples=lambda: [
        ((sampled(2, 3, 4, 6), 2), {}),
        ((sampled(2, 5, 7), (3, 2)), {"stride": 2, "padding": 1, "ceil_mode": True}),
        ((sampled(1, 1, 6, 6), 3), {"padding": 1, "count_include_pad": False}),
        ((sampled(1, 1, 4, 6), 2), {"divisor_override": 3}),
    ],
)
def avg_pool2d(
    x: Tensor, /, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window.

    Args:
        count_include_pad: whether the zeros of the padding count as pixels.
        divisor_override: what the sum is divided by, in place of the number of pixels.

    >>> import chainrule as cr
    >>> cr.avg_pool2d(cr.reshape(cr.arange(4.0), (1, 2, 2)), 2).item()
    1.5
    """
    window = pool_window(x.shape[-2:], kernel_size, stride, padding, 1, ceil_mode)
    counts = window_counts(x.shape[-2:], window, count_include_pad, divisor_override)
    kernel = window.pop("kernel")
    return sum(windows(x, kernel, **window), (-4, -3)) * Tensor((1 / counts).astype(x.dtype))


def averages(n: int, parts: int, dtype: Any) -> np.ndarray:
    """The matrix (parts, n) that takes means of ⌊i n / parts⌋ … ⌈(i + 1) n / parts⌉ − 1."""
    i = np.arange(parts)[:, None]
    j = np.arange(n)
    inside = (j >= i * n // parts) & (j < -(-(i + 1) * n // parts))
    return (inside / inside.sum(1, keepdims=True)).astype(dtype)


def target_size(x: Tensor, output_size: Any, rank: int) -> tuple[int, ...]:
    """The size that is asked for; None keeps an axis as it is."""
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    if len(given) == rank:
        given = [n if m is None else m for n, m in zip(x.shape[-rank:], given, strict=True)]
    size = sizes(tuple(given), rank, "output_size")
    if min(size) < 1 or 0 in x.shape[-rank:]:
        raise ShapeError(f"an image of {x.shape[-rank:]} cannot be pooled to {size}")
    return size


@composite(
    formula="y[…, i, j] = Σ_{k, l} a[i, k] · b[j, l] · x[…, k, l]",
    check=_check,
    operations=lambda y, x, output_size: 2 * math.prod(x.shape),
    lower="pool",
    formula_view=lambda x, y, output_size: (
        {
            "x": x,
            "a": averages(x.shape[-2], y.shape[-2], np.float64),
            "b": averages(x.shape[-1], y.shape[-1], np.float64),
        },
        y,
    ),
    samples=lambda: [((sampled(2, 3, 4, 6), 1), {}), ((sampled(2, 5, 7), (3, 4)), {})],
)
def adaptive_avg_pool2d(x: Tensor, /, output_size: Any) -> Tensor:
    """The means of as many windows as make an image of a size: A x Bᵀ with two averaging matrices.

    In `output_size`, None keeps an axis as it is.

    >>> import chainrule as cr
    >>> cr.adaptive_avg_pool2d(cr.ones((1, 3, 7, 5)), 1).shape
    (1, 3, 1, 1)
    """
    rows, columns = target_size(x, output_size, 2)
    down = Tensor(averages(x.shape[-2], rows, x.dtype))
    across = Tensor(np.ascontiguousarray(averages(x.shape[-1], columns, x.dtype).T))
    return matmul(matmul(down, x), across)

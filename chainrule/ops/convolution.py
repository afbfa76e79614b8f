"""Windows of an image, and the convolution that is a matrix product over them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.declare import composite, linear
from chainrule.ops.domain import sampled
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import pair
from chainrule.tensor.tensor import Tensor

INTERNAL = ("windows", "add_windows", "image_padding", "places")

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


def _steps(**named: Any) -> dict[str, Pair]:
    """Attributes of a window as pairs, each at least 1."""
    pairs = {name: pair(value, name) for name, value in named.items()}
    for name, value in pairs.items():
        if min(value) < 1:
            raise ShapeError(f"{name} is at least 1, not {value}")
    return pairs


def _windows(
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


def _window_view(*, stride: Pair, dilation: Pair, padding: Any, **rest: Any) -> dict[str, int]:
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
    forward=_windows,
    transpose=lambda g, x, **attrs: add_windows(g, size=x.shape[-2:], **attrs),
    operations=lambda *a, **k: 0,
    lower="gather",
    formula_view=lambda x, y, **attrs: ({"x": x, **_window_view(**attrs)}, y),
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
    steps = _steps(kernel=kernel, stride=stride, dilation=dilation)
    return (as_operand(x),), {**steps, "padding": padding}


def _add_windows(
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
    forward=_add_windows,
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
    steps = _steps(kernel=kernel, stride=stride, dilation=dilation)
    return (as_operand(g),), {"size": tuple(size), **steps, "padding": padding}


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int, **attrs: Any) -> None:
    if weight.ndim != 4:
        raise ShapeError(
            f"the weight of a convolution is (out, in / groups, height, width), not {weight.shape}"
        )
    if x.ndim not in (3, 4):
        raise ShapeError(
            f"the input is (batch, channels, height, width) or one image without the batch, not "
            f"{x.shape}." + (" Write x[:, None] for one channel." if x.ndim == 2 else "")
        )
    outputs, each = weight.shape[:2]
    if groups < 1 or outputs % groups or x.shape[-3] != each * groups:
        last = x.ndim == 4 and x.shape[-1] == each * groups
        raise ShapeError(
            f"the input {x.shape} has {x.shape[-3]} channels, and the weight {weight.shape} with "
            f"groups={groups} takes {each * groups}."
            + (" Channels come before height and width; write x.permute(0, 3, 1, 2)." * last)
        )
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"the bias has the shape {bias.shape}, and there are {outputs} outputs")
    given = [o for o in (x, weight, bias) if o is not None]
    if len({o.dtype for o in given}) > 1 or not dtypes.is_float(x.dtype):
        raise DTypeError(
            "input, weight and bias have one floating-point dtype, and here are "
            f"{', '.join(str(o.dtype) for o in given)}; write x.astype(weight.dtype)"
        )


def _view(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray,
    stride: Any, padding: Any, dilation: Any, groups: int,
) -> tuple[dict, np.ndarray]:  # fmt: skip
    outputs, each, *kernel = weight.shape
    steps = _steps(stride=stride, dilation=dilation)
    edges = image_padding(padding, (kernel[0], kernel[1]), **steps)
    return {
        "x": x, "weight": weight, "bias": np.zeros(outputs) if bias is None else bias,
        "m": each, "q": outputs // groups, **_window_view(padding=edges, **steps),
    }, y  # fmt: skip


CHUNK = 1 << 18
"""Numbers in the columns of so many images as are worked on together: they stay in the cache, and
no step asks the system for fresh memory of many times the image's size."""


def _geometry(x: np.ndarray, weight: np.ndarray, *, stride: Any, padding: Any, dilation: Any,
              groups: int) -> tuple[dict[str, Any], np.ndarray, tuple[int, ...], Any]:  # fmt: skip
    """(attributes of the windows, the filters as matrices, the shape of y as such, its chunks)."""
    outputs, each, *size = weight.shape
    steps = _steps(kernel=size, stride=stride, dilation=dilation)
    steps["padding"] = image_padding(padding, **steps)
    inner, area = each * math.prod(size), math.prod(places(x.shape[-2:], **steps))
    images = math.prod(x.shape[:-3])
    together = max(1, CHUNK // max(1, groups * inner * area))
    chunks = [slice(i, i + together) for i in range(0, images, together)]
    filters = weight.reshape(groups, outputs // groups, inner)
    return steps, filters, (images, *filters.shape[:2], area), chunks


def _patches(images: np.ndarray, filters: np.ndarray, steps: dict[str, Any]) -> np.ndarray:
    return _windows(images, **steps).reshape(len(images), len(filters), filters.shape[2], -1)


def _conv_kernel(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, **attrs: Any
) -> tuple[np.ndarray, tuple]:
    steps, filters, shape, chunks = _geometry(x, weight, **attrs)
    images = x.reshape(-1, *x.shape[-3:]) if x.size else np.empty((0, *x.shape[-3:]), x.dtype)
    y = np.empty(shape, x.dtype)
    for part in chunks:
        np.matmul(filters, _patches(images[part], filters, steps), out=y[part])
    y = y.reshape(*x.shape[:-3], len(weight), *places(x.shape[-2:], **steps))
    if bias is not None:
        y += bias[:, None, None]
    return y, ()


def _conv_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: Any, *, y: Any,
    residual: Any, **attrs: Any,
) -> tuple[np.ndarray | None, ...]:  # fmt: skip
    steps, filters, shape, chunks = _geometry(x, weight, **attrs)
    images, g = x.reshape(shape[0], *x.shape[-3:]), g.reshape(shape)
    dx = np.empty(images.shape, x.dtype) if wanted[0] else None
    dw = np.zeros(filters.shape, weight.dtype) if wanted[1] else None
    for part in chunks:
        if dw is not None:
            patches = _patches(images[part], filters, steps)
            dw += np.matmul(g[part], patches.swapaxes(-1, -2)).sum(0)
        if dx is not None:
            spread = np.matmul(filters.swapaxes(-1, -2), g[part])
            spread = spread.reshape(
                len(spread), x.shape[-3], *steps["kernel"], *places(x.shape[-2:], **steps)
            )
            dx[part] = _add_windows(spread, size=x.shape[-2:], **steps)
    return (
        None if dx is None else dx.reshape(x.shape),
        None if dw is None else dw.reshape(weight.shape),
        g.sum((0, 3)).reshape(-1) if wanted[2] else None,
    )


@composite(
    formula="y[…, f, i, j] = Σ_{c, k, l} weight[f, c, k, l] · "
    "x[…, c + m · floor(f / q), s · i + d · k − p, t · j + e · l − r] + bias[f]",
    kernel=_conv_kernel,
    pullback=_conv_pullback,
    check=_check,
    operations=lambda y, x, w, *rest, **attrs: 2 * math.prod(y.shape) * math.prod(w.shape[1:]),
    lower="conv2d",
    formula_view=_view,
    samples=lambda: [
        ((sampled(2, 3, 4, 5), sampled(2, 3, 2, 3), sampled(2)), {}),
        ((sampled(2, 5, 4), sampled(3, 2, 3, 2)), {"stride": 2, "padding": 1}),
        ((sampled(1, 4, 5, 5), sampled(2, 2, 2, 2), sampled(2)), {"groups": 2, "dilation": 2}),
        (
            (sampled(2, 2, 5, 6), sampled(4, 1, 3, 3)),
            {"groups": 2, "stride": (2, 1), "padding": (0, 2)},
        ),
        ((sampled(1, 1, 4, 4), sampled(1, 1, 2, 2)), {"padding": "same"}),
        ((sampled(0, 1, 4, 4), sampled(1, 1, 2, 2)), {}),
    ],
    source="Chellapilla, Puri, Simard 2006: convolution as a matrix product over windows",
)
def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, /,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Patterns matched at every place of an image (a cross-correlation, as is usual).

    Args:
        x: (batch, channels, height, width), or one image without the batch.
        weight: (out, channels / groups, height, width).
        bias: (out,), or None.
        stride, dilation: how far apart the places are, and the pixels a pattern looks at.
        padding: zeros around the image: a number, a pair, "same" or "valid".
        groups: into how many parts the channels are cut, each with patterns of its own.
    """
    outputs, each, *size = weight.shape
    steps = _steps(kernel=size, stride=stride, dilation=dilation)
    seen = windows(
        x, size, stride=stride, dilation=dilation, padding=image_padding(padding, **steps)
    )
    lead, places = x.shape[:-3], seen.shape[-2:]
    columns = reshape(seen, (*lead, groups, each * math.prod(size), math.prod(places)))
    filters = reshape(weight, (groups, outputs // groups, each * math.prod(size)))
    y = reshape(matmul(filters, columns), (*lead, outputs, *places))
    return y if bias is None else y + reshape(bias, (outputs, 1, 1))

"""Convolution over sequences and volumes, and transposed: all of them by the one over images.

A sequence is an image of height 1. Along the depth of a volume the windows are taken first, and
their planes counted as channels: what is left is a convolution of images. The transposed ones run
the same steps backwards, each by its transpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.convolution import check_convolution, convolve, convolve_input, steps_of
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import pad_zeros
from chainrule.ops.structure import moveaxis, reshape
from chainrule.ops.windows import Sizes, add_windows, formula_names, pixel_names, windows
from chainrule.tensor.shapes import sizes
from chainrule.tensor.tensor import Tensor

_DUMOULIN = "Dumoulin and Visin 2016, A guide to convolution arithmetic, arXiv:1603.07285"


# One rank by the other


def _convolution(x: Tensor, weight: Tensor, steps: dict[str, Any]) -> Tensor:
    """`convolve` of any rank, of (batch, channels, …)."""
    rank = len(weight.shape) - 2
    if rank == 2:
        return convolve(x, weight, **steps)
    if rank == 1:
        y = convolve(_as_image(x), _as_image(weight), **_beside(steps))
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    deep, flat = _apart(steps)
    outputs, each, kernel = weight.shape[:3]
    batch, channels, depth, *size = x.shape
    planes = reshape(x, (batch, channels, depth, math.prod(size)))
    seen = windows(planes, (kernel, 1), **deep)  # (batch, channels, k, 1, places, pixels)
    places = seen.shape[4]
    seen = reshape(moveaxis(seen, 4, 1), (batch * places, channels * kernel, *size))
    filters = reshape(weight, (outputs, each * kernel, *weight.shape[3:]))
    y = convolve(seen, filters, **flat)
    return moveaxis(reshape(y, (batch, places, *y.shape[1:])), 1, 2)


def _transposed(x: Tensor, weight: Tensor, size: Sizes, steps: dict[str, Any]) -> Tensor:
    """The transpose of `_convolution` in its image, of which `size` is the size."""
    rank = len(size)
    if rank == 2:
        return convolve_input(x, weight, size=size, **steps)
    if rank == 1:
        y = convolve_input(_as_image(x), _as_image(weight), size=(1, *size), **_beside(steps))
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    deep, flat = _apart(steps)
    inputs, each, kernel = weight.shape[:3]
    batch, places = x.shape[0], x.shape[2]
    planes = reshape(moveaxis(x, 2, 1), (batch * places, inputs, *x.shape[3:]))
    filters = reshape(weight, (inputs, each * kernel, *weight.shape[3:]))
    y = convolve_input(planes, filters, size=size[1:], **flat)
    channels, pixels = each * steps["groups"], math.prod(size[1:])
    seen = moveaxis(reshape(y, (batch, places, channels, kernel, 1, pixels)), 1, 4)
    deep = {**deep, "kernel": (kernel, 1), "size": (size[0], pixels)}
    return reshape(add_windows(seen, **deep), (batch, channels, *size))


def _as_image(x: Tensor) -> Tensor:
    return reshape(x, (*x.shape[:-1], 1, x.shape[-1]))


def _beside(steps: dict[str, Any]) -> dict[str, Any]:
    """The steps along a sequence, as those along an image of height 1."""
    nothing = {"stride": 1, "padding": (0, 0), "dilation": 1}
    both = {name: (still, *steps[name]) for name, still in nothing.items()}
    return {**both, "groups": steps["groups"]}


def _apart(steps: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps through a volume: those along its depth, with one beside, and those in a plane."""
    nothing = {"stride": 1, "padding": (0, 0), "dilation": 1}
    deep = {name: (steps[name][0], still) for name, still in nothing.items()}
    flat = {name: steps[name][1:] for name in nothing}
    return deep, {**flat, "groups": steps["groups"]}


def _in_batches(rank: int, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of a batch, of one image too."""
    if x.ndim == rank + 2:
        return function(x)
    y = function(reshape(x, (1, *x.shape)))
    return reshape(y, y.shape[1:])


def _with_bias(y: Tensor, bias: Tensor | None, rank: int) -> Tensor:
    return y if bias is None else y + reshape(bias, (-1, *(1,) * rank))


# What the formulas say


def _formula(rank: int) -> str:
    places, within, pixels = pixel_names(rank)
    return (
        f"y[…, f, {places}] = Σ_{{c, {within}}} weight[f, c, {within}] · "
        f"x[…, c + m · floor(f / q), {pixels}] + bias[f]"
    )


def _transposed_formula(rank: int) -> str:
    places, within, pixels = pixel_names(rank)
    targets = ("u", "v", "w")[:rank]
    meets = " and ".join(f"{p} = {u}" for p, u in zip(pixels.split(", "), targets, strict=True))
    return (
        f"y[…, f, {', '.join(targets)}] = Σ_{{c, {places}, {within}}} "
        f"(weight[c, f, {within}] · x[…, c, {places}] if {meets} else 0) + bias[f]"
    )


def _view(
    x: Any, weight: Any, bias: Any, y: Any, groups: int, **attrs: Any
) -> tuple[dict, np.ndarray]:
    steps = steps_of(weight.shape[2:], groups=groups, **attrs)
    values = {
        "x": x, "weight": weight, "bias": np.zeros(len(weight)) if bias is None else bias,
        "m": weight.shape[1], "q": len(weight) // groups, **formula_names(**steps),
    }  # fmt: skip
    return values, y


def _transposed_view(
    x: Any, weight: Any, bias: Any, y: Any, groups: int, output_padding: Any, **attrs: Any
) -> tuple[dict, np.ndarray]:
    steps = steps_of(weight.shape[2:], groups=groups, **attrs)
    inputs, each, *kernel = weight.shape
    # As if there were one group: the weights are zeros between channels of different groups.
    full = np.zeros((groups, inputs // groups, groups, each, *kernel), weight.dtype)
    for group, own in enumerate(weight.reshape(groups, inputs // groups, each, *kernel)):
        full[group, :, group] = own
    values = {
        "x": x, "weight": full.reshape(inputs, groups * each, *kernel),
        "bias": np.zeros(each * groups) if bias is None else bias, **formula_names(**steps),
    }  # fmt: skip
    return values, y


# The declarations


def _samples(rank: int) -> Callable[[], list]:
    def samples() -> list:
        size, kernel = (5, 4, 3)[:rank], (2, 3, 1)[:rank]
        return [
            ((sampled(2, 3, *size), sampled(2, 3, *kernel), sampled(2)), {}),
            ((sampled(2, *size), sampled(3, 2, *kernel)), {"stride": 2, "padding": 1}),
            (
                (sampled(1, 4, *size), sampled(2, 2, *kernel[:1], *(1,) * (rank - 1)), sampled(2)),
                {"groups": 2, "dilation": 2},
            ),
            ((sampled(1, 1, *size), sampled(1, 1, *kernel)), {"padding": "same"}),
            ((sampled(0, 1, *size), sampled(1, 1, *kernel)), {}),
        ]

    return samples


def _transposed_samples(rank: int) -> Callable[[], list]:
    def samples() -> list:
        size, kernel = (3, 2, 2)[:rank], (2, 3, 1)[:rank]
        return [
            ((sampled(2, 3, *size), sampled(3, 2, *kernel), sampled(2)), {}),
            ((sampled(2, *size), sampled(2, 1, *kernel)), {"stride": 2, "output_padding": 1}),
            (
                (sampled(1, 2, *size), sampled(2, 1, *kernel), sampled(2)),
                {"groups": 2, "dilation": 2, "stride": 3, "padding": (1, 0, 0)[:rank]},
            ),
            (
                (sampled(1, 1, *size), sampled(1, 1, *(2,) * rank)),
                {"padding": 1, "stride": 2, "dilation": 3, "output_padding": 2},
            ),
            ((sampled(0, 1, *size), sampled(1, 1, *kernel)), {}),
        ]

    return samples


def _declaration(rank: int, transposed: bool = False) -> dict[str, Any]:
    def check(x: Any, weight: Any, bias: Any = None, *, groups: int, **attrs: Any) -> None:
        check_convolution(rank, x, weight, bias, groups, transposed)

    def operations(y: Any, x: Any, weight: Any, *rest: Any, **attrs: Any) -> int:
        return 2 * math.prod((x if transposed else y).shape) * math.prod(weight.shape[1:])

    return {
        "formula": (_transposed_formula if transposed else _formula)(rank),
        "check": check,
        "operations": operations,
        "formula_view": _transposed_view if transposed else _view,
        "samples": (_transposed_samples if transposed else _samples)(rank),
        "source": _DUMOULIN,
    }


def _ranked(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Tensor:  # fmt: skip
    rank = len(weight.shape) - 2
    steps = steps_of(weight.shape[2:], stride, padding, dilation, groups)
    y = _in_batches(rank, x, lambda images: _convolution(images, weight, steps))
    return _with_bias(y, bias, rank)


@composite(**_declaration(1))
def conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, /,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Patterns matched at every place of a sequence (a cross-correlation, as is usual).

    Args:
        x: (batch, channels, length), or one sequence without the batch.
        weight: (out, channels / groups, length).
        bias: (out,), or None.
        stride, dilation: how far apart the places are, and the elements a pattern looks at.
        padding: zeros at both ends: a number, "same" or "valid".
        groups: into how many parts the channels are cut, each with patterns of its own.

    >>> import chainrule as cr
    >>> x = cr.asarray([[1.0, 2.0, 4.0, 8.0]])
    >>> cr.conv1d(x, cr.asarray([[[-1.0, 1.0]]]))
    tensor([[1., 2., 4.]])
    """
    return _ranked(x, weight, bias, stride, padding, dilation, groups)


@composite(**_declaration(3))
def conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, /,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Patterns matched at every place of a volume: `conv2d` with a depth.

    Args:
        x: (batch, channels, depth, height, width), or one volume without the batch.
        weight: (out, channels / groups, depth, height, width).

    >>> import chainrule as cr
    >>> cr.conv3d(cr.ones((1, 2, 4, 5, 6)), cr.ones((3, 2, 2, 2, 2))).shape
    (1, 3, 3, 4, 5)
    """
    return _ranked(x, weight, bias, stride, padding, dilation, groups)


def _ranked_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    rank = len(weight.shape) - 2
    steps = steps_of(weight.shape[2:], stride, sizes(padding, rank, "padding"), dilation, groups)
    more = sizes(output_padding, rank, "output_padding")
    size, edges, rest = [], [], []
    for n, k, s, d, (p, _), o in zip(
        x.shape[-rank:], weight.shape[2:], steps["stride"], steps["dilation"], steps["padding"],
        more, strict=True,
    ):  # fmt: skip
        if not 0 <= o < max(s, d):
            raise ShapeError(
                f"output_padding is at least 0 and smaller than the stride or the dilation: "
                f"{output_padding!r} with stride {stride!r} and dilation {dilation!r}"
            )
        # What is wanted beyond the end was cut off by the padding, or else it is zero.
        shown = min(o, p)
        size.append((n - 1) * s - 2 * p + d * (k - 1) + 1 + shown)
        edges.append((p, p - shown))
        rest.append((0, o - shown))
    if min(size) < 1:
        raise ShapeError(
            f"with padding {padding!r} nothing is left of the transposed convolution of "
            f"{x.shape} with {weight.shape}"
        )
    steps["padding"] = tuple(edges)
    y = _in_batches(rank, x, lambda images: _transposed(images, weight, tuple(size), steps))
    if any(after for _, after in rest):
        y = pad_zeros(y, ((0, 0),) * (y.ndim - rank) + tuple(rest))
    return _with_bias(y, bias, rank)


@composite(**_declaration(1, transposed=True))
def conv_transpose1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, /,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv1d`: each element puts a pattern, scaled by it, into a longer sequence.

    Args:
        x: (batch, channels, length), or one sequence without the batch.
        weight: (channels, out / groups, length).
        bias: (out,), or None.
        stride: how far apart the patterns are put.
        padding: how much is cut off at both ends.
        output_padding: how much longer the result is at its end, as a stride leaves open.
        dilation: how far apart the elements of a pattern are.

    >>> import chainrule as cr
    >>> cr.conv_transpose1d(cr.asarray([[1.0, 2.0]]), cr.asarray([[[1.0, 10.0]]]), stride=2)
    tensor([[ 1., 10.,  2., 20.]])
    """
    return _ranked_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(**_declaration(2, transposed=True))
def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, /,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv2d`: each pixel puts a pattern, scaled by it, into a larger image.

    Args:
        x: (batch, channels, height, width), or one image without the batch.
        weight: (channels, out / groups, height, width).
        bias: (out,), or None.
        stride: how far apart the patterns are put.
        padding: how much is cut off at every side.
        output_padding: how much larger the result is at its end, as a stride leaves open.
        dilation: how far apart the pixels of a pattern are.

    >>> import chainrule as cr
    >>> cr.conv_transpose2d(cr.ones((1, 8, 7, 7)), cr.ones((8, 4, 2, 2)), stride=2).shape
    (1, 4, 14, 14)
    """
    return _ranked_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(**_declaration(3, transposed=True))
def conv_transpose3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, /,
    stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv3d`: `conv_transpose2d` with a depth.

    >>> import chainrule as cr
    >>> cr.conv_transpose3d(cr.ones((1, 8, 3, 3, 3)), cr.ones((8, 4, 2, 2, 2)), stride=2).shape
    (1, 4, 6, 6, 6)
    """
    return _ranked_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)

"""Convolution, bilinear in the image and the weight, and its two transposes.

    convolve         y from x and weight
    convolve_input   ∂x from g and weight
    convolve_weight  ∂weight from x and g

⟨g, y⟩ is trilinear in x, weight and g, so each of the three is a transpose of the other two, and
no derivative of any order leaves them. On NumPy arrays each is a matrix product over windows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import everywhere, trailing
from chainrule.ops.declare import bilinear, composite
from chainrule.ops.domain import sampled
from chainrule.ops.operation import operands
from chainrule.ops.structure import moveaxis, reshape
from chainrule.ops.windows import (
    Pair,
    Sizes,
    add_window_arrays,
    formula_names,
    image_padding,
    in_single,
    places,
    window_steps,
    window_view,
)
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import is_whole
from chainrule.tensor.tensor import Tensor

INTERNAL = ("convolve", "convolve_input", "convolve_weight", "check_convolution", "steps_of")

CHUNK = 1 << 18
"""Numbers in the columns of so many images as are worked on together: they stay in the cache, and
no step asks the system for fresh memory of many times the image's size."""


_AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}


def _check(x: Any, weight: Any, bias: Any = None, *, groups: int, **attrs: Any) -> None:
    check_convolution(2, x, weight, bias, groups)


def check_convolution(
    rank: int, x: Any, weight: Any, bias: Any, groups: Any, transposed: bool = False
) -> None:
    """What a convolution over `rank` axes takes; a transposed one stores (in, out / groups, …)."""
    sides = "in, out / groups" if transposed else "out, in / groups"
    if len(weight.shape) != rank + 2:
        raise ShapeError(
            f"the weight of a convolution is ({sides}, {_AXES[rank]}), not {weight.shape}"
        )
    if len(x.shape) not in (rank + 1, rank + 2):
        raise ShapeError(
            f"the input is (batch, channels, {_AXES[rank]}) or one image without the batch, not "
            f"{x.shape}." + (" Write x[:, None] for one channel." if len(x.shape) == rank else "")
        )
    if not is_whole(groups):
        raise DTypeError(f"groups is a whole number, not {groups!r}")
    first, second = weight.shape[:2]
    outputs, inputs = (second * groups, first) if transposed else (first, second * groups)
    if groups < 1 or first % groups or x.shape[-rank - 1] != inputs:
        last = len(x.shape) == rank + 2 and x.shape[-1] == inputs
        order = ", ".join(map(str, (0, rank + 1, *range(1, rank + 1))))
        axes = " and ".join(_AXES[rank].rsplit(", ", 1))
        raise ShapeError(
            f"the input {x.shape} has {x.shape[-rank - 1]} channels, and the weight "
            f"{weight.shape} with groups={groups} takes {inputs}."
            + (f" Channels come before {axes}; write x.permute({order})." * last)
        )
    if bias is not None and bias.shape != (outputs,):
        raise ShapeError(f"the bias has the shape {bias.shape}, and there are {outputs} outputs")
    given = [o for o in (x, weight, bias) if o is not None]
    if len({o.dtype for o in given}) > 1 or not dtypes.is_float(x.dtype):
        raise DTypeError(
            "input, weight and bias have one floating-point dtype, and here are "
            f"{', '.join(str(o.dtype) for o in given)}; write x.astype(weight.dtype)"
        )


# On NumPy arrays


def _parts(images: int, numbers: int) -> list[slice]:
    """So many images at a time that their columns, of `numbers` each, make about a CHUNK."""
    together = max(1, CHUNK // max(1, numbers))
    return [slice(i, i + together) for i in range(0, images, together)]


def _as_matrices(weight: np.ndarray, groups: int) -> np.ndarray:
    """(groups, outputs / groups, inner): the filters, each as a row."""
    return weight.reshape(groups, len(weight) // groups, math.prod(weight.shape[1:]))


def _as_images(x: np.ndarray) -> np.ndarray:
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])


def _columns(images: np.ndarray, groups: int, **steps: Any) -> np.ndarray:
    """(images, groups, inner, places): what each filter looks at, as a matrix."""
    seen = window_view(images, **steps)
    inner = images.shape[1] // groups * math.prod(steps["kernel"])
    return seen.reshape(len(images), groups, inner, math.prod(seen.shape[-2:]))


@in_single
def _convolve(x: np.ndarray, weight: np.ndarray, *, groups: int, **steps: Any) -> np.ndarray:
    steps["kernel"] = weight.shape[2:]
    found = places(x.shape[-2:], **steps)
    images, filters = _as_images(x), _as_matrices(weight, groups)
    y = np.empty((len(images), *filters.shape[:2], math.prod(found)), x.dtype)
    for part in _parts(len(images), groups * filters.shape[2] * y.shape[3]):
        np.matmul(filters, _columns(images[part], groups, **steps), out=y[part])
    return y.reshape(*x.shape[:-3], len(weight), *found)


@in_single
def _convolve_input(
    g: np.ndarray, weight: np.ndarray, *, size: Pair, groups: int, **steps: Any
) -> np.ndarray:
    steps["kernel"] = weight.shape[2:]
    filters = _as_matrices(weight, groups).swapaxes(-1, -2)
    channels = weight.shape[1] * groups
    y = np.empty((math.prod(g.shape[:-3]), channels, *size), g.dtype)
    flat = g.reshape(len(y), groups, len(weight) // groups, math.prod(g.shape[-2:]))
    for part in _parts(len(y), groups * filters.shape[1] * flat.shape[3]):
        columns = np.matmul(filters, flat[part])
        columns = columns.reshape(len(columns), channels, *steps["kernel"], *g.shape[-2:])
        y[part] = add_window_arrays(columns, size=size, **steps)
    return y.reshape(*g.shape[:-3], channels, *size)


@in_single
def _convolve_weight(
    x: np.ndarray, g: np.ndarray, *, kernel: Pair, groups: int, **steps: Any
) -> np.ndarray:
    images, outputs, each = _as_images(x), g.shape[-3], x.shape[-3] // groups
    flat = g.reshape(len(images), groups, outputs // groups, math.prod(g.shape[-2:]))
    inner = each * math.prod(kernel)
    y = np.zeros((groups, outputs // groups, inner), x.dtype)
    for part in _parts(len(images), groups * inner * flat.shape[3]):
        columns = _columns(images[part], groups, kernel=kernel, **steps)
        y += np.matmul(flat[part], columns.swapaxes(-1, -2)).sum(0)
    return y.reshape(outputs, each, *kernel)


# On many examples at once: where each has a weight of its own, its channels are groups of their own


def _fold(v: Tensor, single: bool) -> Tensor:
    """(examples, images, channels, …) as (images, examples · channels, …)."""
    if single:
        v = reshape(v, (v.shape[0], 1, *v.shape[1:]))
    v = moveaxis(v, 0, 1)
    return reshape(v, (v.shape[0], v.shape[1] * v.shape[2], *v.shape[3:]))


def _each_weight(op: Any, given: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    x, weight = everywhere(given, batched, size)
    single = x.ndim == 4
    weight = reshape(weight, (size * weight.shape[1], *weight.shape[2:]))
    y = op.apply((_fold(x, single), weight), {**attrs, "groups": size * attrs["groups"]})
    y = reshape(y, (y.shape[0], size, y.shape[1] // size, *y.shape[2:]))
    return y[0] if single else moveaxis(y, 1, 0)


def _convolve_each(op: Any, given: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    x, weight = given
    if batched[1]:
        return _each_weight(op, given, batched, attrs, size)
    if x.ndim == 4:
        return op.apply(given, attrs)
    y = op.apply((reshape(x, (size * x.shape[1], *x.shape[2:])), weight), attrs)
    return reshape(y, (*x.shape[:2], *y.shape[1:]))


def _convolve_input_each(op: Any, given: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    rule = _each_weight if batched[1] else trailing(3, 4)
    return rule(op, given, batched, attrs, size)


def _convolve_weight_each(op: Any, given: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    x, g = everywhere(given, batched, size)
    single = x.ndim == 4
    attrs = {**attrs, "groups": size * attrs["groups"]}
    y = op.apply((_fold(x, single), _fold(g, single)), attrs)
    return reshape(y, (size, y.shape[0] // size, *y.shape[1:]))


# The declarations


def _shape(x: Any, weight: Any, *, groups: int, **steps: Any) -> tuple[tuple[int, ...], np.dtype]:
    _check(x, weight, groups=groups)
    found = places(x.shape[-2:], kernel=weight.shape[2:], **steps)
    return (*x.shape[:-3], weight.shape[0], *found), x.dtype


def _samples(*, of: str, keyword: str | None = None) -> Any:
    """Samples of one of the three: two arrays of x, w (the weight) and g, and the third's size."""
    settings: Any = [
        ((2, 3, 4, 5), (2, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 5, 4), (3, 2, 3, 2), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
        ((1, 4, 5, 5), (2, 2, 2, 2), (1, 1), ((0, 1), (1, 0)), (2, 2), 2),
        ((0, 1, 4, 4), (1, 1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ]
    samples = []
    for x, w, stride, padding, dilation, groups in settings:
        steps = {"stride": stride, "padding": padding, "dilation": dilation}
        found = places(x[-2:], kernel=w[2:], **steps)
        shapes = {"x": x, "w": w, "g": (*x[:-3], w[0], *found)}
        size = {} if keyword is None else {keyword: {"size": x, "kernel": w}[keyword][-2:]}
        given = tuple(sampled(*shapes[name]) for name in of)
        samples.append((given, {**steps, "groups": groups, **size}))
    return samples


@bilinear(
    formula="y[…, f, i, j] = Σ_{c, k, l} weight[f, c, k, l] · "
    "x[…, c + m · floor(f / q), s · i + d · k − p, t · j + e · l − r]",
    shape=_shape,
    forward=_convolve,
    transpose=(
        lambda g, x, w, **attrs: convolve_input(g, w, size=x.shape[-2:], **attrs),
        lambda g, x, w, **attrs: convolve_weight(x, g, kernel=w.shape[2:], **attrs),
    ),
    operations=lambda y, x, w, **attrs: 2 * math.prod(y.shape) * math.prod(w.shape[1:]),
    lower="convolve",
    batch=_convolve_each,
    formula_view=lambda x, weight, y, groups, **steps: (
        {
            "x": x, "weight": weight, "m": weight.shape[1], "q": len(weight) // groups,
            **formula_names(**steps),
        },
        y,
    ),
    samples=lambda: _samples(of="xw"),
)  # fmt: skip
def convolve(
    x: Any, weight: Any, /, *, stride: Pair, padding: Any, dilation: Pair, groups: int
) -> Any:
    """A convolution without bias, its attributes as pairs and ((top, bottom), (left, right))."""
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return operands(x, weight), attrs


@bilinear(
    formula="y[…, c, u, v] = Σ of weight[f, c, k, l] · g[…, f, i, j] over "
    "s · i + d · k − p = u, t · j + e · l − r = v",
    display_only=True,
    shape=lambda g, w, *, size, groups, **steps: (
        (*g.shape[:-3], w.shape[1] * groups, *size),
        g.dtype,
    ),
    forward=_convolve_input,
    transpose=(
        lambda h, g, w, *, size, **attrs: convolve(h, w, **attrs),
        lambda h, g, w, *, size, **attrs: convolve_weight(h, g, kernel=w.shape[2:], **attrs),
    ),
    operations=lambda y, g, w, **attrs: 2 * math.prod(g.shape) * math.prod(w.shape[1:]),
    lower="convolve_input",
    batch=_convolve_input_each,
    samples=lambda: _samples(of="gw", keyword="size"),
)
def convolve_input(
    g: Any, weight: Any, /, *,
    size: Pair, stride: Pair, padding: Any, dilation: Pair, groups: int,
) -> Any:  # fmt: skip
    """The transpose of `convolve` in its image, of which `size` is the height and width."""
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return operands(g, weight), {"size": tuple(size), **attrs}


@bilinear(
    formula="y[f, c, k, l] = Σ of g[…, f, i, j] · "
    "x[…, c + m · floor(f / q), s · i + d · k − p, t · j + e · l − r] over all images and places",
    display_only=True,
    shape=lambda x, g, *, kernel, groups, **steps: (
        (g.shape[-3], x.shape[-3] // groups, *kernel),
        x.dtype,
    ),
    forward=_convolve_weight,
    transpose=(
        lambda h, x, g, *, kernel, **attrs: convolve_input(g, h, size=x.shape[-2:], **attrs),
        lambda h, x, g, *, kernel, **attrs: convolve(x, h, **attrs),
    ),
    operations=lambda y, x, g, **attrs: 2 * math.prod(g.shape) * math.prod(y.shape[1:]),
    lower="convolve_weight",
    batch=_convolve_weight_each,
    samples=lambda: _samples(of="xg", keyword="kernel"),
)
def convolve_weight(
    x: Any, g: Any, /, *,
    kernel: Pair, stride: Pair, padding: Any, dilation: Pair, groups: int,
) -> Any:  # fmt: skip
    """The transpose of `convolve` in its weight, of which `kernel` is the height and width."""
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return operands(x, g), {"kernel": tuple(kernel), **attrs}


def steps_of(
    kernel: Sizes, stride: Any, padding: Any, dilation: Any, groups: int
) -> dict[str, Any]:
    """The attributes of `convolve`, from what the user of `conv2d` wrote."""
    steps = window_steps(len(kernel), kernel=kernel, stride=stride, dilation=dilation)
    edges = image_padding(padding, **steps)
    return {
        "stride": steps["stride"], "padding": edges, "dilation": steps["dilation"],
        "groups": groups,
    }  # fmt: skip


def _conv_kernel(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, **attrs: Any
) -> tuple[np.ndarray, tuple]:
    y = _convolve(x, weight, **steps_of(weight.shape[2:], **attrs))
    if bias is not None:
        y += bias[:, None, None]
    return y, ()


@in_single
def _bias_sum(images: np.ndarray) -> np.ndarray:
    return images.sum((0, 2, 3))


def _conv_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: Any, *, y: Any,
    residual: Any, **attrs: Any,
) -> tuple[np.ndarray | None, ...]:  # fmt: skip
    steps = steps_of(weight.shape[2:], **attrs)
    return (
        _convolve_input(g, weight, size=x.shape[-2:], **steps) if wanted[0] else None,
        _convolve_weight(x, g, kernel=weight.shape[2:], **steps) if wanted[1] else None,
        _bias_sum(_as_images(g)) if wanted[2] else None,
    )


@composite(
    formula="y[…, f, i, j] = Σ_{c, k, l} weight[f, c, k, l] · "
    "x[…, c + m · floor(f / q), s · i + d · k − p, t · j + e · l − r] + bias[f]",
    kernel=_conv_kernel,
    pullback=_conv_pullback,
    check=_check,
    operations=lambda y, x, w, *rest, **attrs: 2 * math.prod(y.shape) * math.prod(w.shape[1:]),
    lower="conv2d",
    formula_view=lambda x, weight, bias, y, groups, **attrs: (
        {
            "x": x, "weight": weight, "bias": np.zeros(len(weight)) if bias is None else bias,
            "m": weight.shape[1], "q": len(weight) // groups,
            **formula_names(**steps_of(weight.shape[2:], groups=groups, **attrs)),
        },
        y,
    ),
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
)  # fmt: skip
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
    y = convolve(x, weight, **steps_of(weight.shape[2:], stride, padding, dilation, groups))
    return y if bias is None else y + reshape(bias, (-1, 1, 1))

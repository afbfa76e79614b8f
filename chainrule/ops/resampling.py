"""Images made larger or smaller: each new pixel is a weighted sum of a few old ones, axis by axis.

Where along an axis of n a pixel i of m lies: the centres of pixels are at halves, so it is
(i + ½) n / m − ½; with `align_corners` the first and the last centres coincide, and it is
i (n − 1) / (m − 1).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.pooling import adaptive_avg_pool2d, averages
from chainrule.ops.pooling_to_size import adaptive_avg_pool1d, adaptive_avg_pool3d
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import sizes
from chainrule.tensor.tensor import Tensor

INTERNAL = ("cubic_weights",)

_RANKS = {
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,),
    "bicubic": (2,), "trilinear": (3,), "area": (1, 2, 3),
}  # fmt: skip
_SMOOTH = ("linear", "bilinear", "bicubic", "trilinear")

Taps = list[tuple[np.ndarray, np.ndarray | None]]


def cubic_weights(t: Any, a: float = -0.75) -> list[Any]:
    """What the pixels at −1, 0, 1, 2 weigh at t in [0, 1): Keys 1981, Cubic convolution
    interpolation for digital image processing, IEEE Trans. ASSP 29, with PyTorch's a."""

    def near(u: Any) -> Any:
        return ((a + 2) * u - (a + 3)) * u * u + 1

    def far(u: Any) -> Any:
        return ((a * u - 5 * a) * u + 8 * a) * u - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _taps(n: int, m: int, mode: str, align: bool, scale: float | None) -> Taps:
    """(which old pixel, its weight), m of each, for as many as a new pixel is made of."""
    i = np.arange(m)
    step = n / m if scale is None else 1 / scale
    if mode == "nearest":
        return [(np.minimum(np.floor(i * step).astype(int), n - 1), None)]
    if mode == "nearest-exact":
        return [(np.minimum(np.floor((i + 0.5) * step).astype(int), n - 1), None)]
    at = i * ((n - 1) / max(m - 1, 1)) if align else (i + 0.5) * step - 0.5
    if mode == "bicubic":
        low = np.floor(at).astype(int)
        weights = cubic_weights(at - low)
        return [(np.clip(low + k - 1, 0, n - 1), w) for k, w in enumerate(weights)]
    at = np.maximum(at, 0)
    low = np.minimum(np.floor(at).astype(int), n - 1)
    t = at - low
    return [(low, 1 - t), (np.minimum(low + 1, n - 1), t)]


def _along(x: Tensor, axis: int, taps: Taps) -> Tensor:
    terms = []
    for places, weight in taps:
        term = x[(*(slice(None),) * axis, Tensor(places))]
        if weight is not None:
            shape = (-1, *(1,) * (x.ndim - axis - 1))
            term = term * Tensor(weight.reshape(shape).astype(x.dtype))
        terms.append(term)
    return reduce(operator.add, terms)


def _target(
    x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """(the new size, the scale along each axis where that was given)."""
    if mode not in _RANKS:
        raise DTypeError(f"mode is one of {', '.join(map(repr, _RANKS))}, not {mode!r}")
    rank = len(x.shape) - 2
    if rank not in _RANKS[mode]:
        axes = " or ".join(str(n + 2) for n in _RANKS[mode])
        raise ShapeError(
            f'mode="{mode}" takes (batch, channels, …) with {axes} dimensions, and this is '
            f"{x.shape}"
        )
    if align_corners is not None and mode not in _SMOOTH:
        raise DTypeError(f'align_corners is for {", ".join(_SMOOTH)}, and this is mode="{mode}"')
    if (size is None) == (scale_factor is None):
        raise DTypeError("give either size= or scale_factor=, and not both")
    old = x.shape[2:]
    scales: tuple[float | None, ...] = (None,) * rank
    if size is not None:
        new = sizes(size, rank, "size")
    else:
        given = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * rank
        numbers = [isinstance(s, (int, float)) and not isinstance(s, bool) for s in given]
        if len(given) != rank or not all(numbers) or not all(0 < s < math.inf for s in given):
            raise DTypeError(
                f"scale_factor is one positive number, or {rank} of them, not {scale_factor!r}"
            )
        scales = tuple(float(s) for s in given)
        new = tuple(math.floor(n * s) for n, s in zip(old, given, strict=True))
    if min(new) < 1 or 0 in old:
        raise ShapeError(f"an image of {old} cannot be made into one of {new}")
    return new, scales


def _taps_of(
    x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any, again: bool | None
) -> list[Taps]:
    new, scales = _target(x, size, scale_factor, mode, align_corners)
    if again:
        scales = (None,) * len(new)
    return [
        _taps(n, m, mode, bool(align_corners), s)
        for n, m, s in zip(x.shape[2:], new, scales, strict=True)
    ]


def _matrices(x: np.ndarray, y: np.ndarray, mode: str, **attrs: Any) -> list[np.ndarray]:
    """The interpolation of each axis as a matrix (new, old)."""
    if mode == "area":
        return [averages(n, m, np.float64) for n, m in zip(x.shape[2:], y.shape[2:], strict=True)]
    found = []
    for n, taps in zip(x.shape[2:], _taps_of(x, mode=mode, **attrs), strict=True):
        matrix = np.zeros((len(taps[0][0]), n))
        for places, weight in taps:
            np.add.at(matrix, (np.arange(len(places)), places), 1.0 if weight is None else weight)
        found.append(matrix)
    return found


def _view(
    x: np.ndarray, y: np.ndarray, recompute_scale_factor: Any, **attrs: Any
) -> tuple[dict, np.ndarray]:
    """As if every image had a depth: the matrix of an axis that is not there is the number 1."""
    matrices = _matrices(x, y, again=recompute_scale_factor, **attrs)
    missing = 3 - len(matrices)
    names = dict(zip("ABC", [np.ones((1, 1))] * missing + matrices, strict=True))
    lead = (*x.shape[:2], *(1,) * missing)
    return {"x": x.reshape(*lead, *x.shape[2:]), **names}, y.reshape(*lead, *y.shape[2:])


def _samples() -> list:
    image = sampled(2, 1, 3, 4)
    return [
        ((image, (5, 2)), {}),
        ((image,), {"scale_factor": (1.7, 0.8), "mode": "nearest-exact"}),
        ((image,), {"scale_factor": 1.7, "mode": "bilinear"}),
        ((image,), {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True}),
        ((image, (6, 3)), {"mode": "bilinear", "align_corners": True}),
        ((image, (6, 3)), {"mode": "bicubic"}),
        ((image, (2, 7)), {"mode": "bicubic", "align_corners": True}),
        ((image, (2, 3)), {"mode": "area"}),
        ((sampled(1, 2, 5), 8), {"mode": "linear"}),
        ((sampled(1, 1, 2, 3, 2), (3, 2, 4)), {"mode": "trilinear"}),
        ((sampled(0, 1, 2, 2), 3), {}),
    ]


@composite(
    formula="y[…, h, i, j] = Σ_{a, k, l} A[h, a] · B[i, k] · C[j, l] · x[…, a, k, l]",
    operations=lambda y, x, **attrs: 4 * math.prod(y.shape),
    formula_view=_view,
    samples=_samples,
)
def interpolate(
    x: Tensor, /, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
) -> Tensor:  # fmt: skip
    """Sequences, images or volumes of another size.

    Args:
        x: (batch, channels, length), (…, height, width) or (…, depth, height, width).
        size: the new size, one number for all axes or one for each.
        scale_factor: how many times as large, in place of the size; rounded down.
        mode: "nearest" (the pixel at ⌊i n / m⌋), "nearest-exact" (the nearest centre), "linear",
            "bilinear", "trilinear", "bicubic", or "area", the mean of what a new pixel covers.
        align_corners: whether the centres of the outermost pixels coincide, not their edges.
        recompute_scale_factor: whether pixels are placed by the sizes rather than by the factor.

    Raises:
        ShapeError: the mode is for other dimensions; nothing would be left.
        DTypeError: an argument that is none, or that the mode does not have.

    >>> import chainrule as cr
    >>> x = cr.asarray([[[1.0, 3.0]]])
    >>> cr.interpolate(x, 4, mode="linear")
    tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    if not dtypes.is_float(x.dtype) and "nearest" not in mode:
        raise DTypeError(f"{mode} interpolation is of floating-point numbers, not of {x.dtype}")
    if mode == "area":
        pools: dict[int, Callable[..., Tensor]] = {
            3: adaptive_avg_pool1d, 4: adaptive_avg_pool2d, 5: adaptive_avg_pool3d,
        }  # fmt: skip
        new, _ = _target(x, size, scale_factor, mode, align_corners)
        return pools[x.ndim](x, new)
    taps = _taps_of(x, size, scale_factor, mode, align_corners, recompute_scale_factor)
    for axis, one in enumerate(taps, start=2):
        x = _along(x, axis, one)
    return x

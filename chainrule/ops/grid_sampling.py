"""Images read at any places, and the places that an affine map makes of a regular grid.

A place is told by numbers from −1 to 1 along each axis, the last axis first. They mean the outer
edges of the first and the last pixel; with `align_corners`, their centres.
(Jaderberg et al. 2015, Spatial transformer networks, arXiv:1506.02025.)
"""

from __future__ import annotations

import math
import operator
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, clip, floor, isnan, remainder, round
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import getitem
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.resampling import cubic_weights
from chainrule.ops.structure import expand_dims, matrix_transpose, permute_dims, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import normalise_shape
from chainrule.tensor.tensor import Tensor

Tap = tuple[Tensor, Tensor | None, Tensor]


def _check_theta(theta: Tensor, size: Any, align_corners: bool) -> None:
    rank = len(normalise_shape(size)) - 2
    if rank not in (2, 3) or theta.ndim != 3 or theta.shape[1:] != (rank, rank + 1):
        raise ShapeError(
            f"a map of images is (batch, 2, 3), for a size (batch, channels, height, width), and "
            f"one of volumes (batch, 3, 4); these are {theta.shape} and {tuple(size)}"
        )
    if theta.shape[0] != normalise_shape(size)[0]:
        raise ShapeError(f"there is a map for each image: {theta.shape} for {tuple(size)}")
    if theta.dtype.kind == "c" or not dtypes.is_float(theta.dtype):
        raise DTypeError(f"a map is of real floating-point numbers, not of {theta.dtype}")


def _regular(size: Any, align_corners: bool) -> np.ndarray:
    """(places, rank + 1): every pixel's place, with the last axis first, and a 1."""
    sides = []
    for n in size:
        # One pixel alone is in the middle.
        ends = (n - 1) / n if not align_corners else float(n > 1)
        sides.append(np.linspace(-ends, ends, n))
    grid = np.meshgrid(*sides, indexing="ij")
    return np.stack([*(g.reshape(-1) for g in grid[::-1]), np.ones(math.prod(size))], 1)


@composite(
    formula="y[b, n, i] = Σ_j theta[b, i, j] · g[n, j]",
    check=_check_theta,
    operations=lambda y, theta, **attrs: 2 * math.prod(y.shape) * theta.shape[2],
    formula_view=lambda theta, y, size, align_corners: (
        {"theta": theta, "g": _regular(size[2:], align_corners)},
        y.reshape(y.shape[0], -1, y.shape[-1]),
    ),
    samples=lambda: [
        ((sampled(2, 2, 3),), {"size": (2, 1, 2, 3)}),
        ((sampled(1, 2, 3),), {"size": (1, 1, 3, 1), "align_corners": True}),
        ((sampled(1, 3, 4),), {"size": (1, 1, 2, 1, 2)}),
    ],
)
def affine_grid(theta: Tensor, /, size: Any, align_corners: bool = False) -> Tensor:
    """The places that affine maps make of a regular grid g, for `grid_sample`.

    Args:
        theta: (batch, 2, 3), a map of (x, y, 1) for each image; or (batch, 3, 4) for volumes.
        size: the result's, (batch, channels, height, width); or with a depth.

    Returns:
        (batch, height, width, 2), or (batch, depth, height, width, 3).

    >>> import chainrule as cr
    >>> same = cr.asarray([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> cr.affine_grid(same, (1, 1, 2, 2))[0, 0]
    tensor([[-0.5, -0.5],
            [ 0.5, -0.5]])
    """
    shape = normalise_shape(size)
    places = Tensor(_regular(shape[2:], bool(align_corners)).astype(theta.dtype))
    grid = matmul(places, matrix_transpose(theta))
    return reshape(grid, (shape[0], *shape[2:], theta.shape[1]))


def _check_grid(
    x: Tensor, grid: Tensor, *, mode: Any, padding_mode: Any, align_corners: Any
) -> None:
    rank = x.ndim - 2
    if rank not in (2, 3) or grid.ndim != x.ndim or grid.shape[-1] != rank:
        raise ShapeError(
            f"images are (batch, channels, height, width) with places (batch, height, width, 2), "
            f"and volumes have a depth and 3; these are {x.shape} and {grid.shape}"
        )
    if grid.shape[0] != x.shape[0]:
        raise ShapeError(f"there are places for each image: {grid.shape} for {x.shape}")
    if 0 in x.shape[2:]:
        raise ShapeError(f"nothing can be read from images of no pixels, {x.shape}")
    if grid.dtype != x.dtype or x.dtype.kind == "c" or not dtypes.is_float(x.dtype):
        raise DTypeError(
            f"image and places have one real floating-point dtype, not {x.dtype} and {grid.dtype}"
        )
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise DTypeError(f'mode is "bilinear", "nearest" or "bicubic", not {mode!r}')
    if mode == "bicubic" and rank != 2:
        raise ShapeError(f'mode="bicubic" is for images, and this is {x.shape}')
    if padding_mode not in ("zeros", "border", "reflection"):
        raise DTypeError(f'padding_mode is "zeros", "border" or "reflection", not {padding_mode!r}')


def _mirrors(n: int, align: bool) -> tuple[float, float]:
    """(the place of the first mirror, how far apart the two are)."""
    return (0.0, n - 1.0) if align else (-0.5, float(n))


def _repeating(at: Tensor, n: int, align: bool) -> Tensor:
    """The same place between the first mirror and the second one's image of it."""
    low, span = _mirrors(n, align)
    return remainder(at - low, 2 * span) + low if span else at * 0


def _inwards(at: Tensor, n: int, padding_mode: str, align: bool) -> Tensor:
    """Places outside of the image moved to where they are read."""
    if padding_mode == "zeros":
        return at
    if padding_mode == "reflection":
        low, span = _mirrors(n, align)
        at = span - abs(_repeating(at, n, align) - low - span) + low
    return clip(at, 0.0, n - 1.0)


def _taps(at: Tensor, n: int, mode: str, padding_mode: str, align: bool) -> list[Tap]:
    """(which pixel, its weight, whether there is such a one), for as many as are read."""
    at = where(isnan(at), -1.0, at)
    if mode != "bicubic":
        at = _inwards(at, n, padding_mode, align)
    elif padding_mode == "reflection":
        at = _repeating(at, n, align)
    at = clip(at, -4.0, 2 * n + 3.0)  # farther out there is nothing, either

    def tap(place: Tensor, weight: Tensor | None) -> Tap:
        if mode == "bicubic":
            place = round(_inwards(place, n, padding_mode, align))
        inside = (place >= 0) & (place <= n - 1)
        return clip(place, 0.0, n - 1.0).astype(dtypes.int64), weight, inside

    if mode == "nearest":
        return [tap(round(at), None)]
    low = floor(at)
    t = at - low
    if mode == "bilinear":
        return [tap(low, 1 - t), tap(low + 1, t)]
    weights: Any = cubic_weights(t)
    return [tap(low + (k - 1), w) for k, w in enumerate(weights)]


def _samples() -> list:
    image, places = sampled(2, 2, 4, 5), sampled(2, 3, 2, 2) * 0.6
    return [
        ((image, places), {}),
        ((image, places), {"align_corners": True, "padding_mode": "border"}),
        ((image, places * 0.9), {"mode": "nearest"}),
        ((sampled(1, 1, 3, 4, 2), sampled(1, 2, 1, 2, 3) * 0.6), {}),
        ((sampled(0, 1, 2, 2), sampled(0, 2, 2, 2)), {}),
    ]


@composite(
    formula="y[b, c, …] = x[b, c] at grid[b, …], between its pixels",
    display_only=True,
    check=_check_grid,
    operations=lambda y, x, grid, **attrs: 8 * math.prod(y.shape),
    samples=_samples,
)
def grid_sample(
    x: Tensor, grid: Tensor, /, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool = False,
) -> Tensor:  # fmt: skip
    """Images read at any places, from −1 to 1 along each axis.

    Args:
        x: (batch, channels, height, width), or with a depth.
        grid: (batch, height′, width′, 2), the places (x, y); or (…, 3), (x, y, z), for volumes.
        mode: "bilinear" (of volumes trilinear), "nearest", or "bicubic" (of images).
        padding_mode: what is outside: "zeros", the "border", or the image's "reflection".
        align_corners: whether −1 and 1 are the centres of the outermost pixels, not their edges.

    Returns:
        (batch, channels, height′, width′).

    >>> import chainrule as cr
    >>> x = cr.reshape(cr.arange(4.0), (1, 1, 2, 2))
    >>> cr.grid_sample(x, cr.zeros((1, 1, 1, 2))).item()
    1.5
    """
    rank = x.ndim - 2
    sides = []
    for axis in range(rank):
        n = x.shape[2 + axis]
        place = grid[..., rank - 1 - axis]
        at = (place + 1) * ((n - 1) / 2) if align_corners else ((place + 1) * n - 1) * 0.5
        sides.append(_taps(at, n, mode, padding_mode, bool(align_corners)))
    last = permute_dims(x, (0, *range(2, x.ndim), 1))
    image = Tensor(np.arange(x.shape[0]).reshape(-1, *(1,) * rank))
    terms = []
    for taps in product(*sides):
        term = getitem(last, (image, *(place for place, _, _ in taps)))
        factors = [weight for _, weight, _ in taps if weight is not None]
        if factors:
            term = term * expand_dims(reduce(operator.mul, factors), -1)
        inside = reduce(operator.and_, [mask for _, _, mask in taps])
        terms.append(where(expand_dims(inside, -1), term, 0))
    y = reduce(operator.add, terms)
    return permute_dims(y, (0, rank + 1, *range(1, rank + 1)))

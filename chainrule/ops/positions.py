"""Positions as angles: rotary embeddings, and sines and cosines that are added to a sequence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat, stack
from chainrule.ops.structure import expand_dims, reshape
from chainrule.ops.trigonometry import cos, sin
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


def _frequencies(size: int, base: float) -> np.ndarray:
    """(size / 2,): base^(−2k / size), in radians a step."""
    return base ** (-np.arange(0, size, 2) / size)


def _check_base(base: Any) -> None:
    if isinstance(base, bool) or not isinstance(base, (int, float)) or not base > 0:
        raise DTypeError(f"base is a positive number, not {base!r}")


def _check_rotary(x: Tensor, positions: Tensor | None, *, base: float, interleaved: bool) -> None:
    _check_base(base)
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ShapeError(f"rotary embeddings turn (…, length, an even size), not {x.shape}")
    if not dtypes.is_float(x.dtype):
        raise DTypeError(f"rotary embeddings turn floating-point numbers, not {x.dtype}")
    if positions is not None and (
        positions.ndim == 0 or positions.shape[-1] != x.shape[-2] or positions.ndim > x.ndim - 1
    ):
        raise ShapeError(
            f"positions end with the length {x.shape[-2]} of {x.shape}, and broadcast to "
            f"{x.shape[:-1]}; they are {positions.shape}"
        )


def _rotary_view(
    x: np.ndarray, positions: Any, y: np.ndarray, base: float = 1e4, interleaved: bool = False
) -> tuple[dict, np.ndarray]:
    p = np.arange(x.shape[-2]) if positions is None else positions
    angles = p[..., None] * _frequencies(x.shape[-1], base)
    half = x.shape[-1] // 2
    if interleaved:
        angles = np.repeat(angles, 2, -1)
        partner = np.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    else:
        angles = np.concatenate([angles, angles], -1)
        partner = np.concatenate([-x[..., half:], x[..., :half]], -1)
    return {"x": x, "r": partner, "θ": np.broadcast_to(angles, x.shape)}, y


@composite(
    formula="y[…] = x[…] · cos(θ[…]) + r[…] · sin(θ[…])",
    check=_check_rotary,
    operations=lambda y, x, *rest, **attrs: 3 * math.prod(x.shape),
    formula_view=_rotary_view,
    samples=lambda: [
        ((sampled(2, 3, 4),), {}),
        ((sampled(2, 3, 4), np.array([4, 0, 7])), {"interleaved": True}),
        ((sampled(2, 2, 3, 4), np.array([[[0, 1, 2]], [[5, 6, 7]]])), {"base": 100.0}),
        ((np.zeros((0, 2)),), {}),
    ],
    source="Su et al. 2021, arXiv:2104.09864, eq. 34",
)
def rotary_embedding(
    x: Tensor,
    positions: Tensor | None = None,
    /,
    base: float = 10_000.0,
    *,
    interleaved: bool = False,
) -> Tensor:
    """Pairs of numbers turned by angles that grow with their position, so that the dot product of
    a query and a key depends on how far they are apart, and not on where they are.

    The pair k at position p is turned by p · base^(−2k / size). In the formula r is the pair's
    other number, −x₂ for x₁ and x₁ for x₂.

    Args:
        x: (…, length, size), queries or keys of one head; the size is even.
        positions: (…, length), whole numbers; 0, 1, 2, … if left out.
        base: how slowly the last pair turns.
        interleaved: whether pairs are neighbours (0, 1), (2, 3), … rather than halves (0, size/2),
            (1, size/2 + 1), …, as in GPT-NeoX and Llama.

    >>> import chainrule as cr
    >>> cr.rotary_embedding(cr.asarray([[1.0, 0.0], [1.0, 0.0]])).numpy().round(4)
    array([[1.    , 0.    ],
           [0.5403, 0.8415]], dtype=float32)
    """
    half = x.shape[-1] // 2
    if positions is None:
        positions = Tensor(np.arange(x.shape[-2]))
    # In float64: at position 100,000 an angle in float32 is off by hundredths.
    angles = expand_dims(positions.astype(dtypes.float64), -1) * Tensor(
        _frequencies(x.shape[-1], base)
    )
    c, s = cos(angles).astype(x.dtype), sin(angles).astype(x.dtype)
    if interleaved:
        pairs = reshape(x, (*x.shape[:-1], half, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        return reshape(stack([a * c - b * s, b * c + a * s], axis=-1), x.shape)
    a, b = x[..., :half], x[..., half:]
    return concat([a * c - b * s, b * c + a * s], axis=-1)


@located
def sinusoidal_positions(length: Any, size: int, base: float = 10_000.0) -> Tensor:
    """sin(p · base^(−2k / size)) at 2k and the cosine at 2k + 1, for each position p (Vaswani et
    al. 2017, arXiv:1706.03762, section 3.5).

    Args:
        length: how many positions, 0, 1, 2, …; or the positions themselves, (…,).
        size: how many numbers for each.

    Returns:
        (length, size), float32.

    >>> import chainrule as cr
    >>> cr.sinusoidal_positions(2, 2).numpy().round(4)
    array([[0.    , 1.    ],
           [0.8415, 0.5403]], dtype=float32)
    """
    _check_base(base)
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise DTypeError(f"size is a whole number of at least 1, not {size!r}")
    whole = hasattr(length, "__index__") and not isinstance(length, (Tensor, np.ndarray))
    if whole and length < 0:
        raise ShapeError(f"length is at least 0, not {length}")
    positions = Tensor(np.arange(length)) if whole else as_operand(length)
    wide = expand_dims(positions.astype(dtypes.float64), -1)
    angles = wide * Tensor(_frequencies(size, base))
    both = stack([sin(angles), cos(angles)], axis=-1)
    flat = reshape(both, (*positions.shape, 2 * angles.shape[-1]))
    return flat[..., :size].astype(dtypes.float32)

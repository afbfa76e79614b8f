"""Complex numbers: their parts, conjugates and angles, and their form as pairs of real numbers.

Derivatives of functions that are not holomorphic follow PyTorch's convention, as all others do:
see docs/complex.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import along
from chainrule.ops.declare import composite, elementwise, linear
from chainrule.ops.domain import NONZERO, sampled
from chainrule.ops.elementwise import Wirtinger
from chainrule.ops.operation import operands
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor, attach

INTERNAL = ("if_complex",)


def if_complex(x: Tensor, then: Any, otherwise: Any) -> Any:
    """`then()` for a complex x, else `otherwise`: what a derivative is of each."""
    return then() if x.dtype.kind == "c" else otherwise


conj = elementwise(
    "conj", np.conjugate, formula="conj(x)", accepts="number", method="conj",
    derivative=lambda x, y: if_complex(x, lambda: Wirtinger(0, 1), 1),
    doc="The complex conjugate, Re x − i Im x; of a real number, itself.",
)  # fmt: skip
real = elementwise(
    "real", lambda x: np.real(x).copy(), formula="real(x)", accepts="number", result="real",
    derivative=1, doc="The real part; of a real number, itself.",
)  # fmt: skip
imag = elementwise(
    "imag", lambda x: np.imag(x).copy(), formula="imag(x)", accepts="number", result="real",
    derivative=lambda x, y: if_complex(x, lambda: -1j, 0),  # d Im z = Re(−i dz)
    doc="The imaginary part; of a real number, 0.",
)  # fmt: skip


def _turn(x: Tensor, y: Tensor) -> Tensor:
    # d arg z = Im(dz / z) = Re(−i dz / z); 0 at 0, where there is no angle; PyTorch's convention.
    from chainrule.ops.choosing import where

    return where(x == 0, 0.0, -1j / where(x == 0, 1.0, x))


angle = elementwise(
    "angle", lambda x: np.angle(x).astype(np.real(x).dtype, copy=False),
    formula="0 if x ≥ 0 else π", result="real", domain=NONZERO, flops=25,
    derivative=lambda x, y: if_complex(x, lambda: _turn(x, y), 0),
    doc="""The angle of x in the complex plane, in (−π, π]: atan2(Im x, Re x), in radians.

Of a real number it is 0 or π. The formula is that of real numbers.

>>> import chainrule as cr
>>> cr.angle(cr.asarray(1j)).item()
1.5707963705062866
""",
)  # fmt: skip
attach("real")(property(real))
attach("imag")(property(imag))


def _as_pairs(x: np.ndarray) -> np.ndarray:
    part = np.dtype(f"f{x.dtype.itemsize // 2}")
    return np.stack([x.real, x.imag], -1).astype(part, copy=False)


def _as_numbers(x: np.ndarray) -> np.ndarray:
    y = np.empty(x.shape[:-1], np.dtype(f"c{2 * x.dtype.itemsize}"))
    y.real, y.imag = x[..., 0], x[..., 1]
    return y


def _pairs_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    if x.dtype.kind != "c":
        raise DTypeError(f"it is for complex numbers, and this is {x.dtype}")
    return (*x.shape, 2), np.dtype(f"f{x.dtype.itemsize // 2}")


def _numbers_shape(x: Any) -> tuple[tuple[int, ...], np.dtype]:
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(f"pairs of float32 or float64 make complex numbers, and this is {x.dtype}")
    if x.shape[-1:] != (2,):
        raise ShapeError(
            f"the last axis holds the real and the imaginary part, so that its size is 2, and the "
            f"shape is {x.shape}. Write cr.stack([re, im], axis=-1)."
        )
    return x.shape[:-1], np.dtype(f"c{2 * x.dtype.itemsize}")


@linear(
    formula="y[…, 0] = real(x[…]), y[…, 1] = imag(x[…])",
    display_only=True,
    shape=_pairs_shape,
    forward=_as_pairs,
    transpose=lambda g, x: view_as_complex(g),
    lower="view_as_real",
    batch=along(),
    samples=lambda: [
        ((sampled(2, 3) + 1j * sampled(3, 2).T,), {}),
        ((np.asarray(1.0 - 2.0j),), {}),
        ((np.zeros((0, 2), np.complex128),), {}),
    ],
)
def view_as_real(x: Any, /) -> Any:
    """Complex numbers as pairs (real, imaginary) along a new last axis.

    A value of its own, not a view. Raises DTypeError for what is not complex.

    >>> import chainrule as cr
    >>> cr.view_as_real(cr.asarray([1 + 2j]))
    tensor([[1., 2.]])
    """
    return operands(x), {}


@linear(
    formula="y[…] = x[…, 0] + i · x[…, 1]",
    display_only=True,
    shape=_numbers_shape,
    forward=_as_numbers,
    transpose=lambda g, x: view_as_real(g),
    lower="view_as_complex",
    batch=along(),
    samples=lambda: [((sampled(2, 3, 2),), {}), ((sampled(2),), {}), ((sampled(0, 2),), {})],
)
def view_as_complex(x: Any, /) -> Any:
    """Pairs (real, imaginary) along the last axis as complex numbers; `view_as_real`'s inverse.

    Raises:
        DTypeError: x is neither float32 nor float64.
        ShapeError: its last axis has not the size 2.

    >>> import chainrule as cr
    >>> cr.view_as_complex(cr.asarray([[1.0, 2.0]]))
    tensor([1.+2.j], dtype=complex64)
    """
    return operands(x), {}


@composite(
    formula="y[…] = r[…] · (cos(θ[…]) + i · sin(θ[…]))",
    display_only=True,
    samples=lambda: [
        ((np.abs(sampled(2, 3)), sampled(3)), {}),
        ((np.asarray(2.0), np.asarray(0.5)), {}),
    ],
)
def polar(r: Tensor, theta: Tensor, /) -> Tensor:
    """The complex number of modulus r and angle theta (in radians): r · exp(i · theta).

    Raises:
        DTypeError: an operand is complex.

    >>> import chainrule as cr
    >>> cr.polar(cr.asarray(2.0), cr.asarray(0.0)).item()
    (2+0j)
    """
    from chainrule.ops.joining import stack
    from chainrule.ops.trigonometry import cos, sin

    if "c" in (r.dtype.kind, theta.dtype.kind):
        raise DTypeError("modulus and angle are real numbers, and here is a complex one")
    return view_as_complex(stack([r * cos(theta), r * sin(theta)], axis=-1))

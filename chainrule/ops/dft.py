"""The linear operations of which the Fourier transforms are made.

There are three: `dft` of complex numbers along several axes, and `rdft`
and `irdft` along one between real numbers and the half of the spectrum that determines them. Their
adjoints are transforms again: that of a transform is the inverse one with its scale exchanged,
since the matrix is symmetric and its conjugate is n times its inverse; that of a real one weighs
the numbers of the spectrum by how often they stand for two. The fast Fourier transform is SciPy's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.batching import along
from chainrule.ops.declare import linear
from chainrule.ops.domain import sampled
from chainrule.ops.operation import operands
from chainrule.tensor.tensor import Tensor

NAMESPACE = "fft"
INTERNAL = ("dft", "rdft", "irdft")

Axes = tuple[int, ...]
DUAL = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _transform(name: str, x: np.ndarray, **arguments: Any) -> np.ndarray:
    import scipy.fft  # loaded only when a transform runs

    return getattr(scipy.fft, name)(x, **arguments)


def _dft(x: np.ndarray, *, axes: Axes, inverse: bool, norm: str) -> np.ndarray:
    if not axes or not x.size:
        return x.copy()
    return _transform("ifftn" if inverse else "fftn", x, axes=axes, norm=norm)


def _takes(x: Any, kind: str) -> None:
    if x.dtype.kind != kind or x.dtype.itemsize < 4:
        wanted = "complex numbers" if kind == "c" else "float32 or float64"
        raise DTypeError(f"it is for {wanted}, and this is {x.dtype}")


def _dft_shape(x: Any, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
    _takes(x, "c")
    return x.shape, x.dtype


def _dft_samples() -> list:
    z = sampled(2, 3, 4) + 1j * sampled(4, 3, 2).T
    attrs = [
        {"axes": (2,), "inverse": False, "norm": "backward"},
        {"axes": (0, 1), "inverse": True, "norm": "backward"},
        {"axes": (1, 2), "inverse": False, "norm": "ortho"},
        {"axes": (), "inverse": False, "norm": "forward"},
    ]
    return [*(((z,), a) for a in attrs), ((z[:0].swapaxes(0, 2)[::2],), attrs[2])]


@linear(
    formula="y[…, k] = Σ_j x[…, j] · exp(∓2π i j k / n) · scale, along each of the axes",
    display_only=True,
    shape=_dft_shape,
    forward=_dft,
    transpose=lambda g, x, *, axes, inverse, norm: dft(
        g, axes=axes, inverse=not inverse, norm=DUAL[norm]
    ),
    operations=lambda y, x, *, axes, **_: _flops(x.shape, axes),
    lower="fourier",
    batch=along("axes"),
    samples=_dft_samples,
)
def dft(x: Any, /, *, axes: Axes, inverse: bool, norm: str) -> Any:
    """The discrete Fourier transform of complex numbers along axes, or its inverse."""
    return operands(x), {"axes": axes, "inverse": inverse, "norm": norm}


def _flops(shape: tuple[int, ...], axes: Axes) -> int:
    """5 n log₂ n for a transform of n numbers, the usual count."""
    n = math.prod(shape[a] for a in axes)
    return round(5 * math.prod(shape) * math.log2(n)) if n > 1 else math.prod(shape)


def _twice(spectrum: tuple[int, ...], n: int, axis: int, inverse: bool, dtype: Any) -> Tensor:
    """2 (or ½) where a number of the half spectrum stands for its conjugate too, else 1."""
    m = spectrum[axis]
    weights = np.full(m, 0.5 if inverse else 2.0, np.dtype(f"f{dtype.itemsize // 2}"))
    weights[0] = 1
    if n % 2 == 0 and m > 1:
        weights[-1] = 1
    return Tensor(weights.reshape(-1, *(1,) * (len(spectrum) - axis - 1)))


def _rdft_pull(g: Tensor, x: Any, *, axis: int, norm: str) -> Tensor:
    n = x.shape[axis]
    g = g * _twice(g.shape, n, axis, True, g.dtype)
    return irdft(g, n=n, axis=axis, norm=DUAL[norm])


def _rdft_shape(x: Any, *, axis: int, norm: str) -> tuple[tuple[int, ...], np.dtype]:
    _takes(x, "f")
    half = x.shape[axis] // 2 + 1
    return (*x.shape[:axis], half, *x.shape[axis + 1 :]), np.dtype(f"c{2 * x.dtype.itemsize}")


def _rdft(x: np.ndarray, *, axis: int, norm: str) -> np.ndarray:
    if not x.size:
        return np.zeros(*_rdft_shape(x, axis=axis, norm=norm))
    return _transform("rfft", x, axis=axis, norm=norm)


@linear(
    formula="y[…, k] = Σ_j x[…, j] · exp(−2π i j k / n) · scale, for k ≤ n / 2",
    display_only=True,
    shape=_rdft_shape,
    forward=_rdft,
    transpose=_rdft_pull,
    operations=lambda y, x, *, axis, norm: _flops(x.shape, (axis,)) // 2,
    lower="fourier",
    batch=along("axis"),
    samples=lambda: [
        ((sampled(2, 3, 4),), {"axis": 2, "norm": "backward"}),
        ((sampled(2, 3),), {"axis": 1, "norm": "ortho"}),
        ((sampled(4, 2)[::2],), {"axis": 0, "norm": "forward"}),
        ((sampled(1),), {"axis": 0, "norm": "backward"}),
        ((sampled(0, 4),), {"axis": 1, "norm": "backward"}),
    ],
)
def rdft(x: Any, /, *, axis: int, norm: str) -> Any:
    """Half of the discrete Fourier transform of real numbers along an axis."""
    return operands(x), {"axis": axis, "norm": norm}


def _irdft_pull(g: Tensor, x: Any, *, n: int, axis: int, norm: str) -> Tensor:
    spectrum = rdft(g, axis=axis, norm=DUAL[norm])
    return spectrum * _twice(spectrum.shape, n, axis, False, spectrum.dtype)


def _irdft_shape(x: Any, *, n: int, axis: int, norm: str) -> tuple[tuple[int, ...], np.dtype]:
    _takes(x, "c")
    return (*x.shape[:axis], n, *x.shape[axis + 1 :]), np.dtype(f"f{x.dtype.itemsize // 2}")


def _irdft(x: np.ndarray, *, n: int, axis: int, norm: str) -> np.ndarray:
    if not x.size:
        return np.zeros(*_irdft_shape(x, n=n, axis=axis, norm=norm))
    return _transform("irfft", x, n=n, axis=axis, norm=norm)


@linear(
    formula="y[…, j] = Σ_k x[…, k] · exp(2π i j k / n) · scale, where x[−k] = x[k]*",
    display_only=True,
    shape=_irdft_shape,
    forward=_irdft,
    transpose=_irdft_pull,
    operations=lambda y, x, *, n, axis, norm: _flops(y.shape, (axis,)) // 2,
    lower="fourier",
    batch=along("axis"),
    samples=lambda: [
        ((sampled(2, 3) + 1j * sampled(3, 2).T,), {"n": n, "axis": 1, "norm": norm})
        for n, norm in ((4, "backward"), (5, "ortho"), (4, "forward"))
    ],
)
def irdft(x: Any, /, n: int, axis: int, norm: str) -> Any:
    """n real numbers from the half of their discrete Fourier transform, n // 2 + 1 numbers."""
    return operands(x), {"n": n, "axis": axis, "norm": norm}

"""Discrete Fourier transforms, in one to many dimensions, of real and of complex numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import AxisError, DTypeError, ShapeError
from chainrule.ops.dft import DUAL, Axes, dft, irdft, rdft
from chainrule.ops.joining import pad_zeros, roll
from chainrule.ops.operation import conjugate
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, check_device
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axes, normalise_axis
from chainrule.tensor.tensor import Tensor

NAMESPACE = "fft"


def _norm(norm: Any) -> str:
    if not isinstance(norm, str) or norm not in DUAL:
        raise DTypeError(f'norm is "backward", "ortho" or "forward", not {norm!r}')
    return norm


def _listed(values: Any, what: str) -> list[Any]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise DTypeError(f"{what} is a sequence of whole numbers, not {values!r}")
    return list(values)


def _length(n: Any) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise DTypeError(f"the length of a transform is a whole number, not {n!r}")
    if n < 1:
        raise ShapeError(f"a transform has at least 1 number, not {int(n)}")
    return int(n)


def _floating(x: Any, *, complex_: bool) -> Tensor:
    """x as a tensor of floats at least 32 wide, complex if asked for."""
    x = as_operand(x)
    if x.dtype.kind == "b":
        raise DTypeError("transforms are of numbers; convert the booleans with astype first")
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    if x.dtype.itemsize < 4:
        raise DTypeError(
            f"there is no complex dtype of the size of {x.dtype}; write x.astype(cr.float32)"
        )
    if complex_ and x.dtype.kind != "c":
        x = x.astype(f"c{2 * x.dtype.itemsize}")
    if not complex_ and x.dtype.kind == "c":
        raise DTypeError(f"this transform is of real numbers, not {x.dtype}; write fft or x.real")
    return x


def _fit(x: Tensor, n: int, axis: int) -> Tensor:
    """x cut, or filled up by zeros, to n numbers along an axis."""
    if n < x.shape[axis]:
        return x[(*(slice(None),) * axis, slice(0, n))]
    if n > x.shape[axis]:
        return pad_zeros(x, [(0, n - x.shape[axis] if a == axis else 0) for a in range(x.ndim)])
    return x


def _one(x: Tensor, n: Any, axis: Any) -> tuple[int, int]:
    """(length, axis) of a transform along one axis."""
    if x.ndim == 0:
        raise ShapeError("a transform goes along an axis, and a number has none")
    axis = normalise_axis(axis, x.ndim)
    return _length(x.shape[axis] if n is None else n), axis


def _several(x: Tensor, s: Any, axes: Any) -> tuple[list[int], Axes]:
    """(lengths, axes) of a transform along several axes; −1 leaves a length as it is."""
    lengths = None if s is None else _listed(s, "s")
    if axes is None:
        count = x.ndim if lengths is None else len(lengths)
        if count > x.ndim:
            raise ShapeError(f"s has {count} lengths, and x the shape {x.shape}")
        axes = range(x.ndim - count, x.ndim)
    axes = (axes,) if hasattr(axes, "__index__") else _listed(axes, "axes")
    positions = tuple(normalise_axis(a, x.ndim) for a in axes)
    if len(set(positions)) != len(positions):
        raise AxisError(f"an axis is named twice in {tuple(axes)}")
    given = [-1] * len(positions) if lengths is None else lengths
    if len(given) != len(positions):
        raise ShapeError(f"s has {len(given)} lengths for {len(positions)} axes")
    whole = [hasattr(n, "__index__") and n == -1 for n in given]
    return [
        _length(x.shape[a] if keep else n)
        for n, a, keep in zip(given, positions, whole, strict=True)
    ], positions


def _complex_transform(
    x: Any, s: Any, axes: Any, norm: Any, inverse: bool, one: bool = False
) -> Tensor:
    norm, x = _norm(norm), _floating(x, complex_=True)
    if one:
        n, axis = _one(x, s, axes)
        sizes, axes = [n], (axis,)
    else:
        sizes, axes = _several(x, s, axes)
    for n, axis in zip(sizes, axes, strict=True):
        x = _fit(x, n, axis)
    return dft(x, axes=axes, inverse=inverse, norm=norm)


@located
def fft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform along an axis: y_k = Σ_j x_j exp(−2πi jk/n).

    Args:
        n: how many numbers are transformed: x is cut, or filled up by zeros, at its end.
        norm: where 1/n stands: "backward" at the inverse, "forward" here, "ortho" its root at both.

    Raises:
        ShapeError: n is less than 1, or x has no axis.
        DTypeError: x is boolean, float16 or bfloat16.

    >>> import chainrule as cr
    >>> cr.fft.fft(cr.asarray([1.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j], dtype=complex64)
    """
    return _complex_transform(x, n, axis, norm, False, one=True)


@located
def ifft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `fft`: x_j = 1/n Σ_k y_k exp(2πi jk/n)."""
    return _complex_transform(x, n, axis, norm, True, one=True)


@located
def fftn(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """The discrete Fourier transform along several axes; along all with None.

    Args:
        s: the length along each axis, as `n` of `fft`; −1 leaves it as it is.
        axes: which; the last len(s) ones where s alone is given.
    """
    return _complex_transform(x, s, axes, norm, False)


@located
def ifftn(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """The inverse of `fftn`."""
    return _complex_transform(x, s, axes, norm, True)


@located
def fft2(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """`fftn` along the last two axes."""
    return _complex_transform(x, s, axes, norm, False)


@located
def ifft2(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """The inverse of `fft2`."""
    return _complex_transform(x, s, axes, norm, True)


def _real_transform(x: Tensor, sizes: Sequence[int], axes: Axes, norm: str) -> Tensor:
    for n, axis in zip(sizes, axes, strict=True):
        x = _fit(x, n, axis)
    y = rdft(x, axis=axes[-1], norm=norm)
    return dft(y, axes=axes[:-1], inverse=False, norm=norm) if axes[:-1] else y


def _from_half(x: Tensor, sizes: Sequence[int], axes: Axes, norm: str) -> Tensor:
    """Real numbers, sizes[-1] along the last of the axes, from half of a spectrum."""
    halves = [*sizes[:-1], sizes[-1] // 2 + 1]
    for n, axis in zip(halves, axes, strict=True):
        x = _fit(x, n, axis)
    if axes[:-1]:
        x = dft(x, axes=axes[:-1], inverse=True, norm=norm)
    return irdft(x, n=sizes[-1], axis=axes[-1], norm=norm)


def _half_several(x: Tensor, s: Any, axes: Any) -> tuple[list[int], Axes]:
    """`_several` of a half spectrum, whose last length is by default the even 2 (m − 1)."""
    sizes, positions = _several(x, s, axes)
    if positions and (s is None or tuple(s)[-1] == -1):
        sizes[-1] = _length(2 * (x.shape[positions[-1]] - 1))
    return sizes, positions


def _at_least_one(axes: Axes) -> Axes:
    if not axes:
        raise AxisError("a real transform goes along at least one axis, and none is named")
    return axes


@located
def rfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The first n // 2 + 1 numbers of `fft` of real numbers: the others are their conjugates.

    Raises:
        DTypeError: x is complex, boolean, float16 or bfloat16.
    """
    norm, x = _norm(norm), _floating(x, complex_=False)
    n, axis = _one(x, n, axis)
    return _real_transform(x, [n], (axis,), norm)


@located
def irfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `rfft`: n real numbers; 2 (m − 1) from m numbers by default.

    What cannot come of real numbers, such as an imaginary part of the first, is not looked at.
    """
    norm, x = _norm(norm), _floating(x, complex_=True)
    size, axis = _one(x, n, axis)
    return _from_half(x, [size if n is not None else _length(2 * (size - 1))], (axis,), norm)


@located
def rfftn(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """`rfft` along the last of several axes, then `fft` along the others."""
    norm, x = _norm(norm), _floating(x, complex_=False)
    sizes, positions = _several(x, s, axes)
    return _real_transform(x, sizes, _at_least_one(positions), norm)


@located
def irfftn(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """The inverse of `rfftn`; the last length is 2 (m − 1) from m numbers by default."""
    norm, x = _norm(norm), _floating(x, complex_=True)
    sizes, positions = _half_several(x, s, axes)
    return _from_half(x, sizes, _at_least_one(positions), norm)


@located
def rfft2(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """`rfftn` along the last two axes."""
    return rfftn(x, s=s, axes=axes, norm=norm)


@located
def irfft2(
    x: Any, /, s: Sequence[int] | None = None, axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
) -> Tensor:  # fmt: skip
    """The inverse of `rfft2`."""
    return irfftn(x, s=s, axes=axes, norm=norm)


@located
def hfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The transform, n real numbers, of numbers of which x[−j] = conj(x[j]): x is half of them."""
    return irfft(conjugate(as_operand(x)), n=n, axis=axis, norm=DUAL[_norm(norm)])


@located
def ihfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `hfft`."""
    return conjugate(rfft(x, n=n, axis=axis, norm=DUAL[_norm(norm)]))


def _frequencies(
    function: Callable[..., np.ndarray], n: Any, d: Any, dtype: Any, device: Any
) -> Tensor:
    check_device(device)
    if isinstance(d, complex) or not isinstance(d, (int, float, np.number)) or d == 0:
        raise DTypeError(f"the distance d of the samples is a real number other than 0, not {d!r}")
    kind = dtypes.default_float if dtype is None else dtypes.as_dtype(dtype)
    if kind.kind not in "fV":
        raise DTypeError(f"frequencies are real floating-point numbers, not {kind}")
    return Tensor(function(_length(n), float(d)).astype(kind))


@located
def fftfreq(n: int, /, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of `fft` of n samples at a distance d, in cycles per unit of d.

    >>> import chainrule as cr
    >>> cr.fft.fftfreq(4)
    tensor([ 0.  ,  0.25, -0.5 , -0.25])
    """
    return _frequencies(np.fft.fftfreq, n, d, dtype, device)


@located
def rfftfreq(n: int, /, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of `rfft` of n samples at a distance d, in cycles per unit of d."""
    return _frequencies(np.fft.rfftfreq, n, d, dtype, device)


def _turned(x: Any, axes: Any, by: Callable[[int], int]) -> Tensor:
    x = as_operand(x)
    positions = normalise_axes(axes, x.ndim)
    return roll(x, tuple(by(x.shape[a]) for a in positions), axis=positions)


@located
def fftshift(x: Any, /, axes: int | Sequence[int] | None = None) -> Tensor:
    """A spectrum with frequency 0 in the middle, along axes; along all with None."""
    return _turned(x, axes, lambda n: n // 2)


@located
def ifftshift(x: Any, /, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of `fftshift`: frequency 0 in front again."""
    return _turned(x, axes, lambda n: -(n // 2))

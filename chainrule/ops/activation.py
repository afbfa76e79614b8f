"""Activations: the non-linear functions between layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, square
from chainrule.ops.batching import trailing
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import NONZERO, sampled
from chainrule.ops.exponential import erf, expm1
from chainrule.ops.structure import reshape
from chainrule.ops.trigonometry import tanh
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


def _relu(x: np.ndarray) -> np.ndarray:
    # Against a row of zeros: with a single number NumPy's maximum does not use vector instructions.
    return np.maximum(x, np.zeros(x.shape[-1:], x.dtype))


relu = elementwise(
    "relu", _relu, formula="max(x, 0)", accepts="real", method="relu",
    domain=NONZERO, derivative=lambda x, y: y > 0,
    doc="x where it is positive, else 0; its derivative at 0 is taken as 0, as in PyTorch.",
)  # fmt: skip
sigmoid = elementwise(
    "sigmoid", lambda x: 1 / (1 + np.exp(-x)), formula="1 / (1 + exp(−x))", method="sigmoid",
    derivative=lambda x, y: y * (1 - y), flops=12, doc="The logistic function, from 0 to 1.",
)  # fmt: skip
softplus = elementwise(
    "softplus", lambda x: np.logaddexp(x, x.dtype.type(0)), formula="log(1 + exp(x))",
    accepts="real float", derivative=lambda x, y: sigmoid(x), flops=22,
    doc="log(1 + exp(x)), a smooth relu.",
)  # fmt: skip
log_sigmoid = elementwise(
    "log_sigmoid", lambda x: -np.logaddexp(-x, x.dtype.type(0)),
    formula="−log(1 + exp(−x))", accepts="real float", derivative=lambda x, y: sigmoid(-x),
    flops=22,
    doc="log sigmoid(x), exact where the sigmoid would round to 0.",
)  # fmt: skip
softsign = elementwise(
    "softsign", lambda x: x / (1 + np.abs(x)), formula="x / (1 + abs(x))", domain=NONZERO,
    accepts="real float",
    derivative=lambda x, y: 1 / square(1 + abs(x)), flops=3,
    doc="x / (1 + |x|), from −1 to 1.",
)  # fmt: skip
silu = elementwise(
    "silu", lambda x: x / (1 + np.exp(-x)), formula="x / (1 + exp(−x))", flops=13,
    derivative=lambda x, y: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    doc="x · sigmoid(x), also called swish.",
    source="Elfwing, Uchibe, Doya 2017, arXiv:1702.03118",
)  # fmt: skip


def _grid() -> np.ndarray:
    return np.array([-3.0, -1.2, -0.3, 0.4, 1.5, 4.0])


_ROOT_HALF = math.sqrt(0.5)
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


def _gelu_kernel(x: np.ndarray, *, approximate: str) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x·Φ(x), leaving Φ(x) (or half of 1 + tanh) for the pullback."""
    if approximate == "tanh":
        half = np.multiply(x, x, np.empty_like(x))  # an array, of a single number too
        half *= 0.044715
        half += 1
        half *= x
        half *= _ROOT_2_OVER_PI
        np.tanh(half, half)
    else:
        half = erf.forward(np.asarray(x * _ROOT_HALF))
    half += 1
    half *= 0.5
    return x * half, (half,)


def _gelu_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: Any, residual: Any, approximate: str
) -> tuple[np.ndarray]:
    (half,) = residual
    if approximate == "tanh":
        slope = np.multiply(x, x, np.empty_like(x))
        slope *= 3 * 0.044715
        slope += 1
        slope *= 2 * _ROOT_2_OVER_PI  # d(1 + tanh u)/2 = 2·half·(1 − half)·u′
        slope *= half * (1 - half)
    else:
        slope = np.multiply(x, x, np.empty_like(x))
        slope *= -0.5
        np.exp(slope, slope)
        slope *= 1 / math.sqrt(2 * math.pi)
    slope *= x
    slope += half
    slope *= g
    return (slope,)


def _check_approximate(x: Tensor, *, approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ShapeError(f'approximate is "none" or "tanh", not {approximate!r}')


@composite(
    formula="0.5 · x · (1 + (tanh(√(2 / π) · (x + 0.044715 · x³)) if t = 1 else erf(x / √(2))))",
    kernel=_gelu_kernel,
    batch=trailing(0),
    pullback=_gelu_pullback,
    check=_check_approximate,
    operations=lambda y, x, **attrs: 25 * math.prod(x.shape),
    samples=lambda: [((_grid(),), {}), ((_grid(),), {"approximate": "tanh"})],
    formula_view=lambda x, y, approximate="none": ({"x": x, "t": int(approximate == "tanh")}, y),
    source="Hendrycks, Gimpel 2016, arXiv:1606.08415",
)
def gelu(x: Tensor, /, approximate: str = "none") -> Tensor:
    """x · Φ(x), with Φ the standard normal distribution function, or its tanh approximation.

    >>> import chainrule as cr
    >>> cr.gelu(cr.asarray([0.0])).item()
    0.0
    """
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(_ROOT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + erf(x * _ROOT_HALF))


@composite(
    formula="x if x > 0 else s · x",
    samples=lambda: [((_grid(),), {}), ((_grid(),), {"negative_slope": 0.2})],
    formula_view=lambda x, y, negative_slope=0.01: ({"x": x, "s": negative_slope}, y),
)
def leaky_relu(x: Tensor, /, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else `negative_slope` · x."""
    return where(x > 0, x, negative_slope * x)


@composite(
    formula="x if x > 0 else α · (exp(x) − 1)",
    samples=lambda: [((_grid(),), {}), ((_grid(),), {"alpha": 0.5})],
    formula_view=lambda x, y, alpha=1.0: ({"x": x, "α": alpha}, y),
    source="Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289",
)
def elu(x: Tensor, /, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else α (exp(x) − 1)."""
    # The exponential sees no positive x, so that nothing overflows on the branch not taken.
    return where(x > 0, x, alpha * expm1(where(x > 0, 0.0, x)))


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


@composite(
    formula=f"{_SELU_SCALE} · (x if x > 0 else {_SELU_ALPHA} · (exp(x) − 1))",
    samples=lambda: [((_grid(),), {})],
    source="Klambauer et al. 2017, arXiv:1706.02515",
)
def selu(x: Tensor, /) -> Tensor:
    """λ·elu(x, α) with the constants that keep mean 0 and variance 1 from layer to layer."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


@composite(
    formula="x · tanh(log(1 + exp(x)))",
    samples=lambda: [((_grid(),), {})],
    source="Misra 2019, arXiv:1908.08681",
)
def mish(x: Tensor, /) -> Tensor:
    """x · tanh(softplus(x))."""
    return x * tanh(softplus(x))


@composite(formula="min(max(x, 0), 6)", samples=lambda: [((_grid() * 2,), {})])
def relu6(x: Tensor, /) -> Tensor:
    """relu, cut off at 6; flat at both ends, as in PyTorch."""
    return _between(x, 0.0, 6.0)


@composite(
    formula="min(max(x, l), u)",
    samples=lambda: [((_grid(),), {})],
    formula_view=lambda x, y, min_val=-1.0, max_val=1.0: ({"x": x, "l": min_val, "u": max_val}, y),
)
def hardtanh(x: Tensor, /, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x, cut off at both ends, where it counts as flat, as in PyTorch."""
    return _between(x, min_val, max_val)


def _between(x: Tensor, low: float, high: float) -> Tensor:
    return where(x <= low, low, where(x >= high, high, x))


@composite(formula="min(max(x + 3, 0), 6) / 6", samples=lambda: [((_grid() * 0.9,), {})])
def hardsigmoid(x: Tensor, /) -> Tensor:
    """A sigmoid of three straight pieces."""
    return where(x <= -3, 0.0, where(x >= 3, 1.0, (x + 3) * (1 / 6)))


@composite(formula="x · min(max(x + 3, 0), 6) / 6", samples=lambda: [((_grid() * 0.9,), {})])
def hardswish(x: Tensor, /) -> Tensor:
    """x · hardsigmoid(x)."""
    return where(x <= -3, 0.0, where(x >= 3, x, x * (x + 3) * (1 / 6)))


def _check_number(name: str, value: Any, at_least: float | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DTypeError(f"{name} is a number, not {value!r}")
    if at_least is not None and not value >= at_least:
        raise DTypeError(f"{name} is at least {at_least:g}, not {value!r}")


def _check_alpha(x: Tensor, *, alpha: float) -> None:
    _check_number("alpha", alpha)
    if alpha == 0:
        raise DTypeError("alpha divides the exponent, and cannot be 0")


@composite(
    formula="max(x, 0) + min(0, α · (exp(x / α) − 1))",
    check=_check_alpha,
    samples=lambda: [((_grid(),), {}), ((_grid(),), {"alpha": 0.5}), ((np.zeros((0, 2)),), {})],
    formula_view=lambda x, y, alpha=1.0: ({"x": x, "α": alpha}, y),
    source="Barron 2017, arXiv:1704.07483",
)
def celu(x: Tensor, /, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else α (exp(x/α) − 1): an elu whose derivative is continuous.

    >>> import chainrule as cr
    >>> cr.celu(cr.asarray([3.0, -100.0]), 2.0)
    tensor([ 3., -2.])
    """
    return where(x > 0, x, alpha * expm1(where(x > 0, 0.0, x) / alpha))


def _check_halves(x: Tensor, *, axis: int) -> None:
    if x.shape[normalise_axis(axis, x.ndim)] % 2:
        raise ShapeError(f"axis {axis} of {x.shape} is cut into two halves, and its size is odd")


@composite(
    formula="y = a / (1 + exp(−b))",
    check=_check_halves,
    samples=lambda: [((sampled(3, 4),), {}), ((sampled(4, 3),), {"axis": 0}), ((sampled(2),), {})],
    formula_view=lambda x, y, axis=-1: (dict(zip("ab", np.split(x, 2, axis), strict=True)), y),
    source="Dauphin et al. 2016, arXiv:1612.08083",
)
def glu(x: Tensor, /, axis: int = -1) -> Tensor:
    """a · sigmoid(b), with a and b the two halves of x along the axis.

    >>> import chainrule as cr
    >>> cr.glu(cr.asarray([3.0, 5.0, 0.0, 0.0]))
    tensor([1.5, 2.5])
    """
    axis = normalise_axis(axis, x.ndim)
    half, front = x.shape[axis] // 2, (slice(None),) * axis
    return x[(*front, slice(0, half))] * sigmoid(x[(*front, slice(half, 2 * half))])


@composite(
    formula="x if abs(x) > λ else 0",
    check=lambda x, *, lambd: _check_number("lambd", lambd),
    samples=lambda: [((_grid(),), {}), ((_grid(),), {"lambd": 1.4}), ((np.array(0.7),), {})],
    formula_view=lambda x, y, lambd=0.5: ({"x": x, "λ": lambd}, y),
)
def hardshrink(x: Tensor, /, lambd: float = 0.5) -> Tensor:
    """0 where |x| is at most `lambd`, else x.

    >>> import chainrule as cr
    >>> cr.hardshrink(cr.asarray([-1.0, 0.5, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    return where((x <= lambd) & (x >= -lambd), 0.0, x)


@composite(
    formula="sign(x) · max(abs(x) − λ, 0)",
    check=lambda x, *, lambd: _check_number("lambd", lambd, 0.0),
    samples=lambda: [((_grid(),), {}), ((_grid(),), {"lambd": 1.4}), ((np.array(0.7),), {})],
    formula_view=lambda x, y, lambd=0.5: ({"x": x, "λ": lambd}, y),
    source="Donoho 1995, De-noising by soft-thresholding, eq. 2",
)
def softshrink(x: Tensor, /, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by `lambd`, and 0 where it would cross it.

    It is the proximal operator of λ|x|, which makes weights sparse.

    >>> import chainrule as cr
    >>> cr.softshrink(cr.asarray([-1.0, 0.5, 2.0]))
    tensor([-0.5,  0. ,  1.5])
    """
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x * 0.0))


@composite(formula="x − tanh(x)", samples=lambda: [((_grid(),), {})])
def tanhshrink(x: Tensor, /) -> Tensor:
    """x − tanh(x).

    >>> import chainrule as cr
    >>> cr.tanhshrink(cr.asarray(0.0)).item()
    0.0
    """
    return x - tanh(x)


def _check_threshold(x: Tensor, *, threshold: float, value: float) -> None:
    _check_number("threshold", threshold)
    _check_number("value", value)


@composite(
    formula="x if x > t else v",
    check=_check_threshold,
    samples=lambda: [((_grid(),), {"threshold": 0.5, "value": -2.0})],
    formula_view=lambda x, y, threshold, value: ({"x": x, "t": threshold, "v": value}, y),
)
def threshold(x: Tensor, /, threshold: float, value: float) -> Tensor:
    """x where it is above `threshold`, else `value`.

    >>> import chainrule as cr
    >>> cr.threshold(cr.asarray([0.0, 1.0]), 0.5, -1.0)
    tensor([-1.,  1.])
    """
    return where(x <= threshold, value, x)


def _check_slopes(x: Tensor, weight: Tensor) -> None:
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.shape not in ((), (1,), (channels,)):
        raise ShapeError(
            f"the weight is one slope, or one for each of the {channels} channels (axis 1) of "
            f"{x.shape}, and has the shape {weight.shape}"
        )
    if x.dtype != weight.dtype:
        raise DTypeError(
            f"input and weight have one dtype, not {x.dtype} and {weight.dtype}; write "
            "x.astype(weight.dtype)"
        )


def _slopes(x: Any, weight: Any) -> tuple[int, ...]:
    """The shape in which slopes stand along axis 1 of x."""
    size = weight.shape[0] if weight.ndim else 1
    return (size, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (size,) * min(x.ndim, 1)


@composite(
    formula="x if x > 0 else w · x",
    check=_check_slopes,
    samples=lambda: [
        ((_grid(), np.array([0.25])), {}),
        ((sampled(2, 3, 2), sampled(3)), {}),
        ((sampled(2, 3), np.array(0.1)), {}),
        ((np.array(-1.5), np.array([0.1])), {}),
    ],
    formula_view=lambda x, weight, y: ({"x": x, "w": weight.reshape(_slopes(x, weight))}, y),
    source="He et al. 2015, arXiv:1502.01852",
)
def prelu(x: Tensor, weight: Tensor, /) -> Tensor:
    """x where it is positive, else w · x, with a slope w that is learnt.

    Args:
        x: (batch, channels, …), or any shape for a single slope.
        weight: (1,) or (channels,).

    Raises:
        ShapeError: there are other channels than slopes.

    >>> import chainrule as cr
    >>> cr.prelu(cr.asarray([-4.0, 4.0]), cr.asarray([0.25]))
    tensor([-1.,  4.])
    """
    return where(x > 0, x, reshape(weight, _slopes(x, weight)) * x)


@located
def rrelu(
    x: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    *,
    training: bool = False,
    generator: Any = None,
) -> Tensor:
    """`leaky_relu` with slopes drawn from U(lower, upper), one for each element, in training.

    In use every slope is their mean (Xu et al. 2015, arXiv:1505.00853).

    Raises:
        DTypeError: lower is above upper.

    >>> import chainrule as cr
    >>> cr.rrelu(cr.asarray([-2.0, 3.0]), 0.25, 0.75)
    tensor([-1.,  3.])
    """
    x = as_operand(x)
    for name, bound in (("lower", lower), ("upper", upper)):
        _check_number(name, bound)
    if lower > upper:
        raise DTypeError(f"lower is not above upper, and {lower} is above {upper}")
    if not training:
        return leaky_relu(x, (lower + upper) / 2)
    from chainrule.ops.random import uniform

    slopes = uniform(x.shape, lower, upper, generator=generator).astype(x.dtype)
    return where(x > 0, x, slopes * x)

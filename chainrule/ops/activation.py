"""Activations: the non-linear functions between layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops.arithmetic import abs, square
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import NONZERO
from chainrule.ops.exponential import erf, expm1
from chainrule.ops.trigonometry import tanh
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
    derivative=lambda x, y: sigmoid(x), flops=22, doc="log(1 + exp(x)), a smooth relu.",
)  # fmt: skip
log_sigmoid = elementwise(
    "log_sigmoid", lambda x: -np.logaddexp(-x, x.dtype.type(0)),
    formula="−log(1 + exp(−x))", derivative=lambda x, y: sigmoid(-x), flops=22,
    doc="log sigmoid(x), exact where the sigmoid would round to 0.",
)  # fmt: skip
softsign = elementwise(
    "softsign", lambda x: x / (1 + np.abs(x)), formula="x / (1 + abs(x))", domain=NONZERO,
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
        from scipy.special import erf as scipy_erf

        half = scipy_erf(x * _ROOT_HALF)
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
        from chainrule.errors import ShapeError

        raise ShapeError(f'approximate is "none" or "tanh", not {approximate!r}')


@composite(
    formula="0.5 · x · (1 + (tanh(√(2 / π) · (x + 0.044715 · x³)) if t = 1 else erf(x / √(2))))",
    kernel=_gelu_kernel,
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

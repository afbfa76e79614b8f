"""Initialisers: first values for parameters, drawn from `chainrule.seed`'s generator.

Names, arguments and formulas are PyTorch's (`torch.nn.init`). Each writes into a parameter and
returns it. `fan_in` is how many inputs an output is a sum over, `fan_out` how many outputs an input
goes to; a variance of 1/fan_in keeps the size of a signal from layer to layer.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops import random
from chainrule.tensor import dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor

T = TypeVar("T", bound=Cell)

# What an activation does to the standard deviation of a standard normal signal is undone by its
# gain: √2 for relu, which lets through half of the variance (He et al. 2015); 5/3 for tanh is
# PyTorch's; 3/4 for selu, too, where Klambauer et al. 2017 derive 1.
_GAINS = {
    "linear": 1.0,
    "identity": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 0.75,
}
# Activations that are relu with a rounded corner, for which its gain is taken.
_LIKE_RELU = {"relu", "leaky_relu", "relu6", "elu", "gelu", "silu", "mish", "softplus", "hardswish"}


@explained
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which an activation asks for larger weights, as PyTorch's function has it.

    Args:
        nonlinearity: "linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu".
        param: the negative slope of leaky_relu, 0.01 if left out: √(2 / (1 + slope²)).

    >>> round(calculate_gain("relu") ** 2, 6)
    2.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        known = ", ".join(sorted({*_GAINS, "leaky_relu"}))
        raise DTypeError(f"there is no gain for {nonlinearity!r}; there is one for {known}")
    return _GAINS[nonlinearity]


@explained
def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, generator: Any = None) -> T:
    """Evenly between a and b."""
    return _write(tensor, _uniform(tensor, a, b, generator))


@explained
def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> T:
    """Normal with this mean and standard deviation."""
    return _write(tensor, mean + std * _normal(tensor.shape, tensor, generator))


@explained
def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> T:
    """Normal, of which only what lies between a and b is drawn.

    By inverting the distribution function Φ: x = mean + std Φ⁻¹(u), with u uniform from
    Φ((a − mean) / std) to Φ((b − mean) / std).
    """
    from scipy.special import ndtr, ndtri

    low, high = ndtr((a - mean) / std), ndtr((b - mean) / std)
    drawn = mean + std * ndtri(_uniform(tensor, low, high, generator))
    return _write(tensor, np.clip(drawn, a, b))


@explained
def constant_(tensor: T, val: float) -> T:
    """One number everywhere."""
    return _write(tensor, np.full(tensor.shape, val))


@explained
def zeros_(tensor: T) -> T:
    """0 everywhere."""
    return constant_(tensor, 0.0)


@explained
def ones_(tensor: T) -> T:
    """1 everywhere."""
    return constant_(tensor, 1.0)


@explained
def xavier_uniform_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """U(−b, b) with b = gain √(6 / (fan_in + fan_out)) (Glorot, Bengio 2010, AISTATS)."""
    return _symmetric(tensor, gain * math.sqrt(2 / max(sum(fans(tensor)), 1)), generator)


@explained
def xavier_normal_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """N(0, σ²) with σ = gain √(2 / (fan_in + fan_out)) (Glorot, Bengio 2010, AISTATS)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(sum(fans(tensor)), 1)), generator)


@explained
def kaiming_uniform_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> T:
    """U(−b, b) with b = gain √(3 / fan) (He et al. 2015, arXiv:1502.01852, eq. 10 and 15).

    Args:
        a: the negative slope of the leaky_relu that follows.
        mode: "fan_in" keeps the variance going forward, "fan_out" going back.
        nonlinearity: what follows the layer; see `calculate_gain`.
    """
    return _symmetric(tensor, _kaiming_std(tensor, a, mode, nonlinearity), generator)


@explained
def kaiming_normal_(
    tensor: T,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> T:
    """N(0, σ²) with σ = gain / √fan (He et al. 2015, arXiv:1502.01852); see `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


@explained
def orthogonal_(tensor: T, gain: float = 1.0, generator: Any = None) -> T:
    """gain · Q: rows (or columns, if there are fewer) of length 1 at right angles to one another.

    Uniformly among such matrices: the Q of a normal matrix, its signs those of R's diagonal
    (Saxe, McClelland, Ganguli 2013, arXiv:1312.6120; Mezzadri 2007, arXiv:math-ph/0609050).
    """
    rows, columns = _as_matrix(tensor)
    drawn = _normal((max(rows, columns), min(rows, columns)), tensor, generator)
    q, r = np.linalg.qr(drawn.astype(np.float64))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


@explained
def by_activation_(tensor: T, nonlinearity: str, generator: Any = None) -> T:
    """What suits the activation that follows the layer: the choice that `Classifier` makes.

    Kaiming for relu and what is like it, N(0, 1/fan_in) for selu (Klambauer et al. 2017,
    arXiv:1706.02515), Xavier with the activation's gain for tanh, sigmoid and none.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> w = nn.init.by_activation_(nn.Parameter(cr.zeros((256, 512))), "relu")
    >>> abs(float(w.numpy().std()) - (2 / 512) ** 0.5) < 1e-3
    True
    """
    if nonlinearity in _LIKE_RELU:
        return kaiming_normal_(tensor, nonlinearity="relu", generator=generator)
    if nonlinearity == "selu":
        return kaiming_normal_(tensor, nonlinearity="linear", generator=generator)
    return xavier_uniform_(tensor, calculate_gain(nonlinearity), generator)


@explained
def reset_affine(weight: Cell, bias: Cell | None, generator: Any = None) -> None:
    """PyTorch's default of dense and convolution layers: U(−k, k) with k = 1/√fan_in for both.

    (It is `kaiming_uniform_(weight, a=√5)`: √(2/(1 + 5)) · √(3/fan_in) = 1/√fan_in.)
    """
    bound = 1 / math.sqrt(max(fans(weight)[0], 1))
    uniform_(weight, -bound, bound, generator)
    if bias is not None:
        uniform_(bias, -bound, bound, generator)


@explained
def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in) or (out, in, height, width).

    >>> import chainrule as cr
    >>> fans(cr.zeros((32, 16, 3, 3)))
    (144, 288)
    """
    _as_matrix(tensor)
    out, inside, *kernel = tensor.shape
    return inside * math.prod(kernel), out * math.prod(kernel)


def _as_matrix(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ShapeError(
            f"this initialiser needs a weight (out, in, …), and the tensor has the shape "
            f"{tensor.shape}; for a bias write init.zeros_"
        )
    return tensor.shape[0], math.prod(tensor.shape[1:])


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise DTypeError(f'mode is "fan_in" or "fan_out", not {mode!r}')
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _symmetric(tensor: T, std: float, generator: Any) -> T:
    bound = math.sqrt(3) * std  # the standard deviation of U(−b, b) is b/√3
    return uniform_(tensor, -bound, bound, generator)


class _Drawing(threading.local):
    wanted = True


_drawing = _Drawing()


@contextmanager
def skipped() -> Iterator[None]:
    """Layers made inside draw nothing, and hold whatever: their values are loaded anyway."""
    before, _drawing.wanted = _drawing.wanted, False
    try:
        yield
    finally:
        _drawing.wanted = before


def _uniform(tensor: Tensor, low: float, high: float, generator: Any) -> np.ndarray:
    if not _drawing.wanted:
        return np.broadcast_to(0.0, tensor.shape)
    drawn = random.uniform(tensor.shape, low, high, dtype=_precision(tensor), generator=generator)
    return drawn.numpy()


def _normal(shape: tuple[int, ...], like: Tensor, generator: Any) -> np.ndarray:
    if not _drawing.wanted:
        return np.broadcast_to(0.0, shape)
    return random.normal(shape, dtype=_precision(like), generator=generator).numpy()


def _precision(tensor: Tensor) -> np.dtype:
    return tensor.dtype if tensor.dtype == dtypes.float64 else dtypes.float32


def _write(tensor: T, values: np.ndarray) -> T:
    if not isinstance(tensor, Cell):
        raise DTypeError(
            f"an initialiser writes into a parameter, not into a {type(tensor).__name__}; "
            "make one with nn.Parameter"
        )
    tensor.assign(values)
    return tensor

"""Standard noise that samples are made of: drawn in float64, rounded once."""

from __future__ import annotations

import numpy as np

from chainrule.ops import random
from chainrule.ops.arithmetic import maximum
from chainrule.ops.exponential import exp, log, log1p
from chainrule.ops.incomplete import gammainc
from chainrule.ops.sampling import log_gamma_from, log_gamma_near
from chainrule.ops.structure import stop_gradient
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor


def unit(shape: tuple[int, ...], generator: object) -> Tensor:
    """Uniform numbers strictly between 0 and 1, as float64."""
    return maximum(random.uniform(shape, dtype=dtypes.float64, generator=generator), 2.0**-54)


def normal(shape: tuple[int, ...], dtype: np.dtype, generator: object) -> Tensor:
    """Standard normal numbers."""
    wide = dtype if dtype in (dtypes.float32, dtypes.float64) else dtypes.float32
    return random.normal(shape, dtype=wide, generator=generator).astype(dtype)


def exponential(shape: tuple[int, ...], dtype: np.dtype, generator: object) -> Tensor:
    """Exponential numbers of rate 1."""
    return (-log1p(-unit(shape, generator))).astype(dtype)


def gumbel(shape: tuple[int, ...], dtype: np.dtype, generator: object) -> Tensor:
    """Standard Gumbel numbers: −log of exponential ones."""
    return (-log(-log(unit(shape, generator)))).astype(dtype)


def logistic(shape: tuple[int, ...], dtype: np.dtype, generator: object) -> Tensor:
    """Standard logistic numbers: the logit of uniform ones."""
    u = unit(shape, generator)
    return (log(u) - log1p(-u)).astype(dtype)


def log_gamma(a: Tensor, shape: tuple[int, ...], generator: object) -> Tensor:
    """The logarithm of a gamma variate of shape a and rate 1; its derivative in a is implicit."""
    drawn = log_gamma_from(a, unit(shape, generator))
    if a._value is not None and (a._node is None or not a._node.needs_grad):
        return drawn
    level = gammainc(stop_gradient(a), exp(drawn))
    return log_gamma_near(a, level, drawn)

"""Clipping of gradients, between `backward()` and `step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.errors import NonFiniteError
from chainrule.tensor.tensor import Tensor


def _gradients(parameters: Any) -> list[tuple[Tensor, np.ndarray]]:
    """(parameter, its gradient as an array) of those that have one."""
    given: Iterable[Tensor] = [parameters] if isinstance(parameters, Tensor) else parameters
    return [(p, p.grad._concrete("clipping")) for p in given if p.grad is not None]


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    *,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their joint norm is at most `max_norm`.

    Pascanu, Mikolov, Bengio 2013. The norm before clipping comes back.

    Raises:
        NonFiniteError: the norm is not finite and `error_if_nonfinite` is set.
    """
    found = _gradients(parameters)
    if not found:
        return Tensor(np.zeros((), np.float32))
    if norm_type == math.inf:
        total = max(float(np.abs(g).max()) for _, g in found if g.size)
    else:
        powers = [float(np.sum(np.abs(g).astype(np.float64) ** norm_type)) for _, g in found]
        total = sum(powers) ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise NonFiniteError(
            f"the gradients' norm is {total}; a learning rate that is too high, or an infinite or "
            "missing value in the data, is the usual cause"
        )
    scale = max_norm / (total + 1e-6)
    if scale < 1 or math.isnan(scale):
        for p, g in found:
            p.grad = Tensor(g * g.dtype.type(scale))
    return Tensor(np.asarray(total, found[0][1].dtype))


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Cut every element of every gradient off at ± `clip_value`."""
    for p, g in _gradients(parameters):
        p.grad = Tensor(np.clip(g, -clip_value, clip_value))

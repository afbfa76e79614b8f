"""Clipping of gradients, between `backward()` and `step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, NonFiniteError
from chainrule.tensor.graph import quiet
from chainrule.tensor.tensor import Tensor


def _gradients(parameters: Any) -> list[tuple[Tensor, np.ndarray]]:
    """(parameter, its gradient as an array) of those that have one."""
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    given = list(given) if isinstance(given, Iterable) else [given]
    for p in given:
        if not isinstance(p, Tensor):
            raise DTypeError(
                f"gradients are clipped of parameters, not of {type(p).__name__}; write "
                "model.parameters()"
            )
    return [(p, p.grad._concrete("clipping")) for p in given if p.grad is not None]


def _check(name: str, value: float) -> None:
    if not value >= 0:
        raise DTypeError(f"{name} is a number of at least 0, not {value!r}")


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
        DTypeError: `max_norm` is below 0, or `norm_type` not above.
        NonFiniteError: the norm is not finite and `error_if_nonfinite` is set.
    """
    _check("max_norm", max_norm)
    if not norm_type > 0:
        raise DTypeError(f"norm_type is a number above 0, not {norm_type!r}")
    found = _gradients(parameters)
    if not found:
        return Tensor(np.zeros((), np.float32))
    if norm_type == math.inf:
        total = max((float(np.abs(g).max()) for _, g in found if g.size), default=0.0)
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
        with quiet():  # an infinite gradient times 0 is NaN, as in PyTorch
            for p, g in found:
                p.grad = Tensor(g * g.dtype.type(scale))
    return Tensor(np.asarray(total, found[0][1].dtype))


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Cut every element of every gradient off at ± `clip_value`.

    Raises:
        DTypeError: `clip_value` is below 0.
    """
    _check("clip_value", clip_value)
    for p, g in _gradients(parameters):
        p.grad = Tensor(np.clip(g, -clip_value, clip_value))

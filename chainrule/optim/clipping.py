"""Clipping of gradients, between `backward()` and `step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from chainrule.errors import DTypeError, NonFiniteError
from chainrule.ops.arithmetic import abs, clip, square
from chainrule.ops.choosing import where
from chainrule.ops.reduction import max, sum
from chainrule.tensor import dtypes
from chainrule.tensor.creation import zeros
from chainrule.tensor.graph import no_grad, quiet, state
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor


def _gradients(parameters: Any) -> list[tuple[Tensor, Tensor]]:
    """(parameter, its gradient) of those that have one."""
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    given = list(given) if isinstance(given, Iterable) else [given]
    for p in given:
        if not isinstance(p, Tensor):
            raise DTypeError(
                f"gradients are clipped of parameters, not of {type(p).__name__}; write "
                "model.parameters()"
            )
    return [(p, g) for p in given if (g := p.grad) is not None]


def _check(name: str, value: float) -> None:
    if not value >= 0:
        raise DTypeError(f"{name} is a number of at least 0, not {value!r}")


@explained
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
        return zeros(())
    with no_grad(), quiet():  # an infinite gradient times 0 is NaN, as in PyTorch
        total = _norm([g for _, g in found], norm_type)
        if error_if_nonfinite and not math.isfinite(total):
            raise NonFiniteError(
                f"the gradients' norm is {total.item()}; a learning rate that is too high, or an "
                "infinite or missing value in the data, is the usual cause"
            )
        scale = max_norm / (total + 1e-6)
        if state.tracer is not None or not scale >= 1:
            scale = where(scale >= 1, 1.0, scale)
            for p, g in found:
                p.grad = g * scale.astype(g.dtype)
        return total.astype(found[0][1].dtype)


def _norm(gradients: list[Tensor], order: float) -> Tensor:
    """The norm of all elements together, in float64."""
    wide = [abs(g).astype(dtypes.float64) for g in gradients if g.size]
    total = zeros((), dtype=dtypes.float64)
    if order == math.inf:
        for g in wide:
            total = where(total >= max(g), total, max(g))
        return total
    for g in wide:
        total = total + sum(square(g) if order == 2 else g**order)
    return total ** (1 / order)


@explained
def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Cut every element of every gradient off at ± `clip_value`.

    Raises:
        DTypeError: `clip_value` is below 0.
    """
    _check("clip_value", clip_value)
    with no_grad(), quiet():
        for p, g in _gradients(parameters):
            p.grad = clip(g, -clip_value, clip_value)

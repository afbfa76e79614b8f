"""Training steps that are only made, not looked at: compiled, where that pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.compile.compiled import compile
from chainrule.optim.clipping import clip_grad_norm_
from chainrule.tensor.tensor import Tensor

Step = Callable[[np.ndarray, np.ndarray], float]


def compiled_step(
    model: Any,
    loss: Callable[[Any, Any], Any],
    optimizer: Any,
    sign: float,
    clip: float | None,
    cast: Callable[[np.ndarray], Tensor],
    eager: Step,
) -> Step:
    """The same step as one native call; from the first batch on that cannot be compiled (a forward
    that looks at values, say) `eager` makes it."""

    def make(x: Tensor, y: Tensor) -> Tensor:
        value = loss(model(x), y)
        (value if sign > 0 else -value).backward()
        if clip is not None:
            clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return value

    native: Callable[[Any, Any], Any] | None = compile(make)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        nonlocal native
        if native is not None:
            try:
                return float(native(cast(x), cast(y)).item())
            except Exception:  # whatever it is, the eager step says it in the user's own terms
                native = None
        return eager(x, y)

    return step

"""Asking that numbers be finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import NonFiniteError
from chainrule.ops.batching import trailing
from chainrule.ops.declare import linear
from chainrule.ops.domain import sampled
from chainrule.ops.operation import operands
from chainrule.ops.structure import no_cost

INTERNAL = ("require_finite",)


def _require(x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        raise NonFiniteError(
            f"{x.item() if x.size == 1 else f'an array of shape {x.shape}'} is not finite"
        )
    return x.view()


@linear(
    formula="x",
    shape=lambda x: (x.shape, x.dtype),
    forward=_require,
    transpose=lambda g, x: g,
    operations=no_cost,
    lower="require_finite",
    batch=trailing(0),
    samples=lambda: [((sampled(2, 3),), {}), ((sampled(),), {})],
)
def require_finite(x: Any, /) -> Any:
    """x itself; NonFiniteError where it is not finite.

    A compiled function in which it fails writes to no parameter and to no other state.
    """
    return operands(x), {}

"""Other first weights for a network that was made already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def redraw(values: dict[str, np.ndarray], seed: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Other first weights of the same distribution: each array's elements in another order. Mean,
    variance and constants stay as they are; seed 0 is what was given."""
    if not seed:
        return values
    rng = np.random.default_rng(seed)
    wanted = set(names)
    return {
        name: rng.permutation(v.reshape(-1)).reshape(v.shape) if name in wanted else v
        for name, v in values.items()
    }

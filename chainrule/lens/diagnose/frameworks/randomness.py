"""The random generators of all that a training run may draw from, left as they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from chainrule.tensor import generator


@contextmanager
def randomness_kept() -> Iterator[None]:
    """After the block the generators of chainrule, NumPy, Python and, where it is loaded, PyTorch
    (on every device in use) are as they were, to the bit."""
    ours = generator.default.state
    numpy, python = np.random.get_state(), random.getstate()
    torch = sys.modules.get("torch")
    theirs = torch.get_rng_state() if torch is not None else None
    used = torch is not None and torch.cuda.is_initialized()
    devices = torch.cuda.get_rng_state_all() if torch is not None and used else []
    try:
        yield
    finally:
        generator.default.state = ours
        np.random.set_state(numpy)
        random.setstate(python)
        if torch is not None:
            torch.set_rng_state(theirs)
            if devices:
                torch.cuda.set_rng_state_all(devices)

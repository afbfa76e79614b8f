"""Which rows lie outside of what a network saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.lens.interpret.case import Case
from chainrule.probability.novelty.seen import Familiarity, SeenRange

RATE, MOST = 0.01, 0.05
"""Of rows like those of training a share of RATE is called strange at most; where the rows held
back are too few for that, the least share that can be told with them, up to MOST."""
APART = 5
"""Without held-out rows every fifth training row is held back instead."""


def familiarity(case: Case) -> Familiarity | None:
    """Of the rows asked about; None where the training rows are not known, or rows are no numbers
    of which there is a range (tokens)."""
    trained, asked = case.trained, case.asked.x
    if trained is None or trained.x is None or asked is None or asked.dtype.kind != "f":
        return None
    rows = _flat(trained.x)
    if case.held is not None and case.held.x is not None:
        learnt, held = rows, _flat(case.held.x)
    else:
        apart = np.arange(len(rows)) % APART == 0
        learnt, held = rows[~apart], rows[apart]
    if len(learnt) < 2 or not len(held):
        return None
    columns: Any = case.view.encoder
    if columns is None:
        columns = [name for name, _ in case.columns()]
    rate = min(MOST, max(RATE, 2 / (len(held) + 1)))
    return SeenRange(columns).fit(learnt, held).check(_flat(asked), rate=rate)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)

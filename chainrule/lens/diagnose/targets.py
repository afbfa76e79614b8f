"""What kind of numbers targets are, looked at without a task in mind."""

from __future__ import annotations

import numpy as np


def range_of(y: np.ndarray) -> tuple[float, float]:
    """(least, largest) of the finite targets; (0, 1) where there are none.

    >>> range_of(np.array([2.0, np.nan, -1.0]))
    (-1.0, 2.0)
    """
    if y.dtype.kind not in "biuf" or not y.size:
        return 0.0, 1.0
    finite = y[np.isfinite(y)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def is_labels(y: np.ndarray) -> bool:
    """Whether they are class numbers: a few whole numbers from about 0 on, each often.

    >>> is_labels(np.array([0, 1, 2] * 4)), is_labels(np.array([0.5, 1.0, 2.0] * 4))
    (True, False)
    """
    if y.dtype.kind not in "biuf" or not len(y):
        return False
    values = np.unique(y)
    return (
        len(values) <= 100
        and bool(np.all(values == np.round(values)))
        and values[0] >= 0
        and values[-1] <= 2 * len(values)
        and len(y) >= 3 * len(values)
    )


def is_choices(y: np.ndarray) -> bool:
    """Whether they are 0 and 1 alone."""
    return bool(np.isin(y, (0, 1)).all())


def one_of_many(y: np.ndarray) -> bool:
    """Whether they are one-hot rows: one 1 in each."""
    return y.ndim == 2 and is_choices(y) and bool(np.all(y.sum(-1) == 1))

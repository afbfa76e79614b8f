"""split: rows for training, for validation and for the test, drawn before anything is fitted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.data.cells import counted
from chainrule.errors import DataError
from chainrule.tensor.locate import explained


class Split(NamedTuple):
    """Row indices (int64, ascending) of three parts that share no row and leave none out."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@explained
def split(
    n: int,
    *,
    stratify: Any = None,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> Split:
    """Draw `n` rows into training, validation and test, in these fractions.

    With `stratify` (labels of shape (n,)) every class has its share in every part, rounded up or
    down, and at least one row in training. Without, the parts' sizes are rounded by largest
    remainder; a part whose fraction is not zero has at least one row. The same seed gives the same
    rows. Raises DataError for fractions that are not shares of 1, and for fewer rows than parts.

    >>> parts = split(10, stratify=["a"] * 5 + ["b"] * 5, seed=1)
    >>> [len(part) for part in parts]
    [6, 2, 2]
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if (
        shares.shape != (3,)
        or not (shares >= 0).all()
        or abs(shares.sum() - 1) > 1e-9
        or not shares[0]
    ):
        raise DataError(
            f"the fractions of training, validation and test are {fractions}. They are three "
            "numbers from 0 to 1 that add up to 1, the first of them not 0: (0.6, 0.2, 0.2)."
        )
    if n < np.count_nonzero(shares):
        raise DataError(
            f"{counted(n, 'row')} cannot be split into {np.count_nonzero(shares)} parts. Training, "
            "validation and test need at least one row each, and in practice some dozens."
        )
    labels = (
        np.zeros(n, dtype=np.int64)
        if stratify is None
        else np.unique(stratify, return_inverse=True)[1]
    )
    if len(labels) != n:
        raise DataError(f"stratify has {len(labels)} labels for {n} rows")
    # Rows in random order, then by class: each class's rows stand together, shuffled.
    order = generator(seed).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    counts = _allot(np.bincount(labels), shares)
    # Part p of class c is the next counts[c, p] rows.
    part = np.repeat(np.tile(np.arange(3), len(counts)), counts.ravel())
    return Split(*(np.sort(order[part == p]) for p in range(3)))


def generator(*seed: int) -> np.random.Generator:
    """A counter-based generator (Philox 4x64) keyed by these numbers.

    Raises DataError for a seed that is not a non-negative integer.
    """
    for number in seed:
        if not isinstance(number, (int, np.integer)) or number < 0:
            raise DataError(
                f"the seed is {number!r}; it must be an integer that is not negative, such as 0"
            )
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def _allot(sizes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """How many rows of each class go to each part: shape (classes, 3).

    Every entry is size × share rounded up or down. Classes are rounded one after the other by
    largest remainder, where what the earlier classes rounded away is carried along; so the parts'
    totals come out rounded too, and many small classes do not leave one part empty.
    """
    counts = np.zeros((len(sizes), len(shares)), dtype=np.int64)
    owed = np.zeros(len(shares))
    for row, size in zip(counts, sizes, strict=True):
        exact = size * shares
        row[:] = np.floor(exact + 1e-9)
        owed += exact - row
        may_round_up = exact - row > 1e-9
        by_what_is_owed = np.argsort(np.where(may_round_up, -owed, np.inf), kind="stable")
        chosen = by_what_is_owed[: size - row.sum()]
        row[chosen] += 1
        owed[chosen] -= 1
        if not row[0]:
            row[np.argmax(row)] -= 1
            row[0] = 1
    _fill_empty_parts(counts, shares)
    return counts


def _fill_empty_parts(counts: np.ndarray, shares: np.ndarray) -> None:
    """Give a part without rows one of those that the others can spare, if there is one."""
    for part in np.flatnonzero((shares > 0) & (counts.sum(axis=0) == 0)):
        spare = np.where(counts.sum(axis=0) > 1, counts, 0)
        spare[:, 0] -= 1  # a class keeps a row in training
        label, giver = np.unravel_index(np.argmax(spare), spare.shape)
        if spare[label, giver] > 0:
            counts[label, giver] -= 1
            counts[label, part] += 1

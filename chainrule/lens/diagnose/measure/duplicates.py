"""Rows that occur twice, in training and held-out data; columns that give the target away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CODE = 1e-3
"""The share of a column's variance within classes below which it is a code of the class: a legend,
or a probability that was computed from it."""
CHANCE = 1e-3
"""So many equal pairs of rows may be expected by chance before equality says nothing."""


@dataclass(frozen=True)
class Overlap:
    """Equal rows.

    Attributes:
        within: share of the training rows that equal another training row.
        across: share of the held-out rows that equal a training row.
        held: positions of those held-out rows; `train`: a training row that each equals.
        by_chance: how many equal pairs (training, held-out) were to be expected if the columns
            were independent: large for tables of a few discrete columns, about 0 for measurements.
    """

    within: float
    across: float
    held: np.ndarray
    train: np.ndarray
    by_chance: float


def overlap_of(x: np.ndarray, x_held: np.ndarray) -> Overlap:
    """Which rows are the same, bit for bit in the rows' own dtype."""
    keys, held_keys = keys_of(x), keys_of(x_held)
    first: dict[bytes, int] = {}
    times: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
        times[key] = times.get(key, 0) + 1
    held = [i for i, key in enumerate(held_keys) if key in first]
    twice = sum(times[key] > 1 for key in keys)
    return Overlap(
        twice / max(len(keys), 1),
        len(held) / max(len(held_keys), 1),
        np.array(held, dtype=np.int64),
        np.array([first[held_keys[i]] for i in held], dtype=np.int64),
        chance_pairs(x) * len(x) * max(len(x_held), 1),
    )


def keys_of(x: np.ndarray) -> list[bytes]:
    """Each row's bytes; −0 and 0 are the same."""
    flat = np.ascontiguousarray(np.asarray(x).reshape(len(x), -1))
    if flat.dtype.kind == "f":
        flat = flat + 0.0
    return [row.tobytes() for row in flat]


def groups_of(x: np.ndarray) -> np.ndarray:
    """(rows,) a number for each row, the same for equal rows."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys_of(x)], dtype=np.int64)


def chance_pairs(x: np.ndarray) -> float:
    """The probability that two rows are equal if the columns were independent: for each column the
    share of the pairs of rows that have the same value, Π_j Σ_v c_jv(c_jv − 1) / (n(n − 1))."""
    flat = np.asarray(x).reshape(len(x), -1)[:2000]
    n, found = max(len(flat), 2), 1.0
    for column in flat.T:
        _, counts = np.unique(column, return_counts=True)
        found *= float(np.sum(counts * (counts - 1.0))) / (n * (n - 1))
        if found < 1e-30:
            return 0.0
    return found


@dataclass(frozen=True)
class ColumnPower:
    """How much of the target one column alone tells.

    Attributes:
        column: its position in the flat row.
        power: R² of the best line for real targets, 1 − (error ÷ a constant's error) of the best
            rule "one class for each value" or "one cut" for classes; 1 is all.
        copy: whether the column *is* the target: an affine function of it, or a code for the class.
    """

    column: int
    power: float
    copy: bool


def strongest_column(x: np.ndarray, targets: np.ndarray, *, classes: bool) -> ColumnPower:
    """The column that tells most of the target by itself.

    Args:
        targets: (rows, m): indicators of the classes, or real targets.
    """
    flat = np.asarray(x).reshape(len(x), -1).astype(np.float64)
    centred = flat - flat.mean(0)
    spread = centred.std(0)
    usable = spread > 0
    unit = np.where(usable, centred / np.where(usable, spread, 1), 0)
    goal = targets - targets.mean(0)
    goal = goal / np.maximum(goal.std(0), 1e-30)
    r2 = (unit.T @ goal / len(flat)) ** 2
    if not classes:
        power = r2.max(1) if targets.shape[1] == 1 else np.zeros(len(r2))
        best = int(power.argmax()) if len(power) else 0
        return ColumnPower(best, float(power[best]), bool(power[best] > 1 - 1e-6))
    # Only columns that a class's indicator goes with can give it away with one cut.
    likely = np.argsort(-r2.max(1), kind="stable")[:8]
    found = [_class_power(flat[:, j], int(j), targets) for j in likely]
    return max(found, key=lambda c: (c.copy, c.power))


def _class_power(column: np.ndarray, at: int, targets: np.ndarray) -> ColumnPower:
    """Classes from one column: as a code (one value for each class, or hardly more), else by one
    cut."""
    labels, classes = targets.argmax(1), targets.shape[1]
    base = 1 - targets.mean(0).max()
    values, code = np.unique(column, return_inverse=True)
    table = np.zeros((len(values), classes))
    np.add.at(table, (code, labels), 1)
    if len(values) <= classes + 1:
        power = 1 - (1 - table.max(1).sum() / len(labels)) / max(base, 1e-30)
        return ColumnPower(at, float(power), bool(power > 1 - 1e-9))
    means = targets.T @ column / np.maximum(targets.sum(0), 1)
    nearest = np.abs(column[:, None] - means).argmin(1)
    within = np.mean((column - means[labels]) ** 2)
    if within < CODE * column.var() and np.array_equal(nearest, labels):
        return ColumnPower(at, 1.0, True)
    if classes == 2:
        ones = np.concatenate([[0], np.cumsum(table[:, 1])])
        zeros = np.concatenate([[0], np.cumsum(table[:, 0])])
        right = np.maximum(zeros + ones[-1] - ones, ones + zeros[-1] - zeros).max()
        return ColumnPower(at, float(1 - (1 - right / len(labels)) / max(base, 1e-30)), False)
    return ColumnPower(at, 0.0, False)

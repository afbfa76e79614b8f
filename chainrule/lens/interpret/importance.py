"""Permutation importance: what a column is worth to the network's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.case import LEAST, Case, Rows, case_of_network
from chainrule.lens.interpret.subjects.subject import rows_at_once
from chainrule.lens.interpret.view import view_of
from chainrule.tensor.locate import explained

NORMAL = 1.959964
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Importance:
    """How much worse the network predicts when a column's values are mixed up.

    Attributes:
        columns: names.
        increase: (columns,), of the mean loss: in nats of a class's negative log-likelihood, or in
            the squared unit of a real target.
        low, high: (columns,), its 95 % interval over the rows.
        loss: the mean loss as it is.
        rows, repeats: how many rows were asked, and how often each column was mixed up.
    """

    columns: tuple[str, ...]
    increase: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    loss: float
    rows: int
    repeats: int

    meaning: ClassVar[str] = (
        "how much the network leans on this column to be right: the loss that is added when the "
        "column is taken from other rows"
    )
    not_meaning: ClassVar[str] = (
        "columns that say the same stand in for each other and each looks unimportant; rows that "
        "are mixed may not exist; it is the worth to this network, not to the answer in the world"
    )

    @property
    def order(self) -> list[int]:
        """Columns by their numbers, the most important first."""
        return [int(j) for j in np.argsort(-np.array(self.increase), kind="stable")]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "meaning": self.meaning, "not_meaning": self.not_meaning}


@explained
def permutation_importance(
    model: Any,
    x: Any,
    y: Any,
    *,
    repeats: int = 10,
    columns: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    reading: Any = None,
    seed: int = 0,
) -> Importance:
    """By how much the loss grows when one column is permuted among the rows (Breiman 2001, § 10;
    Fisher, Rudin, Dominici 2019, eq. 3.1): mean over permutations π of L(x with x_jπ) − L(x).

    The features of a one-hot column are moved together. Rows that the network was not trained on
    tell what it leans on for new ones.

    Args:
        model: a network of chainrule's or of PyTorch's, a `Classifier` or `Regressor`.
        x, y: rows and their targets, at least two.
        repeats: permutations of each column.
        columns, classes, reading: see `interpret`.

    Raises:
        DataError, ShapeError: rows and targets that do not fit.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> line = nn.Linear(2, 1, bias=False)
    >>> line.weight.assign(cr.asarray([[2.0, 0.0]]))
    >>> x = np.arange(40.0).reshape(20, 2) / 10
    >>> found = cr.permutation_importance(line, x, 2 * x[:, 0])
    >>> found.increase[0] > 1, found.increase[1]
    (True, 0.0)
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise DataError(f"repeats is {repeats!r}; it is a whole number from 1 on")
    if y is None:
        raise DataError("how right the network is shows only beside targets: hand y over")
    view = view_of(model, columns, classes)
    case = case_of_network(view, x, None, None, reading, y)
    rows = case.asked
    assert rows.x is not None
    n = len(rows)
    if n < 2:
        raise DataError("one row cannot be mixed with others: hand over two at least, better many")
    rng = np.random.default_rng(seed)
    before = _losses(case, rows.outputs, rows.y)
    found = []
    for _, places in case.columns():
        orders = np.stack([rng.permutation(n) for _ in range(repeats)])
        worse = _permuted(case, rows, list(places), orders) - before
        # A mean over pairs of rows, of which each row has a share as the one that takes a value and
        # as the one that gives it (Hoeffding 1948, a U-statistic).
        gives = np.take_along_axis(worse, np.argsort(orders, 1), 1)
        shares = (worse + gives).mean(0)
        found.append((float(worse.mean()), NORMAL * float(shares.std(ddof=1)) / n**0.5))
    return Importance(
        tuple(name for name, _ in case.columns()),
        tuple(m for m, _ in found),
        tuple(m - half for m, half in found),
        tuple(m + half for m, half in found),
        float(before.mean()), n, repeats,
    )  # fmt: skip


def _permuted(case: Case, rows: Rows, places: list[int], orders: np.ndarray) -> np.ndarray:
    """(repeats, n), losses with the places taken from the rows of each order; many at once."""
    assert case.subject is not None
    assert rows.x is not None
    n, together, found = len(rows), max(1, rows_at_once(rows.x) // len(rows)), []
    flat = rows.x.reshape(n, -1)
    for at in range(0, len(orders), together):
        some = orders[at : at + together]
        mixed = np.tile(flat, (len(some), 1))
        mixed[:, places] = flat[some.reshape(-1)][:, places]
        out = case.subject.outputs(mixed.reshape(-1, *rows.x.shape[1:]))
        found.append(_losses(case, out, np.tile(np.asarray(rows.y), len(some))).reshape(-1, n))
    return np.concatenate(found)


def _losses(case: Case, outputs: np.ndarray, y: Any) -> np.ndarray:
    """(rows,): −log p of the class, or the squared error in the target's unit."""
    if case.real:
        errors: np.ndarray = (outputs[:, 0] - y) * case.view.scale[1]
        return errors**2
    p = case.probabilities(Rows(None, None, outputs, None))
    found: np.ndarray = -np.log(np.maximum(p[np.arange(len(p)), y], LEAST))
    return found

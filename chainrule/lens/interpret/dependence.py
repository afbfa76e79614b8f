"""Partial dependence: the answer, were a column the same in all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.case import Case, Rows, case_of_network
from chainrule.lens.interpret.counterfactual import one_hot
from chainrule.lens.interpret.subjects.subject import rows_at_once
from chainrule.lens.interpret.view import view_of
from chainrule.tensor.locate import explained

POINTS = 21
"""Values of a column: quantiles of the rows."""
TOGETHER = 0.7
"""Columns correlated more strongly than this go together."""
FAR = 0.5
"""A value farther from every row than so many standard deviations is where no rows are."""


@dataclass(frozen=True)
class Dependence:
    """How the answer goes with one column.

    Attributes:
        column: its name.
        of: what the answer is: "the probability of …", or "the answer".
        values: (points,), in the network's unit; the number of a category.
        labels: (points,), the same as text, in the user's unit where that is known.
        mean: (points,), the answer, mean over the rows.
        each: (rows, points), of each row (individual conditional expectation).
        warnings: where the curve is not to be trusted, in sentences.
    """

    column: str
    of: str
    values: np.ndarray
    labels: tuple[str, ...]
    mean: np.ndarray
    each: np.ndarray
    warnings: tuple[str, ...]

    meaning: ClassVar[str] = (
        "the network's answer on average over the rows, were this column put to one value in all "
        "of them and everything else left as it is"
    )
    not_meaning: ClassVar[str] = (
        "what would happen in the world if the column were changed; and where columns go together "
        "the rows that are made up do not exist"
    )

    def to_dict(self) -> dict[str, Any]:
        return {
            "column": self.column, "of": self.of, "values": self.values.tolist(),
            "labels": list(self.labels), "mean": self.mean.tolist(), "each": self.each.tolist(),
            "warnings": list(self.warnings), "meaning": self.meaning,
            "not_meaning": self.not_meaning,
        }  # fmt: skip


@explained
def partial_dependence(
    model: Any,
    x: Any,
    column: str | int,
    *,
    values: Any = None,
    target: int | None = None,
    columns: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    reading: Any = None,
) -> Dependence:
    """f_j(v) = mean over the rows i of f(x_i with x_ij = v) (Friedman 2001, eq. 53), and the curve
    of each row (Goldstein et al. 2015).

    Args:
        model: a network of chainrule's or of PyTorch's, a `Classifier` or `Regressor`.
        x: rows.
        column: its name, or number.
        values: where it is asked, in the network's unit; by default 21 quantiles of the rows, or
            every category of a one-hot column.
        target: the class of which the probability is shown; by default the last of two, and else
            the one that the rows are given most often.
        columns, classes, reading: see `interpret`.

    Raises:
        DataError: no such column or class, or values that are no numbers.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> line = nn.Linear(2, 1, bias=False)
    >>> line.weight.assign(cr.asarray([[2.0, 1.0]]))
    >>> x = np.array([[0.0, 1.0], [1.0, 3.0]])
    >>> found = cr.partial_dependence(line, x, "x0", values=[0.0, 5.0])
    >>> found.mean, found.warnings[-1]
    (array([ 2., 12.]), 'No row is near x0 = 5: there the curve is a guess of the network.')
    """
    case = case_of_network(view_of(model, columns, classes), x, None, None, reading)
    rows, subject = case.asked.x, case.subject
    assert rows is not None
    assert subject is not None
    name, places = _column(case, column)
    flat = rows.reshape(len(rows), -1)
    own = flat[:, places].astype(np.float64)
    category = len(places) > 1 and one_hot(own)
    if len(places) > 1 and not category:
        raise DataError(f"{name} has {len(places)} features and is no one-hot column: name one")
    if category and values is not None:
        raise DataError(f"{name} is a category: all of its values are asked; leave values away")
    points = np.eye(len(places)) if category else _points(own[:, 0], values)[:, None]
    chosen = _answer(case, target)
    each = np.empty((len(rows), len(points)))
    together = max(1, rows_at_once(rows) // len(rows))
    for at in range(0, len(points), together):
        some = points[at : at + together]
        moved = np.tile(flat, (len(some), 1))
        moved[:, places] = some.repeat(len(rows), 0)
        out = subject.outputs(moved.reshape(-1, *rows.shape[1:]))
        each[:, at : at + together] = _read(case, out, chosen).reshape(len(some), -1).T
    write = case.view.write.get(name)
    numbers = np.arange(len(points), dtype=float) if category else points[:, 0]
    labels = tuple(f"{v:.6g}" for v in numbers) if write is None else tuple(map(write, points))
    warnings = [*_going_together(case, name, places, flat), *_differing(name, each)]
    if not category:
        warnings += _bare(name, own[:, 0], numbers, labels)
    of = "the answer" if case.real else f"the probability of {case.classes[chosen]}"
    return Dependence(name, of, numbers, labels, each.mean(0), each, tuple(warnings))


def _column(case: Case, column: str | int) -> tuple[str, list[int]]:
    columns = list(case.columns())
    names = [name for name, _ in columns]
    if isinstance(column, str) and column in names:
        column = names.index(column)
    if isinstance(column, (bool, str)) or not 0 <= column < len(names):
        raise DataError(f"there is no column {column!r}; there are {', '.join(names[:20])}")
    return names[column], list(columns[column][1])


def _points(own: np.ndarray, values: Any) -> np.ndarray:
    if values is None:
        return np.unique(np.quantile(own, np.linspace(0, 1, POINTS)))
    found = np.asarray(values, np.float64).reshape(-1)
    if not found.size or not np.isfinite(found).all():
        raise DataError("values are finite numbers, one at least")
    return found


def _answer(case: Case, target: int | None) -> int:
    if case.real:
        return 0
    p = case.probabilities(case.asked)
    count = p.shape[1]
    if target is None:
        return 1 if count == 2 else int(np.bincount(p.argmax(1), minlength=count).argmax())
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < count:
        raise DataError(f"target is {target!r}; classes are numbered 0 to {count - 1}")
    return target


def _read(case: Case, outputs: np.ndarray, target: int) -> np.ndarray:
    if case.real:
        mean, std = case.view.scale
        found: np.ndarray = outputs[:, 0] * std + mean
        return found
    return case.probabilities(Rows(None, None, outputs, None))[:, target]


def _going_together(case: Case, name: str, places: list[int], flat: np.ndarray) -> list[str]:
    """Other columns that are strongly correlated with this one."""
    if len(flat) < 3:
        return []
    centred = flat.astype(np.float64) - flat.mean(0)
    length = np.sqrt((centred**2).sum(0))
    unit = centred / np.where(length > 0, length, 1.0)
    found = []
    for other, theirs in case.columns():
        r = unit[:, places].T @ unit[:, list(theirs)]
        strongest = float(r.reshape(-1)[np.abs(r).argmax()])
        if other != name and abs(strongest) > TOGETHER:
            found.append((other, strongest))
    found.sort(key=lambda pair: -abs(pair[1]))
    if not found:
        return []
    listed = ", ".join(f"{other} (r = {r:.2f})" for other, r in found[:3])
    return [
        f"{name} goes together with {listed}: rows in which it is changed alone are like none that "
        "are there, and what the network says of them is a guess."
    ]


def _differing(name: str, each: np.ndarray) -> list[str]:
    """Whether rows go another way than their mean."""
    away = each - each[:, :1]
    mean = away.mean(0)
    far = int(np.abs(mean).argmax())
    against = float((away[:, far] * np.sign(mean[far]) < 0).mean())
    if against <= 0.1:
        return []
    return [f"The mean hides that {name} works the other way in {100 * against:.0f} % of the rows."]


def _bare(name: str, own: np.ndarray, values: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    distance = np.abs(values[:, None] - own).min(1)
    bare = [label for label, d in zip(labels, distance, strict=True) if d > FAR * own.std()]
    if not bare:
        return []
    listed = ", ".join(bare[:5])
    return [f"No row is near {name} = {listed}: there the curve is a guess of the network."]

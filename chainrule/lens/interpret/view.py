"""What stands between a user's table and a network's numbers, as `interpret` looks through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class View:
    """A network with its encoders. An object that has one gives it by `__interpreted__()`.

    Attributes:
        model: takes what `encode` gives.
        encode: rows as the user has them → the network's inputs, (n, features).
        targets: targets as the user has them → class codes, or real values in the user's unit.
        columns: (name, its features' places) of each column; of one-hot columns several places.
        cells: rows as the user has them → for each column what stands there, as text.
        write: column → a function from its features to what a user would write there; for columns
            that are not numbers in the user's unit already.
        encoder: a fitted `data.ColumnEncoder`, if there is one.
        classes: labels in the order of the codes; () of a real target.
        scale: (mean, standard deviation) of a real target, by which outputs become the user's unit.
    """

    model: Any
    encode: Callable[[Any], np.ndarray]
    targets: Callable[[Any], np.ndarray]
    columns: Sequence[tuple[str, tuple[int, ...]]] = ()
    cells: Callable[[Any], dict[str, list[str]]] | None = None
    write: Mapping[str, Callable[[np.ndarray], str]] = field(default_factory=dict)
    encoder: Any = None
    classes: tuple[str, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)


def view_of(model: Any, columns: Sequence[str] | None, classes: Sequence[Any] | None) -> View:
    """The view of anything: of a bare network rows are arrays, and nothing stands between."""
    if hasattr(model, "__interpreted__"):
        found = model.__interpreted__()
        assert isinstance(found, View)
        return found
    names = tuple((str(name), (j,)) for j, name in enumerate(columns or ()))
    labels = tuple(str(c) for c in classes or ())
    return View(model, _array, _array, names, classes=labels)


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach()
    if hasattr(values, "cpu"):
        values = values.cpu()
    return np.asarray(values)

"""Calibration scores, kept by cell: one for all rows, or one a group, a class, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import CheckpointError, DataError, DTypeError, ShapeError
from chainrule.probability.conformal.law import Guarantee, threshold

Key = tuple[Any, int | None]
"""(group, class); None where it does not matter."""


def groups_of(groups: Any, rows: int) -> list[Any]:
    """One plain value (text, whole number or truth) for each row; None without groups.

    Raises:
        ShapeError: not one group for each row.
        DTypeError: groups that are neither text nor whole numbers.
    """
    if groups is None:
        return [None] * rows
    found = np.asarray(groups.detach() if hasattr(groups, "detach") else groups)
    if found.shape != (rows,):
        raise ShapeError(f"groups have the shape {found.shape}, and there are {rows} rows")
    plain: list[Any] = found.tolist()
    if not all(isinstance(group, (str, int)) for group in plain):
        raise DTypeError(
            "a group is named by a text or a whole number in each row. Cut a real column into "
            "ranges first: groups=np.digitize(age, [30, 60])"
        )
    return plain


def name_of(key: Key) -> str:
    group, label = key
    parts = [f"group {group!r}"] if group is not None else []
    return " and ".join(parts + ([f"class {label}"] if label is not None else []))


@dataclass(frozen=True)
class Cells:
    """The scores of the calibration rows, as they came, by cell: the law holds within each
    (Mondrian conformal prediction; Vovk, Gammerman and Shafer 2005, ch. 4).

    >>> cells = Cells.of(np.array([0.3, 0.1, 0.2]), [("a", None), ("a", None), ("b", None)])
    >>> cells.threshold(("a", None), 0.6), cells.threshold(("c", None), 0.6)
    (0.3, inf)
    """

    scores: Mapping[Key, np.ndarray]

    @classmethod
    def of(cls, scores: np.ndarray, keys: Iterable[Key]) -> Cells:
        rows: dict[Key, list[float]] = {}
        for score, key in zip(scores.tolist(), keys, strict=True):
            rows.setdefault(key, []).append(score)
        return cls({key: np.array(own) for key, own in rows.items()})

    @property
    def grouped(self) -> bool:
        return any(group is not None for group, _ in self.scores)

    def groups_for(self, groups: Any, rows: int) -> list[Any]:
        """The groups of rows that are predicted, which are given exactly if those of fit were.

        Raises:
            DataError: they are given and were not, or the other way round.
        """
        if (groups is not None) != self.grouped:
            raise DataError(
                "fit was given groups, so that those of these rows are needed too: groups=…"
                if self.grouped
                else "fit was given no groups, so those of these rows say nothing"
            )
        return groups_of(groups, rows)

    def threshold(self, key: Key, coverage: float) -> float:
        """Of a cell that calibration never saw it is ∞: nothing can be ruled out there."""
        return threshold(self.scores.get(key, np.empty(0)), coverage)

    def guarantee(self, key: Key, coverage: float) -> Guarantee:
        scores = self.scores.get(key, np.empty(0))
        tied = int((scores == threshold(scores, coverage)).sum())
        return Guarantee(len(scores), coverage, max(tied, 1), name_of(key))

    def to_list(self) -> list[dict[str, Any]]:
        return [
            {"group": group, "class": label, "scores": own.tolist()}
            for (group, label), own in self.scores.items()
        ]

    @classmethod
    def from_list(cls, data: Any) -> Cells:
        return cls({
            (cell["group"], cell["class"]): np.array(cell["scores"], np.float64)
            for cell in data
        })  # fmt: skip


def unfitted(name: str) -> DataError:
    return DataError(
        f"this {name} has no calibration rows yet: call fit with rows that the network did not "
        "learn from"
    )


def damaged(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the description of a {name} is not whole ({type(error).__name__}: {error}). The file is "
        "damaged, or was written by another version."
    )

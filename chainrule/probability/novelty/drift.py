"""Whether later rows are of another kind than those that were learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TOGETHER = "all columns together"


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values (Holm 1979): rejecting those ≤ α errs anywhere with a probability of at
    most α.

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)).

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    grown = np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order])
    found = np.empty(len(p))
    found[order] = np.minimum(1.0, grown)
    return found


@dataclass(frozen=True)
class ColumnDrift:
    """The test of one column.

    Attributes:
        column: its name, or "all columns together": of the rows' distances from what was seen.
        test: "Kolmogorov–Smirnov" or "chi-squared".
        statistic: D, or χ².
        p_value: of this test alone.
        adjusted: by Holm for all tests that were made.
    """

    column: str
    test: str
    statistic: float
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class Drift:
    """Tests of every column, and of all together, that rows are of the law that was seen.

    Attributes:
        tests: those of the columns, then that of all together.
        rows: how many rows were tested.
        rate: with which probability any drift is found where there is none, at most.
    """

    tests: tuple[ColumnDrift, ...]
    rows: int
    rate: float

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """What has drifted, the surest first."""
        found = [test for test in self.tests if test.adjusted <= self.rate]
        return tuple(sorted(found, key=lambda test: test.p_value))

    @property
    def p_value(self) -> float:
        """Of the hypothesis that nothing has drifted: the smallest of the adjusted ones."""
        return min(test.adjusted for test in self.tests)

    def __str__(self) -> str:
        """A sentence."""
        rows, tests = f"{self.rows} row{'' if self.rows == 1 else 's'}", len(self.tests)
        if not self.drifted:
            return (
                f"No drift was found in {rows} (smallest p of {tests} tests, adjusted: "
                f"{self.p_value:.2g}). That is no proof that there is none."
            )
        named = [
            f"{test.column!r} ({test.test}, adjusted p {test.adjusted:.2g})"
            for test in self.drifted[:5]
        ]
        more = f" and {len(self.drifted) - 5} more" if len(self.drifted) > 5 else ""
        return (
            f"{len(self.drifted)} of {tests} tests find that {rows} are of another kind than was "
            f"seen: {', '.join(named)}{more}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "rate": self.rate, "p_value": self.p_value, "sentence": str(self),
            "tests": [vars(test) for test in self.tests],
        }  # fmt: skip

"""How badly an answer fits a row: the scores that conformal prediction ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.probability.calibration.given import array_of

# ---- classes


@dataclass(frozen=True)
class ClassScore:
    """The score E(x, y) of every class for a row with the probabilities p; the set is where E ≤ q.

    | score | E(x, y) | source |
    |---|---|---|
    | lac | 1 − p_y | Sadinle, Lei and Wasserman 2019 |
    | aps | ρ_y + u p_y, where ρ_y adds up the p of all likelier classes | Romano, Sesia and Candès 2020 |
    | raps | ρ_y + u p_y + λ max(0, o_y − k_reg), where o_y is y's place, from 1 | Angelopoulos et al. 2021, §2 |

    u is uniform on [0, 1), one a row, which makes the coverage exact; u = 0 asks for no chance and
    leaves no set empty, at the price of covering more than asked for. Of equal probabilities the
    lower class counts as likelier.
    """  # noqa: E501

    name: str
    randomised: bool
    lam: float
    k_reg: int

    def __post_init__(self) -> None:
        if self.name not in ("lac", "aps", "raps"):
            raise DataError(f'score is "lac", "aps" or "raps", not {self.name!r}')
        if not isinstance(self.randomised, bool):
            raise DTypeError(f"randomised is True or False, not {self.randomised!r}")
        if isinstance(self.lam, bool) or not isinstance(self.lam, (int, float)):
            raise DTypeError(f"lam is a number, λ ≥ 0, not {self.lam!r}")
        if isinstance(self.k_reg, bool) or not isinstance(self.k_reg, int):
            raise DTypeError(f"k_reg is a whole number of classes, not {self.k_reg!r}")
        if not 0 <= self.lam < np.inf or self.k_reg < 0:
            raise DataError(f"lam = {self.lam} and k_reg = {self.k_reg}; neither may be negative")

    def __call__(self, p: np.ndarray, u: np.ndarray) -> np.ndarray:
        """(n, K) of (n, K) and (n,)."""
        if self.name == "lac":
            return np.asarray(1 - p)
        order = np.argsort(-p, axis=1, kind="stable")
        ordered = np.take_along_axis(p, order, 1)
        before = np.zeros_like(ordered)
        np.cumsum(ordered[:, :-1], 1, out=before[:, 1:])
        found = before + u[:, None] * ordered
        if self.name == "raps":
            found = found + self.lam * np.maximum(0, np.arange(1, p.shape[1] + 1) - self.k_reg)
        scores = np.empty_like(p)
        np.put_along_axis(scores, order, found, 1)
        return scores

    def uniform(self, n: int, generator: Any) -> np.ndarray:
        """u, (n,); nothing is drawn where the score needs none."""
        if not self.randomised or self.name == "lac":
            return np.zeros(n)
        from chainrule.ops.random import uniform

        return uniform((n,), dtype=np.float64, generator=generator).numpy()


# ---- reals


def reals_of(y: Any, name: str, rows: int | None = None) -> np.ndarray:
    """(n,) float64, of (n,) or (n, 1)."""
    found = array_of(y, name)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or (rows is not None and len(found) != rows):
        rows_are = "" if rows is None else f", and there are {rows} rows"
        raise ShapeError(
            f"{name} have the shape {found.shape}; one number a row is needed{rows_are}"
        )
    return found


@dataclass(frozen=True)
class RealScore:
    """The score E(x, y) of a target, and the targets with E ≤ q.

    | score | prediction | E(x, y) | interval | source |
    |---|---|---|---|---|
    | residual | μ | \\|y − μ\\| | μ ± q | Lei et al. 2018 |
    | normalised | (μ, σ) | \\|y − μ\\|/σ | μ ± q σ | Papadopoulos et al. 2008; Lei et al. 2018, §5.2 |
    | cqr | (a, b), quantiles | max(a − y, y − b) | [a − q, b + q] | Romano, Patterson and Candès 2019 |
    """  # noqa: E501

    name: str

    def __post_init__(self) -> None:
        if self.name not in ("residual", "normalised", "cqr"):
            raise DataError(f'score is "residual", "normalised" or "cqr", not {self.name!r}')

    def prediction(self, given: Any, what: str = "prediction") -> np.ndarray:
        """(n,) for `residual`, (n, 2) for the others; of a pair of arrays too.

        Raises:
            ShapeError: it has not as many columns as the score takes.
            DataError: a σ that is not above 0.
        """
        if self.name == "residual":
            return reals_of(given, what)
        if isinstance(given, tuple):
            given = np.stack([reals_of(part, what) for part in given], 1)
        found = array_of(given, what)
        pair = "the mean and σ" if self.name == "normalised" else "a lower and an upper quantile"
        if found.ndim != 2 or found.shape[1] != 2:
            raise ShapeError(
                f"the {what} has the shape {found.shape}; score {self.name!r} takes {pair} of each "
                "row: (rows, 2), or a pair of arrays (rows,)"
            )
        if self.name == "normalised" and (found[:, 1] <= 0).any():
            row = int(np.argmax(found[:, 1] <= 0))
            raise DataError(f"σ is {found[row, 1]:.6g} in row {row} of the {what}; it is above 0")
        return found

    def __call__(self, prediction: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n,) of a checked prediction and (n,) targets."""
        if self.name == "residual":
            return np.abs(y - prediction)
        first, second = prediction.T
        if self.name == "normalised":
            return np.asarray(np.abs(y - first) / second)
        return np.maximum(first - y, y - second)

    def interval(self, prediction: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ends for thresholds q, broadcast: predictions (…) or (…, 2) and q (…)."""
        if self.name == "residual":
            return prediction - q, prediction + q
        first, second = prediction[..., 0], prediction[..., 1]
        if self.name == "normalised":
            return first - q * second, first + q * second
        return first - q, second + q

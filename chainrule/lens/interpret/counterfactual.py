"""Counterfactuals: the smallest change found that flips an answer (Wachter et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.lens.interpret.case import Case
from chainrule.lens.interpret.interpretation import Flip
from chainrule.lens.interpret.subjects import Subject

GRID = 33
"""Values of a column that are tried: quantiles of the training rows."""
MOST_SCANNED = 48
"""Columns that are tried one by one: those with the steepest slopes."""
STEPS = 50
"""Steps along a slope, at most."""
CLASSES = 3
"""So many other classes are tried, the nearest first."""
CUTS, ROUNDS = 16, 5
"""The way to the boundary is cut in 16, five times: to a millionth."""
BEYOND, LEAST = 1e-3, 1e-6
"""How far beyond the boundary a step aims: a share of the way to it, and in the outputs' unit."""


@dataclass(frozen=True)
class Space:
    """The columns that may be changed, and what counts as far.

    Distance is Σ over changed columns of |Δ|/σ, σ the standard deviation among the training rows; a
    change of category counts as 1. Values stay within the range of the training rows.

    Attributes:
        groups: places of each column among the flattened features.
        onehot: whether a column is a category, with a place for each.
        low, high, scale: of each place, from the training rows; scale 0 of what is constant there,
            and is not changed.
        grid: (GRID, places), quantiles.
    """

    groups: Sequence[tuple[int, ...]]
    onehot: tuple[bool, ...]
    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    grid: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, groups: Sequence[tuple[int, ...]]) -> Space:
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        onehot = tuple(len(g) > 1 and one_hot(flat[:, list(g)]) for g in groups)
        grid = np.quantile(flat, np.linspace(0, 1, GRID), axis=0)
        return cls(tuple(map(tuple, groups)), onehot, flat.min(0), flat.max(0), flat.std(0), grid)

    def distances(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(rows, columns): how far each column of a row is from that of other rows."""
        order = np.concatenate([list(group) for group in self.groups])
        starts = np.cumsum([0, *map(len, self.groups)])[:-1]
        moved = np.abs(after - before)[:, order]
        scaled = moved / np.where(self.scale > 0, self.scale, np.inf)[order]
        changed = np.maximum.reduceat(moved, starts, 1)
        return np.where(self.onehot, changed, np.add.reduceat(scaled, starts, 1))

    def distance(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(rows,) between one row and others."""
        found: np.ndarray = self.distances(before, after).sum(1)
        return found

    def changed(self, before: np.ndarray, after: np.ndarray) -> list[int]:
        """Columns that differ between two rows, the most moved first."""
        far = self.distances(before, after[None])[0]
        return [int(g) for g in np.argsort(-far, kind="stable") if far[g] > 0]

    def smooth(self) -> np.ndarray:
        """(places,): whether a place may be moved by a little."""
        found = self.scale > 0
        for group, category in zip(self.groups, self.onehot, strict=True):
            if category:
                found[list(group)] = False
        return found


def one_hot(values: np.ndarray) -> bool:
    """Whether each row of some places has a single 1 among zeros."""
    return bool(((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all())


def flips(
    case: Case, rows: Sequence[int], groups: Sequence[tuple[int, ...]], names: Sequence[str]
) -> list[Flip | None]:
    """The smallest change found for each row; None where none was found within the range of the
    training rows."""
    assert case.subject is not None
    assert case.trained is not None
    trained, asked = case.trained.x, case.asked.x
    if trained is None or asked is None or asked.dtype.kind != "f":
        return [None] * len(rows)
    space = Space.of(trained, groups)
    return [_flip(case, space, asked[i], names) for i in rows]


def _flip(case: Case, space: Space, row: np.ndarray, names: Sequence[str]) -> Flip | None:
    subject = case.subject
    assert subject is not None
    search = Search(subject, space, row)
    best = search.smallest()
    if best is None:
        return None
    best = search.rounded(best)
    answer = int(subject.probabilities(search.shaped(best[None]))[0].argmax())
    changes = [
        (names[g], *_written(case, space, g, search.row, best, names[g]))
        for g in space.changed(search.row, best)
    ]
    distance = float(space.distance(search.row, best[None])[0])
    return Flip(case.classes[answer], tuple(changes), distance)


def _written(
    case: Case, space: Space, g: int, before: np.ndarray, after: np.ndarray, name: str
) -> tuple[str, str]:
    """What stood in a column and what stands there now, in the user's units if known."""
    places = list(space.groups[g])
    written = case.view.write.get(name)
    if written is not None:
        return written(before[places]), written(after[places])
    if space.onehot[g]:
        return str(int(before[places].argmax())), str(int(after[places].argmax()))
    places = [j for j in places if before[j] != after[j]]
    decimals = max(_decimals(float(after[j] - before[j])) for j in places) + 1
    was, becomes = (
        " ".join(f"{v:.{max(decimals, 0)}f}" for v in row[places]) for row in (before, after)
    )
    return was, becomes


def _decimals(change: float) -> int:
    """How many decimals show three digits of a change."""
    return 2 - math.floor(math.log10(abs(change)))


class Search:
    """The search for one row, in three ways of which the nearest is taken.

    1. Single columns are moved over the values that training rows have, categories among them.
    2. The column that pays most, |∂margin/∂x_j| σ_j, is moved until the answer flips or its range
       ends, then the next: of a linear network the smallest change there is.
    3. All columns are moved along the slope to the nearest boundary (Moosavi-Dezfooli et al. 2016).

    Each is then drawn back to just beyond the boundary. What is found has been asked of the network
    itself; that nothing smaller exists is known of linear networks only.
    """

    def __init__(self, subject: Subject, space: Space, row: np.ndarray) -> None:
        self.subject, self.space, self.shape = subject, space, row.shape
        self.dtype = row.dtype
        self.row = row.reshape(-1).astype(np.float64)
        self.low, self.high = np.minimum(space.low, self.row), np.maximum(space.high, self.row)
        self.smooth = space.smooth()
        self.answer = int(subject.probabilities(row[None])[0].argmax())

    def shaped(self, flat: np.ndarray) -> np.ndarray:
        return flat.reshape(-1, *self.shape).astype(self.dtype)

    def flipped(self, flat: np.ndarray) -> np.ndarray:
        """(rows,)."""
        return self.subject.probabilities(self.shaped(flat)).argmax(1) != self.answer

    def smallest(self) -> np.ndarray | None:
        """(places,), the nearest row found that has another answer."""
        candidates = [*self._one_column(), *self._by_steepest(), *self._along_slope()]
        # So near to the boundary a row by itself may be rounded otherwise than among others.
        found = [row for row in candidates if self.flipped(row[None])[0]]
        if not found:
            return None
        distances = self.space.distance(self.row, np.stack(found))
        return found[int(distances.argmin())]

    def rounded(self, far: np.ndarray) -> np.ndarray:
        """Each change made a little larger, to three digits, so that what is written down flips the
        answer, too; as it is where that does not."""
        after = far.copy()
        for j in np.flatnonzero(self.smooth & (far != self.row)):
            change = float(far[j] - self.row[j])
            unit = 10.0 ** -_decimals(change)
            larger = math.copysign(math.ceil(abs(change) / unit - 1e-6) * unit, change)
            after[j] = np.clip(self.row[j] + larger, self.low[j], self.high[j])
        return after if self.flipped(after[None])[0] else far

    # Single columns

    def _one_column(self) -> list[np.ndarray]:
        candidates, column = [], []
        for g in self._steepest():
            places = list(self.space.groups[g])
            for place in places:
                if self.space.onehot[g]:
                    others = self.row[None].copy()
                    others[:, places] = np.arange(len(self.row))[places] == place
                elif self.space.scale[place] > 0:
                    others = np.repeat(self.row[None], GRID, 0)
                    others[:, place] = self.space.grid[:, place]
                else:
                    continue
                candidates.append(others)
                column += [place] * len(others)
        if not candidates:
            return []
        rows, of = np.concatenate(candidates), np.array(column)
        good = self.flipped(rows)
        rows, of = rows[good], of[good]
        order = np.argsort(self.space.distance(self.row, rows), kind="stable")
        nearest = order[np.unique(of[order], return_index=True)[1]]  # of each column
        return list(self._nearer(self.row, rows[nearest])) if len(nearest) else []

    def _steepest(self) -> list[int]:
        if len(self.space.groups) <= MOST_SCANNED:
            return list(range(len(self.space.groups)))
        slope = np.abs(self._slopes(self.row)[1]).max(0) * self.space.scale
        size = np.array([slope[list(group)].max() for group in self.space.groups])
        return [int(g) for g in np.argsort(-size, kind="stable")[:MOST_SCANNED]]

    # By the slope

    def _slopes(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(margins of the other classes over the answer, their gradients (K', places))."""
        outputs = self.subject.outputs(self.shaped(flat[None]))[0]
        if len(outputs) == 1:  # log-odds, or the probability of yes: 0 is the boundary
            middle = 0.5 if self.subject.reading == "probabilities" else 0.0
            sign = 1.0 if self.answer == 0 else -1.0
            gradient = self.subject.gradient(self.shaped(flat[None]), np.ones((1, 1)))
            return sign * (outputs - middle), sign * gradient.reshape(1, -1)
        width = len(outputs)
        others = [k for k in range(width) if k != self.answer]
        seeds = np.zeros((len(others), width))
        seeds[np.arange(len(others)), others] = 1.0
        seeds[:, self.answer] -= 1.0
        rows = self.shaped(np.repeat(flat[None], len(others), 0))
        gradients = self.subject.gradient(rows, seeds).reshape(len(others), -1)
        return outputs[others] - outputs[self.answer], gradients

    def _by_steepest(self) -> list[np.ndarray]:
        """One for each of the nearest other classes, as far as they can be reached."""
        margins, gradients = self._slopes(self.row)
        away = -margins / np.maximum(np.abs(gradients * self._scale).max(1), 1e-300)
        found = (self._towards(int(k)) for k in np.argsort(away, kind="stable")[:CLASSES])
        return [row for row in found if row is not None]

    @property
    def _scale(self) -> np.ndarray:
        return np.where(self.smooth, self.space.scale, 0.0)

    def _towards(self, k: int) -> np.ndarray | None:
        now = self.row.copy()
        for _ in range(STEPS):
            margins, gradients = self._slopes(now)
            slope = gradients[k]
            room = np.where(slope > 0, self.high - now, self.low - now)
            pays = np.where(room != 0, np.abs(slope) * self._scale, 0.0)
            j = int(pays.argmax())
            if pays[j] == 0:
                return None
            before = now.copy()
            needed = (-margins[k] * (1 + BEYOND) + LEAST) / slope[j]
            now[j] += needed if abs(needed) < abs(room[j]) else room[j]
            if self.flipped(now[None])[0]:
                return self._nearer(before, now[None])[0]
        return None

    def _along_slope(self) -> list[np.ndarray]:
        now = self.row.copy()
        for _ in range(STEPS):
            if self.flipped(now[None])[0]:
                return [self._nearer(self.row, now[None])[0]]
            margins, gradients = self._slopes(now)
            steep = gradients * self._scale
            size = (steep**2).sum(1)
            if not (size > 0).any():
                return []
            away = np.where(size > 0, -margins / np.sqrt(np.where(size > 0, size, 1.0)), np.inf)
            k = int(away.argmin())
            step = (-margins[k] * (1 + BEYOND) + LEAST) / size[k] * steep[k] * self._scale
            now = np.clip(now + step, self.low, self.high)
        return []

    def _nearer(self, start: np.ndarray, far: np.ndarray) -> np.ndarray:
        """(m, places): on the way from `start` to each of m flipped rows the one just beyond the
        boundary; categories change at once."""
        low, high = np.zeros(len(far)), np.ones(len(far))
        for _ in range(ROUNDS):
            shares = low[:, None] + (high - low)[:, None] * np.arange(1, CUTS + 1) / CUTS
            shares[:, -1] = high
            rows = self._between(start, far, shares)
            flipped = self.flipped(rows.reshape(-1, far.shape[1])).reshape(shares.shape)
            flipped[:, -1] = True  # as was found before
            first = flipped.argmax(1)
            row = np.arange(len(far))
            low, high = np.where(first > 0, shares[row, first - 1], low), shares[row, first]
        return self._between(start, far, high[:, None])[:, 0]

    def _between(self, start: np.ndarray, far: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """(m, shares, places)."""
        way = start + shares[..., None] * (far - start)[:, None]
        return np.where(self.smooth, np.where(shares[..., None] == 1, far[:, None], way),
                        far[:, None])  # fmt: skip

"""Derivatives checked by differences: what came back through an operation, by another route.

An operation y = F(x, …) was handed g = ∂L/∂y and gave back v̄ = ∂L/∂x. Whatever derivative ran,

    ⟨v̄, v⟩ = d/dt ⟨g, F(x + t v, …)⟩  at t = 0

for every direction v. The right-hand side needs no derivative: F is the declared formula,
evaluated in float64, and d/dt a central difference (Nocedal and Wright, Numerical Optimization,
section 8.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from chainrule.lens.explain.derivation import Check, Step
from chainrule.lens.explain.steps.forward import largest_finite, widened
from chainrule.lens.explain.steps.probes import BATCH, EVERY, Declared, Probes, inner
from chainrule.ops.operation import Operation
from chainrule.tensor.graph import OFF, quiet, recording
from chainrule.tensor.inspection import finfo

_STEPS = tuple(2.0**-k for k in (17, 21, 13, 26, 9, 31, 37, 43))
"""Relative steps: the first is near ∛ε, where truncation and rounding of a central difference are
alike; the others are tried where it crosses a kink, or leaves the domain, or is not fine enough."""
_EPS = float(np.finfo(np.float64).eps)


class Slopes(NamedTuple):
    """Derivatives along directions, a row for each, and how far they may be off."""

    values: np.ndarray
    bounds: np.ndarray


@dataclass(frozen=True, eq=False)
class DerivativeClaim:
    """That a step's value is ∂L/∂x of one operand x of an operation.

    It is compared element by element where that takes no more than `EVERY` evaluations (of a
    function that is applied element by element all are moved at once), and else along a random
    direction, in which every element counts. Of these bounds the first is taken that explains the
    difference:

    - rounding of F in float64, divided by the step, and a few roundings of the value itself, in the
      dtype that ran: 8 √K of them, for a value that adds up K terms;
    - rounding of the derivative that ran, measured: with every operand, and g, moved by up to one
      unit in the last place, the quotient changes by δ, and the value may be off by 8 √K of it;
    - the difference quotient's own error, too: how far those at the steps h and 2h differ, at the
      step at which that is least.

    At a kink the quotients of both sides differ, and any value between them is a derivative that a
    descent may use; which one is used follows PyTorch.

    Attributes:
        op: the operation.
        operands: as it was given them.
        attrs: its attributes.
        position: which of them x is.
        arriving: g.
        value: what came back; it chooses the directions, and is compared as the step has it.
        terms: K.
    """

    op: Operation
    operands: tuple[Any, ...]
    attrs: dict[str, Any]
    position: int
    arriving: np.ndarray
    value: np.ndarray
    terms: float

    @cached_property
    def declared(self) -> Declared:
        return Declared(self.op, self.operands, self.attrs, self.position, self.arriving)

    @cached_property
    def probes(self) -> Probes:
        return Probes(self.declared, self.value)

    @cached_property
    def slopes(self) -> Slopes:
        """The derivatives along the probes' directions, by central differences."""
        with recording(OFF), quiet():
            return self._slopes()

    def _slopes(self) -> Slopes:
        if not self.value.size:
            return Slopes(np.zeros((0, 1)), np.zeros((0, 1)))
        step = _STEPS[0]
        near, noise, size = _measured_quotient(self.declared, self.probes, step)
        plain = 8 * math.sqrt(self.terms) * self._eps * largest_finite(self._size)
        plain += self._least
        found = Slopes(near, noise + plain)
        if self._explained(found):
            return found
        rounding = self._rounding(step, near, size)
        found = Slopes(near, noise + rounding)
        if self._explained(found):
            return found
        best = Slopes(np.array(np.nan), np.array(np.inf))
        for step in _STEPS:
            near, noise, size = _measured_quotient(self.declared, self.probes, step)
            far = _quotient(self.declared, self.probes, 2 * step)
            rounding = self._rounding(step, near, size)
            # Extrapolated; the difference is the error of the less exact one.
            values, bounds = (4 * near - far) / 3, np.abs(near - far) + noise + rounding
            better = ~(best.bounds <= bounds)
            best = Slopes(
                *(np.where(better, *pair) for pair in zip((values, bounds), best, strict=True))
            )
            fine = (best.bounds <= 1e-4 * np.abs(best.values)).all()
            if fine and self._explained(best):
                break
        return best

    def _explained(self, slopes: Slopes) -> bool:
        """Whether the value lies within the bounds."""
        return bool((_apart(self._along, slopes) <= slopes.bounds).all())

    @property
    def _along(self) -> np.ndarray:
        return self._products[0]

    @property
    def _size(self) -> np.ndarray:
        return self._products[1]

    @cached_property
    def _products(self) -> tuple[np.ndarray, np.ndarray]:
        """⟨value, v⟩ along the directions, and how large what it adds up is."""
        return self.probes.of(self.value)

    def _rounding(self, step: float, near: np.ndarray, size: np.ndarray) -> float:
        """What rounding of the derivative that ran may put a number off, measured."""
        rng = np.random.default_rng(0)
        change = 0.0
        for _ in range(3 if self.declared.x.size <= EVERY else 1):  # few numbers, so more often
            moved = Declared(
                self.op,
                tuple(_nudged(v, self._eps, rng) for v in self.operands),
                self.attrs,
                self.position,
                _nudged(self.arriving, self._eps, rng),
            )
            change = max(change, largest_finite(_quotient(moved, self.probes, step) - near))
        few = self._eps * (4 * largest_finite(near) + largest_finite(size))
        return 8 * math.sqrt(self.terms) * change + few + self._least

    @property
    def _least(self) -> float:
        """How far roundings may put a number off that is so small that it has fewer digits."""
        info = finfo(self.value.dtype)
        return 8 * self.terms * self.value.size * info.eps * info.smallest_normal

    @cached_property
    def _eps(self) -> float:
        """The unit in the last place of what ran."""
        arrays = [a for a in (*self.operands, self.arriving) if isinstance(a, np.ndarray)]
        return max(float(finfo(a.dtype).eps) for a in arrays if a.dtype.kind in "fcV")

    @cached_property
    def bent(self) -> bool:
        """Whether the function seems to have a kink here, for operands of which every element can
        be looked at: the second difference is no smaller than the first."""
        f, probes = self.declared, self.probes
        if f.x.size > EVERY:
            return False
        here = f(f.x[None])
        for _, moves in probes.moves(f):
            ahead, back = (f(f.x + sign * _STEPS[0] * moves) for sign in (1, -1))
            first, second = np.abs(ahead - back), np.abs(ahead + back - 2 * here)
            rounding = 16 * _EPS * np.abs(here)
            if (second > np.maximum(first / 8, rounding)).any():
                return True
        return False

    @cached_property
    def sides(self) -> tuple[Slopes, np.ndarray]:
        """(the middle between the one-sided derivatives and half of what lies between them, with
        their error; where there is a kink)."""
        with recording(OFF), quiet():
            return _one_sided(self.declared, self.probes)

    @property
    def rounding(self) -> float:
        """How far the value's elements may be off."""
        return largest_finite(self.slopes.bounds)

    def check(self, step: Step) -> Check:
        with recording(OFF), quiet():
            found = self._check(step)
        for large in ("declared", "probes", "_products"):  # made again if they are asked for again
            vars(self).pop(large, None)
        return found

    def _check(self, step: Step) -> Check:
        assert step.value is not None
        formula = "the operation" if self.declared.view is None else "the formula"
        route = f"central differences of {formula} in float64, {self.probes}"
        if step.value.shape != self.declared.x.shape:
            return Check(route, float("inf"), 0.0)
        if not step.value.size:
            return Check(route, 0.0, 0.0)
        found = self._along if step.value is self.value else self.probes.of(step.value)[0]
        written = max((e.instance.rounding(self._eps) for e in step.elements), default=0.0)
        gaps, bounds = _apart(found, self.slopes), self.slopes.bounds
        if written:
            bounds = bounds + written
        if not (gaps <= bounds).all() or self.bent:
            between, kink = self.sides
            if kink.any():
                gaps = np.where(kink, _apart(found, between), gaps)
                bounds = np.where(kink, between.bounds, bounds)
                route += (
                    f"; {kink.sum()} at a kink, where it lies between the one-sided derivatives, "
                    "by PyTorch's convention"
                )
        worst = int(np.argmax(np.where(gaps <= bounds, gaps / (bounds + 1e-300), np.inf)))
        return Check(route, float(gaps.flat[worst]), float(bounds.flat[worst]))


def _quotient(f: Declared, probes: Probes, step: float) -> np.ndarray:
    """(⟨g, F(x + h v)⟩ − ⟨g, F(x − h v)⟩) / 2h, as numbers along the probes."""
    found = [probes.reduce(change, rows) for rows, change, _ in _changes(f, probes, step)]
    return _joined(found) / (2 * step)


def _measured_quotient(f: Declared, probes: Probes, step: float) -> tuple[np.ndarray, ...]:
    """(the same, what rounding in F may put it off, the size of ⟨g, F⟩)."""
    found = []
    for rows, change, above in _changes(f, probes, step):
        sizes = inner(f.weight, above)
        if not _is_finite(sizes):
            sizes = inner(f.weight, np.where(np.isfinite(above), above, 0.0))
        squares = np.square(sizes, out=sizes)
        found.append([probes.reduce(part, rows) for part in (change, squares)])
        if f.x.size <= EVERY:
            found[-1].append(probes.reduce(np.where(change != 0, squares, 0.0), rows))
    change, *squared = (_joined(parts) for parts in zip(*found, strict=True))
    # What F adds up, and of this what moves, if that was looked at.
    size, *moving = (2 * np.sqrt(squares / probes.lengths) for squares in squared)
    noise = moving[0] if moving else size
    # F may be wrong in its last three bits, as special functions and decompositions are.
    return change / (2 * step), 8 * _EPS / step * noise, size


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _changes(
    f: Declared, probes: Probes, step: float
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """(which probes, g · (F(x + h v) − F(x − h v)), F(x + h v)), for as many probes at once as
    memory allows."""
    for rows, moves in probes.moves(f):
        shift = step * moves
        ahead, back = f.x + shift, np.subtract(f.x, shift, out=shift)
        if ahead.size <= BATCH // 8:  # so that what does not move is computed once
            above, below = np.split(f(np.concatenate([ahead, back])), 2)
        else:
            above, below = f(ahead), f(back)
        with np.errstate(invalid="ignore"):
            moved = above - below
            if not _is_finite(moved):  # a mask's −∞ does not move
                moved = np.where(above == below, 0.0, moved)
        yield rows, inner(f.weight, moved, out=moved), above


def _is_finite(values: np.ndarray) -> bool:
    """Whether all values, and their sum, are finite."""
    return bool(np.isfinite(np.sum(values)))


def _one_sided(f: Declared, probes: Probes) -> tuple[Slopes, np.ndarray]:
    """See `DerivativeClaim.sides`. Sides are compared output by output: what a maximum of several
    does in one place may be the opposite of what it does in another."""
    every = slice(None)
    start = f(f.x[None])
    best: tuple[np.ndarray, ...] | None = None
    for step in _STEPS:
        sides, doubt = [], 0.0
        found = _along(f, probes, (step, 2 * step, -step, -2 * step))
        ahead, further, back, behind = (values - start for values in found)
        for sign, near, far in ((1, ahead, further), (-1, back, behind)):
            slope = np.real(np.conj(f.weight) * (2 * near - far / 2)) / (sign * step)
            other = np.real(np.conj(f.weight) * near) / (sign * step)
            doubt = doubt + np.abs(slope - other)
            sides.append(slope)
        sides = [np.where(np.isfinite(s), s, o) for s, o in zip(sides, sides[::-1], strict=True)]
        low = probes.reduce(np.minimum(*sides), every)
        high = probes.reduce(np.maximum(*sides), every)
        error = probes.reduce(np.where(np.isfinite(doubt), doubt, 0.0), every)
        error = np.abs(error) + 16 * _EPS * np.max(np.abs(start), initial=1.0) / step
        error = np.where(np.isfinite(low + high), error, np.inf)
        if best is None:
            best = low, high, error
        else:
            better = error < best[2]
            best = tuple(
                np.where(better, a, b) for a, b in zip((low, high, error), best, strict=True)
            )
    assert best is not None
    low, high, error = best
    with np.errstate(all="ignore"):
        middle, half = (low + high) / 2, np.abs(high - low) / 2
    return Slopes(middle, half + error), half > 4 * error


def _along(f: Declared, probes: Probes, steps: Sequence[float]) -> list[np.ndarray]:
    """F(x + h v) for each of the steps h, a row for each direction v."""
    found = []
    for _, moves in probes.moves(f):
        stack = np.concatenate([f.x + step * moves for step in steps])
        found.append(np.split(f(stack), len(steps)))
    return [_joined(parts) for parts in zip(*found, strict=True)]


def _apart(found: np.ndarray, slopes: Slopes) -> np.ndarray:
    with np.errstate(all="ignore"):
        gaps = np.abs(found - slopes.values)
        if not _is_finite(gaps):  # equal infinities
            gaps = np.where(found == slopes.values, 0.0, gaps)
    return gaps


def _nudged(value: Any, eps: float, rng: np.random.Generator) -> Any:
    """Every element moved by up to a unit in the last place, at random."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fcV":
        return value
    some = 1 + eps * rng.uniform(-1.0, 1.0, min(value.size, 4099))
    return widened({"v": value})["v"] * np.resize(some, value.shape)

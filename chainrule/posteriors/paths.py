"""Paths of a particle on the surface −log p, doubled until they turn round (No-U-Turn).

The energy H = −log p(q) + ½ pᵀM⁻¹p is kept along a path, up to the error of its steps. The path is
followed forwards or backwards at random, twice as far each time, until it or a dyadic part of it
turns round (Hoffman, Gelman 2014, JMLR 15); one of its places is drawn in proportion to exp(−H)
(Betancourt 2017, arXiv:1701.02434, appendix A). What is recursion there is arrays here: steps are
taken in blocks, each one compiled loop, and all parts of a block are looked at together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.calculus.transforms import value_and_grad
from chainrule.compile.compiled import compile
from chainrule.ops.scan import scan
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import no_grad
from chainrule.tensor.tensor import Tensor

SHORT, LONG = 4, 32
"""Steps of a block: a short one where few are needed, a long one, which costs less a step."""

DIVERGENT = 1000.0
"""An energy that is off by more shows a place too curved for the step (Stan's bound)."""


class Places(NamedTuple):
    """One place, or several along the first axis: position, momentum (…, d), and the log density
    (…,) with its gradient (…, d) there."""

    q: np.ndarray
    p: np.ndarray
    gradient: np.ndarray
    log_density: np.ndarray

    def part(self, key: Any) -> Places:
        """A place, or some."""
        return Places(*(array[key] for array in self))


class Surface:
    """A log density, compiled with its gradient and with walks on it."""

    def __init__(self, log_density: Callable[[Any], Any]) -> None:
        look = value_and_grad(log_density)
        self._look = compile(look)
        self._walks = {length: compile(_walk(look, length)) for length in (SHORT, LONG)}

    def look(self, q: np.ndarray) -> Places:
        """The place at a position, at rest."""
        with no_grad():
            value, gradient = self._look(asarray(q))
        return Places(q, np.zeros_like(q), gradient.numpy(), value.numpy())

    def walk(self, start: Places, step: float, variance: np.ndarray, length: int) -> Places:
        """So many steps from a place, `SHORT` or `LONG`; backwards with a step below 0."""
        given = start.q, start.p, start.gradient, np.array(step), variance
        with no_grad():
            found = self._walks[length](*map(Tensor, given))
        return Places(*(tensor.numpy() for tensor in found))


def _walk(look: Callable[[Any], Any], length: int) -> Callable[..., Any]:
    def walk(q: Tensor, p: Tensor, gradient: Tensor, step: Tensor, variance: Tensor) -> Any:
        def leap(at: Any, _: Any) -> Any:
            """Half a kick, a move, half a kick: it runs backwards as it runs forwards."""
            q, p, gradient = at
            p = p + 0.5 * step * gradient
            q = q + step * (variance * p)
            value, gradient = look(q)
            p = p + 0.5 * step * gradient
            return (q, p, gradient), (q, p, gradient, value)

        return scan(leap, (q, p, gradient), length=length)[1]

    return walk


class _Side:
    """What lies beyond one end of a path. What was walked in vain is kept for the next doubling."""

    def __init__(self, surface: Surface, end: Places, step: float, variance: np.ndarray) -> None:
        self.surface, self.step, self.variance = surface, step, variance
        self.ahead, self.end = end.part(np.newaxis), end
        self.ahead = self.ahead.part(slice(1, None))

    def take(self, n: int) -> Places:
        """The next n places."""
        while len(self.ahead.q) < n:
            length = LONG if n >= LONG else SHORT
            more = self.surface.walk(self.end, self.step, self.variance, length)
            pairs = zip(self.ahead, more, strict=True)
            self.ahead, self.end = Places(*map(np.concatenate, pairs)), more.part(-1)
        taken, self.ahead = self.ahead.part(slice(n)), self.ahead.part(slice(n, None))
        return taken


class Transition(NamedTuple):
    """Where a path ends, the mean acceptance of its steps, how often it was doubled, whether it
    diverged, and the energy at the end."""

    place: Places
    acceptance: float
    depth: int
    diverged: bool
    energy: float


class Path:
    """A path from a place, with a step and the diagonal of M⁻¹."""

    def __init__(
        self,
        surface: Surface,
        place: Places,
        step: float,
        variance: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self.variance, self.rng = variance, rng
        start = place._replace(p=rng.standard_normal(len(place.q)) / np.sqrt(variance))
        self.start, self.energy = start, float(self._energies(start))
        self.sides = [_Side(surface, start, way * step, variance) for way in (-1, 1)]
        self.acceptance, self.steps, self.diverged = 0.0, 0, False

    def _energies(self, places: Places) -> Any:
        kinetic = 0.5 * (self.variance * places.p**2).sum(-1)
        return kinetic - places.log_density

    def first_change(self) -> float:
        """H₀ − H of the first step."""
        return self.energy - float(self._energies(self.sides[1].take(1))[0])

    def drawn(self, max_depth: int) -> Transition:
        """A place of the path, doubled until it turns round, diverges, or `max_depth` times."""
        ends = [self.start.p, self.start.p]
        momentum, log_weight, place = self.start.p, 0.0, self.start
        depth = 0
        while depth < max_depth:
            way = int(self.rng.random() < 0.5)
            found = self._more(self.sides[way], 2**depth)
            depth += 1
            if found is None:
                break
            more, changes = found
            weights = np.exp(changes - changes.max())
            total = float(changes.max() + np.log(weights.sum()))
            # Later places are preferred, which keeps the distribution (Betancourt 2017, A.3.2).
            if math.log(self.rng.random()) < total - log_weight:
                at = np.searchsorted(np.cumsum(weights), self.rng.random() * weights.sum())
                place = more.part(min(int(at), len(weights) - 1))
            near, far, new = more.p[0], more.p[-1], more.p.sum(0)
            goes_on = self._straight(ends[1 - way], ends[way], near, far, momentum, new).all()
            ends[way] = far
            momentum = momentum + new
            log_weight = float(np.logaddexp(log_weight, total))
            if not goes_on:
                break
        energy = float(self._energies(place))
        return Transition(place, self.acceptance / self.steps, depth, self.diverged, energy)

    def _more(self, side: _Side, n: int) -> tuple[Places, np.ndarray] | None:
        """(n further places, H₀ − H of each); None where they turn round or diverge."""
        blocks, changes, sums = [], [], np.zeros(len(self.variance))
        momenta = np.empty((0, len(sums)))
        while len(momenta) < n:
            block = side.take(min(n, LONG))
            with np.errstate(invalid="ignore", over="ignore"):
                change = self.energy - self._energies(block)
            change = np.where(np.isnan(change), -np.inf, change)
            self.steps += len(change)
            self.acceptance += float(np.exp(np.minimum(change, 0.0)).sum())
            if change.min() < -DIVERGENT:
                self.diverged = True
                return None
            momenta = np.concatenate([momenta, block.p])
            if self._turns(momenta, len(block.p)):
                return None
            blocks.append(block)
            changes.append(change)
        return Places(*map(np.concatenate, zip(*blocks, strict=True))), np.concatenate(changes)

    def _turns(self, momenta: np.ndarray, fresh: int) -> bool:
        """Whether a dyadic part (2, 4, 8, … places) that ends in the last `fresh` ones does."""
        if len(momenta) < 2:
            return False
        begin, middle, end = _parts(len(momenta), fresh)
        to = np.concatenate([np.zeros((1, momenta.shape[1])), np.cumsum(momenta, 0)])
        early, late = to[middle] - to[begin], to[end] - to[middle]
        ends = momenta[begin], momenta[middle - 1], momenta[middle], momenta[end - 1]
        return not self._straight(*ends, early, late).all()

    def _straight(self, a: Any, b: Any, c: Any, d: Any, early: Any, late: Any) -> np.ndarray:
        """Whether a piece goes on that runs from a to b, and then from c to d, with these momenta
        Σ p: its ends move along Σ p, over the whole, and over each half with the first step beyond
        it, without which a path of just a period would look straight (the generalised criterion,
        Betancourt 2017, A.4.2, with Stan's further checks)."""
        along = self.variance * np.array([early + late, early + c, late + b])
        first, last = np.array([a, a, b]), np.array([d, c, d])
        return np.asarray(
            (np.einsum("...i,...i", along, first) > 0) & (np.einsum("...i,...i", along, last) > 0)
        )


@functools.cache
def _parts(n: int, fresh: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(begin, middle, end) of the dyadic parts of n places that end in the last `fresh` ones.

    >>> [part.tolist() for part in _parts(4, 4)]
    [[0, 2, 0], [1, 3, 2], [2, 4, 4]]
    """
    found, size = [], 2
    while n % size == 0:
        for begin in range(n - max(fresh, size), n, size):
            found.append((begin, begin + size // 2, begin + size))
        size *= 2
    begin, middle, end = np.array(found).T
    return begin, middle, end

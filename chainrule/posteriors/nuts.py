"""The No-U-Turn sampler: draws from any smooth density, by chains that tune themselves.

Hoffman, Gelman 2014, "The No-U-Turn sampler", JMLR 15, with what Stan does in its warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.posteriors.adaptation import Scales, StepSize, windows
from chainrule.posteriors.diagnostics import doubts, effective_sample_size, r_hat
from chainrule.posteriors.drawn import counted
from chainrule.posteriors.paths import Path, Places, Surface, Transition
from chainrule.probability.calibration.given import array_of
from chainrule.tensor import generator as randomness
from chainrule.tensor.locate import explained

LEAST_ENERGY_INFORMATION = 0.3
"""Of E-BFMI; below it, momenta are too alike to reach the tails (Betancourt 2016)."""


class Chain:
    """One Markov chain, run to its end.

    Attributes:
        record: a `Transition` for each draw after the warm-up.
        step_size, variance: what it found in the warm-up.
    """

    def __init__(
        self, surface: Surface, start: np.ndarray, rng: np.random.Generator, options: Options
    ) -> None:
        self.surface, self.rng = surface, rng
        self.variance = np.ones(len(start))
        place = self._warmed(surface.look(start), options)
        self.record: list[Transition] = []
        for _ in range(options.draws):
            path = Path(surface, place, self.step_size, self.variance, rng)
            self.record.append(path.drawn(options.max_depth))
            place = self.record[-1].place

    def _warmed(self, place: Places, options: Options) -> Places:
        steps = StepSize(self._reasonable_step(place, 1.0), options.target_accept)
        begin, ends = windows(options.warmup)
        scales = Scales(len(place.q))
        for i in range(options.warmup):
            path = Path(self.surface, place, steps.now, self.variance, self.rng)
            found = path.drawn(options.max_depth)
            place = found.place
            steps.learn(found.acceptance)
            if ends and begin <= i < ends[-1]:
                scales.learn(place.q)
            if i + 1 in ends:
                self.variance = scales.variance
                scales.restart()
                steps.restart(self._reasonable_step(place, steps.now))
        self.step_size = steps.final
        return place

    def _reasonable_step(self, place: Places, step: float) -> float:
        """By doubling or halving, until the acceptance of a step passes 0.8 (2014, algorithm 4)."""
        direction = 0
        while 1e-12 < step < 1e12:
            change = Path(self.surface, place, step, self.variance, self.rng).first_change()
            wanted = 1 if change > math.log(0.8) else -1  # NaN is of too long a step
            if wanted == -direction:
                break
            direction = wanted
            step *= 2.0**direction
        return step


@dataclass(frozen=True)
class Options:
    draws: int
    warmup: int
    target_accept: float
    max_depth: int

    def __post_init__(self) -> None:
        for name, least in (("draws", 4), ("warmup", 0), ("max_depth", 1)):
            counted(getattr(self, name), name, least)
        if not 0 < self.target_accept < 1:
            raise DataError(f"target_accept lies between 0 and 1, and is {self.target_accept!r}")


@dataclass(frozen=True)
class Draws:
    """Draws from a density, by several chains, and whether to trust them.

    Attributes:
        values: (chains, draws, d).
        log_density: (chains, draws), at the draws.
        energy: (chains, draws), H of the path that a draw is from.
        acceptance: (chains, draws), the mean acceptance probability along the path.
        depth: (chains, draws), how often a path was doubled; 2^depth − 1 steps at most.
        diverged: (chains, draws), whether the path met a place too curved for the step.
        step_size: (chains,); variance: (chains, d), the scale of each coordinate, M⁻¹.
        warnings: what keeps the draws from being trusted, in sentences; empty is good.
    """

    values: np.ndarray
    log_density: np.ndarray
    energy: np.ndarray
    acceptance: np.ndarray
    depth: np.ndarray
    diverged: np.ndarray
    step_size: np.ndarray
    variance: np.ndarray
    warnings: list[str]

    def __repr__(self) -> str:
        chains, draws, size = self.values.shape
        trust = f"{len(self.warnings)} warnings" if self.warnings else "converged"
        return f"<{chains} chains of {draws} draws of {size} numbers: {trust}>"

    @property
    def flat(self) -> np.ndarray:
        """(chains · draws, d)."""
        return self.values.reshape(-1, self.values.shape[-1])

    @property
    def mean(self) -> np.ndarray:
        """(d,)."""
        return np.asarray(self.flat.mean(0))

    @property
    def std(self) -> np.ndarray:
        """(d,)."""
        return np.asarray(self.flat.std(0, ddof=1))

    @property
    def r_hat(self) -> np.ndarray:
        """(d,), see `r_hat`."""
        return r_hat(self.values)

    @property
    def effective_sample_size(self) -> np.ndarray:
        """(d,), in the bulk; see `effective_sample_size`."""
        return effective_sample_size(self.values)

    @property
    def energy_information(self) -> np.ndarray:
        """(chains,): E-BFMI, Σ (E_t − E_{t−1})² / Σ (E_t − Ē)² (Betancourt 2016,
        arXiv:1604.00695)."""
        change = np.square(np.diff(self.energy, axis=1)).mean(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(change / self.energy.var(1))


@explained
def nuts(
    log_density: Callable[[Any], Any],
    initial: Any,
    *,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    target_accept: float = 0.8,
    max_depth: int = 10,
    generator: randomness.Generator | None = None,
) -> Draws:
    """Draws from a density by the No-U-Turn sampler, a form of Hamiltonian Monte Carlo.

    The density needs to be known only up to a constant. Its paths are compiled, in float64; each
    chain finds its step size by dual averaging and the scale of each coordinate in windows
    of the warm-up, as Stan does.

    Args:
        log_density: a vector (d,), a Tensor, -> its log density, a single number, differentiable.
            Of what is bounded, take the logarithm or the logit, and add the log of the derivative.
        initial: where chains start: (chains, d), best further apart than the density is wide, or
            (d,) for all, about which they are spread as Normal(initial, 1).
        draws: of each chain, after the warm-up.
        warmup: transitions that are thrown away.
        target_accept: how often a step is accepted on average. More makes the steps smaller, which
            is what helps against divergences.
        max_depth: of the doublings of a path.
        generator: the default one (`cr.seed`) if left out.

    Returns:
        `Draws`, with what its diagnostics say in `warnings`.

    Raises:
        GradientError: a density that is no single number.
        ShapeError: starts of another shape.
        DataError: no finite density at a start.

    >>> import chainrule as cr
    >>> cr.seed(0)
    >>> found = nuts(lambda x: -0.5 * (x**2).sum(), [0.0, 0.0], draws=500, warmup=300)
    >>> found.values.shape, found.warnings
    ((4, 500, 2), [])
    >>> bool((abs(found.mean) < 0.15).all()), bool((abs(found.std - 1) < 0.1).all())
    (True, True)
    """
    options = Options(draws, warmup, target_accept, max_depth)
    if not callable(log_density):
        raise DTypeError(
            "log_density is a function of a vector, such as lambda x: -0.5 * (x**2).sum()"
        )
    counted(chains, "chains")
    key, counter = (generator or randomness.default).take(4 * (chains + 1))
    words = randomness.bits(key, counter, 4 * (chains + 1)).reshape(-1, 4)
    first, *rngs = (np.random.default_rng(seed.tolist()) for seed in words)
    start = array_of(initial, "initial")
    if start.ndim == 1:
        start = start + first.standard_normal((chains, len(start)))
    if start.ndim != 2 or len(start) != chains or not start.shape[1]:
        raise ShapeError(
            f"initial has the shape {start.shape}; it is (d,), or (chains, d) with {chains} chains"
        )
    surface = Surface(log_density)
    _look_at(surface, start)
    return _gathered(
        [Chain(surface, at, rng, options) for at, rng in zip(start, rngs, strict=True)], options
    )


def _look_at(surface: Surface, starts: np.ndarray) -> None:
    for i, start in enumerate(starts):
        place = surface.look(start)
        if not np.isfinite(place.log_density) or not np.isfinite(place.gradient).all():
            raise DataError(
                f"the log density is {place.log_density} at the start of chain {i}, or its "
                "gradient is not finite: chains start where the density is above 0. Give other "
                "starts, initial="
            )


def _gathered(chains: Sequence[Chain], options: Options) -> Draws:
    def table(column: Callable[[Transition], Any]) -> np.ndarray:
        return np.array([[column(found) for found in chain.record] for chain in chains])

    draws = Draws(
        values=table(lambda found: found.place.q),
        log_density=table(lambda found: found.place.log_density),
        energy=table(lambda found: found.energy),
        acceptance=table(lambda found: found.acceptance),
        depth=table(lambda found: found.depth),
        diverged=table(lambda found: found.diverged),
        step_size=np.array([chain.step_size for chain in chains]),
        variance=np.array([chain.variance for chain in chains]),
        warnings=[],
    )
    draws.warnings.extend(path_doubts(draws, options.max_depth))
    draws.warnings.extend(doubts(draws.values, "the draws"))
    return draws


def path_doubts(draws: Draws, max_depth: int) -> list[str]:
    """What the paths say against the draws, in sentences."""
    found, diverged = [], int(draws.diverged.sum())
    if diverged:
        found.append(
            f"{diverged} of {draws.diverged.size} paths diverged: there are places too curved for "
            "the step, which the draws avoid. Raise target_accept (to 0.95 or 0.99), or write the "
            "density in other coordinates."
        )
    longest = int((draws.depth >= max_depth).sum())
    if longest:
        found.append(
            f"{longest} of {draws.depth.size} paths were cut off after 2^{max_depth} steps; scales "
            "of the coordinates differ much. Raise max_depth, or rescale."
        )
    least = float(np.min(draws.energy_information))
    if not least >= LEAST_ENERGY_INFORMATION:
        found.append(
            f"E-BFMI is {least:.2f}, below {LEAST_ENERGY_INFORMATION}: tails are explored too "
            "slowly. Write the density in other coordinates."
        )
    return found

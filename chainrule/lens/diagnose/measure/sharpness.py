"""How curved the loss is, and how large a step it allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.frameworks.framework import Framework, OptimizerFacts

ROWS = 256
"""Of the batch on which curvature is measured."""
DIFFERENCE = 3e-3
"""Length of the difference quotient's step ÷ length of the weights: the cube root of float32's
rounding, where the error of a central difference is least."""
ADAMS = ("adam", "nadam", "radam")


@dataclass(frozen=True)
class Bench:
    """A model to be measured on: a copy, whose weights are written to.

    Attributes:
        framework, model, loss, x, y: what a gradient is taken of.
        names: of the parameters that have gradients; `state`: the weights to go back to.
    """

    framework: Framework
    model: Any
    loss: Any
    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    state: dict[str, np.ndarray]

    def gradient(self, offset: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """The gradient at the state plus `offset`."""
        self._at(offset)
        return self.framework.gradients(self.model, self.x, self.y, self.loss)[1]

    def value(self, offset: dict[str, np.ndarray]) -> float:
        """The loss at the state plus `offset`."""
        self._at(offset)
        return self.framework.evaluated(self.model, self.x, self.y, self.loss, training=True)[1]

    def _at(self, offset: dict[str, np.ndarray] | None) -> None:
        moved = dict(self.state)
        for name, by in (offset or {}).items():
            moved[name] = (moved[name] + by).astype(moved[name].dtype)
        self.framework.load(self.model, moved)


def bench(case: Case, *, last: bool = False) -> Bench:
    """A copy of the model at its first (or last) weights, and a batch of up to 256 rows."""
    setup, framework = case.setup, case.framework
    (model,) = framework.copy(case.final_model if last else setup.model)
    order = np.random.default_rng(3).permutation(len(setup.x))[:ROWS]
    x, y = setup.x[order], setup.y[order]
    _, gradients = framework.gradients(model, x, y, setup.loss)
    return Bench(framework, model, setup.loss, x, y, tuple(gradients), framework.state(model))


def curvature_along(at: Bench, direction: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """H·v by a central difference, (g(θ + εv) − g(θ − εv))/2ε."""
    size = _norm({n: at.state[n] for n in at.names})
    epsilon = DIFFERENCE * max(size, 1e-3) / max(_norm(direction), 1e-30)
    ahead = at.gradient({n: epsilon * v for n, v in direction.items()})
    behind = at.gradient({n: -epsilon * v for n, v in direction.items()})
    at.gradient()
    return {
        n: (ahead[n].astype(np.float64) - behind[n]) / (2 * epsilon)
        for n in direction
        if n in ahead and n in behind
    }


def top_eigenvalue(
    at: Bench, *, iterations: int = 15, scale: dict[str, np.ndarray] | None = None, seed: int = 0
) -> float:
    """The largest eigenvalue (by size) of the Hessian, by power iteration.

    Args:
        scale: P^-½ elementwise, for that of the preconditioned P^-½ H P^-½.
    """
    rng = np.random.default_rng(seed)
    v = {n: rng.standard_normal(at.state[n].shape) for n in at.names}
    value = 0.0
    for _ in range(iterations):
        size = _norm(v)
        if not (np.isfinite(size) and size > 0):
            return value if np.isfinite(size) else float("nan")
        v = {n: part / size for n, part in v.items()}
        along = v if scale is None else {n: part * scale[n] for n, part in v.items()}
        image = curvature_along(at, along)
        if scale is not None:
            image = {n: part * scale[n] for n, part in image.items()}
        before, value = value, sum(float(np.vdot(v[n], image[n])) for n in image)
        v = image
        if abs(value - before) <= 1e-3 * abs(value):
            break
    return value


def largest_stable_rate(facts: OptimizerFacts, eigenvalue: float) -> float:
    """The rate above which a step along the sharpest direction overshoots more than it gains.

    Gradient descent: 2/λ. With heavy-ball momentum β: 2(1 + β)/λ. Adam, with λ of the
    preconditioned Hessian: (2 + 2β₁)/((1 − β₁)λ), which is 38/λ at β₁ = 0.9 (Cohen et al. 2022).
    Training near this edge is normal; only a loss that rises is a sign of trouble.

    >>> largest_stable_rate(OptimizerFacts("SGD", 0.1), 4.0)
    0.5
    """
    if not eigenvalue > 0:
        return float("inf")
    if facts.kind.lower().startswith(ADAMS):
        beta = float(next(iter(facts.options.get("betas", (0.9,)))))
        return (2 + 2 * beta) / ((1 - beta) * eigenvalue)
    momentum = float(facts.options.get("momentum", 0.0) or 0.0)
    return 2 * (1 + momentum) / eigenvalue


@dataclass(frozen=True)
class CriticalRate:
    """Attributes:
    rate: η_c, the smallest rate whose step along the actual update raises the loss; infinite
        where even 8⁵ = 32,768 times the step does not.
    used: the rate that was used; `sharpness`: 2/η_c.
    passes: how many forward passes it took.
    """

    rate: float
    used: float
    passes: int

    @property
    def shown(self) -> float | str:
        """The rate, in words where there is none."""
        return self.rate if np.isfinite(self.rate) else "none up to 32,768 times as much"

    @property
    def sharpness(self) -> float:
        return 2 / self.rate if self.rate else float("inf")


def critical_rate(case: Case, *, last: bool = False) -> CriticalRate | None:
    """η_c at the first or last weights, along the step that the optimiser itself makes there, with
    at most 10 forward passes; None where the step changes nothing or the loss is not finite.

    The step is made by a copy of the optimiser, as it was given, on the batch on which the loss is
    then compared: L(θ + cΔ) against L(θ) for c = 1, then doubled (at growing stride) or halved.
    """
    name = f"critical_rate:{last}"
    if name not in case.memo:
        case.memo[name] = _critical(case, last)
    return case.memo[name]


def _critical(case: Case, last: bool) -> CriticalRate | None:
    at = bench(case, last=last)
    setup, framework = case.setup, case.framework
    model, optimizer = framework.copy(setup.model, setup.optimizer)
    framework.load(model, at.state)
    framework.step(model, at.x, at.y, setup.loss, optimizer, clip=setup.clip)
    after = framework.parameters(model)
    step = {n: after[n].astype(np.float64) - at.state[n] for n in at.names}
    size = _norm(step)
    if not (np.isfinite(size) and size > 0):
        return None
    loss, passes = at.value({}), 1
    if not np.isfinite(loss):
        return None

    def rises(factor: float) -> bool:
        nonlocal passes
        passes += 1
        return not at.value({n: factor * by for n, by in step.items()}) <= loss

    used = framework.rate(setup.optimizer)
    low, high = (0.0, 1.0) if rises(1.0) else (1.0, float("inf"))
    stride = 8.0
    while passes < 7 and not (low > 0 and np.isfinite(high)):
        trial = low * stride if low else high / stride
        if rises(trial):
            high = trial
        else:
            low = trial
    if not np.isfinite(high):
        return CriticalRate(float("inf"), used, passes)
    while passes < 10 and low > 0:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if rises(middle) else (middle, high)
    return CriticalRate(used * high, used, passes)


@dataclass(frozen=True)
class Sharpness:
    """Attributes:
    eigenvalue: the largest of the Hessian; for Adam of the preconditioned one.
    stable: the largest rate that it allows (`largest_stable_rate`).
    """

    eigenvalue: float
    stable: float


def sharpness(case: Case) -> Sharpness:
    """The curvature at the first weights, and what rate the case's optimiser could take there."""
    if "sharpness" not in case.memo:
        at, facts = bench(case), case.optimizer
        scale = None
        if facts.kind.lower().startswith(ADAMS):
            scale = preconditioner(at, facts, min(case.setup.batch_size, len(at.x)))
        value = top_eigenvalue(at, scale=scale)
        case.memo["sharpness"] = Sharpness(value, largest_stable_rate(facts, value))
    return case.memo["sharpness"]


def preconditioner(at: Bench, facts: OptimizerFacts, rows: int) -> dict[str, np.ndarray]:
    """P^-½ of Adam at these weights: P = √v + ε with v the mean square gradient over batches."""
    total = {n: np.zeros(at.state[n].shape) for n in at.names}
    starts = range(0, len(at.x) - rows + 1, rows)
    for start in starts:
        part = replace(at, x=at.x[start : start + rows], y=at.y[start : start + rows])
        for name, g in part.gradient().items():
            total[name] += g.astype(np.float64) ** 2 / len(starts)
    epsilon = float(facts.options.get("eps", 1e-8))
    return {n: (np.sqrt(v) + epsilon) ** -0.5 for n, v in total.items()}


def _norm(parts: dict[str, np.ndarray]) -> float:
    with np.errstate(all="ignore"):
        return float(np.sqrt(sum(float(np.vdot(p, p)) for p in parts.values())))

"""Variational inference: the normal distribution of the weights closest to p(w | D).

q(w) = Normal(μ, Σ) maximises E_q[log p(D | w)] − KL(q ‖ p(w)), the evidence lower bound, which is
log p(D) − KL(q ‖ p(w | D)). Gradients go through w = μ + σ ε (Kingma, Welling 2014; Blundell et al.
2015, arXiv:1505.05424). In a dense layer the outputs are drawn rather than the weights, for each
row by itself, which is the same distribution and less noise (Kingma, Salimans, Welling 2015,
arXiv:1506.02557): Normal(μ_W x + μ_b, σ_W² x² + σ_b²).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from chainrule.calculus.vmap import vmap
from chainrule.compile.compiled import compile
from chainrule.data import Batches
from chainrule.errors import DataError, NonFiniteError
from chainrule.nn.layers.layer import cast
from chainrule.nn.layers.linear import Linear
from chainrule.nn.module import Module, Parameter
from chainrule.ops.arithmetic import sqrt, square
from chainrule.ops.choosing import tril
from chainrule.ops.exponential import exp
from chainrule.ops.linear_algebra import linear
from chainrule.ops.random import normal
from chainrule.ops.reduction import mean, sum
from chainrule.optim import Adam
from chainrule.posteriors.drawn import Drawn, counted, state_of
from chainrule.posteriors.joint import Joint
from chainrule.tensor.creation import asarray, zeros
from chainrule.tensor.generator import Generator
from chainrule.tensor.graph import no_grad
from chainrule.tensor.tensor import Tensor

Covariance = Literal["diagonal", "full"]

START = 0.05
"""The first σ, of the prior's: little, so that training begins near the network's weights."""

BOUND_SAMPLES = 256
"""Draws of the weights from which the bound is computed at the end."""


class Variational(Drawn):
    """A normal distribution of the weights.

    Attributes:
        mean: (size,).
        factor: (size,), σ of each weight; with a full covariance (size, size), its Cholesky factor.
        bounds: (epochs,), the evidence lower bound as it was estimated in training.
        bound, bound_error: the bound at the end and the standard error of its estimate.
        local: names of the dense layers whose outputs were drawn rather than their weights.
    """

    method = "variational"

    def __init__(
        self,
        joint: Joint,
        state: tuple[int, int, int],
        mean: np.ndarray,
        factor: np.ndarray,
        bounds: np.ndarray,
        local: tuple[str, ...],
    ) -> None:
        super().__init__(joint, state)
        self.mean, self.factor, self.bounds, self.local = mean, factor, bounds, local
        draws = self.draw(BOUND_SAMPLES)
        # The closer q is to the posterior, the less this difference varies: of that itself each
        # draw gives log p(D) exactly (Roeder, Wu, Duvenaud 2017, arXiv:1703.09194, §2).
        found = self._log_joint(draws) - self.log_prob(draws)
        self.bound = float(found.mean())
        self.bound_error = float(found.std(ddof=1)) / math.sqrt(len(found))

    def draw(self, samples: int) -> np.ndarray:
        noise = self.rng.standard_normal((samples, len(self.mean)))
        spread = noise * self.factor if self.factor.ndim == 1 else noise @ self.factor.T
        return np.asarray(self.mean + spread)

    @property
    def covariance(self) -> np.ndarray:
        """(size, size)."""
        full = self.factor.ndim == 2
        return self.factor @ self.factor.T if full else np.diag(self.factor**2)

    @property
    def log_evidence(self) -> float:
        """The evidence lower bound; log p(D) is above it by KL(q ‖ p(w | D))."""
        return self.bound

    def log_prob(self, weights: np.ndarray) -> np.ndarray:
        """(S,): log q(w) of weight vectors (S, size)."""
        away, full = weights - self.mean, self.factor.ndim == 2
        noise = np.linalg.solve(self.factor, away.T).T if full else away / self.factor
        scales = np.diag(self.factor) if full else self.factor
        constant = np.log(np.abs(scales)).sum() + 0.5 * len(scales) * math.log(2 * math.pi)
        return np.asarray(-0.5 * (noise**2).sum(1) - constant)

    def _log_joint(self, weights: np.ndarray) -> np.ndarray:
        """(S,): log p(D, w) of weight vectors (S, size)."""
        joint = self.joint
        outputs, y = joint.outputs_at(weights, joint.x), asarray(joint.y, copy=False)
        with no_grad():
            return np.array([
                joint.log_likelihood(Tensor(o), y).item() + joint.log_prior(w).item()
                for o, w in zip(outputs, weights, strict=True)
            ])  # fmt: skip


def fit(
    joint: Joint,
    *,
    covariance: Covariance = "diagonal",
    epochs: int = 2000,
    batch_size: int | None = None,
    lr: float = 0.02,
    samples: int = 4,
    generator: Generator | None = None,
) -> Variational:
    """Maximise the evidence lower bound by Adam, from the weights of the network.

    Args:
        covariance: "diagonal", independent weights (mean field); or "full", of size² numbers.
        epochs: passes over the rows; over the last half the learning rate falls to 0.
        batch_size: all rows at once if left out; otherwise a batch's likelihood counts for all.
        lr: of Adam.
        samples: draws of the weights in a step.
        generator: `cr.seed`'s if left out, which stays as it is.

    Raises:
        NonFiniteError: the bound became NaN or infinite.
    """
    if covariance not in ("diagonal", "full"):
        raise DataError(f"covariance is 'diagonal' or 'full', not {covariance!r}")
    for name, value in (("epochs", epochs), ("samples", samples)):
        counted(value, name)
    state, own = state_of(generator), Generator()
    own.state = state
    inner = joint.copy()
    full = covariance == "full"
    local = () if full else local_layers(inner)
    fitted = _Fitted(inner, full, local, own, samples)
    optimizer = Adam(fitted.parameters, lr=lr)

    def step(x: Tensor, y: Tensor) -> Tensor:
        loss = fitted.loss(x, y)
        loss.backward()
        optimizer.step()
        return loss

    compiled = compile(step)
    batches = Batches((inner.x, inner.y), batch_size or len(inner.x), seed=state[0] % 2**31)
    bounds = np.zeros(epochs)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - epoch / epochs))
        losses = [compiled(*map(asarray, batch)).item() for batch in batches.epoch(epoch)]
        bounds[epoch] = -np.mean(losses) * len(inner.x)
        if not math.isfinite(bounds[epoch]):
            raise NonFiniteError(
                f"the evidence lower bound became {bounds[epoch]} in epoch {epoch + 1}. Take a "
                f"smaller learning rate than lr={lr}, or standardise the inputs and targets."
            )
    names = tuple(name for name, _ in local)
    found = Variational(inner, state, *fitted.arrays(), bounds, names)
    found.warnings += _doubts(bounds)
    return found


def _doubts(bounds: np.ndarray) -> list[str]:
    """Whether the bound still rises: the last tenth of the epochs against the one before."""
    tenth = len(bounds) // 10
    if tenth < 2:
        return ["There were too few epochs to tell whether the bound still rises."]
    late, before = bounds[-tenth:], bounds[-2 * tenth : -tenth]
    rise = late.mean() - before.mean()
    error = math.sqrt((late.var(ddof=1) + before.var(ddof=1)) / tenth)
    if rise > max(1.0, 3 * error):
        return [
            f"The evidence lower bound still rises, by {rise:.3g} nats over the last tenth of the "
            "epochs. Take more epochs."
        ]
    return []


class _Fitted:
    """q(w), as parameters, and its loss."""

    def __init__(
        self, joint: Joint, full: bool, local: tuple[tuple[str, Linear], ...], own: Generator,
        samples: int,
    ) -> None:  # fmt: skip
        self.joint, self.full, self.local, self.own, self.samples = joint, full, local, own, samples
        scale = np.broadcast_to(START / np.sqrt(joint.precision), joint.size)
        self.mean = Parameter(joint.weights.astype(joint.dtype))
        self.log_scale = Parameter(np.log(scale).astype(joint.dtype))
        self.parameters = [self.mean, self.log_scale]
        if full:
            self.below = Parameter(np.zeros((joint.size, joint.size), joint.dtype))
            self.parameters.append(self.below)
        # What is drawn as outputs of a layer is not drawn as weights.
        names = {f"{name}.{part}" if name else part for name, _ in local for part in _PARTS}
        self.plain = tuple(n for n in joint.names if n not in names)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """(μ, σ or the Cholesky factor), float64."""
        scale = np.exp(self.log_scale.numpy().astype(np.float64))
        factor = np.diag(scale) + np.tril(self.below.numpy(), -1) if self.full else scale
        return self.mean.numpy().astype(np.float64), factor

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """−bound / rows: the likelihood of a batch counts for all rows, the KL once."""
        joint, rows = self.joint, len(self.joint.x)
        scale = exp(self.log_scale)
        factor = tril(self.below, k=-1) if self.full else None
        draw = self._draw(x, y, scale, factor)
        likelihood = mean(vmap(draw)(zeros(self.samples))) * (rows / x.shape[0])
        variance = square(scale)
        if factor is not None:
            variance = variance + sum(square(factor), 1)
        precision = np.broadcast_to(joint.precision, (joint.size,)).astype(joint.dtype)
        terms = asarray(precision) * (variance + square(self.mean)) - 1
        constant = 0.5 * float(np.log(precision.astype(np.float64)).sum())
        kl = 0.5 * sum(terms) - sum(self.log_scale) - constant
        return (kl - likelihood) / rows

    def _draw(
        self, x: Tensor, y: Tensor, scale: Tensor, factor: Tensor | None
    ) -> Callable[[Any], Tensor]:
        joint = self.joint

        def draw(_: Any) -> Tensor:
            noise = normal((joint.size,), dtype=joint.dtype, generator=self.own)
            w = self.mean + scale * noise
            if factor is not None:
                w = w + factor @ noise
            parameters = joint.unflatten(w)
            means, scales = joint.unflatten(self.mean), joint.unflatten(scale)
            with _drawing_outputs(self.local, means, scales, self.own):
                outputs = joint.outputs({n: parameters[n] for n in self.plain}, x)
            return joint.log_likelihood(outputs, y)

        return draw


_PARTS = ("weight", "bias")


@contextmanager
def _drawing_outputs(
    layers: tuple[tuple[str, Linear], ...],
    means: dict[str, Tensor],
    scales: dict[str, Tensor],
    own: Generator,
) -> Iterator[None]:
    """Dense layers that draw their outputs, for the time of the block."""

    def drawing(name: str, layer: Linear) -> Callable[[Any], Tensor]:
        weight, bias = (f"{name}.{part}" if name else part for part in _PARTS)

        def forward(x: Any) -> Tensor:
            x = cast(x, layer.weight)
            centre = linear(x, means[weight], means.get(bias))
            spread = scales.get(bias)
            variance = linear(
                square(x), square(scales[weight]), None if spread is None else square(spread)
            )
            noise = normal(centre.shape, dtype=centre.dtype, generator=own)
            # Where the inputs are all 0 and there is no bias the root has no derivative.
            return centre + sqrt(variance + 1e-12) * noise

        return forward

    try:
        for name, layer in layers:
            vars(layer)["forward"] = drawing(name, layer)
        yield
    finally:
        for _, layer in layers:
            del vars(layer)["forward"]


def local_layers(joint: Joint) -> tuple[tuple[str, Linear], ...]:
    """(name, layer) of the dense layers whose outputs may be drawn instead of their weights: of
    those called once, on one vector a row, with parameters that are trained and no one else's.

    A layer called twice, or on several vectors of one row (a sequence), has the same weights each
    time, and outputs drawn by themselves would have others.
    """
    model = joint.model
    held = [id(cell) for module in model.modules() for cell in _cells(module)]
    calls: dict[int, list[tuple[int, ...]]] = {}

    def noting(layer: Linear) -> Callable[[Any], Tensor]:
        def forward(x: Any) -> Tensor:
            calls.setdefault(id(layer), []).append(tuple(x.shape))
            return Linear.forward(layer, x)

        return forward

    layers = [(n, m) for n, m in model.named_modules() if type(m) is Linear]
    for _, layer in layers:
        vars(layer)["forward"] = noting(layer)
    rows = min(len(joint.x), 2)
    try:
        with no_grad():
            joint.outputs(None, asarray(joint.x[:rows]))
    finally:
        for _, layer in layers:
            del vars(layer)["forward"]
    return tuple(
        (name, layer)
        for name, layer in layers
        if calls.get(id(layer)) == [(rows, layer.in_features)]
        and all(held.count(id(c)) == 1 and c.requires_grad for c in _cells(layer))
        and "weight" in vars(layer)
    )


def _cells(module: Module) -> list[Parameter]:
    return [value for value in vars(module).values() if isinstance(value, Parameter)]

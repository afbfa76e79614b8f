"""SWAG: a normal distribution fitted to the path of SGD around the weights.

SGD of a constant learning rate goes on from the trained weights, and at the end of each epoch the
weights are noted: their mean, the variance of each, and the last K deviations D̂ from the running
mean, of rank K. A draw is

    w = mean + √½ Σ_diag^½ z₁ + D̂ z₂ / √(2(K − 1)),   z₁, z₂ ~ Normal(0, I)

(Maddox, Izmailov, Garipov, Vetrov, Wilson 2019, arXiv:1902.02476, eq. 1 and algorithm 1). How wide
it is follows from the learning rate and the batch size: it is the posterior only where the path of
SGD is (Mandt, Hoffman, Blei 2017, arXiv:1704.04289).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.compile.compiled import compile
from chainrule.data import Batches
from chainrule.errors import DataError, NonFiniteError
from chainrule.nn.layers.normalisation import _BatchNorm
from chainrule.ops.joining import concat
from chainrule.ops.structure import reshape
from chainrule.optim import SGD
from chainrule.posteriors.drawn import Drawn, counted, state_of
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor import generator as generators
from chainrule.tensor.creation import asarray
from chainrule.tensor.generator import Generator
from chainrule.tensor.graph import no_grad
from chainrule.tensor.tensor import Tensor


class SWAG(Drawn):
    """A normal distribution of the weights, of a diagonal and a low-rank part in equal shares.

    The network's batch normalisation gets the statistics that belong to each draw: they are
    computed anew from the training rows.

    Attributes:
        mean, variance: (size,), of the weights along the path.
        deviations: (K, size), the last ones from the mean so far.
    """

    method = "swag"

    def __init__(
        self,
        joint: Joint,
        state: tuple[int, int, int],
        mean: np.ndarray,
        variance: np.ndarray,
        deviations: np.ndarray,
    ) -> None:
        super().__init__(joint, state)
        self.mean, self.variance, self.deviations = mean, variance, deviations
        self._normalising = [
            module
            for module in joint.model.modules()
            if isinstance(module, _BatchNorm) and module.running_mean is not None
        ]

    def draw(self, samples: int) -> np.ndarray:
        k = len(self.deviations)
        first = self.rng.standard_normal((samples, len(self.mean) + k))
        along, across = first[:, :k], first[:, k:]
        low_rank = along @ self.deviations / math.sqrt(2 * (k - 1))
        return np.asarray(self.mean + math.sqrt(0.5) * np.sqrt(self.variance) * across + low_rank)

    @property
    def covariance(self) -> np.ndarray:
        """(size, size): ½ (Σ_diag + D̂ᵀD̂ / (K − 1))."""
        low_rank = self.deviations.T @ self.deviations / (len(self.deviations) - 1)
        return np.asarray(0.5 * (np.diag(self.variance) + low_rank))

    def predict(self, x: Any, *, samples: int = 100) -> ClassPredictive | RealPredictive:
        weights = self.draw(counted(samples))
        if not self._normalising:
            return self.predictive(self.joint.outputs_at(weights, x))
        found = []
        for w in weights:
            self._track(w)
            found.append(self.joint.outputs_at(w[None], x)[0])
        return self.predictive(np.stack(found))

    def _track(self, w: np.ndarray) -> None:
        """Mean and variance of batch normalisation over all training rows, at these weights."""
        joint = self.joint
        momenta = [module.momentum for module in self._normalising]
        for module in self._normalising:
            module.train()
            module.momentum = 1.0  # all rows are one batch
        try:
            with no_grad():
                joint.outputs(joint.unflatten(w.astype(joint.dtype)), asarray(joint.x, copy=False))
        finally:
            for module, momentum in zip(self._normalising, momenta, strict=True):
                module.eval()
                module.momentum = momentum


def fit(
    joint: Joint,
    *,
    epochs: int = 40,
    lr: float = 0.01,
    momentum: float = 0.9,
    batch_size: int = 32,
    rank: int = 20,
    generator: Generator | None = None,
) -> SWAG:
    """Train a copy of the network on, by SGD of a constant rate, on −log p(D, w) / rows.

    Args:
        epochs: over the rows; the weights are noted after each.
        lr, momentum: of SGD. The distribution is the wider the larger the rate, and of one rate as
            wide for few rows as for many.
        rank: K, how many deviations are kept.
        generator: of the order of the rows, dropout and the draws; `cr.seed`'s if left out, which
            stays as it is.

    Raises:
        DataError: fewer than two deviations to keep.
        NonFiniteError: the loss became NaN or infinite.
    """
    for name, value in (("epochs", epochs), ("rank", rank)):
        counted(value, name, 2)
    state = state_of(generator)
    copied = joint.copy()
    before = generators.default.state
    try:
        generators.default.state = state
        return _fitted(copied, state, epochs, lr, momentum, batch_size, rank)
    finally:
        generators.default.state = before


def _fitted(
    joint: Joint,
    state: tuple[int, int, int],
    epochs: int,
    lr: float,
    momentum: float,
    batch_size: int,
    rank: int,
) -> SWAG:
    parameters, rows = list(joint.parameters.values()), len(joint.x)
    optimizer = SGD(parameters, lr=lr, momentum=momentum)

    def step(x: Tensor, y: Tensor) -> Tensor:
        likelihood = joint.log_likelihood(joint.outputs(None, x), y) / x.shape[0]
        prior = joint.log_prior(concat([reshape(p, (-1,)) for p in parameters])) / rows
        loss = -(likelihood + prior)
        loss.backward()
        optimizer.step()
        return loss

    compiled = compile(step)
    batches = Batches((joint.x, joint.y), min(batch_size, rows), seed=state[0] % 2**31,
                      drop_last=True)  # fmt: skip
    mean, square = np.zeros(joint.size), np.zeros(joint.size)
    deviations: list[np.ndarray] = []
    losses = np.zeros(epochs)
    with no_grad():
        begun = -joint.log_joint(joint.weights.astype(joint.dtype)).item() / rows
    joint.model.train()
    for epoch in range(epochs):
        found = [compiled(*map(asarray, batch)).item() for batch in batches.epoch(epoch)]
        losses[epoch] = np.mean(found)
        if not math.isfinite(losses[epoch]):
            raise NonFiniteError(
                f"SGD diverged in epoch {epoch + 1}: the loss is {losses[epoch]}. Take a smaller "
                f"learning rate than lr={lr}."
            )
        w = joint.weights
        mean += (w - mean) / (epoch + 1)
        square += (w**2 - square) / (epoch + 1)
        deviations = [*deviations[-(rank - 1) :], w - mean]
    joint.model.eval()
    variance = np.maximum(square - mean**2, 0.0)
    if not variance.any():
        raise DataError(
            f"SGD with lr={lr} did not move a weight, so that its path shows no spread. In "
            f"{joint.dtype} small steps are rounded away: a larger rate, or model.to(cr.float32)."
        )
    swag = SWAG(joint, state, mean, variance, np.array(deviations))
    if epochs < 2 * rank:
        swag.warnings.append(
            f"The weights were noted {epochs} times, few for a covariance of rank {rank}. Take "
            "more epochs."
        )
    half = epochs // 2
    if losses[half:].mean() < losses[:half].mean() - 3 * losses[half:].std():
        swag.warnings.append(
            "The loss still falls along the path of SGD: the network was not trained to the end, "
            "and the spread is that of training. Train it first."
        )
    # Of draws from a posterior −log p(D, w) lies above its least by size/2 on average.
    if losses[half:].mean() > begun + joint.size / rows:
        swag.warnings.append(
            f"SGD with lr={lr} led away from the posterior: its loss is {losses[half:].mean():.3g} "
            f"a row, and at the network's own weights {begun:.3g}. Take a smaller rate."
        )
    return swag

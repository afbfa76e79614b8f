"""Hamiltonian Monte Carlo: draws from p(w | D) itself, for small networks. The other methods are
compared with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.ops.arithmetic import square
from chainrule.ops.exponential import exp
from chainrule.posteriors.diagnostics import doubts
from chainrule.posteriors.drawn import Drawn, counted, state_of
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.nuts import Draws, nuts, path_doubts
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor import dtypes
from chainrule.tensor.generator import Generator
from chainrule.tensor.tensor import Tensor

LOOKED_AT = 100
"""Rows whose outputs tell whether the chains have converged."""


class HMC(Drawn):
    """Draws by several chains of the No-U-Turn sampler, in float64, of a copy of the network.

    Units of a layer may be exchanged, and signs turned, without changing what a network says, so
    chains need not agree in single weights to be right. Whether they have converged is asked of the
    log joint density and of what predictions depend on: the outputs for 100 of the training rows.

    Attributes:
        chains: the draws of the weights (chains, draws, size), and their diagnostics. Its
            `warnings` are those of the posterior.
        noises: (chains · draws,), σ where it was drawn, too; None otherwise.
    """

    method = "hmc"

    def __init__(self, joint: Joint, chains: Draws, noises: np.ndarray | None) -> None:
        super().__init__(joint, (0, 0, 0))
        self.chains, self.noises = chains, noises
        self.warnings = chains.warnings

    def draw(self, samples: int) -> np.ndarray:
        """(samples, size), evenly spaced; all of them if there are fewer."""
        return np.asarray(self.chains.flat[self._places(samples)])

    def _places(self, samples: int) -> np.ndarray:
        total = len(self.chains.flat)
        return np.linspace(0, total - 1, min(counted(samples), total)).round().astype(np.int64)

    def predict(self, x: Any, *, samples: int = 100) -> ClassPredictive | RealPredictive:
        """The mixture over so many of the draws, evenly spaced."""
        found = super().predict(x, samples=samples)
        if self.noises is None or not isinstance(found, RealPredictive):
            return found
        variance = self.noises[self._places(samples)] ** 2
        shape = (-1, *[1] * (found.means.ndim - 1))
        return RealPredictive(
            found.means, np.broadcast_to(variance.reshape(shape), found.means.shape)
        )


def fit(
    joint: Joint,
    *,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    target_accept: float = 0.8,
    max_depth: int = 10,
    log_noise: tuple[float, float] | None = None,
    generator: Generator | None = None,
) -> HMC:
    """Draw from p(w | D). Chains start at the network's weights, moved by half a draw of the prior.

    Args:
        draws, warmup, chains, target_accept, max_depth: see `prob.nuts`.
        log_noise: (mean, standard deviation) of a normal prior of log σ, in units of y: σ of real
            targets is then drawn with the weights, and `noise` is where it starts.
        generator: `cr.seed`'s if left out, which stays as it is.

    Raises:
        DataError: a prior of σ for a likelihood without one.
    """
    wide = joint.copy(dtypes.float64)
    log_density: Callable[[Tensor], Tensor] = wide.log_joint
    start, scale = wide.weights, 1 / np.sqrt(wide.precision)
    if log_noise is not None:
        centre, width = _prior_of_noise(joint, log_noise)
        start = np.append(start, math.log(wide.noise))
        scale = np.append(np.broadcast_to(scale, wide.size), width)

        def with_noise(vector: Tensor) -> Tensor:
            log_sigma = vector[wide.size]
            prior = -0.5 * square((log_sigma - centre) / width) - math.log(width)
            return wide.log_joint(vector[: wide.size], exp(log_sigma)) + prior

        log_density = with_noise

    state = state_of(generator)
    own = Generator()
    own.state = state
    moved = np.random.default_rng(state).standard_normal((counted(chains, "chains"), len(start)))
    found = nuts(
        log_density, start + 0.5 * scale * moved, draws=draws, warmup=warmup, chains=chains,
        target_accept=target_accept, max_depth=max_depth, generator=own,
    )  # fmt: skip
    weights = found.values[..., : wide.size]
    noises = None if log_noise is None else np.exp(found.values[..., wide.size]).reshape(-1)
    warnings = [*path_doubts(found, max_depth), *_doubts(wide, found)]
    return HMC(wide, dataclasses.replace(found, values=weights, warnings=warnings), noises)


def _prior_of_noise(joint: Joint, given: Any) -> tuple[float, float]:
    if joint.likelihood != "normal":
        raise DataError(
            f"log_noise is of real targets with one σ, and the likelihood is {joint.likelihood!r}; "
            "leave it out"
        )
    centre, width = map(float, given)
    if not math.isfinite(centre) or not 0 < width < math.inf:
        raise DataError(f"log_noise is (mean, standard deviation above 0) of log σ, not {given!r}")
    return centre, width


def _doubts(joint: Joint, found: Draws) -> list[str]:
    """Of what does not change when units are exchanged."""
    chains, draws = found.values.shape[:2]
    rows = np.unique(np.linspace(0, len(joint.x) - 1, LOOKED_AT).round().astype(np.int64))
    flat = found.flat[:, : joint.size]
    outputs = joint.outputs_at(flat, joint.x[rows]).reshape(chains, draws, -1)
    extra = found.values[..., joint.size :]
    return doubts(
        np.concatenate([outputs, extra, found.log_density[..., None]], -1),
        "the outputs of training rows" + (", log σ" if extra.size else "") + " and the log density",
    )

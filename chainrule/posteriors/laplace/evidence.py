"""The evidence of a Laplace approximation, and the prior and noise that have the most of it.

    log p(D) ≈ log p(D | w*) + log p(w*) + P/2 log 2π − ½ log det(H/σ² + diag λ)

(MacKay 1992, A practical Bayesian framework for backpropagation networks; Immer et al. 2021,
Scalable marginal likelihood estimation for model selection in deep learning), at weights w* that
are left as they are. The precisions λ of groups of weights and that of the noise, 1/σ², are of one
kind in it: with t their logarithms,

    log p(D) = ½ Σ_i (n_i t_i − e^(t_i) S_i) − ½ log det A + constant,   A = Σ_i e^(t_i) A_i

n_i being how many numbers have that precision, S_i the sum of their squares, and A_i the identity
on a group of weights, or H. With γ_i = tr(A⁻¹ e^(t_i) A_i) and
Γ_ij = tr(A⁻¹ e^(t_i) A_i A⁻¹ e^(t_j) A_j), the slope is ½ (n_i − e^(t_i) S_i − γ_i) and the
curvature −½ (δ_ij (e^(t_i) S_i + γ_i) − Γ_ij). It is concave, log det(Σ e^(t_i) A_i) being convex
for positive semidefinite A_i: what Newton's steps find is the only maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.errors import DataError
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.laplace.curvature import Curvature
from chainrule.posteriors.laplace.gaussian import Gaussian

FARTHEST = 18.0
"""How far from 0 the logarithm of a precision is looked for: 10⁸ to both sides, about."""
LONGEST = 3.0
"""How far a step goes in such a logarithm."""
LEAST = 1e-9
"""Nats; the last step is one that promises less than this."""


class Evidence:
    """log p(D) as a function of the prior precision of each weight (P,), and of the noise σ."""

    def __init__(self, joint: Joint, curvature: Curvature) -> None:
        self.joint, self.curvature, self.mean = joint, curvature, joint.weights
        self.squares = 0.0
        """Of what the network misses real targets by, the sum of squares."""
        if joint.likelihood == "normal":
            misses = curvature.outputs.reshape(-1) - joint.y.reshape(-1)
            self.squares = float(misses @ misses)

    def gaussian(self, precision: np.ndarray, noise: float) -> Gaussian:
        """The posterior of the weights, H/σ² + diag λ being its precision."""
        scale = noise**-2 if self.joint.likelihood == "normal" else 1.0
        start, blocks = 0, []
        for block in self.curvature.blocks:
            end = start + block.values.size
            blocks.append(block.plus(scale, precision[start:end]))
            start = end
        return Gaussian(self.mean, blocks)

    def log_likelihood(self, noise: float) -> float:
        """log p(D | w*)."""
        of_unit_noise = self.curvature.log_likelihood
        if self.joint.likelihood != "normal":
            return of_unit_noise
        more = 0.5 * self.squares * (1 - noise**-2) - self.joint.y.size * np.log(noise)
        return of_unit_noise + float(more)


def best(
    evidence: Evidence, groups: Sequence[slice], precision: np.ndarray, noise: float | None
) -> tuple[np.ndarray, float]:
    """(precision, noise) of the most evidence.

    Args:
        groups: weights that share a precision, in their order; none leaves `precision` as it is.
        precision: (P,), of the prior where there are no groups.
        noise: σ; None finds it too.

    Raises:
        DataError: the targets show no noise.
    """
    sizes = [float(group.stop - group.start) for group in groups]
    squares = [float(np.square(evidence.mean[group]).sum()) for group in groups]
    # From the prior that suits the weights where the data determine nothing (all γ = n): n/S.
    begin = [
        _within(float(np.log(n / max(s, 1e-300)))) for n, s in zip(sizes, squares, strict=True)
    ]
    farthest = [FARTHEST] * len(groups)
    if noise is None:
        sizes.append(float(evidence.joint.y.size))
        squares.append(evidence.squares)
        begin.append(-2 * float(np.log(_spread(evidence))))
        farthest.append(np.inf)
    if not begin:
        assert noise is not None
        return precision, noise
    starts = [group.start for group in groups] or [0]

    def at(t: np.ndarray) -> tuple[np.ndarray, float]:
        each = precision.copy()
        for group, value in zip(groups, t, strict=False):
            each[group] = np.exp(value)
        return each, float(np.exp(-t[-1] / 2)) if noise is None else noise

    def local(t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        each, sigma = at(t)
        gaussian = evidence.gaussian(each, sigma)
        unlearnt, shared = gaussian.shares(each, starts)
        if noise is None:  # the rest is H's: all γ add up to P, and a row of Γ to its γ
            rest = unlearnt - shared.sum(1)
            shared = np.block([[shared, rest[:, None]], [rest, np.zeros(1)]])
            unlearnt = np.append(unlearnt, len(each) - unlearnt.sum())
            shared[-1, -1] = unlearnt[-1] - rest.sum()
            unlearnt, shared = unlearnt[-len(t) :], shared[-len(t) :, -len(t) :]
        pull = np.exp(t) * squares
        value = 0.5 * float(sizes @ t - pull.sum() - gaussian.log_det)
        bend = np.diag(pull + unlearnt) - shared
        return value, 0.5 * (sizes - pull - unlearnt), 0.5 * bend

    return at(_highest(local, np.array(begin), np.array(farthest)))


def _highest(
    local: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]],
    t: np.ndarray,
    farthest: np.ndarray,
) -> np.ndarray:
    """Where a concave function is highest between −farthest and farthest, by Newton's steps.

    Args:
        local: its value, its slope and its curvature with the sign turned, at a place.
        t: where to begin.
    """
    value, slope, bend = local(t)
    for _ in range(200):
        free = ~((np.abs(t) >= farthest) & (np.sign(slope) == np.sign(t)))
        step = np.zeros(len(t))
        flat = 1e-12 * np.eye(int(free.sum()))  # a slope of nothing where there is no curvature
        step[free] = np.linalg.solve(bend[np.ix_(free, free)] + flat, slope[free])
        promised = 0.5 * float(slope @ step)
        step *= min(1.0, LONGEST / max(LONGEST, np.abs(step).max()))
        if promised < LEAST:
            return np.clip(t + step, -farthest, farthest)
        while True:
            there = np.clip(t + step, -farthest, farthest)
            found = local(there)
            if found[0] >= value or np.abs(step).max() < 1e-9:
                break
            step = step / 2
        t, (value, slope, bend) = there, found
    return t


def _within(t: float) -> float:
    return min(FARTHEST, max(-FARTHEST, t))


def _spread(evidence: Evidence) -> float:
    """The root mean square of what the network misses its targets by."""
    from ml_dtypes import finfo

    joint = evidence.joint
    found = float(np.sqrt(evidence.squares / joint.y.size))
    if found <= 64 * float(finfo(joint.dtype).eps) * float(np.abs(joint.y).max()):
        raise DataError(
            f"the network goes through all of its {len(joint.y)} targets, as near as {joint.dtype} "
            "tells: they show no noise, and the posterior would be certain. Give the noise that "
            "targets have, noise=σ in their units."
        )
    return found

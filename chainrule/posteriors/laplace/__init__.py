"""Laplace's approximation: a normal distribution around the weights, of the likelihood's curvature.

p(w | D) ≈ Normal(w*, (H/σ² + diag λ)⁻¹), H being the generalised Gauss–Newton matrix, and the
network taken as linear in its weights around w* when it predicts (MacKay 1992; Daxberger et al.
2021, "Laplace Redux", arXiv:2106.14806). For a linear network with normal noise all of it is exact:
Bayesian linear regression.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.random import normal
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.laplace.curvature import chunks, diag, full, jacobians, outputs_of
from chainrule.posteriors.laplace.evidence import Evidence, best
from chainrule.posteriors.laplace.gaussian import Gaussian
from chainrule.posteriors.laplace.kronecker import kron
from chainrule.posteriors.laplace.last_layer import Through, last_layer
from chainrule.posteriors.laplace.linear import is_linear, of_linear
from chainrule.posteriors.laplace.linear import jacobians as linear_jacobians
from chainrule.posteriors.posterior import Posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor import generator as generators
from chainrule.tensor.generator import Generator

STRUCTURES = {"full": full, "kron": kron, "diag": diag}
WEIGHTS = ("all", "last-layer")
BY_EVIDENCE = "marginal likelihood"


class Laplace(Posterior):
    """A normal distribution over the weights.

    Attributes:
        joint: with the precision and the noise that were found. Of the last layer alone, it is the
            joint of that layer and of the features that go into it.
        gaussian: of the weights; its `mean`, `variances` (P,) and precision `matrix()` (P, P).
        gradient_norm: of log p(D, w) at the weights; 0 at a mode.
    """

    method = "laplace"

    def __init__(
        self,
        joint: Joint,
        evidence: Evidence,
        through: Through | None,
        source: Joint,
        state: tuple[int, int, int],
    ) -> None:
        super().__init__(joint)
        self._evidence, self._through, self._source, self._state = (
            evidence,
            through,
            source,
            state,
        )
        precision = np.broadcast_to(joint.precision, (joint.size,))
        self.gaussian: Gaussian = evidence.gaussian(precision, joint.noise)
        scale = joint.noise**-2 if joint.likelihood == "normal" else 1.0
        slope = scale * evidence.curvature.gradient - precision * self.gaussian.mean
        self.gradient_norm = float(np.linalg.norm(slope))
        self.warnings = self._doubts(precision, slope)

    # Bayes' rule

    @property
    def log_likelihood(self) -> float:
        """log p(D | w*)."""
        return self._evidence.log_likelihood(self.joint.noise)

    @property
    def log_prior(self) -> float:
        """log p(w*)."""
        return self.joint.log_prior(self.gaussian.mean).item()

    @property
    def log_evidence(self) -> float:
        """log p(D) ≈ log p(D | w*) + log p(w*) + P/2 log 2π − ½ log det(precision)."""
        volume = 0.5 * (self.joint.size * np.log(2 * np.pi) - self.gaussian.log_det)
        return self.log_likelihood + self.log_prior + float(volume)

    @property
    def determined(self) -> float:
        """How many of the weights the data determine: P − Σ_j λ_j Var w_j (MacKay 1992, γ)."""
        return self.joint.size - float(np.sum(self.joint.precision * self.gaussian.variances))

    def sample(self, n: int, *, generator: Generator | None = None) -> np.ndarray:
        """(n, P): draws of the weights, float64.

        Args:
            generator: where they come from. Left out, it goes by the seed as it was when the
                posterior was made, and every call gives the same.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise DataError(f"a posterior is drawn from 1 time or more, not {n!r}")
        if generator is None:
            generator = Generator()
            generator.state = self._state
        numbers = normal((n, self.joint.size), dtype=np.float64, generator=generator).numpy()
        return self.gaussian.mean + self.gaussian.deviations(numbers)

    # Predicting

    def predict(self, x: Any, *, samples: int = 100) -> ClassPredictive | RealPredictive:
        """The predictive distribution of the rows x.

        In closed form for `normal`, Normal(f, σ² + J Σ Jᵀ); a mixture of `samples` draws of the
        network, linear in its weights, for the other likelihoods (Immer et al. 2021, Improving
        predictions of Bayesian neural nets via local linearization, eq. 8).
        """
        if self.joint.likelihood == "normal":
            outputs, covariances = self.linearised(x)
            spread = np.einsum("nkk->nk", covariances)
            if outputs.shape[1] == 1:
                outputs, spread = outputs[:, 0], spread[:, 0]
            noise = np.full_like(outputs, self.joint.noise**2)
            return RealPredictive(outputs[None], noise[None], spread[None])
        moves = self.sample(samples) - self.gaussian.mean
        rows = self._rows(x)
        with undisturbed(self._source.model):
            draws = np.repeat(outputs_of(self.joint, rows)[None], samples, 0)
            for part in chunks(len(rows), draws.shape[2] * self.joint.size):
                j = self._jacobians(rows[part])
                draws[:, part] += np.tensordot(moves, j, (1, 2))
        return self.predictive(draws)

    def linearised(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, K) and (n, K, K): mean f(x) and covariance J Σ Jᵀ of the outputs of the rows x."""
        rows = self._rows(x)
        with undisturbed(self._source.model):
            outputs = outputs_of(self.joint, rows)
            k = outputs.shape[1]
            covariances = np.empty((len(rows), k, k))
            for part in chunks(len(rows), k * self.joint.size):
                j = self._jacobians(rows[part]).reshape(-1, self.joint.size)
                half = self.gaussian.whitened(j).reshape(-1, k, self.joint.size)
                covariances[part] = half @ half.swapaxes(1, 2)
        return outputs, covariances

    def probit(self, x: Any) -> np.ndarray:
        """(n, K): probabilities of classes without draws, softmax(f / √(1 + π/8 · var f)).

        MacKay 1992, The evidence framework applied to classification networks, eq. 2.7, in each
        logit by itself where there are several. It has no parts: a mean of probabilities does not
        tell whose the doubt is.

        Raises:
            DataError: the targets are real.
        """
        from scipy.special import expit, softmax

        if self.joint.likelihood not in ("categorical", "bernoulli"):
            raise DataError(
                f"probit gives probabilities of classes, and the likelihood is "
                f"{self.joint.likelihood!r}; predict(x) gives real targets in closed form"
            )
        outputs, covariances = self.linearised(x)
        tempered = outputs / np.sqrt(1 + np.pi / 8 * np.einsum("nkk->nk", covariances))
        if self.joint.likelihood == "bernoulli":
            yes = expit(tempered[:, 0])
            return np.stack([1 - yes, yes], -1)
        found: np.ndarray = softmax(tempered, -1)
        return found

    def _jacobians(self, rows: np.ndarray) -> np.ndarray:
        found = linear_jacobians if is_linear(self.joint) else jacobians
        return found(self.joint, rows)

    def _rows(self, x: Any) -> np.ndarray:
        if not np.array_equal(self.joint.weights, self.gaussian.mean):
            raise DataError(
                "the weights of the network are not those that this posterior is around. Make it "
                "anew after training, or keep a copy of the model for it."
            )
        rows = self._source.inputs(x)
        if self._through is None:
            return rows
        with undisturbed(self._source.model):
            return self._through(rows)[0]

    def _doubts(self, precision: np.ndarray, slope: np.ndarray) -> list[str]:
        found = []
        distance = float(np.linalg.norm(self.gaussian.whitened(slope[None])))
        if distance > np.sqrt(self.joint.size):
            found.append(
                "The weights are not at a mode of the posterior: the gradient of log p(D, w) has "
                f"the norm {self.gradient_norm:.3g}, and a Newton step would go {distance:.3g} "
                f"standard deviations away, where draws are {np.sqrt(self.joint.size):.3g} away. "
                "Train the network longer, with weight decay of the same precision."
            )
        learnt, start = 1 - precision * self.gaussian.variances, 0
        for name in self.joint.names:
            end = start + self.joint.parameters[name].size
            if learnt[start:end].sum() < 1e-3:
                found.append(
                    f"The data determine nothing of {name!r}: its posterior is the prior, of "
                    f"precision {precision[start]:.3g}. Outputs that do not depend on it do that "
                    "(dead or saturated units), and so do weights that are all about 0, for which "
                    "the marginal likelihood has no best precision."
                )
            start = end
        return found


def fit(
    joint: Joint,
    *,
    structure: Literal["full", "kron", "diag"] = "kron",
    weights: Literal["all", "last-layer"] = "all",
    precision: Any = BY_EVIDENCE,
    noise: Any = BY_EVIDENCE,
    generator: Generator | None = None,
) -> Laplace:
    """Laplace's approximation around the weights of a trained network, which stays as it is.

    Args:
        structure: what is kept of the curvature: all of it; Kronecker factors of each parameter;
            its diagonal.
        weights: of all trained parameters, or of the last layer's, the others taken as known.
        precision: of the prior Normal(0, 1/precision): "marginal likelihood" finds one number for
            all weights, "per layer" one for each parameter (a layer's weights, its biases); or a
            number, or one for each weight (P,).
        noise: σ of real targets, or "marginal likelihood".
        generator: where draws come from; `cr.seed`'s if left out, which stays as it is.

    Raises:
        DataError: an option that there is not; a layer that the structure is not known for; noise
            that the targets do not show.

    >>> import numpy as np
    >>> from chainrule import nn, probability as prob
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> line = nn.Linear(1, 1)
    >>> _ = line.load_state_dict({"weight": [[2.0]], "bias": [0.0]})
    >>> laplace = prob.posterior(line, (x, 2 * x[:, 0]), structure="full", noise=0.5, precision=1.0)
    >>> laplace.predict([[0.0], [5.0]]).epistemic.round(3)
    array([0.012, 0.833])
    """
    for given, known, what in (structure, STRUCTURES, "structure"), (weights, WEIGHTS, "weights"):
        if given not in known:
            raise DataError(f"{what} is {given!r}; it is one of {', '.join(map(repr, known))}")
    source, through, outputs = joint, None, None
    by_evidence = precision in (BY_EVIDENCE, "per layer") if isinstance(precision, str) else False
    with undisturbed(source.model):
        if weights == "last-layer":
            layer, through = last_layer(source)
            features, outputs = through(source.x)
            joint = source.behind(features, layer)
        joint = joint.assuming(
            noise=1.0 if noise == BY_EVIDENCE else noise,
            precision=1.0 if by_evidence else precision,
        )
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
            if is_linear(joint):
                known_outputs = outputs_of(joint, joint.x) if outputs is None else outputs
                found = of_linear(joint, structure, known_outputs)
            else:
                found = STRUCTURES[structure](joint)
        evidence = Evidence(joint, found)
        groups: list[slice] = []
        if by_evidence:
            sizes = [int(np.prod(joint.shapes[name])) for name in joint.names]
            ends = np.cumsum(sizes if precision == "per layer" else [joint.size])
            groups = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        known_noise = joint.noise if noise != BY_EVIDENCE or joint.likelihood != "normal" else None
        begin = np.broadcast_to(joint.precision, joint.size)
        each, sigma = best(evidence, groups, begin, known_noise)
        joint = joint.assuming(precision=each[0] if (each == each[0]).all() else each, noise=sigma)
    state = (generator or generators.default).state
    return Laplace(joint, evidence, through, source, state)

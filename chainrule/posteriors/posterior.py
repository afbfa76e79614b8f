"""`posterior`: Bayes' rule, exactly for conjugate priors, by approximation for networks."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.nn.module import Module
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.probability.distribution import Distribution
from chainrule.tensor.locate import explained

METHODS = ("point", "dropout", "ensemble", "laplace", "variational", "swag", "hmc")
"""Each is a module of this package of the same name, with a `Posterior` in it."""


class Posterior(ABC):
    """p(w | D) of a network's weights, as far as a method finds it.

    Attributes:
        joint: the numerator of Bayes' rule, prior and likelihood.
        warnings: what keeps the answer from being trusted, in sentences; empty is good.
    """

    method: ClassVar[str]
    joint: Joint

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.warnings: list[str] = []

    @abstractmethod
    def predict(self, x: Any, *, samples: int = 100) -> ClassPredictive | RealPredictive:
        """The predictive distribution of the rows x, from so many draws of the weights."""

    @property
    def log_evidence(self) -> float:
        """log p(D), as far as the method knows it.

        Raises:
            DataError: the method does not give it.
        """
        raise DataError(
            f"the method {self.method!r} gives no evidence p(D); 'laplace' approximates it, and "
            "'variational' bounds it from below"
        )

    def predictive(self, outputs: np.ndarray) -> ClassPredictive | RealPredictive:
        """The mixture over draws of the network's outputs, (S, n) or (S, n, …)."""
        return predictive_of(outputs, self.joint)


def predictive_of(outputs: np.ndarray, joint: Joint) -> ClassPredictive | RealPredictive:
    """The mixture over draws of a network's outputs, by the joint's likelihood.

    Raises:
        DataError: an output is not finite.
    """
    from scipy.special import expit, softmax

    wide = np.asarray(outputs, np.float64)
    if not np.isfinite(wide).all():
        draw, row = np.argwhere(~np.isfinite(wide))[0][:2]
        raise DataError(
            f"the network's output for row {row} is {wide[draw, row]} (draw {draw} of the weights "
            f"of {len(wide)}), of which nothing follows. Are the weights finite, and the row in "
            "the units of training?"
        )
    if joint.likelihood == "categorical":
        return ClassPredictive(softmax(wide, -1))
    if joint.likelihood == "bernoulli":
        yes = expit(wide.reshape(*wide.shape[:2]))
        return ClassPredictive(np.stack([1 - yes, yes], -1))
    if joint.likelihood == "normal":
        means = wide.reshape(len(wide), -1) if wide.shape[2:] in ((), (1,)) else wide
        return RealPredictive(means, np.full_like(means, joint.noise**2))
    return RealPredictive(wide[..., 0], np.logaddexp(0, wide[..., 1]) + 1e-6)


@explained
def posterior(model: Any, *given: Any, method: str = "laplace", **options: Any) -> Any:
    """What data leave open, by Bayes' rule: p(w | D) = p(D | w) p(w) / p(D).

    `posterior(prior, likelihood, data)` with a distribution as prior is exact where the prior is
    conjugate (see `conjugate_posterior`). `posterior(model, (X, y), method=…)` is of a network's
    weights:

    | method | what it is | the model |
    |---|---|---|
    | `point` | its weights alone | is trained |
    | `dropout` | dropout left on (Gal, Ghahramani 2016) | is trained with dropout |
    | `ensemble` | several, other starts (Lakshminarayanan et al. 2017) | is a template |
    | `laplace` | a normal around the weights (MacKay 1992) | is trained |
    | `swag` | a normal fitted to the path of SGD (Maddox et al. 2019) | is trained |
    | `variational` | the closest independent normals (Blundell et al. 2015) | is a start |
    | `hmc` | draws by Hamiltonian Monte Carlo (Hoffman, Gelman 2014) | is a start |

    Args:
        model: a network, or a prior distribution.
        given: (X, y) of training rows; after a prior, the likelihood's class and the data.
        method: one of the table.
        options: `likelihood`, `noise` and `precision` of `Joint`, and those of the method, which
            its module lists.

    Raises:
        DataError: no such method or option, or data that do not belong together.
    """
    if isinstance(model, Distribution):
        from chainrule.probability.bayes import conjugate_posterior

        return conjugate_posterior(model, *given, **options)
    if not isinstance(model, Module) or len(given) != 1:
        raise DTypeError(
            "posterior takes a network and its rows, posterior(model, (X, y), method='laplace'), "
            "or a prior, the class of a likelihood and data: posterior(Beta(1.0, 1.0), Bernoulli, "
            "y)"
        )
    if method not in METHODS:
        raise DataError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    data = given[0]
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DTypeError("the data are a pair of inputs and targets: (X, y)")
    fit = importlib.import_module(f"chainrule.posteriors.{method}").fit
    known = [n for n in inspect.signature(fit).parameters if n != "joint"]
    shared = [n for n in ("likelihood", "noise", "precision") if n not in known]
    own = {n: options.pop(n) for n in shared if n in options}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise DataError(
            f"{unknown[0]!r} is no option of {method!r}; there are {', '.join([*shared, *known])}"
        )
    found = fit(Joint(model, *data, **own), **options)
    assert isinstance(found, Posterior)
    return found

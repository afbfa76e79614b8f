"""The numerator of Bayes' rule for a network: p(D | w) p(w), the same for every method."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from chainrule.errors import DataError, GradientError, ShapeError
from chainrule.nn.functional import functional_call
from chainrule.nn.layers.activation import Sigmoid, softplus
from chainrule.nn.module import Module, Parameter
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.arithmetic import square
from chainrule.ops.exponential import log
from chainrule.ops.reduction import sum
from chainrule.ops.structure import reshape
from chainrule.probability.calibration.given import bare, labels_of
from chainrule.probability.losses import binary_cross_entropy_with_logits, cross_entropy
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, asarray
from chainrule.tensor.graph import no_grad
from chainrule.tensor.tensor import Tensor

Likelihood = Literal["categorical", "bernoulli", "normal", "mean-variance"]
LEAST_VARIANCE = 1e-6
"""Added to a variance that a network gives (Lakshminarayanan et al. 2017, §2.2.1)."""
SEVERAL = 8
"""So many rows show what a network gives."""


class Joint:
    """log p(D, w) = log p(D | w) + log p(w) of a network w and its data D.

    | likelihood | outputs of the network | p(y | x, w) |
    |---|---|---|
    | `categorical` | (n, K) logits | softmax(outputs)[y] |
    | `bernoulli` | (n,) or (n, 1) logits | σ(output) of y = 1 |
    | `normal` | (n,) or (n, d) means | Normal(output, noise²), independent in d |
    | `mean-variance` | (n, 2): m and s | Normal(m, softplus(s) + 10⁻⁶) |

    The prior is Normal(0, 1/precision) for every weight that is trained.

    Attributes:
        model: the network; in evaluation mode while it is asked.
        x, y: the data, in the dtype of the weights; class codes are int64.
        likelihood: one of the table.
        noise: σ of `normal`, in units of y.
        precision: of the prior, a number or an array that has one for each weight (size,).
        names: the parameters that are trained, in the order in which a weight vector has them.
    """

    def __init__(
        self,
        model: Module,
        x: Any,
        y: Any,
        likelihood: Likelihood | None = None,
        *,
        noise: float = 1.0,
        precision: Any = 1.0,
    ) -> None:
        self._hold(model)
        self.x = _floating(x, self.dtype)
        self.likelihood: Likelihood = likelihood or likelihood_of(y)
        if self.likelihood not in get_args(Likelihood):
            raise DataError(
                f"likelihood is {likelihood!r}; it is one of "
                + ", ".join(map(repr, get_args(Likelihood)))
            )
        self.y = self._targets(y)
        if len(self.x) != len(self.y):
            raise ShapeError(
                f"there are {len(self.x)} rows of inputs and {len(self.y)} targets; row i of one "
                "belongs to row i of the other"
            )
        if not len(self.x):
            raise DataError("there is no row: nothing can be learnt about the weights")
        self._require_fitting_outputs()
        self._assume(noise, precision)

    def _hold(self, model: Module) -> None:
        self.model = model
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not parameters:
            raise GradientError(
                f"{type(model).__name__} has no parameters that require gradients; a posterior "
                "over weights needs some. Unfreeze them with nn.unfreeze(model)."
            )
        self.names = tuple(parameters)
        self.parameters: dict[str, Parameter] = parameters
        self.shapes = {n: p.shape for n, p in parameters.items()}
        self.size = int(np.sum([p.size for p in parameters.values()]))
        self.dtype = next(iter(parameters.values())).dtype

    def _assume(self, noise: Any, precision: Any) -> None:
        if not isinstance(noise, (int, float, np.number)) or not 0 < noise < math.inf:
            raise DataError(f"noise is {noise!r}; it is a standard deviation, a number above 0")
        self.noise = float(noise)
        found = np.asarray(precision)
        if found.dtype.kind not in "iuf" or not (found > 0).all() or not np.isfinite(found).all():
            raise DataError(f"precision is {precision!r}; it is of numbers above 0")
        if found.shape not in ((), (self.size,)):
            raise ShapeError(
                f"precision is a number, or one for each of the {self.size} weights; it has the "
                f"shape {found.shape}"
            )
        self.precision = found.astype(np.float64)

    def assuming(self, *, noise: Any, precision: Any) -> Joint:
        """The same network and data under another noise and another prior."""
        other = copy.copy(self)
        other._assume(noise, precision)
        return other

    def behind(self, features: np.ndarray, model: Module) -> Joint:
        """The same targets given what goes into the last part of the network, and that part."""
        other = copy.copy(self)
        other._hold(model)
        other.x = features
        return other

    def _targets(self, y: Any) -> np.ndarray:
        values = np.asarray(bare(y))
        if values.dtype.kind not in "biuf" and not dtypes.is_float(values.dtype):
            raise DataError(
                f"the targets are {values.dtype}, and numbers are needed. Of names of classes take "
                "the codes: np.unique(y, return_inverse=True)[1]"
            )
        if self.likelihood != "categorical":
            found = _floating(values.astype(self.dtype), self.dtype)
            if self.likelihood == "bernoulli" and not ((found == 0) | (found == 1)).all():
                raise DataError("targets of the likelihood 'bernoulli' are 0 or 1")
            return found
        if values.ndim == 1 and values.size and values.min() < 0:
            raise DataError(
                f"there is the target {values.min():g}, and class codes are whole numbers from 0 "
                "on. Are the targets real? Write likelihood='normal'."
            )
        one_hot = values.ndim == 2 and values.shape[1] > 1
        classes = values.shape[1] if one_hot else int(values.max(initial=0)) + 1
        return labels_of(values, classes, len(values), "the targets")

    def _require_fitting_outputs(self) -> None:
        """
        Raises:
            ShapeError: the network's outputs are not as many as the likelihood reads.
            DataError: a label beyond them; or they are probabilities already.
        """
        x, y = self.x[:SEVERAL], self.y[:SEVERAL]
        with undisturbed(self.model), no_grad():
            outputs = self.outputs(None, asarray(x, copy=False)).numpy()
        n, name = len(x), type(self.model).__name__
        given = f"{name} gives outputs of the shape {outputs.shape} for {n} rows"
        if outputs.shape[:1] != (n,):
            raise ShapeError(f"{given}; a posterior is of networks that answer each row")
        each, wanted = outputs.reshape(n, -1).shape[1], y.reshape(n, -1).shape[1]
        if self.likelihood == "categorical":
            if outputs.ndim != 2 or each < 2:
                raise ShapeError(
                    f"{given}, and the likelihood 'categorical' reads a logit for each class, "
                    "(rows, classes). Are the targets real, write likelihood='normal'; of two "
                    "classes and one output it is 'bernoulli'."
                )
            if self.y.max() >= each:
                row = int(self.y.argmax())
                raise DataError(
                    f"row {row} has the label {self.y[row]}, and {name} has {each} outputs, of the "
                    f"classes 0 to {each - 1}. Does the last layer have one for every class?"
                )
            if (outputs >= 0).all() and np.allclose(outputs.sum(1), 1, atol=1e-5):
                raise DataError(
                    f"the outputs of {name} are probabilities already, and the likelihood "
                    "'categorical' applies softmax to them. Leave the last Softmax out."
                )
            return
        if self.likelihood == "mean-variance":
            if outputs.shape != (n, 2) or wanted != 1:
                raise ShapeError(
                    f"{given} and {wanted} targets each; the likelihood 'mean-variance' reads a "
                    "mean and a variance, (rows, 2), of one target"
                )
            return
        if each != wanted or (self.likelihood == "bernoulli" and each != 1):
            raise ShapeError(
                f"{given}, and the targets have the shape {self.y.shape}; the likelihood "
                f"{self.likelihood!r} reads one output for each target. Are the targets classes, "
                "write likelihood='categorical'."
            )
        ends = isinstance(list(self.model.modules())[-1], Sigmoid)
        if self.likelihood == "bernoulli" and ends and (np.abs(outputs - 0.5) <= 0.5).all():
            raise DataError(
                f"the outputs of {name} are probabilities already, and the likelihood 'bernoulli' "
                "applies the sigmoid to them. Leave the last Sigmoid out."
            )

    # Weights as one vector

    @property
    def weights(self) -> np.ndarray:
        """The model's weights now: (size,), float64."""
        parts = [self.parameters[n].numpy().reshape(-1) for n in self.names]
        return np.concatenate(parts).astype(np.float64)

    def unflatten(self, vector: Any) -> dict[str, Tensor]:
        """Name → parameter, from a vector (size,) of a Tensor or an array; derivatives flow."""
        w = as_operand(vector)
        found, start = {}, 0
        for name in self.names:
            shape = self.shapes[name]
            end = start + math.prod(shape)
            found[name] = reshape(w[start:end], shape)
            start = end
        return found

    # Bayes' rule

    def inputs(self, x: Any) -> np.ndarray:
        """Rows as the network takes them: finite, and floating-point ones in the weights' dtype."""
        found = _floating(x, self.dtype)
        if found.ndim != self.x.ndim:
            raise ShapeError(
                f"the rows have the shape {found.shape}, and those of training {self.x.shape}; of "
                "one row x write x[None]"
            )
        return found

    def outputs(self, parameters: Mapping[str, Any] | None, x: Any) -> Tensor:
        """The network's outputs with these weights (None: its own)."""
        if parameters is None:
            result = self.model(as_operand(x))
        else:
            result = functional_call(self.model, parameters, as_operand(x))
        if not isinstance(result, Tensor):
            raise DataError(
                f"{type(self.model).__name__} gives {type(result).__name__}, and a posterior reads "
                "one tensor (rows, outputs): write a module around it that gives that"
            )
        return result

    def log_likelihood(self, outputs: Tensor, y: Any, noise: Any = None) -> Tensor:
        """Σ_i log p(y_i | x_i, w), a single number, from the network's outputs of those rows."""
        y = as_operand(y)
        if self.likelihood == "categorical":
            return -cross_entropy(outputs, y, reduction="sum")
        if self.likelihood == "bernoulli":
            return -binary_cross_entropy_with_logits(
                reshape(outputs, (-1,)), reshape(y, (-1,)), reduction="sum"
            )
        if self.likelihood == "normal":
            sigma = self.noise if noise is None else noise
            errors = (reshape(outputs, y.shape) - y) / sigma
            log_sigma = log(sigma) if isinstance(sigma, Tensor) else math.log(sigma)
            return -0.5 * sum(square(errors)) - y.size * (log_sigma + 0.5 * math.log(2 * math.pi))
        mean, variance = outputs[:, 0], softplus(outputs[:, 1]) + LEAST_VARIANCE
        squares = square(reshape(y, (-1,)) - mean) / variance
        return -0.5 * sum(squares + log(variance)) - 0.5 * y.size * math.log(2 * math.pi)

    def log_prior(self, vector: Any) -> Tensor:
        """log p(w) = −½ Σ_j (λ_j w_j² − log λ_j + log 2π), a single number."""
        w = as_operand(vector)
        precision = np.broadcast_to(self.precision, (self.size,))
        constant = 0.5 * float(np.log(precision).sum() - self.size * math.log(2 * math.pi))
        return -0.5 * sum(as_operand(precision.astype(w.dtype)) * square(w)) + constant

    def log_joint(self, vector: Any, noise: Any = None) -> Tensor:
        """log p(D, w) = log p(D | w) + log p(w), over all rows."""
        outputs = self.outputs(self.unflatten(vector), asarray(self.x, copy=False))
        likelihood = self.log_likelihood(outputs, asarray(self.y, copy=False), noise)
        return likelihood + self.log_prior(vector)

    def outputs_at(self, weights: np.ndarray, x: Any) -> np.ndarray:
        """(S, n, …): the network's outputs at each of S weight vectors (S, size)."""
        rows = asarray(self.inputs(x), copy=False)
        with undisturbed(self.model), no_grad():
            vectors = np.asarray(weights, self.dtype)
            return np.stack([self.outputs(self.unflatten(w), rows).numpy() for w in vectors])

    def copy(self, dtype: Any = None) -> Joint:
        """The same of a copy of the network in evaluation mode, in another dtype if one is given:
        what is done to it, the network does not see."""
        model = copy.deepcopy(self.model).eval().to(dtype or self.dtype)
        own: dict[str, Any] = {"noise": self.noise, "precision": self.precision}
        return Joint(model, self.x, self.y, self.likelihood, **own)


def likelihood_of(y: Any) -> Likelihood:
    """What targets suggest: whole numbers in one column and one-hot rows are classes, everything
    else is real.

    >>> likelihood_of([0, 2, 1]), likelihood_of([[0, 1], [1, 0]]), likelihood_of([0.5, 1.0])
    ('categorical', 'categorical', 'normal')
    """
    values = np.asarray(bare(y))
    one_hot = values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "biuf"
    if one_hot and ((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all():
        return "categorical"
    return "categorical" if values.dtype.kind in "iub" and values.ndim == 1 else "normal"


def _floating(values: Any, dtype: np.dtype) -> np.ndarray:
    array = np.asarray(bare(values))
    if array.dtype.kind not in "biuf" and not dtypes.is_float(array.dtype):
        raise DataError(f"a network takes numbers, and these are {array.dtype}")
    found: np.ndarray = array.astype(dtype, copy=False) if array.dtype.kind in "fb" else array
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise DataError(f"there is {found[place]} at {place}; rows hold finite numbers")
    return found

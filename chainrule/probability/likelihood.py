"""Any distribution as a loss: the negative log-likelihood of targets, with a network's outputs as
the distribution's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.ops.reduction import mean, sum
from chainrule.probability import constraints
from chainrule.probability.assumed import assumes
from chainrule.probability.distribution import Distribution, _named
from chainrule.probability.transforms import Transform, transform_to
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import Explained, explained
from chainrule.tensor.tensor import Tensor


class Likelihood(Explained):
    """The loss −log p(target), where p's parameters are a network's outputs.

    A network gives any numbers. `transform_to` leads those for each parameter to where it may be:
    softplus for what is positive, sigmoid for what lies between 0 and 1; `loc` and `logits` stay.

    Args:
        distribution: a class of this module whose parameters are numbers, such as `Gamma`; or a
            class over classes (`Categorical`), of which the outputs are the logits; or any function
            of the outputs that gives a distribution.
        reduction: "mean", "sum" or "none".
        fixed: parameters that the network does not give, such as `df=4.0` for `StudentT`.

    As a loss it takes (outputs, target). Of a distribution with one free parameter the outputs have
    the target's shape; with k of them a last axis of k behind it, in the order of `names`.

    Attributes:
        names: the parameters that the network gives.

    Raises:
        ShapeError: the outputs' shape is another.

    >>> import chainrule as cr
    >>> from chainrule import probability as prob
    >>> loss = prob.Likelihood(prob.Normal)
    >>> loss.names
    ('loc', 'scale')
    >>> outputs = cr.asarray([[0.0, 0.0], [1.0, 0.0]])  # a location and a scale for each row
    >>> loss.distribution(outputs)
    Normal(loc: (2,), scale: (2,))
    >>> round(loss(outputs, cr.asarray([0.0, 1.0])).item(), 4)
    0.5524
    """

    def __init__(
        self,
        distribution: type[Distribution] | Callable[[Tensor], Distribution],
        *,
        reduction: str = "mean",
        **fixed: Any,
    ) -> None:
        self.make: Callable[..., Distribution] = distribution
        self.reduction, self.fixed = reduction, fixed
        if reduction not in ("mean", "sum", "none"):
            raise DTypeError(f'Likelihood: reduction is "mean", "sum" or "none", not {reduction!r}')
        if not callable(distribution):
            raise DTypeError(
                "Likelihood takes a class of distributions, or a function of the outputs that "
                f"gives a distribution, not {distribution!r}"
            )
        self.names: tuple[str, ...] = ()
        self._transforms: dict[str, Transform] = {}
        if isinstance(distribution, type):
            self._read(distribution)

    def _read(self, kind: type[Distribution]) -> None:
        """Which parameters the outputs are, and how they get to where they may be."""
        if not issubclass(kind, Distribution) or not kind.arg_constraints:
            raise DTypeError(
                f"Likelihood: {kind.__name__} has no parameters to be read from outputs. Write a "
                "function of the outputs that gives a distribution."
            )
        unknown = [name for name in self.fixed if name not in inspect.signature(kind).parameters]
        if unknown:
            raise DTypeError(f"Likelihood: {kind.__name__} has no argument {unknown[0]!r}")
        own = kind.arg_constraints
        free = [name for name in own if name not in self.fixed]
        if "logits" in own and "probs" in own:  # two ways of saying the same
            drop = ("probs", "logits") if {"probs", "logits"} & set(self.fixed) else ("probs",)
            free = [name for name in free if name not in drop]
        if not free:
            raise DTypeError(f"Likelihood: all parameters of {kind.__name__} are fixed")
        several = [name for name in free if own[name].event_dim]
        if several and len(free) > 1:
            raise DTypeError(
                f"Likelihood: {', '.join(several)} of {kind.__name__} is more than a number, and "
                "how the outputs are cut is not known. Write a function of the outputs."
            )
        self.names = tuple(free)
        for name in free:
            if isinstance(own[name], constraints.Integers):
                raise DTypeError(
                    f"Likelihood: {name} of {kind.__name__} is a whole number, to which no "
                    f"derivative leads. Write Likelihood({kind.__name__}, {name}=…)."
                )
        self._transforms = {name: transform_to(own[name]) for name in free}

    def distribution(self, outputs: Any) -> Distribution:
        """The distribution that outputs stand for."""
        with _named("Likelihood"):
            outputs = as_operand(outputs)
            if not self.names:
                made = self.make(outputs)
                if not isinstance(made, Distribution):
                    raise DTypeError(f"the function gave no distribution but {made!r}")
                return made
            if len(self.names) == 1:
                parts = [outputs]
            else:
                if outputs.ndim == 0 or outputs.shape[-1] != len(self.names):
                    raise ShapeError(
                        f"the outputs have a last axis of {len(self.names)}, for "
                        f"{', '.join(self.names)}; they are of shape {outputs.shape}"
                    )
                parts = [outputs[..., i] for i in range(len(self.names))]
            values = {
                name: self._transforms[name](part)
                for name, part in zip(self.names, parts, strict=True)
            }
            return self.make(**values, **self.fixed)

    @assumes(lambda self, outputs, **_: self.distribution(outputs))
    def __call__(self, outputs: Any, target: Any) -> Tensor:
        """−log p(target), as a mean over all targets."""
        with _named("Likelihood"):
            made, target = self.distribution(outputs), as_operand(target)
            shape = made.batch_shape + made.event_shape
            if target.shape != shape:
                raise ShapeError(
                    f"the outputs stand for values of shape {shape}, and the targets have the "
                    f"shape {target.shape}; they must be equal. Write target.reshape{shape} if "
                    "that is what is meant, or outputs.squeeze(-1)."
                )
            losses = -made.log_prob(target)
        if self.reduction == "none":
            return losses
        return mean(losses) if self.reduction == "mean" else sum(losses)

    def __repr__(self) -> str:
        name = getattr(self.make, "__name__", repr(self.make))
        fixed = "".join(f", {key}={value!r}" for key, value in self.fixed.items())
        return f"Likelihood({name}{fixed})"


@explained
def maximum_likelihood(
    distribution: type[Distribution], data: Any, *, steps: int = 500, **fixed: Any
) -> Distribution:
    """The distribution of a class under which the data are likeliest: L-BFGS (Liu, Nocedal 1989) on
    unconstrained parameters, with exact derivatives.

    Args:
        distribution: a class whose parameters are numbers.
        data: any shape; all are taken as independent draws.
        steps: at most so many iterations.
        fixed: parameters that are known.

    Raises:
        DataError: there are no data, some have no probability under any parameters, or the
            likelihood has no maximum that was found.

    >>> from chainrule import probability as prob
    >>> fitted = maximum_likelihood(prob.Exponential, [1.0, 2.0, 3.0])
    >>> round(fitted.rate.item(), 4)  # 1/mean
    0.5
    """
    import numpy as np
    from scipy.optimize import minimize

    from chainrule.calculus import value_and_grad
    from chainrule.tensor.creation import asarray

    with _named("maximum_likelihood"):
        given = as_operand(data)._concrete("the data")
        if given.dtype.kind == "c":
            raise DTypeError(f"the data are real, and these are {given.dtype}")
        values = given.astype(np.float64).reshape(-1)
        if not values.size or not np.isfinite(values).all():
            raise DataError("the data are finite numbers, and there is one at least")
        like = Likelihood(distribution, **fixed)
        if any(distribution.arg_constraints[n].event_dim for n in like.names):
            raise DTypeError(f"the parameters of {distribution.__name__} are more than numbers")
        x = asarray(values)

        def loss(theta: Tensor) -> Tensor:
            outputs = theta if len(like.names) > 1 else theta[0]
            return -mean(like.distribution(outputs).log_prob(x))

        start = np.zeros(len(like.names))
        middle, spread = float(np.median(values)), float(values.std()) or 1.0
        for i, name in enumerate(like.names):
            if name == "loc":
                start[i] = middle
            elif name == "scale":
                start[i] = np.log(np.expm1(min(spread, 700.0)))

        def both(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = value_and_grad(loss)(asarray(theta))
            return value.item(), slope.numpy().astype(np.float64)

        if not np.isfinite(both(start)[0]):
            raise DataError(f"some data have no probability under {distribution.__name__}")
        found = minimize(both, start, jac=True, method="L-BFGS-B", options={"maxiter": steps,
                         "ftol": 1e-15, "gtol": 1e-10})  # fmt: skip
        if not np.isfinite(found.fun):
            raise DataError("the likelihood has no maximum: the parameters ran away")
        theta = asarray(found.x)
        return like.distribution(theta if len(like.names) > 1 else theta[0])

"""Deep ensembles: several networks from different starts, equally likely.

Lakshminarayanan, Pritzel, Blundell 2017, "Simple and scalable predictive uncertainty estimation
using deep ensembles", arXiv:1612.01474.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compile.compiled import compile
from chainrule.errors import (
    BoundsError,
    ChainruleError,
    CompileError,
    DataError,
    NonFiniteError,
    ShapeError,
)
from chainrule.nn.functional import functional_call
from chainrule.nn.module import Module, Parameter
from chainrule.nn.redraw import redraw
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.arithmetic import square
from chainrule.ops.reduction import sum
from chainrule.optim.adam import Adam
from chainrule.optim.optimizer import Optimizer
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.posterior import Posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.posteriors.together import own_orders, together
from chainrule.tensor import generator as generators
from chainrule.tensor.creation import asarray
from chainrule.tensor.generator import Generator
from chainrule.tensor.graph import no_grad
from chainrule.tensor.tensor import Tensor


class Ensemble(Posterior):
    """Networks that answer together: the mixture of what each of them says.

    Attributes:
        members: the networks, each whole; those that were trained here are in evaluation mode.
        losses: (epochs, members), the mean of each epoch's −log p(D, w) / rows, up to a constant;
            None where the networks were given.
    """

    method = "ensemble"

    def __init__(
        self, joint: Joint, members: Sequence[Module], losses: np.ndarray | None = None
    ) -> None:
        super().__init__(joint)
        self.members, self.losses = list(members), losses
        if len(self.members) == 1:
            self.warnings.append(
                "an ensemble of one network has no epistemic part: nobody disagrees with it"
            )

    def predict(self, x: Any, *, samples: int | None = None) -> ClassPredictive | RealPredictive:
        """The mixture over the members, all of them, however many `samples` are asked for."""
        return self.predictive(self.draws(x))

    def draws(self, x: Any) -> np.ndarray:
        """(members, n, …): each network's outputs."""
        rows, found = asarray(self.joint.inputs(x), copy=False), []
        for member in self.members:
            with undisturbed(member), no_grad():
                found.append(member(rows).numpy())
        if len({outputs.shape for outputs in found}) > 1:
            shapes = ", ".join(str(outputs.shape) for outputs in found)
            raise ShapeError(f"the members of an ensemble give the same outputs, not {shapes}")
        return np.stack(found)


def fit(
    joint: Joint,
    *,
    members: int | Sequence[Module] = 5,
    epochs: int = 100,
    batch_size: int = 32,
    lr: float = 1e-3,
    optimizer: Callable[..., Optimizer] = Adam,
    generator: Generator | None = None,
) -> Ensemble:
    """Train networks of the model's architecture, each to a maximum of p(D | w) p(w) of its own.

    The model is a template, and is not changed. Each member has first weights of the distribution
    of the template's (its elements in another order), its own order of the rows, and its own masks
    of dropout. All members are trained as one `vmap`ped, compiled step; where that cannot be,
    because batch normalisation keeps statistics, Python code looks at values or the optimiser at
    whole arrays (LAMB, Shampoo), one after the other.

    Args:
        members: how many; or networks that were trained already.
        epochs: passes over the rows.
        batch_size: rows of a step.
        lr: the learning rate.
        optimizer: called as optimizer(parameters, lr=lr).
        generator: where weights, orders and masks come from; `cr.seed`'s if left out, which stays
            as it is.

    Raises:
        DataError: fewer than one member, epoch or row of a batch.
        NonFiniteError: the loss of a member became NaN or infinite.

    >>> import chainrule as cr
    >>> from chainrule import nn, probability as prob
    >>> cr.seed(0)
    >>> model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> own = prob.posterior(model, (x, np.sin(3 * x[:, 0])), method="ensemble", noise=0.1, lr=0.02)
    >>> inside, outside = own.predict([[0.5], [4.0]]).epistemic
    >>> len(own.members), bool(outside > 10 * inside)
    (5, True)
    """
    if isinstance(members, Sequence):
        if not members or not all(isinstance(member, Module) for member in members):
            raise DataError("members is how many networks are trained, or a list of trained ones")
        return Ensemble(joint, members)
    for name, value in (("members", members), ("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f"{name} is {value!r}; it is a whole number, 1 or more")
    state = (generator or generators.default).state
    random = np.random.default_rng(state)
    networks = [_started(joint, int(random.integers(1, 2**31))) for _ in range(members)]

    def made(parameters: list[Parameter]) -> Optimizer:
        return optimizer(parameters, lr=lr)

    with undisturbed(joint.model, training=True):
        generators.default.state = state
        try:
            losses = _at_once(joint, networks, made, epochs, batch_size, random)
        except NonFiniteError:
            raise
        except ChainruleError:  # what is no reason to train them one by one fails again below
            each = [_alone(joint, one, made, epochs, batch_size, random) for one in networks]
            losses = np.concatenate(each, 1)
    return Ensemble(joint, [network.eval() for network in networks], losses)


def _started(joint: Joint, seed: int) -> Module:
    """A copy of the model with first weights of its own."""
    network = copy.deepcopy(joint.model)
    own = dict(network.named_parameters())
    given = {name: own[name].numpy() for name in joint.names}
    for name, value in redraw(given, seed, joint.names).items():
        own[name].assign(value)
    return network


def _energy(joint: Joint, outputs: Tensor, y: Any, parameters: dict[str, Any]) -> Tensor:
    """−log p(y | x, w) / batch − log p(w) / rows, up to a constant: its mean over the batches of an
    epoch is −log p(D, w) / rows."""
    precision: dict[str, Any] = dict.fromkeys(joint.names, float(joint.precision.mean()))
    if joint.precision.ndim:
        precision = dict(joint.unflatten(joint.precision.astype(joint.dtype)))
    prior = [sum(precision[name] * square(w)) for name, w in parameters.items()]
    total = prior[0]
    for one in prior[1:]:
        total = total + one
    return total / (2 * len(joint.x)) - joint.log_likelihood(outputs, y) / len(y)


def _at_once(
    joint: Joint, networks: list[Module], optimizer: Any, epochs: int, batch_size: int, random: Any
) -> np.ndarray:
    of_each = [dict(network.named_parameters()) for network in networks]
    parameters = {
        name: Parameter(np.stack([own[name].numpy() for own in of_each])) for name in joint.names
    }

    def loss(own: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(joint.model, own, x)
        return _energy(joint, outputs, y, own)

    step = together(loss, parameters, optimizer)
    losses = _learnt(joint, step, len(networks), epochs, batch_size, random)
    for i, own in enumerate(of_each):
        for name in joint.names:
            own[name].assign(parameters[name].numpy()[i])
    return losses


def _alone(
    joint: Joint, network: Module, optimizer: Any, epochs: int, batch_size: int, random: Any
) -> np.ndarray:
    own = dict(network.named_parameters())
    parameters = {name: own[name] for name in joint.names}
    made = optimizer(list(parameters.values()))
    network.train()

    def step(x: Any, y: Any) -> Any:
        value = _energy(joint, network(x[0]), y[0], parameters)
        value.backward()
        made.step()
        return value.reshape((1,))

    losses = _learnt(joint, _compiled_where_possible(step), 1, epochs, batch_size, random)
    return losses


def _compiled_where_possible(step: Callable[..., Any]) -> Callable[..., Any]:
    compiled = compile(step)
    possible = True

    def either(*batch: Any) -> Any:
        nonlocal possible
        if possible:
            try:
                return compiled(*batch)
            except (CompileError, BoundsError):  # eager code has values to look at, and says more
                possible = False
        return step(*batch)

    return either


def _learnt(
    joint: Joint, step: Any, networks: int, epochs: int, batch_size: int, random: Any
) -> np.ndarray:
    """(epochs, networks): the mean losses."""
    rows, found = len(joint.x), np.zeros((epochs, networks))
    for epoch in range(epochs):
        for chosen in own_orders(rows, batch_size, networks, random):
            x, y = joint.x[chosen], joint.y[chosen]
            losses = step(asarray(x, copy=False), asarray(y, copy=False)).numpy()
            found[epoch] += losses * (chosen.shape[1] / rows)
        if not np.isfinite(found[epoch]).all():
            which = int(np.flatnonzero(~np.isfinite(found[epoch]))[0])
            raise NonFiniteError(
                f"the loss of member {which} of {networks} is {found[epoch, which]} in epoch "
                f"{epoch + 1}. Usually the learning rate is too large: try a tenth of it; else "
                "look for inputs or targets far from 0, and standardise them."
            )
    return found

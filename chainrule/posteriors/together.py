"""Many networks of one architecture, trained as one: a step of all is one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.calculus.vmap import vmap
from chainrule.compile.compiled import compile
from chainrule.errors import DTypeError
from chainrule.nn.module import Parameter
from chainrule.ops.reduction import sum
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.lion import LAMB
from chainrule.optim.matrices import Adafactor, Muon, Shampoo
from chainrule.optim.optimizer import Optimizer

MIXING = (LBFGS, LAMB, Adafactor, Muon, Shampoo)
"""Optimisers whose step for one number depends on others, which may be another network's."""


def together(
    loss: Callable[..., Any],
    parameters: Mapping[str, Parameter],
    optimizer: Callable[[list[Parameter]], Optimizer],
) -> Callable[..., Any]:
    """A compiled training step of M networks that know nothing of one another.

    Args:
        loss: (a network's parameters by name, its batch, …) → a single number. It is written for
            one network and run for all (`vmap`); random numbers are each network's own.
        parameters: name → (M, …), along whose first axis the networks lie.
        optimizer: makes an optimiser of the parameters. It works element by element, so that the
            gradient of the sum of the losses moves each network by its own.

    Returns:
        (batch, …), each with the networks along the first axis → the losses (M,).

    Raises:
        DTypeError: an optimiser that looks at more than one number at a time.

    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> line = nn.Linear(1, 1, bias=False)
    >>> weights = {"weight": nn.Parameter(cr.zeros((2, 1, 1)))}
    >>> def loss(parameters, x, y):
    ...     return nn.mse_loss(nn.functional_call(line, parameters, x), y)
    >>> step = together(loss, weights, lambda p: optim.SGD(p, lr=0.5))
    >>> x = cr.ones((2, 4, 1))
    >>> step(x, x * cr.asarray([1.0, 3.0]).reshape((2, 1, 1)))
    tensor([1., 9.])
    >>> weights["weight"].flatten().tolist()
    [1.0, 3.0]
    """
    made = optimizer(list(parameters.values()))
    if isinstance(made, MIXING):
        raise DTypeError(
            f"{type(made).__name__} takes a step that depends on all numbers of an array, and here "
            "the array holds several networks. Take an optimiser that works element by element, "
            "such as Adam, AdamW, RMSprop or SGD."
        )

    def step(*batch: Any) -> Any:
        losses = vmap(loss)(dict(parameters), *batch)
        sum(losses).backward()
        made.step()
        return losses

    return compile(step)


def own_orders(
    rows: int, batch_size: int, networks: int, random: np.random.Generator
) -> Iterator[np.ndarray]:
    """The rows of each batch of one epoch, (networks, batch_size): all rows in an order of each
    network's own; the last batch has what is left."""
    orders = random.permuted(np.tile(np.arange(rows), (networks, 1)), axis=1)
    for start in range(0, rows, batch_size):
        yield orders[:, start : start + batch_size]

"""What a loss assumes of the targets: the distribution whose negative log-likelihood it is.

A loss declares it, and whoever wants to know which losses ran, on what, asks for them to be noted.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import OFF, recording
from chainrule.tensor.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.probability.distribution import Distribution

Loss = TypeVar("Loss", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Assumption:
    """A call of a loss: loss = scale · (−log p(target) − constant) for each target.

    Attributes:
        loss: the function.
        arguments: what it was called with, by name.
        make: (arguments) -> the distribution p, a batch of them.
        scale: how many times the negative log-likelihood the loss is.
        constant: what the loss leaves out of it, a formula in the target x.
    """

    loss: Callable[..., Any]
    arguments: dict[str, Any]
    make: Callable[..., Distribution]
    scale: float
    constant: str

    @property
    def name(self) -> str:
        """What the loss is called."""
        owner = self.arguments.get("self")
        return self.loss.__name__ if owner is None else repr(owner)

    def wide(self) -> Assumption:
        """The same call with floating-point arguments in float64."""
        wide = {key: _wide(value) for key, value in self.arguments.items()}
        return Assumption(self.loss, wide, self.make, self.scale, self.constant)

    @property
    def distribution(self) -> Distribution:
        """p, with the outputs as its parameters."""
        with recording(OFF):
            return self.make(**self.arguments)

    @property
    def outputs(self) -> Tensor | None:
        """What the network gave to the loss; None where it was no tensor."""
        found = self.arguments.get("input", self.arguments.get("outputs"))
        return found if isinstance(found, Tensor) else None

    @property
    def target(self) -> Tensor:
        """What the outputs are compared with."""
        return as_operand(self.arguments["target"])

    @property
    def losses(self) -> Tensor:
        """The loss of each target by itself."""
        with recording(OFF):
            if "reduction" in self.arguments:
                return self.loss(**{**self.arguments, "reduction": "none"})
            return -self.distribution.log_prob(self.target)


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor) and dtypes.is_float(value.dtype):
        return Tensor(value._concrete("what a loss was given").astype(dtypes.float64))
    return value


class _Noted(threading.local):
    calls: list[Assumption] | None = None


_noted = _Noted()


@contextmanager
def noted() -> Iterator[list[Assumption]]:
    """The calls of losses that declare a distribution, inside of the block (in this thread)."""
    before, _noted.calls = _noted.calls, []
    try:
        yield _noted.calls
    finally:
        _noted.calls = before


def by_name(name: str) -> type[Distribution]:
    """A distribution of the library, which is loaded when it is asked for."""
    from chainrule import probability

    return getattr(probability, name)


def assumes(
    make: Callable[..., Distribution],
    *,
    scale: float = 1.0,
    constant: str | Callable[..., str] = "0",
) -> Callable[[Loss], Loss]:
    """Declare the distribution that a loss assumes.

    Args:
        make: (the loss's arguments, by name) -> the distribution.
        scale, constant: loss = scale · (−log p(target) − constant) for each target; the constant
            is a formula in the target x, or a function of the arguments that gives one.
    """

    def declare(loss: Loss) -> Loss:
        signature = inspect.signature(loss)

        @wraps(loss)
        def noting(*args: Any, **kwargs: Any) -> Any:
            result = loss(*args, **kwargs)
            if _noted.calls is not None:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                given = dict(bound.arguments)
                left_out = constant if isinstance(constant, str) else constant(**given)
                _noted.calls.append(Assumption(loss, given, make, scale, left_out))
            return result

        return noting  # type: ignore[return-value]

    return declare

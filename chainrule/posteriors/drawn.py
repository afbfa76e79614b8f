"""Posteriors that are known by draws of all the weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.posterior import Posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor import generator as generators
from chainrule.tensor.generator import Generator


class Drawn(Posterior):
    """p(w | D) by draws. The same draws come at every call: they follow the generator as it was
    when the posterior was made."""

    def __init__(self, joint: Joint, state: tuple[int, int, int]) -> None:
        super().__init__(joint)
        self.state = state

    @abstractmethod
    def draw(self, samples: int) -> np.ndarray:
        """(samples, size): weight vectors, as `Joint.unflatten` takes them."""

    def predict(self, x: Any, *, samples: int = 100) -> ClassPredictive | RealPredictive:
        """The mixture over the draws of the weights.

        Raises:
            DataError: fewer draws than one.
        """
        return self.predictive(self.joint.outputs_at(self.draw(counted(samples)), x))

    @property
    def rng(self) -> np.random.Generator:
        """What the draws come from, always from its beginning."""
        return np.random.default_rng(self.state)


def counted(value: Any, name: str = "samples", least: int = 1) -> int:
    """How many draws, or of what the name says, are asked for.

    Raises:
        DataError: no whole number, or too few.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise DataError(f"{name} is a whole number of at least {least}, not {value!r}")
    return int(value)


def state_of(generator: Generator | None) -> tuple[int, int, int]:
    """Of a generator, or of the default one, which stays as it is."""
    return (generator or generators.default).state

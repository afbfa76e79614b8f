"""A case: all that is known of a training run, measured when a rule asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.lens.diagnose.finding import Finding
from chainrule.lens.diagnose.frameworks.framework import Framework, OptimizerFacts
from chainrule.lens.diagnose.loss_forms import recognised
from chainrule.lens.diagnose.passes import LossFacts, Pass
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.trace import Trace

STATIC_ROWS = 16
PROBE_ROWS = 1000


@dataclass(eq=False)
class Case:
    """What rules look at.

    Attributes:
        setup: the run before its first step.
        trace: the run, measured; None while there are static checks only.
        trained: the state of the model after the run, or None.
        deadline: `time.perf_counter()` after which nothing slow is begun.
        found: the findings of the rules that were asked so far.
        memo: what measurements keep for each other (each under its own function's name).
    """

    setup: Setup
    trace: Trace | None = None
    trained: dict[str, np.ndarray] | None = None
    deadline: float = float("inf")
    found: list[Finding] = field(default_factory=list)
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def framework(self) -> Framework:
        return self.setup.framework

    @property
    def time_left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.perf_counter()

    @cached_property
    def first(self) -> Pass:
        """A recorded pass of a few rows, at the first weights, in training mode."""
        x, y = self.setup.batch(STATIC_ROWS)
        return self.framework.observe(self.setup.model, x, y, self.setup.loss)

    @cached_property
    def loss(self) -> LossFacts:
        """What the loss is: by its name, or else by its derivative."""
        return recognised(self.first, self.setup)

    @cached_property
    def optimizer(self) -> OptimizerFacts:
        """What the optimiser is, with the rate that the user set (`Setup.rate`)."""
        facts = self.framework.optimizer_facts(self.setup.model, self.setup.optimizer)
        return replace(facts, rate=self.setup.rate)

    @cached_property
    def outputs(self) -> np.ndarray | None:
        """The model's outputs in the first pass."""
        return self.first.outputs

    @cached_property
    def final_model(self) -> Any:
        """A copy of the model with the weights after the run (before it, where there was none)."""
        (model,) = self.framework.copy(self.setup.model)
        if self.trained is not None:
            self.framework.load(model, self.trained)
        return model

    @cached_property
    def probe(self) -> Pass:
        """A recorded pass of up to 1,000 training rows at the last weights, in evaluation mode."""
        order = np.random.default_rng(1).permutation(len(self.setup.x))[:PROBE_ROWS]
        return self.framework.observe(
            self.final_model, self.setup.x[order], self.setup.y[order], self.setup.loss,
            training=False,
        )  # fmt: skip

    @cached_property
    def first_probe(self) -> Pass:
        """The same rows at the first weights."""
        order = np.random.default_rng(1).permutation(len(self.setup.x))[:PROBE_ROWS]
        return self.framework.observe(
            self.setup.model, self.setup.x[order], self.setup.y[order], self.setup.loss,
            training=False,
        )  # fmt: skip

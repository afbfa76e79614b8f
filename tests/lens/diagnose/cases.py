"""Runs to try rules on: small networks, trained and measured, with what a rule looks at."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.rules.rule import rules
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train


def mlp(sizes: list[int], activation: Any = None, dropout: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), (activation or nn.ReLU)()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def setup(
    sizes: list[int], data: tuple[Any, Any], loss: Any = nn.cross_entropy, *, kind: str = "Adam",
    lr: float = 1e-2, epochs: int = 15, batch_size: int = 32, validation: Any = None,
    activation: Any = None, dropout: float = 0.0, **options: Any,
) -> Setup:  # fmt: skip
    cr.seed(0)
    model = mlp(sizes, activation, dropout)
    optimizer = getattr(optim, kind)(model.parameters(), lr=lr, **options)
    return setup_of(
        model, data, loss=loss, optimizer=optimizer, epochs=epochs, batch_size=batch_size,
        validation=validation,
    )  # fmt: skip


def trained(made: Setup, deadline: float = float("inf")) -> Case:
    run = train(made, pace=Pace(share=0.1))
    return Case(made, run.trace, made.framework.state(run.setup.model), deadline=deadline)


def ask(rule: str, case: Case) -> list[Finding]:
    (kind,) = [r for r in rules() if r.name == rule]
    try:
        return list(kind().look(case))
    except Missing:
        return []


def standard(x: np.ndarray) -> np.ndarray:
    return ((x - x.mean(0)) / (x.std(0) + 1e-9)).astype(np.float32)

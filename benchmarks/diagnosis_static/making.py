"""What the examples are made of: data, networks of a few layers, losses written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.finding import Finding

ROWS = 96
L, S = nn.Linear, nn.Sequential


@dataclass(frozen=True)
class Made:
    """A run before its first step: what `setup_of` takes."""

    model: Any
    x: Any
    y: Any
    loss: Any
    optimizer: Any = None
    batch_size: int = 16


@dataclass(frozen=True)
class Example:
    """A run by its name; `rules`: those that are right to say something, none if it is healthy."""

    name: str
    make: Callable[[], Made]
    rules: frozenset[str] = frozenset()

    def case(self) -> Case:
        """The run, made."""
        cr.seed(len(self.name))
        made = self.make()
        setup = setup_of(
            made.model,
            (made.x, made.y),
            loss=made.loss,
            optimizer=made.optimizer,
            epochs=20,
            batch_size=made.batch_size,
            validation=(made.x[:32], made.y[:32]),
        )
        return Case(setup)


class Own(nn.Module):
    """A module with the given parts whose forward pass is `function(self, x)`."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def findings(case: Case) -> list[Finding]:
    """What the static rules find."""
    return examine(case, ("static",))[0]


# Data

RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 6)).astype(np.float32)
U = RNG.uniform(size=(ROWS, 6)).astype(np.float32)
Y3 = RNG.integers(0, 3, ROWS)
Y10 = np.arange(ROWS) % 10
HOT = np.eye(3, dtype=np.float32)[Y3]
BIT = (X[:, :1] > 0).astype(np.float32)
BITS = (X[:, :4] > 0).astype(np.float32)
REAL = (X[:, :1] - 0.5 * X[:, 1:2] ** 2).astype(np.float32)
REALS = np.concatenate([REAL, X[:, 2:4]], 1)
POSITIVE = np.abs(REAL) + 0.1
COUNTS = RNG.poisson(2.0, (ROWS, 1)).astype(np.float32)
IMAGES = RNG.normal(size=(ROWS, 1, 8, 8)).astype(np.float32)
WORDS = RNG.integers(0, 20, (ROWS, 7))
SEQUENCES = RNG.normal(size=(ROWS, 5, 6)).astype(np.float32)
MSE, BCE, CE = nn.mse_loss, nn.binary_cross_entropy, nn.cross_entropy
LOGITS = nn.binary_cross_entropy_with_logits


def mlp(*sizes: int, act: Any = nn.ReLU, out: Any = None) -> Any:
    """Linear layers with activations between, and one behind the last."""
    parts: list[Any] = []
    for i, (n, m) in enumerate(pairwise(sizes)):
        parts += [L(n, m)] + ([act()] if act is not None and i < len(sizes) - 2 else [])
    return S(*parts, *([] if out is None else [out]))


def net(out: int, *behind: Any) -> Any:
    """6 inputs, 16 hidden units, `out` outputs."""
    return S(L(6, 16), nn.ReLU(), L(16, out), *behind)


def filled(model: Any, value: float) -> Any:
    """The model with one number in every weight."""
    for p in model.parameters():
        p.assign(np.full(p.shape, value if p.ndim > 1 else 0.0, np.float32))
    return model


def drawn(model: Any, std: float) -> Any:
    """The model with weights from N(0, std²)."""
    rng = np.random.default_rng(1)
    for p in model.parameters():
        p.assign((rng.normal(size=p.shape) * std).astype(np.float32))
    return model


def frozen(model: Any, *names: str) -> Any:
    """The model with some parameters that ask for no gradient."""
    for name, p in model.named_parameters():
        if name in names:
            p.requires_grad = False
    return model


def sgd(model: Any, lr: float = 0.05, **options: Any) -> Any:
    """SGD over what asks for gradients."""
    return optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr, **options)


def with_sgd(model: Any, x: Any, y: Any, loss: Any, lr: float = 0.05, **options: Any) -> Made:
    return Made(model, x, y, loss, sgd(model, lr, **options))


def clipped_bce(p: Any, y: Any) -> Any:
    """Binary cross-entropy written by hand, as many do."""
    p = cr.clip(p, 1e-6, 1 - 1e-6)
    return -(y * cr.log(p) + (1 - y) * cr.log(1 - p)).mean()


def picked(log_p: Any, y: Any) -> Any:
    return -cr.take_along_axis(log_p, y[:, None], axis=1).mean()


def net_of(width: int) -> Any:
    return S(L(width, 16), nn.ReLU(), L(16, 3))

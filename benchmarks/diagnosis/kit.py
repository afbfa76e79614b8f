"""Both frameworks under one set of names, so that a case is written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Kit:
    """A framework: its namespaces and the few functions whose names differ.

    Attributes:
        name: "chainrule" or "torch".
        nn, optim: namespaces with the same names of layers, losses and optimisers.
        array: the top namespace, for functions of tensors such as `log`.
        seed: (seed) → None.
    """

    name: str
    nn: Any
    optim: Any
    array: Any
    seed: Callable[[int], object]

    def put(self, parameter: Any, values: Any) -> None:
        """Write values into a parameter; a number fills it."""
        made = np.broadcast_to(np.asarray(values, np.float32), tuple(parameter.shape)).copy()
        if self.name == "torch":
            with self.array.no_grad():
                parameter.copy_(self.array.from_numpy(made))
        else:
            parameter.assign(made)

    def mlp(
        self, *sizes: int, act: str = "ReLU", out: str = "", norm: str = "", drop: float = 0.0
    ) -> Any:
        """Linear layers with activations between; `out` after the last ("Softmax" over axis 1)."""
        nn, parts = self.nn, []
        for i, (n, m) in enumerate(pairwise(sizes)):
            parts.append(nn.Linear(n, m))
            if i < len(sizes) - 2:
                parts += [getattr(nn, norm)(m)] if norm else []
                parts += [self.layer(act)] if act else []
                parts += [nn.Dropout(drop)] if drop else []
        return nn.Sequential(*parts, *([self.layer(out)] if out else []))

    def layer(self, kind: str) -> Any:
        """An activation by its class's name."""
        return getattr(self.nn, kind)(*((1,) if kind in ("Softmax", "LogSoftmax") else ()))

    def descend(self, kind: str, model: Any, lr: float, **options: Any) -> Any:
        """An optimiser by its class's name, over all that asks for gradients."""
        held = [p for p in model.parameters() if p.requires_grad]
        return getattr(self.optim, kind)(held, lr=lr, **options)

    def draw(self, model: Any, std: float | str, seed: int) -> None:
        """Draw every weight matrix from N(0, std²), std "he" meaning √(2/fan_in); biases are 0."""
        rng = np.random.default_rng(seed)
        for parameter in model.parameters():
            shape = tuple(parameter.shape)
            if len(shape) < 2:
                self.put(parameter, 0.0)
            else:
                size = np.sqrt(2 / np.prod(shape[1:])) if isinstance(std, str) else std
                self.put(parameter, rng.normal(0, size, shape))

    def fill(self, model: Any, weight: float, bias: float = 0.0) -> None:
        """The same number in every weight, and one in every bias."""
        for parameter in model.parameters():
            self.put(parameter, weight if len(parameter.shape) > 1 else bias)

    def optim_schedule(self, kind: str, optimizer: Any, *args: Any) -> Any:
        """A schedule by its class's name; it is stepped once a batch."""
        return getattr(getattr(self.optim, "lr_scheduler", self.optim), kind)(optimizer, *args)

    def fit(self, model: Any, loss: Any, x: np.ndarray, y: np.ndarray, steps: int) -> None:
        """Train with Adam on all rows at once, for features that are frozen afterwards."""
        optimizer = self.descend("Adam", model, 0.01)
        inputs, targets = self.array.asarray(x), self.array.asarray(y)
        for _ in range(steps):
            value = loss(model(inputs), targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    def residual(self, inner: Any) -> Any:
        """x + inner(x) as a module."""

        class Residual(self.nn.Module):  # type: ignore[name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Any) -> Any:
                return x + self.inner(x)

        return Residual()

    def through(self, function: Callable[..., Any], **parts: Any) -> Any:
        """A module with the given parts whose forward pass is `function(self, x)`."""

        class Own(self.nn.Module):  # type: ignore[name-defined]
            def __init__(self) -> None:
                super().__init__()
                for name, part in parts.items():
                    setattr(self, name, part)

            def forward(self, x: Any) -> Any:
                return function(self, x)

        return Own()


def kit(name: str) -> Kit:
    """The kit of a framework by its name."""
    if name == "torch":
        import torch

        torch.set_num_threads(1)
        return Kit("torch", torch.nn, torch.optim, torch, torch.manual_seed)
    import chainrule as cr

    return Kit("chainrule", cr.nn, cr.optim, cr, cr.seed)

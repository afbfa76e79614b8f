"""Gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DTypeError
from chainrule.optim.optimizer import Optimizer
from chainrule.tensor.tensor import Tensor


class SGD(Optimizer):
    """w ← w − lr·b, where b is the gradient, or with momentum μ its running sum b ← μb + (1 − d)g.

    Sutskever, Martens, Dahl, Hinton 2013, in PyTorch's form. The first b is g.

    Args:
        params: see `Optimizer`.
        lr: the learning rate.
        momentum: μ, 0 for none.
        dampening: d.
        weight_decay: λ, adds λw to the gradient.
        nesterov: step along g + μb rather than b.
        maximize: ascend.

    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> w = nn.Parameter([1.0])
    >>> (w * w).sum().backward()
    >>> optim.SGD([w], lr=0.1).step()
    >>> round(w.item(), 6)
    0.8
    """

    formula = (
        "g′ = g + λ·w if λ ≠ 0 else g; "
        "b′ = g′ if μ = 0 or t = 1 else μ·b + (1 − d)·g′; "
        "w′ = w − lr·(g′ + μ·b′) if nesterov else w − lr·b′"
    )
    letters: ClassVar = {**Optimizer.letters, "dampening": "d"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise DTypeError("nesterov needs a momentum above 0 and no dampening")

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        keep = 1.0 if step == 1 else 1 - group["dampening"]
        return group["lr"], group["momentum"], keep, group["weight_decay"], group["nesterov"]

    def update(
        self,
        w: np.ndarray,
        g: np.ndarray,
        running: list[np.ndarray],
        t: np.ndarray,
        u: np.ndarray,
        factors: Any,
    ) -> None:
        lr, momentum, keep, decay, nesterov = factors
        if decay:
            np.multiply(w, decay, u)
            g = np.add(g, u, u)
        if momentum:
            (buffer,) = running
            buffer *= momentum
            if keep == 1:
                buffer += g
            else:
                np.multiply(g, keep, t)
                buffer += t
            if nesterov:
                np.multiply(buffer, momentum, t)
                g = np.add(g, t, t)
            else:
                g = buffer
        np.multiply(g, lr, t)
        w -= t

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Tensor],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        lr, momentum, keep, decay, _ = factors
        if group["weight_decay"]:
            g = g + w * decay
        for i, buffer in enumerate(running):
            running[i] = buffer = buffer * momentum + g * keep
            g = g + buffer * momentum if group["nesterov"] else buffer
        return w - g * lr, running

"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    """The gradient divided by the root of its running square: w ← w − lr·g/(√v + ε).

    v ← αv + (1 − α)g². Tieleman, Hinton 2012, lecture 6.5, in PyTorch's form.

    Args:
        params: see `Optimizer`.
        lr: the learning rate.
        alpha: α.
        eps: ε.
        weight_decay: λ, adds λw to the gradient.
        momentum: μ of a running sum of the steps.
        centered: subtract the squared running mean from v (Graves 2013, arXiv:1308.0850).
        maximize: ascend.
    """

    formula = "v ← αv + (1 − α)g²; b ← μb + g/(√v + ε); w ← w − lr·b"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
            "momentum": momentum, "centered": centered, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["centered"]:
            names.append("grad_avg")
        if group["momentum"]:
            names.append("momentum_buffer")
        return tuple(names)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        return tuple(
            group[k] for k in ("lr", "alpha", "eps", "weight_decay", "momentum", "centered")
        )

    def update(
        self,
        w: np.ndarray,
        g: np.ndarray,
        running: list[np.ndarray],
        t: np.ndarray,
        u: np.ndarray,
        factors: Any,
    ) -> None:
        lr, alpha, eps, decay, momentum, centered = factors
        rest = list(running)
        v = rest.pop(0)
        if decay:
            np.multiply(w, decay, u)
            g = np.add(g, u, u)
        np.multiply(g, g, t)
        t *= 1 - alpha
        v *= alpha
        v += t
        if centered:
            mean = rest.pop(0)
            np.subtract(g, mean, t)
            t *= 1 - alpha
            mean += t
            np.multiply(mean, mean, t)
            np.subtract(v, t, t)
            np.sqrt(t, t)
        else:
            np.sqrt(v, t)
        t += eps
        np.divide(g, t, t)
        if momentum:
            buffer = rest.pop(0)
            buffer *= momentum
            buffer += t
            t[...] = buffer
        t *= lr
        w -= t

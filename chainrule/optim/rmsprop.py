"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from chainrule.ops.arithmetic import sqrt
from chainrule.optim.optimizer import DECAYED, Optimizer
from chainrule.tensor.tensor import Tensor


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

    formula = (
        f"{DECAYED}; v′ = α·v + (1 − α)·g′²; m′ = m + (1 − α)·(g′ − m) if centered else 0; "
        "s = v′ − m′² if centered else v′; u = g′ / (√s + ε); b′ = μ·b + u if μ ≠ 0 else u; "
        "w′ = w − lr·b′"
    )
    letters: ClassVar = {
        **Optimizer.letters,
        "alpha": "α",
        "square_avg": "v",
        "grad_avg": "m",
    }

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
        lr, alpha, eps = group["lr"], group["alpha"], group["eps"]
        return (
            lr,
            alpha,
            1 - alpha,
            eps,
            group["weight_decay"],
            group["momentum"],
            group["centered"],
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
        lr, alpha, new, eps, decay, momentum, centered = factors
        rest = list(running)
        v = rest.pop(0)
        if decay:
            np.multiply(w, decay, u)
            g = np.add(g, u, u)
        np.multiply(g, g, t)
        t *= new
        v *= alpha
        v += t
        if centered:
            mean = rest.pop(0)
            np.subtract(g, mean, t)
            t *= new
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

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Tensor],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        lr, alpha, new, eps, decay, momentum, _ = factors
        v, *rest = running
        if group["weight_decay"]:
            g = g + w * decay
        v = v * alpha + g * g * new
        spread, done = v, [v]
        if group["centered"]:
            mean = rest.pop(0)
            mean = mean + (g - mean) * new
            spread = v - mean * mean
            done.append(mean)
        step = g / (sqrt(spread) + eps)
        if group["momentum"]:
            step = rest.pop(0) * momentum + step
            done.append(step)
        return w - step * lr, done

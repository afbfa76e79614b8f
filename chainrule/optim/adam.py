"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from chainrule.ops.arithmetic import maximum, sqrt
from chainrule.optim.optimizer import DECAYED, Optimizer
from chainrule.tensor.tensor import Tensor


class Adam(Optimizer):
    """Steps of about the size of the learning rate, by the running mean and square of the gradient.

    m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; m̂ = m/(1 − β₁ᵗ); v̂ = v/(1 − β₂ᵗ);
    w ← w − lr·m̂/(√v̂ + ε). Kingma, Ba 2015, arXiv:1412.6980, algorithm 1.

    Args:
        params: see `Optimizer`.
        lr: the learning rate.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ, adds λw to the gradient.
        amsgrad: divide by the largest v̂ so far (Reddi, Kale, Kumar 2018).
        maximize: ascend.
    """

    formula = (
        f"{DECAYED}; m′ = β₁·m + (1 − β₁)·g′; v′ = β₂·v + (1 − β₂)·g′²; "
        "x′ = max(x, v′) if amsgrad else v′; m̂ = m′ / (1 − β₁^t); v̂ = x′ / (1 − β₂^t); "
        "w′ = w − lr·m̂ / (√v̂ + ε)"
    )
    letters: ClassVar = {**Optimizer.letters, "max_exp_avg_sq": "x"}
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))

    def units(self, group: dict[str, Any]) -> dict[str, float]:
        # m in units of 1 − β₁ and v in units of 1 − β₂: then m ← β₁m + g and v ← β₂v + g².
        b1, b2 = group["betas"]
        return {"exp_avg": 1 - b1, "exp_avg_sq": 1 - b2, "max_exp_avg_sq": 1 - b2}

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        b1, b2 = group["betas"]
        lr, decay = group["lr"], group["weight_decay"]
        first, second = units["exp_avg"], math.sqrt(units["exp_avg_sq"])
        correction = math.sqrt(1 - b2**step) / second
        # m̂ / (√v̂ + ε) = c m / (√v + ε c) / (1 − β₁ᵗ) with c = √(1 − β₂ᵗ), and the units taken out.
        size = lr * first * correction / (1 - b1**step)
        shrink = lr * decay if self.decoupled else 0.0
        l2 = 0.0 if self.decoupled else decay
        # 1, unless a schedule has changed β since the first step.
        new1, new2 = (1 - b1) / first, (1 - b2) / units["exp_avg_sq"]
        return b1, new1, b2, new2, group["eps"] * correction, size, 1 - shrink, l2

    def update(
        self,
        w: np.ndarray,
        g: np.ndarray,
        running: list[np.ndarray],
        t: np.ndarray,
        u: np.ndarray,
        factors: Any,
    ) -> None:
        b1, new1, b2, new2, eps, size, keep, l2 = factors
        m, v = running[0], running[1]
        if l2:
            np.multiply(w, l2, u)
            g = np.add(g, u, u)
        if keep != 1:
            w *= keep
        m *= b1
        m += g if new1 == 1 else np.multiply(g, new1, t)
        np.multiply(g, g, t)
        if new2 != 1:
            t *= new2
        v *= b2
        v += t
        if len(running) > 2:
            v = np.maximum(running[2], v, out=running[2])
        np.sqrt(v, t)
        t += eps
        np.divide(m, t, t)
        t *= size
        w -= t

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Tensor],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        b1, new1, b2, new2, eps, size, keep, l2 = factors
        m, v, *largest = running
        if group["weight_decay"]:
            if self.decoupled:
                w = w * keep
            else:
                g = g + w * l2
        m = m * b1 + g * new1
        v = v * b2 + g * g * new2
        largest = [maximum(x, v) for x in largest]
        root = sqrt(largest[0] if largest else v)
        return w - m / (root + eps) * size, [m, v, *largest]


class AdamW(Adam):
    """Adam with the weights shrunk apart from the gradient: w ← (1 − lr·λ)w before the step.

    Loshchilov, Hutter 2019, arXiv:1711.05101, algorithm 2. Arguments as `Adam`'s.
    """

    formula = (
        "m′ = β₁·m + (1 − β₁)·g; v′ = β₂·v + (1 − β₂)·g²; x′ = max(x, v′) if amsgrad else v′; "
        "m̂ = m′ / (1 − β₁^t); v̂ = x′ / (1 − β₂^t); w′ = (1 − lr·λ)·w − lr·m̂ / (√v̂ + ε)"
    )
    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

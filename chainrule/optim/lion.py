"""Lion and LAMB: steps whose size does not follow the gradient's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainrule.ops.arithmetic import sign, sqrt
from chainrule.ops.choosing import where
from chainrule.ops.reduction import sum
from chainrule.optim.optimizer import Optimizer
from chainrule.tensor.tensor import Tensor


class Lion(Optimizer):
    """Steps of one size, along the sign of a mean of momentum and gradient.

    w ← w − lr·(sign(β₁m + (1 − β₁)g) + λw); m ← β₂m + (1 − β₂)g. Chen et al. 2023,
    arXiv:2302.06675, program 1. Rates are 3 to 10 times smaller than Adam's, λ as much larger.

    Args:
        params, lr, betas, maximize: as `Adam`'s.
        weight_decay: λ, decoupled.

    >>> from chainrule import nn, optim
    >>> w = nn.Parameter([3.0, -0.001])
    >>> opt = optim.Lion([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> opt.step()
    >>> w
    tensor([2.9  , 0.099], requires_grad=True)
    """

    formula = "c = β₁·m + (1 − β₁)·g; w′ = w − lr·(sign(c) + λ·w); m′ = β₂·m + (1 − β₂)·g"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg",)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        b1, b2 = group["betas"]
        lr = group["lr"]
        return b1, 1 - b1, b2, 1 - b2, lr, 1 - lr * group["weight_decay"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        b1, new1, b2, new2, lr, keep = factors
        (m,) = running
        w = w * keep if group["weight_decay"] else w
        return w - sign(m * b1 + g * new1) * lr, [m * b2 + g * new2]


class LAMB(Optimizer):
    """Adam whose step is for each parameter as long as the parameter itself: for large batches.

    r = m̂/(√v̂ + ε) + λw; w ← w − lr·‖w‖/‖r‖·r, where the ratio is 1 if a norm is 0. You et al. 2020,
    arXiv:1904.00962, algorithm 2, with φ(z) = z.

    Args:
        params, lr, betas, eps, maximize: as `Adam`'s.
        weight_decay: λ, part of the step.
    """

    formula = (
        "m′ = β₁·m + (1 − β₁)·g; v′ = β₂·v + (1 − β₂)·g²; "
        "m̂ = m′ / (1 − β₁^t); v̂ = v′ / (1 − β₂^t); r = m̂ / (√v̂ + ε) + λ·w; "
        "n = √(Σ_k w⟨k⟩²); d = √(Σ_k r⟨k⟩²); φ = n / d if n > 0 and d > 0 else 1; "
        "w′ = w − lr·φ·r"
    )
    elementwise = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        b1, b2 = group["betas"]
        corrections = 1 / (1 - b1**step), 1 / (1 - b2**step)
        return (
            b1,
            1 - b1,
            b2,
            1 - b2,
            *corrections,
            group["eps"],
            group["weight_decay"],
            group["lr"],
        )

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        b1, new1, b2, new2, first, second, eps, decay, lr = factors
        m, v = running
        m = m * b1 + g * new1
        v = v * b2 + g * g * new2
        r = m * first / (sqrt(v * second) + eps)
        r = r + w * decay if group["weight_decay"] else r
        own, length = sqrt(sum(w * w)), sqrt(sum(r * r))
        fits = (own > 0) & (length > 0)
        ratio = where(fits, own / where(fits, length, 1.0), 1.0)
        return w - r * (ratio * lr), [m, v]

"""NAdam, RAdam and Adamax: Adam with another momentum, another beginning, another norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.arithmetic import abs, maximum, sqrt
from chainrule.optim.optimizer import DECAYED, Optimizer
from chainrule.tensor.cell import Cell
from chainrule.tensor.tensor import Tensor

_MEANS = (
    "g′ = g + λ·w if λ ≠ 0 and not decoupled_weight_decay else g; "
    "w₁ = (1 − lr·λ)·w if λ ≠ 0 and decoupled_weight_decay else w; "
    "m′ = β₁·m + (1 − β₁)·g′; v′ = β₂·v + (1 − β₂)·g′²"
)
"""How the formulas of NAdam and RAdam begin: the decay of weights, the running means."""


def _decays(group: dict[str, Any]) -> tuple[float, float]:
    """(what is left of a weight after its decay, λ that is added to the gradient)."""
    lr, decay = group["lr"], group["weight_decay"]
    return (1 - lr * decay, 0.0) if group.get("decoupled_weight_decay") else (1.0, decay)


def _decayed(
    w: Tensor, g: Tensor, group: dict[str, Any], keep: Any, l2: Any
) -> tuple[Tensor, Tensor]:
    """Weight and gradient after the decay of weights."""
    if not group["weight_decay"]:
        return w, g
    return (w * keep, g) if group.get("decoupled_weight_decay") else (w, g + w * l2)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: the step looks ahead along the new mean.

    μₜ = β₁(1 − ½·0.96^(tψ)); m and v as Adam's;
    w ← w − lr·((1 − μₜ)/(1 − Πμ)·g + μₜ₊₁/(1 − Πμ·μₜ₊₁)·m) / (√v̂ + ε).
    Dozat 2016, "Incorporating Nesterov momentum into Adam", in PyTorch's form.

    Args:
        params, lr, betas, eps, weight_decay, maximize: as `Adam`'s.
        momentum_decay: ψ.
        decoupled_weight_decay: decay as AdamW's.

    >>> from chainrule import nn, optim
    >>> w = nn.Parameter([1.0])
    >>> opt = optim.NAdam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> opt.step()
    >>> w.item() < 1
    True
    """

    formula = (
        f"{_MEANS}; v̂ = v′ / (1 − β₂^t); "
        "μ = β₁·(1 − 0.5·0.96^(t·ψ)); μ₁ = β₁·(1 − 0.5·0.96^((t + 1)·ψ)); "
        "P = Π_k β₁·(1 − 0.5·0.96^(τ[k]·ψ)); P₁ = P·μ₁; "
        "u = (1 − μ)·g′ / (1 − P) + μ₁·m′ / (1 − P₁); w′ = w₁ − lr·u / (√v̂ + ε)"
    )
    letters: ClassVar = {**Optimizer.letters, "momentum_decay": "ψ"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }  # fmt: skip
        self._products: dict[tuple[float, float], tuple[int, float]] = {}
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        value = options["momentum_decay"]
        if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise DTypeError(f"momentum_decay is a number of at least 0, not {value!r}")

    def symbols(self, p: Cell, group: dict[str, Any], step: int) -> dict[str, Any]:
        return super().symbols(p, group, step) | {"τ": np.arange(1.0, step + 1)}

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def _product(self, step: int, b1: float, decay: float) -> float:
        """μ₁μ₂ … μ_step, going on from the step before where that is known."""
        done, product = self._products.get((b1, decay), (0, 1.0))
        if done > step:
            done, product = 0, 1.0
        for t in range(done + 1, step + 1):
            product *= b1 * (1 - 0.5 * 0.96 ** (t * decay))
        self._products[b1, decay] = step, product
        return product

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        b1, b2 = group["betas"]
        lr, decay = group["lr"], group["momentum_decay"]
        now, following = (b1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        product = self._product(step, b1, decay)
        root = math.sqrt(1 - b2**step)
        by_gradient = lr * (1 - now) / (1 - product) * root
        by_mean = lr * following / (1 - product * following) * root
        eps = group["eps"] * root
        return b1, 1 - b1, b2, 1 - b2, by_gradient, by_mean, eps, *_decays(group)

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        b1, new1, b2, new2, by_gradient, by_mean, eps, keep, l2 = factors
        m, v = running
        w, g = _decayed(w, g, group, keep, l2)
        m = m * b1 + g * new1
        v = v * b2 + g * g * new2
        return w - (g * by_gradient + m * by_mean) / (sqrt(v) + eps), [m, v]


class RAdam(Optimizer):
    """Adam that begins as momentum, until its estimate of the variance can be trusted.

    ρ∞ = 2/(1 − β₂) − 1; ρₜ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ); w ← w − lr·m̂·rₜ·√(1 − β₂ᵗ)/(√v + ε) with
    rₜ = √((ρₜ − 4)(ρₜ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρₜ)) where ρₜ > 5, else w ← w − lr·m̂.
    Liu et al. 2020, arXiv:1908.03265, algorithm 2.

    Args:
        params, lr, betas, eps, weight_decay, maximize: as `Adam`'s.
        decoupled_weight_decay: decay as AdamW's.
    """

    formula = (
        f"{_MEANS}; m̂ = m′ / (1 − β₁^t); "
        "ρ₀ = 2 / (1 − β₂) − 1; ρ = ρ₀ − 2·t·β₂^t / (1 − β₂^t); "
        "r = √((ρ − 4)·(ρ − 2)·ρ₀ / ((ρ₀ − 4)·(ρ₀ − 2)·ρ)) if ρ > 5 else 1; "
        "l = √(1 − β₂^t) / (√v′ + ε) if ρ > 5 else 1; w′ = w₁ − lr·m̂·r·l"
    )

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        b1, b2 = group["betas"]
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * step * b2**step / (1 - b2**step)
        size, plain, rectified = group["lr"] / (1 - b1**step), 1.0, 0.0
        if length > 5:
            plain = 0.0
            ratio = (length - 4) * (length - 2) * longest
            ratio /= (longest - 4) * (longest - 2) * length
            rectified = math.sqrt(ratio * (1 - b2**step))
        return b1, 1 - b1, b2, 1 - b2, size, plain, rectified, group["eps"], *_decays(group)

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        b1, new1, b2, new2, size, plain, rectified, eps, keep, l2 = factors
        m, v = running
        w, g = _decayed(w, g, group, keep, l2)
        m = m * b1 + g * new1
        v = v * b2 + g * g * new2
        return w - m * size * (rectified / (sqrt(v) + eps) + plain), [m, v]


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the root of the mean square.

    m ← β₁m + (1 − β₁)g; u ← max(β₂u, |g| + ε); w ← w − lr·m̂/u.
    Kingma, Ba 2015, arXiv:1412.6980, algorithm 2. Arguments as `Adam`'s.
    """

    formula = (
        f"{DECAYED}; m′ = β₁·m + (1 − β₁)·g′; u′ = max(β₂·u, abs(g′) + ε); "
        "m̂ = m′ / (1 − β₁^t); w′ = w − lr·m̂ / u′"
    )
    letters: ClassVar = {**Optimizer.letters, "exp_inf": "u"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
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
        return "exp_avg", "exp_inf"

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        b1, b2 = group["betas"]
        size = group["lr"] / (1 - b1**step)
        return b1, 1 - b1, b2, size, group["eps"], group["weight_decay"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        b1, new1, b2, size, eps, l2 = factors
        m, largest = running
        w, g = _decayed(w, g, group, 1.0, l2)
        m = m * b1 + g * new1
        largest = maximum(largest * b2, abs(g) + eps)
        return w - m * size / largest, [m, largest]

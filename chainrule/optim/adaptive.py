"""Adagrad, Adadelta, Rprop and ASGD: step sizes from what the gradients were so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.arithmetic import maximum, minimum, sign, sqrt
from chainrule.ops.choosing import where
from chainrule.optim.optimizer import DECAYED, Optimizer
from chainrule.tensor.cell import Cell
from chainrule.tensor.tensor import Tensor


def _at_least_0(options: dict[str, Any], *names: str) -> None:
    for name in names:
        value = options[name]
        if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
            raise DTypeError(f"{name} is a number of at least 0, not {value!r}")


class Adagrad(Optimizer):
    """The gradient divided by the root of the sum of all squares so far: w ← w − lrₜ·g/(√s + ε).

    s ← s + g²; lrₜ = lr/(1 + (t − 1)η). Duchi, Hazan, Singer 2011, JMLR 12, figure 1, diagonal.

    Args:
        params, lr, weight_decay, eps, maximize: as `Adam`'s.
        lr_decay: η.
        initial_accumulator_value: the first s.
    """

    formula = f"{DECAYED}; s′ = s + g′²; r = lr / (1 + (t − 1)·η); w′ = w − r·g′ / (√s′ + ε)"
    letters: ClassVar = {**Optimizer.letters, "lr_decay": "η", "sum": "s"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        _at_least_0(options, "lr_decay", "initial_accumulator_value")

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def begin(self, name: str, p: Cell, group: dict[str, Any]) -> np.ndarray:
        return np.full(p.shape, group["initial_accumulator_value"], p.dtype)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        size = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        return size, group["eps"], group["weight_decay"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        size, eps, decay = factors
        g = g + w * decay if group["weight_decay"] else g
        total = running[0] + g * g
        return w - g / (sqrt(total) + eps) * size, [total]


class Adadelta(Optimizer):
    """Steps in the units of the weights: w ← w − lr·d with d = g·√(u + ε)/√(v + ε).

    v ← ρv + (1 − ρ)g²; u ← ρu + (1 − ρ)d² after the step. Zeiler 2012, arXiv:1212.5701,
    algorithm 1.

    Args:
        params, weight_decay, eps, maximize: as `Adam`'s.
        lr: a factor on the step, 1 in the paper.
        rho: ρ.
    """

    formula = (
        f"{DECAYED}; v′ = ρ·v + (1 − ρ)·g′²; d = √(u + ε) / √(v′ + ε)·g′; "
        "u′ = ρ·u + (1 − ρ)·d²; w′ = w − lr·d"
    )
    letters: ClassVar = {**Optimizer.letters, "rho": "ρ", "square_avg": "v", "acc_delta": "u"}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        rho = options["rho"]
        if isinstance(rho, bool) or not isinstance(rho, Real) or not 0 <= float(rho) <= 1:
            raise DTypeError(f"rho lies in [0, 1], and {rho!r} does not")

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "square_avg", "acc_delta"

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        rho = group["rho"]
        return group["lr"], rho, 1 - rho, group["eps"], group["weight_decay"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        lr, rho, new, eps, decay = factors
        v, u = running
        g = g + w * decay if group["weight_decay"] else g
        v = v * rho + g * g * new
        step = sqrt(u + eps) / sqrt(v + eps) * g
        return w - step * lr, [v, u * rho + step * step * new]


class Rprop(Optimizer):
    """Steps by the gradient's sign alone; a step grows while the sign stays, shrinks when it turns.

    For the gradient of all data, not of a batch. Riedmiller, Braun 1993, as "iRprop⁻" (Igel, Hüsken
    2000): where the sign turned, this step does nothing.

    Args:
        params, maximize: as `Adam`'s.
        lr: the first step size.
        etas: by what a step shrinks and grows.
        step_sizes: the smallest and the largest step.
    """

    formula = (
        "c = sign(g)·sign(q); "
        "s′ = min(max(s·(η₂ if c > 0 else η₁ if c < 0 else 1), s₁), s₂); "
        "q′ = 0 if c < 0 else g; w′ = w − s′·sign(q′)"
    )
    letters: ClassVar = {
        **Optimizer.letters,
        "etas": ("η₁", "η₂"),
        "step_sizes": ("s₁", "s₂"),
        "prev": "q",
        "step_size": "s",
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        for name in ("etas", "step_sizes"):
            pair = options[name]
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise DTypeError(f"{name} are two numbers, not {pair!r}")
        low, high = options["etas"]
        if not 0 < low < 1 < high:
            raise DTypeError(f"etas are a number below 1 and one above, not {options['etas']!r}")
        low, high = options["step_sizes"]
        if not 0 <= low <= high:
            raise DTypeError(f"step_sizes are the smallest and the largest, not {(low, high)!r}")

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "prev", "step_size"

    def begin(self, name: str, p: Cell, group: dict[str, Any]) -> np.ndarray:
        first = group["lr"] if name == "step_size" else 0.0
        # The step of a complex parameter is one for each of its parts.
        return np.full(p.shape, complex(first, first) if p.dtype.kind == "c" else first, p.dtype)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        return *group["etas"], *group["step_sizes"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        shrink, grow, smallest, largest = factors
        before, size = running
        turned = sign(g) * sign(before)  # of signs: the product of small gradients is 0
        size = where(turned > 0, size * grow, where(turned < 0, size * shrink, size))
        size = minimum(maximum(size, smallest), largest)
        g = where(turned < 0, 0.0, g)
        return w - sign(g) * size, [g, size]


class ASGD(Optimizer):
    """Gradient descent beside which the mean of the weights is kept, in `state[p]["ax"]`.

    w ← (1 − λη)w − ηg with ηₜ = lr/(1 + λ·lr·t)^α; after t₀ steps ax is the mean of w.
    Polyak, Juditsky 1992, in PyTorch's form.

    Args:
        params, lr, weight_decay, maximize: as `Adam`'s.
        lambd: λ.
        alpha: α.
        t0: t₀.
    """

    formula = (
        "g′ = g + κ·w if κ ≠ 0 else g; η = lr / (1 + λ·lr·(t − 1))^α; "
        "w′ = (1 − λ·η)·w − η·g′; μ = 1 / max(1, t − 1 − t₀); a′ = a + μ·(w′ − a)"
    )
    letters: ClassVar = {
        **Optimizer.letters,
        "weight_decay": "κ",
        "lambd": "λ",
        "alpha": "α",
        "t0": "t₀",
        "ax": "a",
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check({**options, "alpha": 0.0})
        _at_least_0(options, "lambd", "alpha", "t0")

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        lr, lambd, before = group["lr"], group["lambd"], step - 1
        eta = lr / (1 + lambd * lr * before) ** group["alpha"]
        mean = 1 / max(1.0, before - group["t0"])
        return 1 - lambd * eta, eta, mean, group["weight_decay"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        keep, eta, mean, decay = factors
        g = g + w * decay if group["weight_decay"] else g
        w = w * keep - g * eta
        return w, [running[0] + (w - running[0]) * mean]

"""Muon, Adafactor and Shampoo: optimisers that look at a parameter as a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import maximum, sqrt
from chainrule.ops.reduction import mean, sum
from chainrule.ops.structure import matrix_transpose
from chainrule.optim.optimizer import DECAYED, Optimizer
from chainrule.tensor.cell import Cell
from chainrule.tensor.tensor import Tensor


class Muon(Optimizer):
    """Momentum, orthogonalised: the step is about U Vᵀ of the momentum's U Σ Vᵀ, by Newton–Schulz.

    For the matrices of hidden layers; give embeddings, heads, biases and norms to AdamW. Jordan et
    al. 2024, kellerjordan.github.io/posts/muon, in PyTorch's form, in the parameter's dtype.

    Args:
        params: two-dimensional parameters.
        lr: the learning rate.
        weight_decay: λ, decoupled.
        momentum: μ; b ← μb + (1 − μ)g.
        nesterov: orthogonalise (1 − μ)g + μb rather than b.
        ns_coefficients: (a, b, c) of the iteration X ← aX + (bA + cA²)X with A = XXᵀ.
        eps: the least norm that is divided by.
        ns_steps: how often it is iterated.
        adjust_lr_fn: "original" multiplies lr by √max(1, rows/columns); "match_rms_adamw" by
            0.2·√max(rows, columns), so that rates of AdamW fit (Liu et al. 2025, arXiv:2502.16982).

    Raises:
        ShapeError: a parameter is no matrix.
    """

    formula = (
        "m′ = μ·m + (1 − μ)·g; u = (1 − μ)·g + μ·m′ if nesterov else m′; X = u / max(‖u‖, ε); "
        "ns_steps times X = a·X + (b·X·Xᵀ + c·(X·Xᵀ)²)·X; w′ = (1 − lr·λ)·w − lr·ratio·X"
    )
    letters: ClassVar = {
        **Optimizer.letters,
        "momentum_buffer": "m",
        "ns_coefficients": ("a", "b", "c"),
    }
    elementwise = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn or "original",
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        steps, coefficients = options["ns_steps"], options["ns_coefficients"]
        if isinstance(steps, bool) or not isinstance(steps, int) or not 0 < steps < 100:
            raise DTypeError(f"ns_steps is a whole number from 1 to 99, not {steps!r}")
        if not isinstance(coefficients, (tuple, list)) or len(coefficients) != 3:
            raise DTypeError(f"ns_coefficients are three numbers, not {coefficients!r}")
        if options["adjust_lr_fn"] not in ("original", "match_rms_adamw"):
            raise DTypeError(
                f'adjust_lr_fn is "original" or "match_rms_adamw", not {options["adjust_lr_fn"]!r}'
            )

    def _check_parameter(self, p: Cell) -> None:
        super()._check_parameter(p)
        if p.ndim != 2:
            raise ShapeError(
                f"Muon is for matrices, and a parameter has the shape {p.shape}. Give it the "
                "weights of two dimensions, [p for p in model.parameters() if p.ndim == 2], and "
                "the others to AdamW."
            )

    def equations(self, p: Cell, group: dict[str, Any], step: int) -> str:
        first, second = self.formula.split("; ")[:2]
        parts = [first, second, "X0[i, j] = u[i, j] / max(√(Σ_k u⟨k⟩²), ε)"]
        for n in range(1, group["ns_steps"] + 1):
            x = f"X{n - 1}"
            parts += [
                f"A{n}[i, k] = Σ_j {x}[i, j]·{x}[k, j]",
                f"B{n}[i, k] = b·A{n}[i, k] + Σ_l c·A{n}[i, l]·A{n}[l, k]",
                f"X{n}[i, j] = a·{x}[i, j] + Σ_k B{n}[i, k]·{x}[k, j]",
            ]
        ratio = "√(max(1, |i| / |j|))"
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = "0.2·√(max(|i|, |j|))"
        x = f"X{group['ns_steps']}"
        return "; ".join((*parts, f"w′[i, j] = (1 − lr·λ)·w[i, j] − lr·{ratio}·{x}[i, j]"))

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        lr, momentum = group["lr"], group["momentum"]
        keep = 1 - lr * group["weight_decay"]
        return lr, momentum, 1 - momentum, keep, group["eps"], *group["ns_coefficients"]

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        lr, momentum, new, keep, eps, *coefficients = factors
        buffer = running[0] * momentum + g * new
        step = g * new + buffer * momentum if group["nesterov"] else buffer
        rows, columns = w.shape
        step = _orthogonal(step, coefficients, group["ns_steps"], eps)
        if group["adjust_lr_fn"] == "original":
            ratio = math.sqrt(max(1.0, rows / max(columns, 1)))
        else:
            ratio = 0.2 * math.sqrt(max(rows, columns))
        w = w * keep if group["weight_decay"] else w
        return w - step * (lr * ratio), [buffer]


def _orthogonal(x: Tensor, coefficients: Sequence[Any], steps: int, eps: Any) -> Tensor:
    """About U Vᵀ of x = U Σ Vᵀ, with singular values between 0.7 and 1.2."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = matrix_transpose(x) if tall else x
    x = x / maximum(sqrt(sum(x * x)), eps)
    for _ in range(steps):
        gram = x @ matrix_transpose(x)
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    return matrix_transpose(x) if tall else x


class Adafactor(Optimizer):
    """Adam's division with the squares kept as a row and a column; steps relative to the weights.

    R and C are running means of the row and column means of g², v = R C / mean(R); for a
    vector v itself; u = g/√v; w ← w − α·u/max(1, rms(u)/d) with α = max(ε₂, rms(w))·min(lr, 1/√t)
    and 1 − β₂ₜ = t^γ. Shazeer, Stern 2018, arXiv:1804.04235, algorithms 4 and 5, in PyTorch's form.

    Args:
        params, weight_decay, maximize: as `AdamW`'s.
        lr: the largest relative step.
        beta2_decay: γ, at most 0.
        eps: (ε₁, ε₂); ε₁ is the dtype's precision if None.
        d: the largest root mean square of u.
    """

    formula = (
        "R′[…, i, l] = R[…, i, l] + t^γ·(Σ_j g[…, i, j]² / |j| − R[…, i, l]); "
        "C′[…, l, j] = C[…, l, j] + t^γ·(Σ_i g[…, i, j]² / |i| − C[…, l, j]); "
        "z[…] = Σ_i R′[…, i, 0] / |i|; "
        "v′[…, i, j] = R′[…, i, 0]·C′[…, 0, j] / max(z[…], ε₁); "
        "u = g / √(max(v′, ε₁²)); s = √(Σ_k u⟨k⟩² / |k|); "
        "α = max(√(Σ_k w⟨k⟩² / |k|), ε₂)·min(lr, 1 / √t); "
        "w′ = (1 − lr·λ)·w − α·u / max(1, s / d)"
    )
    letters: ClassVar = {
        **Optimizer.letters,
        "beta2_decay": "γ",
        "eps": ("ε₁", "ε₂"),
        "row_var": "R",
        "col_var": "C",
        "variance": "v",
    }
    elementwise = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check({**options, "eps": 0.0})
        eps, decay, d = options["eps"], options["beta2_decay"], options["d"]
        if not isinstance(eps, (tuple, list)) or len(eps) != 2:
            raise DTypeError(f"eps are two numbers, of which the first may be None, not {eps!r}")
        if not isinstance(decay, (int, float)) or decay > 0:
            raise DTypeError(f"beta2_decay is a number of at most 0, not {decay!r}")
        if not isinstance(d, (int, float)) or d < 1:
            raise DTypeError(f"d is a number of at least 1, not {d!r}")

    def equations(self, p: Cell, group: dict[str, Any], step: int) -> str:
        if p.ndim > 1:
            return self.formula
        return "; ".join(("v′ = v + t^γ·(g² − v)", *self.formula.split("; ")[4:]))

    def symbols(self, p: Cell, group: dict[str, Any], step: int) -> dict[str, Any]:
        found = super().symbols(p, group, step)
        if found["ε₁"] is None:
            found["ε₁"] = float(np.finfo(p.dtype).eps)
        return found

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "row_var", "col_var", "variance"

    def begin(self, name: str, p: Cell, group: dict[str, Any]) -> np.ndarray:
        """A matrix has no variance of its own, a vector no rows and columns: those are empty."""
        matrix = p.ndim > 1
        if matrix == (name == "variance"):
            return np.zeros((0,), p.dtype)
        shapes = {"row_var": (*p.shape[:-1], 1), "col_var": (*p.shape[:-2], 1, *p.shape[-1:])}
        return np.zeros(shapes.get(name, p.shape), p.dtype)

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        lr = group["lr"]
        relative = min(lr, 1 / math.sqrt(step))
        first, second = group["eps"]
        return (
            step ** group["beta2_decay"], relative, -1.0 if first is None else first, second,
            group["d"], 1 - lr * group["weight_decay"],
        )  # fmt: skip

    def rule(
        self,
        w: Tensor,
        g: Tensor,
        running: list[Tensor],
        factors: Sequence[Any],
        group: dict[str, Any],
    ) -> tuple[Tensor, list[Tensor]]:
        new, relative, first, second, d, keep = factors
        row, column, variance = running
        if group["eps"][0] is None:
            first = float(np.finfo(w.dtype).eps)
        alpha = maximum(_rms(w), second) * relative
        w = w * keep if group["weight_decay"] else w
        if w.ndim > 1:
            row = row + (mean(g * g, axis=-1, keepdims=True) - row) * new
            column = column + (mean(g * g, axis=-2, keepdims=True) - column) * new
            v = row * column / maximum(mean(row, axis=-2, keepdims=True), first)
        else:
            v = variance = variance + (g * g - variance) * new
        u = g / sqrt(maximum(v, first * first))
        return w - u * (alpha / maximum(_rms(u) / d, 1.0)), [row, column, variance]


def _rms(x: Tensor) -> Tensor:
    """The root of the mean square."""
    return sqrt(sum(x * x)) * (1 / math.sqrt(max(x.size, 1)))


class Shampoo(Optimizer):
    """Gradients turned and scaled by roots of their own second moments, one matrix for each side.

    L ← L + g gᵀ; R ← R + gᵀ g; w ← w − lr·L^(−1/4) g R^(−1/4). Gupta, Koren, Singer 2018,
    arXiv:1802.09568, algorithm 1. A parameter of more axes is taken as a matrix, its first axis by
    the others; a vector has L alone, with the power −1/2. A side above `max_size` is left out.

    Runs eagerly: its roots are eigenvalue problems, found by LAPACK, and it is not compiled.

    Args:
        params, lr, weight_decay, maximize: as `SGD`'s.
        momentum: μ of a running sum b ← μb + step.
        eps: ε of the first L = R = εI.
        update_every: after how many steps the roots are computed again.
        max_size: the largest side that has a matrix.
    """

    formula = (
        "g′ = g + λ·w if λ ≠ 0 else g; L′ = L + g′·g′ᵀ; R′ = R + g′ᵀ·g′; P′ = L′^(−1/4); "
        "Q′ = R′^(−1/4); b′ = μ·b + P′·g′·Q′; w′ = w − lr·b′"
    )
    letters: ClassVar = {
        **Optimizer.letters,
        "left": "L",
        "right": "R",
        "left_root": "P",
        "right_root": "Q",
    }
    elementwise = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        eps: float = 1e-4,
        update_every: int = 1,
        max_size: int = 1024,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eps": eps,
            "update_every": update_every, "max_size": max_size, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        for name in ("update_every", "max_size"):
            value = options[name]
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise DTypeError(f"{name} is a whole number of at least 1, not {value!r}")

    def running(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "momentum_buffer", "left", "right", "left_root", "right_root"

    def begin(self, name: str, p: Cell, group: dict[str, Any]) -> np.ndarray:
        if name == "momentum_buffer":
            return np.zeros(p.shape if group["momentum"] else (0,), p.dtype)
        n = dict(self._sides(p, group))[name.removesuffix("_root")]
        return np.eye(n, dtype=p.dtype) * p.dtype.type(1 if "root" in name else group["eps"])

    def _sides(self, p: Cell, group: dict[str, Any]) -> tuple[tuple[str, int], tuple[str, int]]:
        """The sizes of the matrices of both sides, 0 for none."""
        rows = p.shape[0] if p.ndim else 1
        columns = p.size // max(rows, 1) if p.ndim > 1 else 0
        left, right = (n if n <= group["max_size"] else 0 for n in (rows, columns))
        return ("left", left), ("right", right)

    def equations(self, p: Cell, group: dict[str, Any], step: int) -> str:
        parts, u = [DECAYED], "g′"
        sides = [side for side, size in self._sides(p, group) if size]
        for side in sides:
            if side == "left":
                moment, root, unit, turned = "L", "P", "δ₁", f"U[i, j] = Σ_k P′[i, k]·{u}[k, j]"
                parts.append("L′[i, k] = L[i, k] + Σ_j g′[i, j]·g′[k, j]")
            else:
                moment, root, unit, turned = "R", "Q", "δ₂", f"V[i, j] = Σ_l {u}[i, l]·Q′[l, j]"
                parts.append("R′[j, l] = R[j, l] + Σ_i g′[i, j]·g′[i, l]")
            if (step - 1) % group["update_every"]:
                parts.append(f"{root}′ = {root}")
            else:  # what the root has to be: P′⁴ L′ = δ, the unit matrix; of one side P′² L′ = δ
                power = f"{root}′"
                for n in range(1, len(sides) + 1):
                    parts.append(f"{root}{2**n}[i, k] = Σ_j {power}[i, j]·{power}[j, k]")
                    power = f"{root}{2**n}"
                parts.append(f"{unit}[i, k] = Σ_j {power}[i, j]·{moment}′[j, k]")
            parts.append(turned)
            u = turned[0]
        return "; ".join((*parts, f"b′ = μ·b + {u} if μ ≠ 0 else {u}", "w′ = w − lr·b′"))

    def symbols(self, p: Cell, group: dict[str, Any], step: int) -> dict[str, Any]:
        (_, rows), (_, columns) = self._sides(p, group)
        return super().symbols(p, group, step) | {"δ₁": np.eye(rows), "δ₂": np.eye(columns)}

    def as_seen(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(array.shape[0] if array.ndim else 1, -1) if array.size else array

    def factors(self, step: int, group: dict[str, Any], units: dict[str, float]) -> Any:
        return (step,)

    def _run(
        self,
        weight: np.ndarray,
        g: np.ndarray,
        arrays: list[np.ndarray],
        group: dict[str, Any],
        factors: Any,
    ) -> None:
        if not weight.size:
            return
        buffer, left, right, left_root, right_root = arrays
        if group["weight_decay"]:
            g = g + weight * g.dtype.type(group["weight_decay"])
        rows = weight.shape[0] if weight.ndim else 1
        step = g.reshape(rows, -1)
        power = -1 / (2 * max(1, (left.size > 0) + (right.size > 0)))
        again = (factors[0] - 1) % group["update_every"] == 0
        for moment, root, square in (
            (left, left_root, lambda: step @ step.T),
            (right, right_root, lambda: step.T @ step),
        ):
            if moment.size:
                moment += square()
                if again:
                    root[...] = _power(moment, power)
        if left.size:
            step = left_root @ step
        if right.size:
            step = step @ right_root
        whole = step.reshape(weight.shape)
        if buffer.size == weight.size and group["momentum"]:
            buffer *= group["momentum"]
            buffer += whole
            whole = buffer
        weight -= whole * weight.dtype.type(group["lr"])


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric positive definite matrix, in float64."""
    values, vectors = np.linalg.eigh(matrix.astype(np.float64))
    smallest = np.finfo(matrix.dtype).eps * max(float(values[-1]), 1e-30)
    return (vectors * np.maximum(values, smallest) ** exponent) @ vectors.T

"""L-BFGS: quasi-Newton steps from the last changes of weights and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from chainrule.errors import (
    CheckpointError,
    CompileError,
    DTypeError,
    GradientError,
    NonFiniteError,
)
from chainrule.optim.optimizer import Optimizer
from chainrule.tensor import debug
from chainrule.tensor.cell import Cell
from chainrule.tensor.graph import changed, state
from chainrule.tensor.tensor import Tensor

Point = tuple[float, float, np.ndarray]  # how far along the direction, the loss, its gradient


class LBFGS(Optimizer):
    """Steps along −H g, where H is an inverse Hessian that the last m steps suggest.

    For smooth losses of all data at once. `step` takes a closure that computes the loss, calls
    `backward()` and returns it; gradients are cleared before each call. Nocedal, Wright 2006,
    "Numerical Optimization", algorithms 7.4 and 7.5; line search: algorithms 3.5 and 3.6.

    Args:
        params: parameters, all of one dtype, in one group.
        lr: the length of a step, or the first one that the line search tries.
        max_iter: steps for each call.
        max_eval: evaluations of the closure for each call; 5/4 of max_iter if None.
        tolerance_grad: ends when the largest |g| is at most this.
        tolerance_change: ends when loss or weights change by less.
        history_size: m.
        line_search_fn: "strong_wolfe", or None for steps of length lr.

    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> w = nn.Parameter([-1.2, 1.0])
    >>> opt = optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")
    >>> def rosenbrock():
    ...     loss = (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> first = opt.step(rosenbrock)
    >>> print(w.numpy().round(2))
    [1. 1.]
    """

    formula = "w′ = w − η·H·g, with H from the last m changes of w and g"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        self._begin()

    def _begin(self) -> None:
        self._steps: list[np.ndarray] = []
        self._changes: list[np.ndarray] = []
        self._last: tuple[np.ndarray, np.ndarray, float] | None = (
            None  # direction, gradient, length
        )
        self._evaluations = self._iterations = 0

    def add_param_group(self, group: dict[str, Any]) -> None:
        super().add_param_group(group)
        kinds = {p.dtype for p in self._all()}
        if len(self.param_groups) > 1 or len(kinds) > 1:
            raise DTypeError(
                "LBFGS takes all parameters as one vector: one group, of one dtype, not "
                f"{len(self.param_groups)} of {', '.join(map(str, kinds))}"
            )

    def _check_parameter(self, p: Cell) -> None:
        if p.dtype.kind == "c":
            raise DTypeError(f"LBFGS is for real parameters, not {p.dtype}")

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        for name in ("max_iter", "max_eval", "history_size"):
            value = options[name]
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise DTypeError(f"{name} is a whole number of at least 1, not {value!r}")
        if options["line_search_fn"] not in (None, "strong_wolfe"):
            raise DTypeError(
                f'line_search_fn is "strong_wolfe" or None, not {options["line_search_fn"]!r}'
            )

    def equations(self, p: Cell, group: dict[str, Any], step: int) -> str:
        """H g by the two loops of algorithm 7.4, over all parameters as one vector."""
        pairs = range(1, len(self._steps) + 1)
        parts = ["q = −g"]
        q = "q"
        for k in reversed(pairs):
            parts += [
                f"α{k} = (Σ_n s{k}⟨n⟩·{q}⟨n⟩) / (Σ_n y{k}⟨n⟩·s{k}⟨n⟩)",
                f"q{k} = {q} − α{k}·y{k}",
            ]
            q = f"q{k}"
        r = q
        if pairs:
            m = len(pairs)
            parts.append(f"r = {q}·(Σ_n s{m}⟨n⟩·y{m}⟨n⟩) / (Σ_n y{m}⟨n⟩²)")
            r = "r"
        for k in pairs:
            parts += [
                f"β{k} = (Σ_n y{k}⟨n⟩·{r}⟨n⟩) / (Σ_n y{k}⟨n⟩·s{k}⟨n⟩)",
                f"r{k} = {r} + (α{k} − β{k})·s{k}",
            ]
            r = f"r{k}"
        if group["line_search_fn"] is None:
            parts.append("η = lr·min(1, 1 / (Σ_n abs(g⟨n⟩)))" if step == 1 else "η = lr")
        return "; ".join((*parts, f"w′ = w + η·{r}"))

    def symbols(self, p: Cell, group: dict[str, Any], step: int) -> dict[str, Any]:
        found = super().symbols(p, group, step)
        found |= {f"s{k}": s for k, s in enumerate(self._steps, 1)}
        found |= {f"y{k}": y for k, y in enumerate(self._changes, 1)}
        if group["line_search_fn"] is not None and self._last is not None:
            found["η"] = self._last[2]
        return found

    def step(self, closure: Callable[[], Any] | None = None) -> float:  # type: ignore[override]
        """Up to `max_iter` steps; the loss before the first.

        Args:
            closure: () -> the loss, after `backward()`.

        Raises:
            DTypeError: there is no closure.
            GradientError: it left no gradient.
            NonFiniteError: the loss is not finite where the call begins.
        """
        if not callable(closure):
            raise DTypeError(
                "LBFGS.step takes a function that computes the loss, calls backward() and returns "
                "it: opt.step(closure)"
            )
        if state.tracer is not None:
            raise CompileError(
                "LBFGS.step decides by the value of the loss how often it is computed, and is not "
                "compiled. Compile the closure's loss and gradient, and call step() outside."
            )
        options = self.param_groups[0]
        budget = self._evaluations + options["max_eval"]
        first, g = loss, g = self._evaluate(closure)
        if not np.isfinite(loss):
            raise NonFiniteError(f"the loss is {loss} where LBFGS.step begins")
        if debug.watchers:
            debug.watched("stepping", self)
        for iteration in range(options["max_iter"]):
            if np.abs(g).max(initial=0.0) <= options["tolerance_grad"]:
                break
            direction = self._direction(g, options["history_size"])
            slope = float(g @ direction)
            if slope > -options["tolerance_change"]:
                break
            self._iterations += 1
            length = options["lr"]
            if self._iterations == 1:
                length *= min(1.0, 1 / float(np.abs(g).sum()))
            before, old = self._weights(), loss
            self._last = direction, g, length
            if options["line_search_fn"] is None:
                self._write(before + length * direction)
                if iteration + 1 < options["max_iter"]:
                    loss, g = self._evaluate(closure)
            else:
                at = partial(self._at, closure, before, direction)
                length, loss, g = _strong_wolfe(
                    at, direction, length, (0.0, loss, g), options["tolerance_change"]
                )
                self._write(before + length * direction)
                self._last = direction, self._last[1], length
            moved = np.abs(length * direction).max(initial=0.0)
            if self._evaluations >= budget or moved <= options["tolerance_change"]:
                break
            looked = loss is not old
            if looked and abs(loss - old) < options["tolerance_change"]:
                break
        if debug.watchers:
            debug.watched("stepped", self)
        self.zero_grad()
        return first

    def _direction(self, g: np.ndarray, size: int) -> np.ndarray:
        """−H g by two loops over the history."""
        if self._last is not None:
            direction, before, length = self._last
            change, moved = g - before, direction * g.dtype.type(length)
            if float(change @ moved) > 1e-10:  # else H would not stay positive definite
                self._changes.append(change)
                self._steps.append(moved)
                del self._changes[:-size], self._steps[:-size]
        q = -g
        if not self._steps:
            return q
        pairs = list(zip(self._steps, self._changes, strict=True))
        weights = []
        for s, y in reversed(pairs):
            weights.append(float(s @ q) / float(y @ s))
            q = q - q.dtype.type(weights[-1]) * y
        s, y = pairs[-1]
        q = q * q.dtype.type(float(s @ y) / float(y @ y))
        for (s, y), weight in zip(pairs, reversed(weights), strict=True):
            q = q + q.dtype.type(weight - float(y @ q) / float(y @ s)) * s
        return q

    def _weights(self) -> np.ndarray:
        return np.concatenate([p.numpy().reshape(-1) for p in self._all()])

    def _write(self, weights: np.ndarray) -> None:
        start = 0
        for p in self._all():
            p.storage()[...] = weights[start : start + p.size].reshape(p.shape)
            start += p.size
        changed()

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[float, np.ndarray]:
        for p in self._all():  # for the next point of the same step, which nobody is told of
            p._grad = None
        loss = closure()
        self._evaluations += 1
        found = [p._grad for p in self._all()]
        if all(g is None for g in found):
            raise GradientError(
                "the closure left no gradient: it computes the loss, calls loss.backward() and "
                "returns the loss"
            )
        flat = [
            np.zeros(p.size, p.dtype) if g is None else g.numpy().reshape(-1)
            for p, g in zip(self._all(), found, strict=True)
        ]
        value = loss.item() if isinstance(loss, Tensor) else loss
        if not isinstance(value, (int, float)):
            raise DTypeError(f"the closure returns the loss, a number, not {type(loss).__name__}")
        return float(value), np.concatenate(flat)

    def _at(
        self, closure: Callable[[], Any], start: np.ndarray, direction: np.ndarray, t: float
    ) -> Point:
        self._write(start + start.dtype.type(t) * direction)
        return (t, *self._evaluate(closure))

    def state_dict(self) -> dict[str, Any]:
        """A copy of options and history."""
        groups = [{**g, "params": list(range(len(g["params"])))} for g in self.param_groups]
        last = self._last
        return {
            "state": {
                "steps": [s.copy() for s in self._steps],
                "changes": [y.copy() for y in self._changes],
                "last": None if last is None else (last[0].copy(), last[1].copy(), last[2]),
                "evaluations": self._evaluations,
                "iterations": self._iterations,
            },
            "param_groups": groups,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and history, of as many weights.

        Raises:
            CheckpointError: it is another optimiser's, or of another number of weights.
        """
        try:
            saved, (group,) = state_dict["state"], state_dict["param_groups"]
            steps = [np.array(s) for s in saved["steps"]]
            changes = [np.array(y) for y in saved["changes"]]
            last = saved["last"]
            numbers = int(saved["evaluations"]), int(saved["iterations"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"this is not the state of an LBFGS: {error!r}") from None
        size = sum(p.size for p in self._all())
        if any(a.shape != (size,) for a in (*steps, *changes, *(last or ())[:2])):
            raise CheckpointError(f"the state was saved for another number of weights than {size}")
        options = {k: v for k, v in group.items() if k in self.defaults}
        self._check({**self.param_groups[0], **options})
        self.param_groups[0].update(options)
        self._steps, self._changes = steps, changes
        self._last = None if last is None else (np.array(last[0]), np.array(last[1]), last[2])
        self._evaluations, self._iterations = numbers


def _strong_wolfe(
    at: Callable[[float], Point],
    direction: np.ndarray,
    length: float,
    start: Point,
    tolerance: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    most: int = 25,
) -> Point:
    """A step t with f(t) ≤ f(0) + c₁t f′(0), enough decrease, and |f′(t)| ≤ c₂|f′(0)|, less slope.

    Algorithm 3.5: lengthen until an interval holds such a step; the best point that was seen where
    the evaluations run out.
    """
    slope0 = float(start[2] @ direction)
    before, best = start, start
    for i in range(most):
        here = at(length)
        slope = float(here[2] @ direction)
        if np.isfinite(here[1]) and here[1] < best[1]:
            best = here
        high = not np.isfinite(here[1]) or here[1] > start[1] + c1 * length * slope0
        if high or (i and here[1] >= before[1]):
            return _zoom(at, direction, before, here, start, best, tolerance, c1, c2, most - i)
        if abs(slope) <= -c2 * slope0:
            return here
        if slope >= 0:
            return _zoom(at, direction, here, before, start, best, tolerance, c1, c2, most - i)
        before, length = here, _between(before, here, direction, length * 1.1, length * 10)
    return best


def _zoom(
    at: Callable[[float], Point],
    direction: np.ndarray,
    low: Point,
    high: Point,
    start: Point,
    best: Point,
    tolerance: float,
    c1: float,
    c2: float,
    most: int,
) -> Point:
    """Algorithm 3.6: narrow an interval whose end `low` has the smaller loss."""
    slope0 = float(start[2] @ direction)
    scale = float(np.abs(direction).max(initial=0.0))
    for _ in range(most):
        left, right = sorted((low[0], high[0]))
        if (right - left) * scale < tolerance:
            break
        margin = 0.1 * (right - left)
        here = at(_between(low, high, direction, left + margin, right - margin))
        slope = float(here[2] @ direction)
        if np.isfinite(here[1]) and here[1] < best[1]:
            best = here
        bad = not np.isfinite(here[1]) or here[1] > start[1] + c1 * here[0] * slope0
        if bad or here[1] >= low[1]:
            high = here
            continue
        if abs(slope) <= -c2 * slope0:
            return here
        if slope * (high[0] - low[0]) >= 0:
            high = low
        low = here
    return best


def _between(a: Point, b: Point, direction: np.ndarray, least: float, largest: float) -> float:
    """Where the cubic through both points and slopes is least (eq. 3.59), kept in an interval."""
    middle = (least + largest) / 2
    if not (np.isfinite(a[1]) and np.isfinite(b[1])) or a[0] == b[0]:
        return middle
    if a[0] > b[0]:
        a, b = b, a
    slope_a, slope_b = float(a[2] @ direction), float(b[2] @ direction)
    d1 = slope_a + slope_b - 3 * (a[1] - b[1]) / (a[0] - b[0])
    square = d1 * d1 - slope_a * slope_b
    if not square >= 0:
        return middle
    d2 = square**0.5
    divisor = slope_b - slope_a + 2 * d2
    if divisor == 0:
        return middle
    t = b[0] - (b[0] - a[0]) * ((slope_b + d2 - d1) / divisor)
    return min(max(t, least), largest) if np.isfinite(t) else middle

"""Schedules of the learning rate, with PyTorch's names, arguments and values.

A schedule knows the factor on the learning rate as a function of the number of steps taken;
`step()` counts one on and writes it into the optimiser's groups.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

from chainrule.errors import CompileError, DTypeError
from chainrule.optim.optimizer import Optimizer
from chainrule.tensor.graph import state
from chainrule.tensor.locate import Explained


def _whole(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise DTypeError(f"{name} is a whole number of at least {least}, not {value!r}")
    return int(value)


def _each(name: str, value: Any, optimizer: Optimizer) -> list[float]:
    """A number for each group."""
    n = len(optimizer.param_groups)
    found = list(value) if isinstance(value, (list, tuple)) else [value] * n
    if len(found) != n or not all(isinstance(v, Real) for v in found):
        raise DTypeError(f"{name} is a number, or a list of {n}, one for each group; not {value!r}")
    return found


def _check_momentum(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        if "betas" not in group and "momentum" not in group:
            raise DTypeError(
                f"{type(optimizer).__name__} has no momentum to be cycled; write "
                "cycle_momentum=False"
            )


def _set_momentum(optimizer: Optimizer, value: float) -> None:
    """Set the momentum, or β₁, of every group."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class Schedule(Explained):
    """The base: `factor(step)` times the learning rate that the optimiser began with.

    A group that is added to the optimiser later keeps its own rate.

    Attributes:
        last_epoch: how often `step()` was called.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(f"a schedule is for an optimiser, not {type(optimizer).__name__}")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._write()

    def rate(self, step: int, index: int) -> float:
        """The learning rate of a group after `step` steps."""
        return self.base_lrs[index] * self.factor(step)

    def factor(self, step: int) -> float:
        raise NotImplementedError

    def _write(self) -> None:
        for i, group in zip(range(len(self.base_lrs)), self.optimizer.param_groups, strict=False):
            group["lr"] = self.rate(self.last_epoch, i)

    def step(self) -> None:
        """Count one on, and set the learning rate that follows."""
        if state.tracer is not None:  # then the host does it before each call
            state.tracer.effect(lambda numbers: self._move(1), lambda: self._move(-1))
            return
        self._move(1)

    def _move(self, steps: int) -> None:
        self.last_epoch += steps
        self._write()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        if state.tracer is not None:
            raise CompileError(
                "a learning rate changes from call to call, and get_last_lr() in a function that "
                "is compiled would give the first one for ever. Call it outside."
            )
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """How far it is."""
        return {k: v for k, v in vars(self).items() if isinstance(v, (int, float, list))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where another was."""
        vars(self).update(state_dict)
        self._write()


class LambdaLR(Schedule):
    """The factor is a function of the step, one for all groups or one for each."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any) -> None:
        n = len(optimizer.param_groups)
        self.lambdas: Any = (
            tuple(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else (lr_lambda,) * n
        )
        if len(self.lambdas) != n or not all(map(callable, self.lambdas)):
            raise DTypeError(f"lr_lambda is a function of the step, or a list of {n}, one a group")
        super().__init__(optimizer)

    def rate(self, step: int, index: int) -> float:
        return self.base_lrs[index] * self.lambdas[index](step)


class MultiplicativeLR(LambdaLR):
    """The learning rate times a function of the step, at every step."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any) -> None:
        self._products: dict[int, list[float]] = {}
        super().__init__(optimizer, lr_lambda)

    def rate(self, step: int, index: int) -> float:
        found = self._products.setdefault(index, [1.0])
        for t in range(len(found), step + 1):
            found.append(found[-1] * self.lambdas[index](t))
        return self.base_lrs[index] * found[step]


class StepLR(Schedule):
    """γ to the power ⌊step / step_size⌋."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = _whole("step_size", step_size), gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(Schedule):
    """γ for each milestone that has been passed."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, Sequence):
            raise DTypeError(f"milestones are a list of steps, not {milestones!r}")
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(Schedule):
    """γ to the power of the step."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class ConstantLR(Schedule):
    """`factor` for the first `total_iters` steps, then 1."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.first, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.first if step < self.total_iters else 1.0


class LinearLR(Schedule):
    """A straight line from `start_factor` to `end_factor`: a warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _whole("total_iters", total_iters)
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        share = min(step, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * share


class PolynomialLR(Schedule):
    """(1 − step / total_iters) to a power, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self.total_iters, self.power = _whole("total_iters", total_iters), power
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1 - min(step, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(Schedule):
    """Half a cosine from the learning rate to `eta_min` in T_max steps, and back.

    Loshchilov, Hutter 2017, arXiv:1608.03983, eq. 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = _whole("T_max", T_max), eta_min
        super().__init__(optimizer)

    def rate(self, step: int, index: int) -> float:
        share = (1 + math.cos(math.pi * step / self.T_max)) / 2
        return self.eta_min + (self.base_lrs[index] - self.eta_min) * share


class CosineAnnealingWarmRestarts(Schedule):
    """Half cosines, each T_mult times as long as the one before."""

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0
    ) -> None:
        self.T_0, self.T_mult = _whole("T_0", T_0), _whole("T_mult", T_mult)
        self.eta_min = eta_min
        super().__init__(optimizer)

    def rate(self, step: int, index: int) -> float:
        length = self.T_0
        while step >= length:
            step -= length
            length *= self.T_mult
        share = (1 + math.cos(math.pi * step / length)) / 2
        return self.eta_min + (self.base_lrs[index] - self.eta_min) * share


class CyclicLR(Schedule):
    """Up from `base_lr` to `max_lr` and down again, over and over (Smith 2017, arXiv:1506.01186).

    Args:
        base_lr, max_lr: the ends, a number or one for each group.
        step_size_up, step_size_down: how many steps up, and down (as many as up if None).
        mode: "triangular"; "triangular2" halves the height at each cycle; "exp_range" multiplies it
            by gammaᵗ.
        scale_fn: a function that the height is multiplied by, in place of a mode: of the cycle's
            number, or with scale_mode "iterations" of the step's.
        cycle_momentum: momentum (β₁) runs the other way, from max_momentum to base_momentum.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
    ) -> None:
        up = _whole("step_size_up", step_size_up)
        down = up if step_size_down is None else _whole("step_size_down", step_size_down)
        self.total_size, self.step_ratio = up + down, up / (up + down)
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise DTypeError(f'mode is "triangular", "triangular2" or "exp_range", not {mode!r}')
        if scale_mode not in ("cycle", "iterations"):
            raise DTypeError(f'scale_mode is "cycle" or "iterations", not {scale_mode!r}')
        own: dict[str, Callable[[int], float]] = {
            "triangular": lambda cycle: 1.0,
            "triangular2": lambda cycle: 0.5 ** (cycle - 1),
            "exp_range": lambda step: gamma**step,
        }
        self.scale: Any = scale_fn or own[mode]
        self.by_step = scale_mode == "iterations" if scale_fn else mode == "exp_range"
        self.lows = _each("base_lr", base_lr, optimizer)
        self.highs = _each("max_lr", max_lr, optimizer)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            _check_momentum(optimizer)
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        super().__init__(optimizer)

    def _height(self, step: int) -> float:
        """How far up it is, from 0 to 1, times the scale."""
        cycle = 1 + step // self.total_size
        x = step / self.total_size - cycle + 1
        up = self.step_ratio
        share = x / up if x <= up else (x - 1) / (up - 1)
        return share * self.scale(step if self.by_step else cycle)

    def rate(self, step: int, index: int) -> float:
        low, high = self.lows[index], self.highs[index]
        return low + (high - low) * self._height(step)

    def _write(self) -> None:
        super()._write()
        if self.cycle_momentum:
            span = self.max_momentum - self.base_momentum
            _set_momentum(self.optimizer, self.max_momentum - span * self._height(self.last_epoch))


class OneCycleLR(Schedule):
    """Up from max_lr / div_factor to max_lr, then down far below where it began.

    Smith, Topin 2018, arXiv:1708.07120. Momentum (or β₁) goes the other way.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        _whole("total_steps", total_steps, 2)
        if not 0 <= pct_start <= 1:
            raise DTypeError(f"pct_start lies in [0, 1], and {pct_start} does not")
        if anneal_strategy not in ("cos", "linear"):
            raise DTypeError(f'anneal_strategy is "cos" or "linear", not {anneal_strategy!r}')
        n = len(optimizer.param_groups)
        given: Any = max_lr
        self.max_lrs: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given] * n
        if len(self.max_lrs) != n or not all(rate >= 0 for rate in self.max_lrs):
            raise DTypeError(f"max_lr is a number of at least 0, or a list of {n}, one a group")
        self.total_steps, self.pct_start, self.anneal_strategy = (
            total_steps,
            pct_start,
            anneal_strategy,
        )
        self.cycle_momentum = cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        super().__init__(optimizer)

    def _between(self, step: int, low: float, high: float, end: float) -> float:
        turn = float(self.pct_start * self.total_steps) - 1
        last = self.total_steps - 1
        if step <= turn:
            return self._anneal(low, high, step / turn if turn else 1.0)
        return self._anneal(high, end, (step - turn) / (last - turn))

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def rate(self, step: int, index: int) -> float:
        if step > self.total_steps:  # one past the end, as PyTorch allows: after the last batch
            raise DTypeError(
                f"step {step} of a cycle of {self.total_steps}; give it more total_steps"
            )
        high = self.max_lrs[index]
        low = high / self.div_factor
        return self._between(step, low, high, low / self.final_div_factor)

    def _write(self) -> None:
        super()._write()
        if not self.cycle_momentum:
            return
        high, low = self.max_momentum, self.base_momentum
        _set_momentum(self.optimizer, self._between(self.last_epoch, high, low, high))


class SequentialLR(Schedule):
    """One schedule after another, each from its milestone on."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise DTypeError(
                f"{len(schedulers)} schedules have {len(schedulers) - 1} milestones between them, "
                f"not {len(milestones)}"
            )
        if any(isinstance(s, ReduceLROnPlateau) for s in schedulers):
            raise DTypeError("ReduceLROnPlateau follows a metric, and not the number of steps")
        self.schedulers: Any = tuple(schedulers)
        self.milestones = list(milestones)
        super().__init__(optimizer)

    def rate(self, step: int, index: int) -> float:
        which = bisect_right(self.milestones, step)
        start = self.milestones[which - 1] if which else 0
        return self.schedulers[which].rate(step - start, index)


class ChainedScheduler(Schedule):
    """Several schedules at once: their factors are multiplied."""

    def __init__(self, schedulers: Sequence[Schedule], optimizer: Optimizer | None = None) -> None:
        if not isinstance(schedulers, Sequence) or not schedulers:
            raise DTypeError(f"schedules are chained as a list of at least one, not {schedulers!r}")
        if any(isinstance(s, ReduceLROnPlateau) for s in schedulers):
            raise DTypeError("ReduceLROnPlateau follows a metric, and not the number of steps")
        if any(s.optimizer is not schedulers[0].optimizer for s in schedulers):
            raise DTypeError("chained schedules are of one optimiser, and these are of several")
        self.schedulers: Any = tuple(schedulers)
        super().__init__(optimizer or schedulers[0].optimizer)

    def rate(self, step: int, index: int) -> float:
        base = self.base_lrs[index]
        factors = (s.rate(step, index) / s.base_lrs[index] for s in self.schedulers)
        return base * math.prod(factors)


class SWALR(Schedule):
    """From the rate set when it begins to `swa_lr`, in `anneal_epochs` steps; then constant.

    For the end of training, where weights are averaged (`AveragedModel`). It may be made before;
    the other schedule is no longer stepped once this one is.

    Args:
        swa_lr: the last rate, a number or one for each group.
        anneal_epochs: in how many steps.
        anneal_strategy: "cos" or "linear".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise DTypeError(f'anneal_strategy is "cos" or "linear", not {anneal_strategy!r}')
        self.ends = _each("swa_lr", swa_lr, optimizer)
        self.anneal_epochs = _whole("anneal_epochs", anneal_epochs, 0)
        self.anneal_strategy = anneal_strategy
        super().__init__(optimizer)

    def rate(self, step: int, index: int) -> float:
        share = min(1.0, step / max(1, self.anneal_epochs))
        if self.anneal_strategy == "cos":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.ends[index] * share + self.base_lrs[index] * (1 - share)

    def _write(self) -> None:
        if self.last_epoch:
            super()._write()

    def _move(self, steps: int) -> None:
        if self.last_epoch == 0:
            self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        elif self.last_epoch + steps == 0:  # taken back
            for group, rate in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
                group["lr"] = rate
        super()._move(steps)


class ReduceLROnPlateau(Schedule):
    """The rate times `factor` when a metric has not improved for more than `patience` steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise DTypeError('mode is "min" or "max", and threshold_mode "rel" or "abs"')
        if not 0 <= factor < 1:
            raise DTypeError(f"factor lies in [0, 1), and {factor} does not")
        self.mode, self.threshold_mode = mode, threshold_mode
        self.shrink, self.patience, self.threshold = factor, patience, threshold
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)

    def _write(self) -> None:
        """The rate is what it is until a plateau is met."""

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1)
        if math.isinf(self.best):
            return sign * value < sign * self.best
        return sign * value < sign * self.best - margin

    def step(self, metric: Any = None) -> None:
        """Look at the metric of the epoch."""
        if metric is None:
            raise DTypeError("ReduceLROnPlateau.step takes the metric that it watches")
        if state.tracer is not None:
            raise CompileError(
                "ReduceLROnPlateau.step looks at the value of its metric, which does not exist "
                "while a function is compiled. Return the metric, and call step() outside."
            )
        value = float(metric)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                lower = max(group["lr"] * self.shrink, self.min_lr)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

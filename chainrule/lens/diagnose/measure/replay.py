"""Where the first number that is not finite came from: the run again, up to the step before."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.batches import Batches
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.passes import Op, Pass
from chainrule.lens.diagnose.training import train_mode

SECONDS = 2.0


@dataclass(frozen=True)
class Origin:
    """Attributes:
    step: the first at which loss, gradient or weights were not finite.
    where: a module's path, "loss", or a parameter's name; `op`: the operation's name.
    kind: "forward" (an operation gave it), "backward" (a gradient), "update" (the step itself).
    largest: the largest operand of that operation. `weights`: the largest weight before the step.
    """

    step: int
    where: str
    op: str
    kind: str
    largest: float
    weights: float


def origin(case: Case, step: int) -> Origin | None:
    """The origin, found by making the run's steps again up to a few steps before `step`, where the
    loss was first seen not to be finite, and then recording each; None if time is too short, or
    the numbers are finite this time."""
    run = case.setup.fresh(0)
    framework = run.framework
    framework.seed(run.seed)
    train_mode(run.model)
    batches = Batches((run.x, run.y), run.batch_size, shuffle=run.shuffle, seed=run.seed)
    until = time.perf_counter() + min(SECONDS, case.time_left / 3)
    at = 0
    for epoch in range(run.epochs):
        for x, y in batches.epoch(epoch):
            if time.perf_counter() > until:
                return None
            if at >= step - 2:
                seen = framework.observe(run.model, x, y, run.loss)
                found = origin_in(seen, at)
                if found is not None:
                    return found
            before = _largest(framework.parameters(run.model))
            framework.step(run.model, x, y, run.loss, run.optimizer, clear=run.clear,
                           sign=run.sign, clip=run.clip)  # fmt: skip
            if run.schedule is not None:
                run.schedule.step()
            bad = _first_bad(framework.parameters(run.model))
            if bad:
                return Origin(at, bad, "step", "update", before, before)
            at += 1
            if at > step + 2:
                return None
    return None


def origin_in(seen: Pass, step: int = 0) -> Origin | None:
    """The first operation of a pass whose operands are finite and whose result is not; else the
    operation nearest to the loss whose gradient is not; None where all is finite."""
    weights = _largest(seen.parameters)
    for at, op in enumerate(seen.ops):
        if _bad(op.value):
            return Origin(step, seen.place(at), op.name, "forward", _operands(op), weights)
    for at in range(len(seen.ops) - 1, -1, -1):
        op = seen.ops[at]
        if op.gradient is not None and _bad(op.gradient):
            return Origin(step, seen.place(at), op.name, "backward", _operands(op), weights)
    name = _first_bad({n: g for n, g in seen.gradients.items() if g is not None})
    return Origin(step, name, "gradient", "backward", weights, weights) if name else None


def _operands(op: Op) -> float:
    arrays = [v for v in op.operands if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    return max((float(np.abs(v).max()) for v in arrays if v.size), default=float("nan"))


def _bad(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind == "f" and not bool(np.isfinite(array).all())


def _first_bad(arrays: dict[str, np.ndarray]) -> str:
    return next((name for name, value in arrays.items() if _bad(value)), "")


def _largest(arrays: dict[str, np.ndarray]) -> float:
    return max((float(np.abs(v).max()) for v in arrays.values() if v.size), default=0.0)

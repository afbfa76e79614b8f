"""One step of an optimiser, taken by a copy of it on copies of the parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.lens.explain.record import Recorded
from chainrule.nn.module import Module
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.notation.evaluate import widest
from chainrule.optim import LBFGS, Optimizer
from chainrule.tensor.cell import Cell
from chainrule.tensor.tensor import Tensor


@dataclass(frozen=True)
class Change:
    """What a step does to one parameter.

    Attributes:
        optimizer: the copy that took the step.
        p: the copied parameter, after the step.
        group: its options.
        count: which step of this parameter it was, from 1.
        gradient: ∂L/∂w.
        before, after: the weight, called w, and the running values, by their own names.
    """

    optimizer: Optimizer
    p: Cell
    group: dict[str, Any]
    count: int
    gradient: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]

    @property
    def gradient_letter(self) -> str:
        """What ∂L/∂w is called: the g of a formula is −G where it is maximised."""
        return "G" if self.group.get("maximize") else "g"

    def seen(self, values: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Letters and values as the formula sees them; those without an element are not in it."""
        for name, value in values.items():
            if value.size:
                yield self.optimizer.letters.get(name, name), self.optimizer.as_seen(value)


def stepped(optimizer: Optimizer, gradients: dict[Tensor, np.ndarray]) -> dict[Tensor, Change]:
    """What a step with these gradients does, by parameter; the optimiser is left as it is."""
    copied = copy.deepcopy(optimizer)
    copied._waiting = 0
    originals = dict(zip(copied._all(), optimizer._all(), strict=True))
    groups = {p: group for group in copied.param_groups for p in group["params"]}
    before = {}
    for p, original in originals.items():
        p._grad = Tensor(gradients[original]) if original in gradients else None
        if p._grad is not None:
            before[p] = _kept(copied, p, groups[p])
    copied.step()
    return {
        originals[p]: Change(
            copied, p, groups[p], copied.state[p]["step"],
            gradients[originals[p]], kept, _kept(copied, p, groups[p]),
        )
        for p, kept in before.items()
    }  # fmt: skip


def _kept(optimizer: Optimizer, p: Cell, group: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copies of a weight and its running values, which may be kept in units of their own."""
    names = optimizer.running(group)
    values = optimizer._state_of(p, group, names)
    units = values["units"]
    # In float64, for a value of half precision may be too small for its dtype without its unit.
    running = {k: widest(values[k]) * units[k] if k in units else values[k].copy() for k in names}
    return {"w": p.numpy(copy=True), **running}


def first_iteration(
    recorded: Recorded, optimizer: LBFGS, gradients: dict[Tensor, np.ndarray]
) -> Change | None:
    """The first iteration of a call of `LBFGS.step`, on all parameters as one vector; None where
    it takes none. A line search computes the loss again, of a copy of the model."""
    model, copied = copy.deepcopy((recorded.model, optimizer))
    group = copied.param_groups[0]
    group["max_iter"] = 1
    flat = [gradients.get(p, np.zeros(p.shape, p.dtype)) for p in optimizer._all()]
    inputs, y = recorded.arguments

    def closure() -> Any:
        if copied._evaluations != evaluations:  # a point of the line search
            with undisturbed(model, training=recorded.training):
                output = model(*inputs)
                loss = output if recorded.loss is None else recorded.loss(output, y)
                loss.backward()
            return loss
        for p, g in zip(copied._all(), flat, strict=True):
            p._grad = Tensor(g)
        return float(recorded.result.value)  # type: ignore[arg-type]

    evaluations, iterations = copied._evaluations, copied._iterations
    before = copied._weights()
    copied.step(closure)
    if copied._iterations == iterations:
        return None
    return Change(
        copied, Cell(copied._weights()), group, copied._iterations,
        np.concatenate([g.reshape(-1) for g in flat]), {"w": before}, {"w": copied._weights()},
    )  # fmt: skip


def can_search(recorded: Recorded) -> bool:
    """Whether the loss can be computed at other weights without touching the user's."""
    return isinstance(recorded.model, Module)

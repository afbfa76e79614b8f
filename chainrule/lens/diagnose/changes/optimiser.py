"""Changes of the optimiser, of what it holds and of the loop around it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from chainrule.lens.diagnose.changes.editing import Inapplicable, seen
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.loss_forms import recognised
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.setup import Setup

RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""What of a group is a learning rate; those after the first are written by schedules."""


def set_rate(lr: float) -> Change:
    """The learning rate of the first group; other groups, and a schedule, keep their proportion."""

    def apply(setup: Setup) -> Setup:
        made, now = setup.copied(), setup.rate
        if now > 0:
            _scale_rates(made.optimizer, made.schedule, lr / now)
        made.framework.set_options(made.optimizer, **({} if now > 0 else {"lr": lr}))
        return made

    return Change(f"set the learning rate to {lr:.3g}", apply, f"lr={lr:.3g}", f"rate:{lr:.3g}")


def _scale_rates(optimizer: Any, schedule: Any, factor: float) -> None:
    # Both frameworks keep rates in `param_groups`, and their schedules those that they begin with
    # in `base_lrs` (and `max_lrs`).
    for group in optimizer.param_groups:
        for name in RATES:
            if name in group:
                group[name] *= factor
    for name in ("base_lrs", "max_lrs"):
        if hasattr(schedule, name):
            setattr(schedule, name, [rate * factor for rate in getattr(schedule, name)])


def use_optimizer(kind: str, **options: Any) -> Change:
    """Another optimiser over the same parameters. A schedule was made for the rates of the one
    before, and is left out."""
    shown = "".join(f", {name}={value!r}" for name, value in options.items())

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        held = made.framework.optimizer_facts(made.model, made.optimizer).held
        new = made.framework.optimizer(kind, made.model, held=held, **options)
        return made.with_(optimizer=new, schedule=None)

    return Change(
        f"use {kind}" + (f" with{shown[1:]}" if shown else ""),
        apply,
        f"optimizer = optim.{kind}(model.parameters(){shown})",
        f"optimizer:{kind}{shown}",
    )


def set_options(**options: Any) -> Change:
    """Other options of the same optimiser (`momentum=0.9`, `betas=…`)."""
    shown = ", ".join(f"{name}={value!r}" for name, value in options.items())

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        known = inspect.signature(type(made.optimizer).__init__).parameters
        for name in options:
            if name not in known and name not in made.optimizer.param_groups[0]:
                raise Inapplicable(f"{type(made.optimizer).__name__} has no option {name!r}")
        made.framework.set_options(made.optimizer, **options)
        return made

    return Change(f"set {shown}", apply, shown, f"options:{shown}")


def set_decay(weight_decay: float) -> Change:
    """Another weight decay."""
    found = set_options(weight_decay=weight_decay)
    return Change(
        f"set the weight decay to {weight_decay:g}",
        found.apply,
        f"weight_decay={weight_decay:g}",
        f"decay:{weight_decay:g}",
    )


def hold(names: Sequence[str]) -> Change:
    """Give parameters to the optimiser that it does not hold."""

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        held = made.framework.optimizer_facts(made.model, made.optimizer).held
        made.framework.hold(made.model, made.optimizer, _ordered(made, {*held, *names}))
        return made

    every = ", ".join(map(written, names))
    return Change(
        f"give {_few(names)} to the optimiser",
        apply,
        f'optimizer.add_param_group({{"params": [{every}]}})',
        f"hold:{','.join(sorted(names))}",
    )


def unfreeze(names: Sequence[str]) -> Change:
    """Let parameters be trained: they ask for gradients, and the optimiser holds them."""

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        for name in names:
            made.framework.set_requires_grad(made.model, name, True)
        return hold(names).apply(made)

    code = "\n".join(f"{written(name)}.requires_grad = True" for name in names)
    return Change(f"unfreeze {_few(names)}", apply, code, f"unfreeze:{','.join(sorted(names))}")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(written, list(names)[:3])) + more


def _ordered(setup: Setup, names: set[str]) -> list[str]:
    return [name for name in setup.framework.parameters(setup.model) if name in names]


def clear_gradients() -> Change:
    """Gradients are cleared between steps."""
    return Change(
        "clear the gradients between steps",
        lambda setup: setup.copied().with_(clear=True),
        "optimizer.zero_grad()",
        "clear-gradients",
    )


def descend() -> Change:
    """The step goes against the gradient of what should be small: of −loss, where the loss is −1
    times a known one."""

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        if made.framework.optimizer_facts(made.model, made.optimizer).maximize:
            made.framework.set_options(made.optimizer, maximize=False)
        return made.with_(sign=recognised(seen(made), made).sign)

    return Change(
        "descend: minimise the loss",
        apply,
        "loss.backward()  # of the loss itself: no minus sign before it, and no maximize=True",
        "descend",
    )


def clip_gradients(norm: float) -> Change:
    """Gradients are scaled down to a norm."""
    return Change(
        f"clip the gradients' norm at {norm:g}",
        lambda setup: setup.copied().with_(clip=norm),
        f"clip_grad_norm_(model.parameters(), {norm:g})  # between backward() and step()",
        f"clip:{norm:g}",
    )


def train_longer(factor: float) -> Change:
    """More epochs; a schedule that knows its length is stretched."""

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        for name in ("total_steps", "T_max"):
            if hasattr(made.schedule, name):
                setattr(made.schedule, name, round(getattr(made.schedule, name) * factor))
        return made.with_(epochs=max(1, round(setup.epochs * factor)))

    return Change(
        f"train {factor:g} times as long",
        apply,
        f"epochs = {factor:g} * epochs",
        f"longer:{factor:g}",
    )


def set_batch_size(n: int) -> Change:
    """Another number of rows for each update, over as many epochs."""
    return Change(
        f"use batches of {n}",
        lambda setup: setup.copied().with_(batch_size=max(1, min(n, len(setup.x)))),
        f"batch_size={n}",
        f"batch:{n}",
    )


def stop_early(share: float = 0.2) -> Change:
    """Keep the weights of the epoch that is best on a part of the training rows set aside."""
    return Change(
        "stop early: keep the weights of the best epoch on rows set aside",
        lambda setup: setup.copied().with_(early=share),
        "fit(…, validation=(X_validation, y_validation), patience=…)",
        "stop-early",
    )

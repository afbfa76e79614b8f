"""From a changed setup back to the settings of a run, so that the run can be made again."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from chainrule.lens.diagnose.changes.editing import Inapplicable
from chainrule.lens.diagnose.setup import Setup

ACTIVATIONS = {"ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Tanh": "tanh"}
"""Class → what the settings of a run call it."""


def settings_after(settings: Any, before: Setup, after: Setup) -> Any:
    """The settings of a run that are to `settings` what `after` is to `before`.

    Args:
        settings: a dataclass with `hidden`, `activation`, `dropout`, `lr`, `weight_decay`,
            `batch_size` and `epochs` (`chainrule.train.Settings`).
        before: the setup that `settings` gave; `after`: the same, changed.

    Raises:
        Inapplicable: something was changed that settings cannot say; its text names it.
    """
    found: dict[str, Any] = {}
    if before.rate > 0 and after.rate != before.rate:
        found["lr"] = settings.lr * after.rate / before.rate
    if after.batch_size != before.batch_size:
        found["batch_size"] = after.batch_size
    if after.epochs != before.epochs:
        # What was watched may be a part of the run: the epochs up to the weights that it kept.
        found["epochs"] = max(
            1, round((settings.epochs or before.epochs) * after.epochs / before.epochs)
        )
    facts = [s.framework.optimizer_facts(s.model, s.optimizer) for s in (before, after)]
    decays = [fact.options.get("weight_decay", 0.0) for fact in facts]
    if decays[0] != decays[1]:
        found["weight_decay"] = decays[1]
    if facts[0].kind != facts[1].kind:
        raise Inapplicable(f"a run on a table is always trained with {facts[0].kind}")
    _check_the_rest(before, after)
    if repr(before.model) != repr(after.model):
        found |= _network(after)
    return dataclasses.replace(settings, **found)


def _check_the_rest(before: Setup, after: Setup) -> None:
    for what, same in {
        "the loss": after.loss is before.loss or after.loss_kind == before.loss_kind,
        "the training rows": after.x.shape == before.x.shape and np.array_equal(after.x, before.x),
        "the targets": after.y.shape == before.y.shape and np.array_equal(after.y, before.y),
        "clipping": after.clip == before.clip,
    }.items():
        if not same:
            raise Inapplicable(f"the settings of a run have no place for a change of {what}")


def _network(setup: Setup) -> dict[str, Any]:
    """Sizes, activation and dropout of dense layers in a row."""
    modules = [
        (kind, module) for path, kind, module in setup.framework.modules(setup.model) if path
    ]
    kinds = [kind for kind, _ in modules]
    sizes = tuple(int(module.weight.shape[0]) for kind, module in modules if kind == "Linear")
    activations = {kind for kind in kinds if kind in ACTIVATIONS}
    rates = {float(module.p) for kind, module in modules if kind == "Dropout"}
    row = ["Linear", *activations, *["Dropout"] * len(rates)] * (len(sizes) - 1)
    if kinds != [*row, "Linear"] or len(activations) > 1 or len(rates) > 1:
        raise Inapplicable(
            "the settings of a run describe dense layers with one activation and one dropout, "
            f"and have no place for {', '.join(kinds)}"
        )
    found: dict[str, Any] = {"hidden": sizes[:-1], "dropout": rates.pop() if rates else 0.0}
    if activations:
        found["activation"] = ACTIVATIONS[activations.pop()]
    return found

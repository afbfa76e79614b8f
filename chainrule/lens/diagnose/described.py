"""A setup in words, line by line, and what a change changes of them."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.setup import Setup


def described(setup: Setup) -> list[str]:
    """Model, loss, optimiser, loop and data, a line for each fact."""
    framework = setup.framework
    facts = framework.optimizer_facts(setup.model, setup.optimizer)
    options = {"lr": setup.rate, **facts.options}
    shown = ", ".join(f"{k}={_plain(v)}" for k, v in options.items() if _told(k, v))
    held = set(framework.parameters(setup.model)) - facts.held
    frozen = framework.frozen(setup.model)
    return [
        *f"model = {setup.model!r}".splitlines(),
        f"loss = {framework.describe(setup.loss)}  # {setup.loss_kind}",
        f"optimizer = {facts.kind}({shown})",
        *(f"not held by the optimiser: {name}" for name in sorted(held - frozen)),
        *(f"frozen: {name}" for name in sorted(frozen)),
        f"epochs = {setup.epochs}",
        f"batch_size = {setup.batch_size}",
        f"gradients are {'cleared' if setup.clear else 'not cleared'} between steps",
        f"the step {'descends' if setup.sign > 0 else 'climbs'}",
        *([f"gradients are clipped at the norm {setup.clip:g}"] if setup.clip else []),
        *([f"{setup.early:.0%} of the rows choose the best epoch"] if setup.early else []),
        f"first weights: {_weights(setup)}",
        f"X_train: {_summary(setup.x)}",
        f"y_train: {_summary(setup.y)}",
    ]


def diff(setup: Setup, change: Change) -> str:
    """A unified diff of the setup in words, before and after; "" where it cannot be applied."""
    try:
        after = described(change.apply(setup))
    except Exception:  # Inapplicable, or the user's own code refuses what was changed
        return ""
    lines = difflib.unified_diff(described(setup), after, "before", "after", lineterm="", n=1)
    return "\n".join(lines)


def _told(name: str, value: Any) -> bool:
    plain = isinstance(value, (int, float, tuple, list, str, bool))
    return plain and name not in ("initial_lr", "foreach", "fused", "capturable", "differentiable")


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _summary(values: np.ndarray) -> str:
    shape = f"{values.dtype} {values.shape}"
    if values.dtype.kind not in "fiub" or not values.size:
        return shape
    with np.errstate(all="ignore"):
        return f"{shape}, mean {values.mean():.4g}, std {values.std():.4g}"


def _weights(setup: Setup) -> str:
    stds = {n: v for n, v in setup.framework.parameters(setup.model).items() if v.ndim > 1}
    return ", ".join(f"{name} std {values.std():.3g}" for name, values in stds.items())

"""Changes of the loss, with the targets and the output layer that belong to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.lens.diagnose.changes.data import codes_of, in_shape
from chainrule.lens.diagnose.changes.editing import (
    Inapplicable,
    edited,
    leaf,
    module_at,
    output_shape,
    seen,
    spliced,
)
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.setup import Setup

WRITTEN = {
    "cross_entropy": "nn.CrossEntropyLoss",
    "nll": "nn.NLLLoss",
    "bce": "nn.BCELoss",
    "bce_with_logits": "nn.BCEWithLogitsLoss",
    "mse": "nn.MSELoss",
    "mae": "nn.L1Loss",
    "huber": "nn.HuberLoss",
}
"""What the classes are called in both frameworks."""
LABELS = ("cross_entropy", "nll")
"""Losses that take class numbers; the others take numbers in the shape of the outputs."""
SQUASHING = {"sigmoid": "bce", "log_softmax": "nll"}
"""Output activations that may stay, with the loss that takes what they give."""


def use_loss(kind: str, reduction: str = "mean") -> Change:
    """Another loss; the targets are brought into the form that it takes."""

    def apply(setup: Setup) -> Setup:
        made = setup.copied().with_(loss=setup.framework.loss(kind, reduction))
        return with_targets(made, kind)

    shown = "" if reduction == "mean" else f'reduction="{reduction}"'
    return Change(
        f"use the loss {kind}" + (f" with {shown}" if shown else ""),
        apply,
        f"loss = {WRITTEN[kind]}({shown})",
        f"loss:{kind}:{reduction}",
    )


def mean_reduction() -> Change:
    """The same loss, its mean over the rows instead of their sum."""

    def apply(setup: Setup) -> Setup:
        facts = seen(setup).facts
        made = setup.copied()
        if facts.kind in WRITTEN:
            return made.with_(loss=setup.framework.loss(facts.kind, "mean", **facts.options))
        loss = setup.loss

        def mean(outputs: Any, targets: Any) -> Any:
            return loss(outputs, targets) / len(targets)

        return made.with_(loss=mean)

    return Change(
        "take the mean of the loss over the rows", apply, 'reduction="mean"', "mean-reduction"
    )


def with_targets(setup: Setup, kind: str) -> Setup:
    """Targets in the form that a loss takes: class numbers; one-hot rows or a column of 0 and 1;
    numbers in the shape of the outputs."""
    shape = output_shape(setup)
    if setup.task == "real" or kind not in (*LABELS, *WRITTEN) or shape is None:
        if shape is not None and int(np.prod(shape)) == setup.y.size and kind not in LABELS:
            return in_shape(setup, shape)
        return setup
    several = setup.task == "binary" and setup.y.ndim == 2 and setup.y.shape[1] > 1
    if several and kind not in LABELS:  # a yes or no for each column
        return setup
    y, held, classes = codes_of(setup)
    if kind in LABELS:
        y, held = y.astype(np.int64), held.astype(np.int64)
        return setup.with_(y=y, y_held=held, task="classes")
    if int(np.prod(shape)) == len(y):
        if classes > 2:
            raise Inapplicable(f"one output cannot tell {classes} classes apart")
        made = setup.with_(y=y.astype(np.float32), y_held=held.astype(np.float32), task="binary")
        return in_shape(made, shape)
    units = max(classes, shape[-1])
    eye = np.eye(units, dtype=np.float32)
    return setup.with_(y=eye[y], y_held=eye[held], task="classes")


def fit_head(setup: Setup) -> Change:
    """The output layer and the loss that fit the task: C logits with cross-entropy for classes,
    one logit with binary cross-entropy for yes or no, linear outputs with the mean squared error
    for numbers. `setup` gives the words; the change can be made in any setup of the task."""
    units, kind = head_of(setup)
    what = {
        "cross_entropy": f"{units} linear outputs (logits) and cross-entropy",
        "bce_with_logits": "one linear output (a logit) and binary cross-entropy with logits",
        "mse": f"{units} linear output{'s' * (units > 1)} and the mean squared error",
    }[kind]

    def apply(setup: Setup) -> Setup:
        units, kind = head_of(setup)
        run = seen(setup)
        made = _with_units(_without_output_activation(setup, run, kind), run, units)
        kept = _kept_activation(run, made)
        kind = SQUASHING.get(kept, kind)
        y, held = made.y, made.y_held
        if made.task != "real" and not (y.ndim == 2 and y.shape[1] > 1 and kind != "cross_entropy"):
            y, held, _ = codes_of(made)
        made = made.with_(loss=made.framework.loss(kind), y=y, y_held=held)
        return with_targets(made, kind)

    return Change(
        f"fit the head to the task: {what}",
        apply,
        f"nn.Linear(…, {units})  # the last layer, with no activation after it\n"
        f"loss = {WRITTEN[kind]}()",
        f"head:{kind}:{units}",
    )


def head_of(setup: Setup) -> tuple[int, str]:
    """(how many outputs, which loss) fit the task."""
    y = np.asarray(setup.y)
    if setup.task == "real":
        return max(1, int(np.prod(y.shape[1:]))), "mse"
    if setup.task == "binary":
        return max(1, int(np.prod(y.shape[1:]))), "bce_with_logits"
    return codes_of(setup)[2], "cross_entropy"


def _last_layer(run: Pass) -> Layer:
    layers = [layer for layer in run.layers if layer.kind in ("linear", "matmul", "conv")]
    last = [layer for layer in layers if layer.last] or layers[-1:]
    if not last:
        raise Inapplicable("no layer with weights was found before the output")
    return last[-1]


def _output_activations(run: Pass) -> list[int]:
    """The positions of the activations between the last layer and the output."""
    from chainrule.lens.diagnose.layers import ACTIVATIONS

    last = _last_layer(run)
    end = len(run.ops) - 1 if run.output is None else run.output
    return [i for i in range(last.op + 1, end + 1) if run.ops[i].name in ACTIVATIONS]


def _without_output_activation(setup: Setup, run: Pass, kind: str) -> Setup:
    doomed: list[str] = []
    for position in _output_activations(run):
        op = run.ops[position]
        if leaf(setup, op.path) is not None and not _weighted(run, op.path):
            doomed.append(op.path)
        elif SQUASHING.get(op.name) not in ("bce", "nll") or kind == "mse":
            raise Inapplicable(
                f"{op.name} at the output is called by the model's own code"
                + (f" ({op.place})" if op.place else "")
                + "; it has to be taken out there"
            )

    def edit(framework: Any, model: Any) -> Any:
        for path in sorted(set(doomed), reverse=True):  # from the end: the others keep their places
            model = spliced(framework, model, path, [])
        return model

    return edited(setup, edit) if doomed else setup.copied()


def _weighted(run: Pass, path: str) -> bool:
    return any(layer.path == path for layer in run.layers)


def _kept_activation(run: Pass, made: Setup) -> str:
    """The name of the activation that still stands at the output, or ""."""
    if not _output_activations(run):
        return ""
    after = seen(made)
    left = _output_activations(after) if after.outputs is not None else []
    return after.ops[left[-1]].name if left else ""


def _with_units(setup: Setup, run: Pass, units: int) -> Setup:
    """Another number of units of the last layer, drawn anew."""
    layer = _last_layer(run)
    if layer.units == units:
        return setup
    path = setup.moved.get(layer.path, layer.path)
    if layer.kind != "linear" or path is None or leaf(setup, path) != "Linear":
        raise Inapplicable(f"the last layer ({layer.path}) is no Linear that could be replaced")

    def edit(framework: Any, model: Any) -> Any:
        here = module_at(framework, model, path)
        bias = getattr(here, "bias", None) is not None
        new = framework.layer("Linear", layer.fan_in, units, bias=bias)
        return framework.replace(model, path, new)

    made = edited(setup, edit)
    return replace(made, moved={**made.moved, layer.path: path})

"""One row of a run's table, explained: its cells, its features, then the network's steps."""

from __future__ import annotations

import ast
from typing import Any

from chainrule import nn, optim
from chainrule.errors import DataError
from chainrule.lens.explain import Explanation, explain
from chainrule.optim.optimizer import Optimizer
from chainrule.train import Run

MOST_FEATURES = 12


def explain_row(
    run: Run, row: int, *, optimizer: str | None = None, training: bool = False
) -> tuple[tuple[str, ...], Explanation]:
    """(what goes in and what comes out, in lines; the derivation) for a row of the run's table.

    Args:
        optimizer: such as `SGD(lr=0.1)`; the run's own where it is left out.
        training: whether the network runs as in training.

    Raises:
        DataError: there is no such row or optimiser, or the table is not what it was.
    """
    table, network = run.table, run.network
    if not 0 <= row < len(table):
        raise DataError(
            f"there is no row {row}: the table of {run.folder} has the rows 0 … {len(table) - 1}"
        )
    one = table.take([row])
    target = one[run.config["data"]["target"]]
    x, _ = network.encoder.encode(one)
    y = network.target.transform(target)
    classes = network.target.task == "classes"
    used, about = _optimizer(run, optimizer)
    derivation = explain(
        network.model,
        x,
        y,
        loss=nn.cross_entropy if classes else squared_error,
        optimizer=used,
        training=training,
    )
    outputs, _ = network.outputs(one)
    part = next(name for name, rows in run.split()._asdict().items() if row in rows)
    lines = [
        f"row {row} of {run.config['data']['table']} (one of the {part} rows)",
        *_features(network.encoder.feature_names_out, x[0]),
    ]
    said = network.labels(outputs)[0]
    truth = network.target.inverse(y)[0]
    if classes:
        p = network.probabilities(outputs)[0]
        lines.append(
            f"prediction: {said} with probability {p.max():.4g}; {target.name} is {truth} "
            f"(y = {int(y[0])}), which was given {p[int(y[0])]:.4g}"
        )
        if network.doubt is not None and network.doubt.recalibrator.name != "identity":
            lines.append(
                f"these probabilities are recalibrated ({network.doubt.recalibrator.name}); the "
                "softmax below is the network's own"
            )
        if network.settings.label_smoothing:
            lines.append(
                f"the loss below is that of the label itself; in training labels were smoothed by "
                f"{network.settings.label_smoothing:g}"
            )
    else:
        mean, std = network.target.mean, network.target.std
        lines.append(
            f"prediction: {said:.6g}; {target.name} is {truth:.6g}. y is standardised: "
            f"({target.name} − {mean:.6g}) / {std:.6g} = {float(y[0]):.4g}"
        )
    return (*lines, about), derivation


def squared_error(outputs: Any, targets: Any) -> Any:
    """The mean squared error of a network with one output."""
    return nn.mse_loss(outputs[:, 0], targets)


def _optimizer(run: Run, asked: str | None) -> tuple[Optimizer, str]:
    """(an optimiser of the run's network that has taken no step, what it is)."""
    parameters = run.network.model.parameters()
    settings = run.network.settings
    if asked is None:
        made = optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        return made, (
            f"update: the first step of the run's AdamW(lr={settings.lr:g}, "
            f"weight_decay={settings.weight_decay:g}), its running averages at 0"
        )
    name, options = _called(asked)
    kinds = {
        key: kind
        for key in optim.__all__
        if isinstance(kind := getattr(optim, key), type)
        and issubclass(kind, Optimizer)
        and kind is not Optimizer
    }
    if name not in kinds:
        raise DataError(f"there is no optimiser {name!r}; there are {', '.join(sorted(kinds))}")
    return kinds[name](parameters, **options), f"update: the first step of {asked}"


def _called(text: str) -> tuple[str, dict[str, Any]]:
    """(name, keywords) of `SGD` or `SGD(lr=0.1, momentum=0.9)`."""
    try:
        found = ast.parse(text.strip(), mode="eval").body
        if isinstance(found, ast.Name):
            return found.id, {}
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and not found.args:
            options = {str(k.arg): ast.literal_eval(k.value) for k in found.keywords if k.arg}
            return found.func.id, options
    except (SyntaxError, ValueError):
        pass
    raise DataError(
        f"{text!r} is no optimiser: write its name, and its options as in SGD(lr=0.1, momentum=0.9)"
    )


def _features(names: tuple[str, ...], values: Any) -> list[str]:
    """The features farthest from 0 (the training mean), as the network gets them."""
    order = sorted(range(len(names)), key=lambda i: -abs(values[i]))[:MOST_FEATURES]
    sizes = [f"{values[i]:+.3g}".replace("-", "−") for i in order]
    shown = ", ".join(f"{names[i]} {size}" for i, size in zip(order, sizes, strict=True))
    more = len(names) - len(order)
    return [f"x (encoded; farthest from the training mean first): {shown}"
            + (f", … {more} more" if more else "")]  # fmt: skip

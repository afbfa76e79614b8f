"""One row of a run's table, explained: its cells, its features, then the network's steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chainrule import nn
from chainrule.errors import DataError
from chainrule.lens.explain import Derivation, explain
from chainrule.train import Run

MOST_FEATURES = 12


def explain_row(run: Run, row: int) -> tuple[str, Derivation]:
    """(what goes in and what comes out, the derivation) for a row of the run's table.

    Raises:
        DataError: there is no such row, or the table is not what it was.
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

    def loss(outputs: Any, targets: Any) -> Any:
        return (
            nn.cross_entropy(outputs, targets) if classes else nn.mse_loss(outputs[:, 0], targets)
        )

    derivation = explain(network.model, x, y, loss=loss)
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
    else:
        mean, std = network.target.mean, network.target.std
        lines.append(
            f"prediction: {said:.6g}; {target.name} is {truth:.6g}. y is standardised: "
            f"({target.name} − {mean:.6g}) / {std:.6g} = {float(y[0]):.4g}"
        )
    # The line that called the network is this program's own, and tells its user nothing.
    steps = [replace(step, place="") for step in derivation.steps]
    return "\n".join(lines) + "\n", replace(derivation, steps=steps)


def _features(names: tuple[str, ...], values: Any) -> list[str]:
    """The features farthest from 0 (the training mean), as the network gets them."""
    order = sorted(range(len(names)), key=lambda i: -abs(values[i]))[:MOST_FEATURES]
    shown = ", ".join(f"{names[i]} {values[i]:+.3g}" for i in order)
    more = len(names) - len(order)
    return [f"x (encoded; farthest from the training mean first): {shown}"
            + (f", … {more} more" if more else "")]  # fmt: skip

"""Predictions as the columns of a table, and their CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import Table


def predictions(network: Any, table: Table) -> tuple[dict[str, list[Any]], list[str]]:
    """(columns, notes on what had to be assumed) for the rows of a table.

    `prediction` is the likeliest class, or the number. For classes follow `probability CLASS` for
    each, and `uncertainty`: the entropy −Σ p log₂ p in bits, 0 where one class is certain and
    log₂(classes) where all are equally likely.
    """
    if network.target.name in table and len(table.names) > 1:
        table = table.drop(network.target.name)
    outputs, notes = network.outputs(table)
    columns: dict[str, list[Any]] = {"prediction": network.labels(outputs).tolist()}
    if network.target.task == "classes":
        p = network.probabilities(outputs)
        for j, label in enumerate(network.target.classes.tolist()):
            columns[f"probability {label}"] = p[:, j].round(6).tolist()
        entropy = -np.sum(p * np.log2(np.where(p > 0, p, 1)), 1)
        columns["uncertainty"] = entropy.round(6).tolist()
    return columns, notes


def write_csv(columns: dict[str, list[Any]], path: Path | None) -> None:
    """The columns as CSV, to a file (whole or not at all) or to the terminal."""
    rows = zip(*columns.values(), strict=True)
    if path is None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return

    from chainrule.nn.files import write_atomically

    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)

    write_atomically(path, write)

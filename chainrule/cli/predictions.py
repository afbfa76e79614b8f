"""Predictions as the columns of a table, and their CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data import Table

if TYPE_CHECKING:
    from chainrule.train import TableNetwork

MOST_TOLD = 5
"""Rows outside of what was seen that are told of one by one."""
BETWEEN = "|"
"""Stands between the labels of a set, and between the names of columns."""


def predictions(
    network: TableNetwork, table: Table, *, coverage: float | None = None, uncertainty: bool = False
) -> tuple[dict[str, list[Any]], list[str]]:
    """(columns, notes on what had to be assumed) for the rows of a table.

    `prediction` is the likeliest class, or the number. For classes follow `probability CLASS` for
    each, calibrated, and `uncertainty`: the entropy −Σ p log₂ p in bits, 0 where one class is
    certain and log₂(classes) where all are equally likely.

    Args:
        coverage: adds `set`, the labels that cannot be ruled out, with | between them (empty where
            no label fits); of a real target `low` and `high`.
        uncertainty: adds `aleatoric` and `epistemic`, in bits, or of a real target as standard
            deviations in its unit; and `outside`, the columns in which a row lies outside of what
            was seen in training, with | between them.

    Raises:
        DataError: too few rows were held back for what is asked.
    """
    if network.target.name in table and len(table.names) > 1:
        table = table.drop(network.target.name)
    outputs, notes = network.outputs(table)
    classes = network.target.task == "classes"
    columns: dict[str, list[Any]] = {"prediction": network.labels(outputs).tolist()}
    if classes:
        p = network.probabilities(outputs)
        for j, label in enumerate(network.target.classes.tolist()):
            columns[f"probability {label}"] = p[:, j].round(6).tolist()
        entropy = -np.sum(p * np.log2(np.where(p > 0, p, 1)), 1)
        columns["uncertainty"] = entropy.round(6).tolist()
    if coverage is not None:
        found, told = (_sets if classes else _intervals)(network, table, coverage)
        columns |= found
        notes = [*notes, *told]
    if uncertainty:
        found, told = _uncertainty(network, table)
        columns |= found
        notes = [*notes, *told]
    return columns, notes


def _sets(
    network: TableNetwork, table: Table, coverage: float
) -> tuple[dict[str, list[Any]], list[str]]:
    sets = network.sets(table, coverage)
    labels = sets.labels([str(label) for label in network.target.classes.tolist()])
    return {"set": [BETWEEN.join(row) for row in labels]}, [str(sets.guarantee)]


def _intervals(
    network: TableNetwork, table: Table, coverage: float
) -> tuple[dict[str, list[Any]], list[str]]:
    found = network.intervals(table, coverage)
    return {"low": found.low.tolist(), "high": found.high.tolist()}, [str(found.guarantee)]


def _uncertainty(network: TableNetwork, table: Table) -> tuple[dict[str, list[Any]], list[str]]:
    parts = network.uncertainty(table)
    if network.target.task == "classes":
        parts = tuple((part / np.log(2)).round(6) for part in parts)
    seen = network.familiarity(table)
    flagged = np.flatnonzero(seen.flagged).tolist()
    told = [seen.told(row) for row in flagged[:MOST_TOLD]]
    if len(flagged) > MOST_TOLD:
        told.append(
            f"{len(flagged) - MOST_TOLD} rows more lie outside of what was seen, of {len(table)}; "
            f"{seen.rate:.0%} of rows like those of training would"
        )
    return {
        "aleatoric": parts[0].tolist(),
        "epistemic": parts[1].tolist(),
        "outside": [BETWEEN.join(cell.column for cell in row) for row in seen.outside],
    }, [*told, *seen.notes]


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

"""What `chainrule interpret` is asked: a run, and the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.cli.explaining import newest
from chainrule.data import Table, read_table
from chainrule.errors import DataError
from chainrule.lens.interpret.interpret import interpret
from chainrule.lens.interpret.interpretation import Interpretation
from chainrule.train import Run, read_run

DETAIL = 3
"""Rows that are looked into in depth, where none are named."""


def interpret_run(
    folder: str | None,
    table: Path | None = None,
    *,
    rows: Sequence[int] = (),
    coverage: float = 0.9,
    compare: bool = False,
    posterior: str | None = None,
    method: str = "integrated-gradients",
    seed: int = 0,
) -> tuple[Run, Interpretation]:
    """(the run, what its answers are worth). Its test rows, on which nothing was chosen, are the
    held-out ones.

    Args:
        folder: of the run; the newest one where it is left out.
        table: the rows asked about; the run's test rows where it is left out. With the target's
            column in it the answers are judged, too.
        rows: numbers of the rows asked about, in the table, or in the run's own one.

    Raises:
        DataError: there is no such run, table or row.
    """
    run = read_run(newest() if folder is None else folder)
    own, parts, target = run.table, run.split(), run.config["data"]["target"]
    held, trained = own.take(parts.test), own.take(parts.train)
    asked = own if table is None else read_table(table)
    numbers = _chosen(rows, len(asked), "the run's table" if table is None else str(table))
    if not len(numbers):
        numbers = parts.test if table is None else np.arange(len(asked))
    asked = asked.take(numbers)

    def features(part: Table) -> Table:
        return part.drop(target) if target in part else part

    def answers(part: Table) -> Any:
        if target not in part:
            return None
        return part[target] if run.network.target.task == "classes" else part[target].numbers()

    found = interpret(
        run.network,
        features(asked),
        answers(asked),
        calibration=(features(held), answers(held)),
        training=(features(trained), answers(trained)),
        posterior=posterior,
        coverage=coverage,
        method=method,
        detail=max(DETAIL, len(rows)),
        compare=compare,
        seed=seed,
    )
    # Rows keep the numbers that they have in their table.
    found.rows = [
        replace(
            row,
            row=int(n),
            neighbours=tuple(replace(b, row=int(parts.train[b.row])) for b in row.neighbours),
        )
        for row, n in zip(found.rows, numbers, strict=False)
    ]
    found.table["row"] = numbers.tolist()
    found.about["subject"], found.about["target"] = run.folder.name, target
    found.about["note"] = _note(run)
    return run, found


def _chosen(rows: Sequence[int], count: int, name: str) -> np.ndarray:
    for row in rows:
        if not 0 <= row < count:
            raise DataError(f"there is no row {row}: {name} has the rows 0 … {count - 1}")
    return np.array(list(dict.fromkeys(rows)), dtype=np.int64)


def _note(run: Run) -> str:
    note = "Held out are the run's test rows, on which nothing was chosen."
    doubt = run.network.doubt
    if run.network.target.task == "classes" and doubt and doubt.recalibrator.name != "identity":
        note += (
            " The probabilities are the network's own; chainrule predict gives those that its "
            f"{doubt.rows} rows for calibration made of them ({doubt.recalibrator.name})."
        )
    return note

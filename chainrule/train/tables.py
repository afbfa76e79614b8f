"""`fit_table`: from a table to a run folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import ColumnEncoder, Split, Table, TargetEncoder, read_table, split
from chainrule.errors import DataError
from chainrule.probability.intervals import bootstrap_interval, wilson_interval
from chainrule.tensor.locate import explained
from chainrule.train.doubt import FEWEST
from chainrule.train.metrics import (
    Score,
    accuracy,
    log_loss,
    majority_baseline,
    mean_absolute_error,
    mean_baseline,
    r2,
    root_mean_squared_error,
)
from chainrule.train.runs import FORMAT, Run, check_free, next_folder, write_run
from chainrule.train.settings import Settings
from chainrule.train.tabular import TableNetwork
from chainrule.version import __version__

FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of the rows that are trained on; that stop the training and calibrate; that test."""


@explained
def fit_table(
    path: str | Path,
    target: str,
    *,
    out: str | Path | None = None,
    settings: Settings | None = None,
    task: Any = "auto",
    numeric: tuple[str, ...] = (),
    categorical: tuple[str, ...] = (),
    command: str = "",
    copy_table: bool = False,
    quiet: bool = False,
    report_notes: Any = None,
) -> Run:
    """Train a network on a table, test it on rows that it has not seen, and write the run folder.

    The rows are split before anything is fitted to them, classes in equal shares.

    Args:
        path: a CSV, Parquet or .npz file.
        target: the column to be predicted.
        out: the run folder, which does not exist yet; `runs/TABLE-N` if left out.
        settings: of network and training; `Settings()` if left out.
        task: "classes", "real" or "auto".
        numeric, categorical: columns for which the kind is not left to the encoder.
        command: what was typed, for the report.
        copy_table: put the table into the run folder, so that the run stands by itself.
        quiet: show no progress.
        report_notes: called with each note on the data as a line of text.

    Raises:
        DataError: the table, or the folder, cannot be used.
    """
    began = time.perf_counter()
    settings = settings or Settings()
    path = Path(path)
    folder = next_folder(path.stem) if out is None else Path(out)
    check_free(folder)
    table = read_table(path)
    column = table[target]
    features = table.drop(target) if len(table.names) > 1 else None
    if features is None:
        raise DataError(f"{path.name} has no column beside the target {target!r} to predict from")
    decided = TargetEncoder(task, name=target).decide(column)
    classes = decided.task == "classes"
    codes = decided.transform(column) if classes else None
    parts = split(len(table), stratify=codes, fractions=FRACTIONS, seed=settings.seed)
    tell = report_notes or (lambda line: None)
    tell(
        f"{path.name}: {len(table)} rows, {len(features.names)} columns; target {target!r} is "
        + (f"{len(decided.classes)} classes" if classes else "a real number")
        + f" ({decided.reason})"
    )
    tell("rows: " + ", ".join(f"{len(rows)} {part}" for part, rows in parts._asdict().items()))
    for note in table.notes:
        tell(note)
    encoder = ColumnEncoder(numeric=numeric, categorical=categorical)
    network = TableNetwork.train(
        features,
        column,
        decided,
        train=parts.train,
        validation=parts.validation,
        settings=settings,
        encoder=encoder,
        quiet=quiet,
        watch=True,
    )
    assert network.history is not None
    notes = [*table.notes, *_notes(network)]
    for note in _notes(network):
        tell(note)
    outputs, found_notes = network.outputs(features.take(parts.test))
    for note in found_notes:
        tell(f"test rows: {note}")
    scores = test_scores(network, column, parts, outputs)
    seconds = time.perf_counter() - began
    config = _config(path, target, table, network, parts, copy_table, command)
    report = _report(path, target, features, network, parts, scores, outputs, column, notes)
    report |= {"command": command, "seconds": seconds, "versions": config["versions"]}
    source = path if copy_table else None
    return write_run(folder, network, config, scores, parts, report, source)


def _notes(network: TableNetwork) -> list[str]:
    left_out = [f"column {n!r} is left out: it {why}" for n, why in network.encoder.dropped.items()]
    none = (
        f"validation rows are too few to calibrate with ({2 * FEWEST} are needed): no sets, "
        "intervals or uncertainty can be given"
    )
    doubt = none if network.doubt is None else str(network.doubt)
    return [*left_out, *network.encoder.notes, doubt]


def test_scores(
    network: TableNetwork, column: Any, parts: Split, outputs: np.ndarray
) -> list[Score]:
    """How good the network is on the test rows, with intervals, beside what is said without it."""
    n = len(parts.test)
    if network.target.task == "classes":
        codes = network.target.transform(column)
        truth = codes[parts.test]
        said = network.codes(outputs)
        right = truth == said
        low, high = wilson_interval(int(right.sum()), n)
        common = int(np.bincount(codes[parts.train]).argmax())
        says = f"always saying {str(network.target.classes[common])!r}"
        baseline = majority_baseline(codes[parts.train], truth)
        probabilities = network.probabilities(outputs)
        # Of a mean, each row's own part is enough to draw again; all classes would take long.
        given = np.maximum(probabilities[np.arange(n), truth], np.finfo(np.float64).eps)
        log_low, log_high = bootstrap_interval(np.mean, -np.log(given))
        shares = np.bincount(codes[parts.train], minlength=len(network.target.classes))
        blind = np.broadcast_to(shares / shares.sum(), probabilities.shape)
        return [
            Score("accuracy", accuracy(truth, said), low, high, n, baseline, says),
            Score(
                "log loss", log_loss(truth, probabilities), log_low, log_high, n,
                log_loss(truth, blind), "the training shares as probabilities",
            ),
        ]  # fmt: skip
    values = column.numbers()
    truth, predicted = values[parts.test], network.labels(outputs)
    rmse, explained = mean_baseline(values[parts.train], truth)
    says = "always saying the training mean"
    mean = np.full(n, values[parts.train].mean())
    measures: list[tuple[str, Any, float]] = [
        ("R²", r2, explained),
        ("root mean squared error", root_mean_squared_error, rmse),
        ("mean absolute error", mean_absolute_error, mean_absolute_error(truth, mean)),
    ]
    return [
        Score(
            name, measure(truth, predicted), *bootstrap_interval(measure, truth, predicted), n,
            baseline, says,
        )
        for name, measure, baseline in measures
    ]  # fmt: skip


def versions() -> dict[str, str]:
    """What the run was made with."""
    return {
        "chainrule": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
    }


def _config(
    path: Path, target: str, table: Table, network: TableNetwork, parts: Split,
    copied: bool, command: str,
) -> dict[str, Any]:  # fmt: skip
    assert network.history is not None
    settings = {
        k: list(v) if isinstance(v, tuple) else v for k, v in vars(network.settings).items()
    }
    return {
        "format": FORMAT,
        "command": command,
        "data": {
            "table": path.name if copied else str(path.resolve()),
            "rows": len(table),
            "target": target,
            "task": network.target.task,
            "split": {name: len(rows) for name, rows in parts._asdict().items()},
        },
        "settings": settings,
        "training": {
            "best_epoch": network.history.best_epoch,
            "epochs": len(network.history.epochs),
            "stopped": network.history.stopped,
        },
        "versions": versions(),
    }


def _report(
    path: Path, target: str, features: Table, network: TableNetwork, parts: Split,
    scores: list[Score], outputs: np.ndarray, column: Any, notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    assert network.history is not None
    history = network.history.to_dict()
    classes = network.target.task == "classes"
    confusion = pairs = None
    if classes:
        names = [str(c) for c in network.target.classes]
        matrix = np.zeros((len(names), len(names)), dtype=int)
        np.add.at(matrix, (network.target.transform(column)[parts.test], network.codes(outputs)), 1)
        confusion = {"classes": names, "matrix": matrix.tolist()}
    else:
        truth = column.numbers()[parts.test]
        pairs = np.stack([truth, network.labels(outputs)], 1).tolist()
    return {
        "title": f"{path.name}: predicting {target}",
        "data": {
            "table": path.name,
            "rows": len(column),
            **{name: len(rows) for name, rows in parts._asdict().items()},
            "target": target,
            "task": "classification" if classes else "regression",
            "features": list(features.names),
            "notes": notes,
        },
        "score": scores[0].to_dict(),
        "other_scores": [score.to_dict() for score in scores[1:]],
        "history": history["epochs"],
        "best_epoch": history["best_epoch"],
        "least_loss": network.least_loss,
        "stopped": history["stopped"],
        "model": {
            "architecture": repr(network.model),
            "parameters": sum(p.size for p in network.model.parameters()),
        },
        "settings": {k: list(v) if isinstance(v, tuple) else v
                     for k, v in vars(network.settings).items()},
        "confusion": confusion,
        "predicted_against_true": pairs,
        "seed": network.settings.seed,
    }  # fmt: skip

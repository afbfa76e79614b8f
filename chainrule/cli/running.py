"""`chainrule runs`: the runs of a folder in a table, with what was measured of each."""

from __future__ import annotations

import sqlite3
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from chainrule.errors import DataError
from chainrule.lens.diagnose.trace import Sample, Trace
from chainrule.train.measures import read_findings, read_measures

HEAD = (
    "run", "state", "epochs", "test score", "error ÷ chance", "gradient", "weight",
    "update ÷ weight", "zeros", "saturated", "found",
)  # fmt: skip
NOTE = """
Of the last step that was measured: root mean squares of gradients and weights, from the smallest to
the largest parameter; the optimiser's step over the weight; the largest shares of zeros and of flat
slopes that a layer has. Errors are on training and held-out rows, 1 being a constant's."""


def listed(folder: Path) -> str:
    """The runs of a folder as text, the newest first.

    Raises:
        DataError: there is no such folder, or no run in it.
    """
    found = sorted(
        (path.parent for path in folder.glob("*/config.toml")),
        key=lambda run: (run / "config.toml").stat().st_mtime,
        reverse=True,
    )
    if not found:
        what = "no run in it" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder}: there is {what}. `chainrule fit` makes runs/NAME-1, -2, …")
    rows = [_row(run) for run in found]
    return _set((HEAD, *rows)) + "\n" + NOTE


def _row(run: Path) -> Sequence[str]:
    """The cells of a run; of one that cannot be read, why not."""
    try:
        config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
        epochs = f"{config['training']['best_epoch']}/{config['training']['epochs']}"
        uri = f"file:{run / 'metrics.sqlite'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as store:
            score = store.execute("SELECT name, value FROM scores ORDER BY rowid").fetchone()
            trace, findings = read_measures(store), read_findings(store)
    except (OSError, ValueError, KeyError, TypeError, sqlite3.DatabaseError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return (run.name, f"damaged: {reason}", *[""] * (len(HEAD) - 2))
    value = "" if score is None else f"{score[0]} {score[1]:.4f}"
    state = "done" if trace is None or trace.finished else "stopped"
    return (run.name, state, epochs, value, *_measured(trace), _found(trace, findings))


def _measured(trace: Trace | None) -> Sequence[str]:
    if trace is None:
        return ("not watched", *[""] * 5)
    last = next((s for s in reversed(trace.samples) if _whole(s)), None)
    if last is None:
        return (_errors(trace), *[""] * 5)
    weights = [p for name, p in last.parameters.items() if name.endswith("weight")]
    weights = weights or list(last.parameters.values())
    return (
        _errors(trace),
        _band(p.gradient for p in weights),
        _band(p.weight for p in weights),
        _band(p.update / p.weight for p in weights if p.update is not None and p.weight),
        _share(layer.zero for layer in last.layers.values()),
        _share(layer.saturated for layer in last.layers.values()),
    )


def _whole(sample: Sample) -> bool:
    """Whether the step that followed was seen, too."""
    return any(p.update is not None for p in sample.parameters.values())


def _errors(trace: Trace) -> str:
    """The last errors on training and held-out rows."""
    found = [e for e in trace.epochs if e.train_error is not None]
    if not found:
        return ""
    held = found[-1].held_out_error
    return f"{found[-1].train_error:.2f}" + ("" if held is None else f", {held:.2f}")


def _band(values: Iterable[float | None]) -> str:
    found = sorted(v for v in values if v is not None)
    if not found:
        return ""
    low, high = f"{found[0]:.1g}", f"{found[-1]:.1g}"
    return low if low == high else f"{low} … {high}"


def _share(values: Iterable[float]) -> str:
    found = list(values)
    return f"{max(found):.0%}" if found else ""


def _found(trace: Trace | None, findings: Sequence[dict[str, Any]]) -> str:
    """The rules that found something; the likeliest cause first."""
    if trace is None:
        return ""
    wrong = [f["rule"] for f in findings if f["severity"] != "advice"]
    return ", ".join(dict.fromkeys(wrong)) or "nothing"


def _set(rows: Sequence[Sequence[str]]) -> str:
    """Columns under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # What is damaged says so in a line that is as long as it is.
    widths[1] = max(len(row[1]) for row in rows if not row[1].startswith("damaged"))
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )

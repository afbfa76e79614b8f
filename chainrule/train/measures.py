"""What was measured of a run, in its metrics.sqlite, readable without chainrule:

    losses               step, loss
    measures             step, loss, rate, rows                       the steps that were measured
    measures_parameters  step, parameter, weight, gradient, update, … `ParameterSample`
    measures_layers      step, layer, mean, std, zero, saturated, …   `LayerSample`; `counts` and
                         `edges` (the histogram) as JSON
    errors               epoch, step, losses and errors               `EpochSample`
    events               step, kind, where, text, facts as JSON       `Event`
    layers               layer, facts as JSON                         what does not change
    findings             rule, where, severity, claim                 what the rules made of it
    trace                name, value                                  seconds, overhead, …

A number that is not one (NaN) is NULL there.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.trace import (
    EpochSample,
    Event,
    LayerSample,
    ParameterSample,
    Sample,
    Trace,
)

SCALARS = ("batch_size", "epochs_asked", "seconds", "overhead", "finished")
PLAIN = ("step", "loss", "rate", "rows")
"""Of a `Sample` what is not of a parameter or a layer."""


def write_measures(store: sqlite3.Connection, trace: Trace, diagnosis: Diagnosis | None) -> None:
    """Make the tables above and fill them."""
    _table(store, "losses", ({"step": i, "loss": v} for i, v in enumerate(trace.losses.tolist())))
    _table(store, "measures", ({n: getattr(s, n) for n in PLAIN} for s in trace.samples))
    for name, kind in (("parameters", "parameter"), ("layers", "layer")):
        rows = (
            {"step": s.step, kind: which, **asdict(values)}
            for s in trace.samples
            for which, values in getattr(s, name).items()
        )
        _table(store, f"measures_{name}", rows)
    _table(store, "errors", map(asdict, trace.epochs))
    _table(store, "events", map(asdict, trace.events))
    _table(store, "layers", ({"layer": n, "facts": v} for n, v in trace.layers.items()))
    found = () if diagnosis is None else diagnosis.findings
    names = ("rule", "where", "severity", "claim")
    _table(store, "findings", ({n: getattr(f, n) for n in names} for f in found))
    _table(store, "trace", ({"name": n, "value": getattr(trace, n)} for n in SCALARS))


def _table(store: sqlite3.Connection, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table of the rows' names, made only if there are rows."""
    listed = list(rows)
    if not listed:
        return
    columns = ", ".join(f'"{column}"' for column in listed[0])
    store.execute(f"CREATE TABLE {name} ({columns})")
    places = ", ".join("?" * len(listed[0]))
    store.executemany(
        f"INSERT INTO {name} VALUES ({places})",
        ([_plain(value) for value in row.values()] for row in listed),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=str)
    if isinstance(value, np.generic):
        return value.item()
    return value


def read_measures(store: sqlite3.Connection) -> Trace | None:
    """The trace of a run; None for one that was not watched."""
    kept = {row["name"]: row["value"] for row in _rows(store, "trace")}
    if not kept:
        return None
    losses = [_number(row["loss"]) for row in _rows(store, "losses")]
    samples = {
        row["step"]: Sample(row["step"], _number(row["loss"]), _number(row["rate"]), row["rows"])
        for row in _rows(store, "measures")
    }
    for row in _rows(store, "measures_parameters"):
        samples[row["step"]].parameters[row["parameter"]] = _made(ParameterSample, row)
    for row in _rows(store, "measures_layers"):
        samples[row["step"]].layers[row["layer"]] = _made(LayerSample, row)
    return Trace(
        losses=np.array(losses, dtype=np.float32),
        samples=list(samples.values()),
        epochs=[_made(EpochSample, row) for row in _rows(store, "errors")],
        events=[_made(Event, row) for row in _rows(store, "events")],
        layers={row["layer"]: json.loads(row["facts"]) for row in _rows(store, "layers")},
        **{**kept, "finished": bool(kept["finished"])},
    )


def read_findings(store: sqlite3.Connection) -> list[dict[str, str]]:
    """Rule, place, severity and claim of what the rules found, the likeliest cause first."""
    return _rows(store, "findings")


def _rows(store: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """The rows of a table, in their order; none where there is no such table."""
    known = store.execute("SELECT name FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    if known is None:
        return []
    found = store.execute(f"SELECT * FROM {table} ORDER BY rowid")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _made(kind: Any, row: Mapping[str, Any]) -> Any:
    """A record of its table's row."""
    values = {f.name: _typed(str(f.type), row[f.name]) for f in fields(kind) if f.name in row}
    return kind(**values)


def _typed(kind: str, value: Any) -> Any:
    if kind == "float":
        return _number(value)
    if kind == "bool":
        return bool(value)
    if isinstance(value, str) and kind.startswith(("list", "dict", "tuple")):
        found = json.loads(value)
        return tuple(found) if kind.startswith("tuple") else found
    return value


def _number(value: float | None) -> float:
    return math.nan if value is None else value

"""capacity-too-small: the network stands still where a wider one, or a simple model, goes on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.again import Again, again
from chainrule.lens.diagnose.measure.probes import Reach, layer_probes, reach
from chainrule.lens.diagnose.measure.ranks import dead_units, effective_rank
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer
from chainrule.lens.diagnose.rules.rule import Rule

FACTOR = 4
NARROW = 16
"""A hidden layer of more units is no bottleneck that this rule would speak of."""


class CapacityTooSmall(Rule):
    """The training error stands still far above what a simple model reaches on rows left out,
    every unit of the narrowest layer is used (the effective rank of what it gives is full), and the
    same network with four times as many units there goes on."""

    name = "capacity-too-small"
    stage = "deep"
    looks_at = "whether a wider copy of the narrowest layer learns what the network cannot"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.trace is None or case.trained is None:
            raise Missing("there was no run")
        last = next((e for e in reversed(case.trace.epochs) if e.train_error is not None), None)
        if (
            last is None
            or last.train_error is None
            or last.train_error < 0.15
            or _still_falls(case)
        ):
            return
        layer = _narrowest(case.probe.layers)
        if layer is None or _is_its_own_target(case):
            return
        found = reach(case)
        if found.high > 0.7 * last.train_error:
            return
        rank, units = _rank(layer)
        if dead_units(layer.by_unit(layer.h)).mean() > 0.4 or rank < 0.6 * min(units, 8):
            return
        change = changes.widen(layer.path, FACTOR)
        wider = again(case, change)
        if wider is None or not _helps(wider):
            return
        read = next((p.error for p in layer_probes(case) if p.path == layer.path), np.nan)
        yield _finding(layer, rank, read, found, wider)


def _still_falls(case: Case) -> bool:
    """Whether the training loss fell by a tenth in the last third of the run."""
    assert case.trace is not None
    losses = np.asarray(case.trace.losses, dtype=np.float64)
    if len(losses) < 30 or not np.isfinite(losses).all():
        return True
    third = len(losses) // 3
    before, after = losses[-2 * third : -third].mean(), losses[-third:].mean()
    return bool(after < 0.9 * before)


def _narrowest(layers: list[Layer]) -> Layer | None:
    hidden = [x for x in layers if x.kind == "linear" and not x.last and np.isfinite(x.h).all()]
    narrow = [x for x in hidden if x.units <= NARROW]
    return min(narrow, key=lambda x: x.units) if narrow else None


def _is_its_own_target(case: Case) -> bool:
    """Whether the inputs are to be given back: then a narrow layer is meant."""
    x, y = case.setup.x[:50], case.setup.y[:50]
    if x.size != y.size or case.setup.task != "real":
        return False
    a, b = x.reshape(-1).astype(np.float64), y.reshape(-1).astype(np.float64)
    return bool(a.std() > 0 and b.std() > 0 and np.corrcoef(a, b)[0, 1] > 0.5)


def _rank(layer: Layer) -> tuple[float, int]:
    h = layer.by_unit(layer.h).astype(np.float64)
    return effective_rank(h - h.mean(0)), layer.units


def _helps(run: Again) -> bool:
    better = run.changed_train_error < 0.6 * run.train_error
    return (
        better
        and run.train_error - run.changed_train_error > 0.1
        and run.changed_error < 0.85 * run.error
    )


def _finding(layer: Layer, rank: float, read: float, found: Reach, wider: Again) -> Finding:
    change, more = changes.widen(layer.path, FACTOR), FACTOR * layer.units
    return Finding(
        CapacityTooSmall.name,
        layer.path,
        f"{written(layer.path)} with {layer.units} units is too narrow: the training error stands "
        f"at {wider.train_error:.2f} of a constant's, and with {more} units the same "
        f"run comes to {wider.changed_train_error:.2f}",
        (
            Measured("training error ÷ a constant's", wider.train_error,
                     f"{wider.changed_train_error:.3g}", f"{more} units, same seed"),
            Measured("held-out error ÷ a constant's", wider.error, f"{wider.changed_error:.3g}",
                     f"{more} units, same seed"),
            Measured("error of a simple model ÷ a constant's", found.error, "",
                     f"{found.best.kernel} ridge, rows left out"),
            Measured(f"error of a linear model on what {written(layer.path)} gives ÷ a constant's",
                     read, f"about {found.error:.3g}", "ridge, rows left out"),
            Measured(f"effective rank of what {written(layer.path)} gives", rank,
                     f"below {layer.units}"),
        ),
        f"what comes after {written(layer.path)} is a function of {layer.units} numbers, all in "
        f"use (effective rank {rank:.1f}): the square error of approximation falls with the units "
        "as O(1/n) (Barron, IEEE Trans. Inf. Theory 1993)",
        "warning",
        0.5,
        (change, changes.widen(layer.path, 2)),
        explains=("too-few-steps", "learning-rate-too-low", "not-learning"),
    )  # fmt: skip

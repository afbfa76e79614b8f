"""What a simple model reaches on the same rows: the yardstick for what the data allow.

Kernel ridge regression on the rows' features, each row left out in turn (`relation.best_of`).
Classes are regressed on as indicators, whose least-squares prediction estimates P(class | x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.measure.relation import (
    Relation,
    basis,
    best_of,
    kernels,
    relation_of,
    sketched,
)
from chainrule.lens.diagnose.passes import Layer
from chainrule.lens.diagnose.setup import labels_of

ROWS = 400
"""So many rows are probed: the eigenvalues of their kernel take a few hundredths of a second."""
COLUMNS = 1024
TARGETS = 32


@dataclass(eq=False)
class Probe:
    """A kernel ridge regression that was chosen by its leave-one-out error.

    Attributes:
        kernel: "linear", "gaussian" or the like, for people.
        y: (rows, m) targets; `scores`: (rows, m) leave-one-out predictions of them.
        explained: 1 − Σ(y − ŷ₋ᵢ)² / Σ(y − ȳ)²; 0 is a constant, 1 is perfect.
    """

    kernel: str
    y: np.ndarray
    scores: np.ndarray
    explained: float


@dataclass(eq=False)
class Reach:
    """What simple models reach on some rows of a run.

    Attributes:
        rows: positions in `setup.x`.
        y: their targets as they were given; `targets`: (rows, m), indicators where classes.
        best: the probe with the least leave-one-out error.
        error: the best probe's error ÷ a constant's, with a 95 % interval `low` to `high`.
        features: (rows, columns), standardised.
    """

    rows: np.ndarray
    y: np.ndarray
    task: str
    targets: np.ndarray
    features: np.ndarray
    best: Probe
    error: float
    low: float
    high: float

    @cached_property
    def relation(self) -> Relation:
        """The targets against the features, and against permuted targets."""
        return relation_of(self.features, self.targets)


def reach(case: Case) -> Reach:
    """What simple models reach on the training rows (measured once for all rules).

    Raises:
        Missing: the rows are no numbers, too few, or no time is left.
    """
    if "reach" not in case.memo:
        if case.time_left < 0.5:
            raise Missing("the time was over")
        setup = case.setup
        rows = np.random.default_rng(1).permutation(len(setup.x))[:ROWS]
        case.memo["reach"] = reach_of(
            setup.x[rows], setup.y[rows], setup.task, rows, tokens=takes_tokens(case)
        )
    found: Reach = case.memo["reach"]
    return found


def reach_of(
    x: np.ndarray,
    y: np.ndarray,
    task: str,
    rows: np.ndarray | None = None,
    *,
    tokens: bool = False,
    least: int = 20,
) -> Reach:
    """What simple models reach on rows x with targets y, leaving each row out in turn."""
    if len(x) < least:
        raise Missing(f"{len(x)} rows are too few for a probe ({least} are needed)")
    features, targets = features_of(x, tokens=tokens), targets_of(y, task)
    found = [probe(name, kernel, targets) for name, kernel in kernels(features)]
    best = max(found, key=lambda p: p.explained)
    error, low, high = compared(best.scores, y, task)
    rows = np.arange(len(x)) if rows is None else rows
    return Reach(rows, y, task, targets, features, best, error, low, high)


def takes_tokens(case: Case) -> bool:
    """Whether the rows are numbers of symbols that an embedding looks up."""
    return case.setup.x.dtype.kind in "iu" and any(
        layer.kind == "embedding" for layer in case.first.layers
    )


def features_of(x: np.ndarray, *, tokens: bool = False) -> np.ndarray:
    """(rows, columns): each row flat, each column standardised (constant ones left out), at most
    1,024 columns: more are projected at random, which keeps distances (Johnson-Lindenstrauss).
    Symbols become indicators of each place where those are few, and counts otherwise.

    Raises:
        Missing: the rows are no finite numbers.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise Missing(f"the inputs are no numbers ({x.dtype})")
    flat = x.reshape(len(x), -1)
    if tokens:
        flat = _symbols(flat)
    flat = flat.astype(np.float64)
    if not np.isfinite(flat).all():
        raise Missing("the inputs are not all finite")
    flat = flat - flat.mean(0)
    spread = flat.std(0)
    kept = spread > 1e-9 * max(1e-30, float(spread.max(initial=0.0)))
    flat = flat[:, kept] / spread[kept]
    if flat.shape[1] > COLUMNS:
        rng = np.random.default_rng(2)
        flat = flat @ rng.normal(size=(flat.shape[1], COLUMNS)) / np.sqrt(COLUMNS)
    return flat


def _symbols(flat: np.ndarray) -> np.ndarray:
    symbols = np.unique(flat)
    places = flat[:, :, None] == symbols
    counts = places.sum(1)
    if flat.shape[1] * len(symbols) <= COLUMNS:
        return np.concatenate([places.reshape(len(flat), -1), counts], axis=1)
    return counts[:, :COLUMNS]


def targets_of(y: np.ndarray, task: str) -> np.ndarray:
    """(rows, m) in float64: indicators of the classes, or the targets flat.

    Raises:
        Missing: one class for a row is what is needed, and there are several.
    """
    y = np.asarray(y)
    if task == "real":
        flat = y.reshape(len(y), -1).astype(np.float64)
        if not np.isfinite(flat).all():
            raise Missing("the targets are not all finite")
        return sketched(flat, TARGETS)
    labels = classes_of(y)
    return (labels[:, None] == np.unique(labels)).astype(np.float64)


def classes_of(y: np.ndarray) -> np.ndarray:
    """One class number for each row.

    Raises:
        Missing: the rows have several each.
    """
    y = np.asarray(y)
    one_hot = y.ndim == 2 and y.shape[1] > 1 and bool(np.all(y.sum(1) == 1))
    if y.size != len(y) and not one_hot:
        raise Missing("a row has several classes")
    return labels_of(y)


def probe(name: str, kernel: np.ndarray, targets: np.ndarray) -> Probe:
    """Kernel ridge regression at the penalty with the least leave-one-out error."""
    explained, scores = best_of(basis(kernel), targets)
    return Probe(name, targets, scores, explained)


def wrong(outputs: np.ndarray, y: np.ndarray, task: str) -> tuple[np.ndarray, float] | None:
    """(each row's error, the mean error of the best constant): 0 or 1 for classes, the squared
    distance for real targets. None where outputs and targets cannot be compared."""
    outputs = np.asarray(outputs, dtype=np.float64)
    if len(outputs) != len(y) or not len(y) or not np.isfinite(outputs).all():
        return None
    flat = outputs.reshape(len(outputs), -1)
    if task == "real":
        targets = sketched(np.asarray(y, dtype=np.float64).reshape(len(y), -1), TARGETS)
        flat = sketched(flat, TARGETS)
        if flat.shape != targets.shape:
            return None
        base = float(np.mean(np.sum((targets - targets.mean(0)) ** 2, axis=1)))
        return np.sum((flat - targets) ** 2, axis=1), base
    labels = classes_of(y)
    present, counts = np.unique(labels, return_counts=True)
    if flat.shape[1] == 1:
        cut = 0.5 if flat.min() >= 0 and flat.max() <= 1 else 0.0
        said = (flat[:, 0] > cut).astype(np.int64)
    elif flat.shape[1] == len(present):
        # A probe's columns are the classes that occur; where all do, so are a network's.
        said = present[flat.argmax(1)]
    else:
        said = flat.argmax(1)
    return (said != labels).astype(np.float64), 1 - counts.max() / counts.sum()


def compared(outputs: np.ndarray, y: np.ndarray, task: str) -> tuple[float, float, float]:
    """(error ÷ a constant's error, low, high): a 95 % interval over rows.

    Raises:
        Missing: outputs and targets cannot be compared.
    """
    found = wrong(outputs, y, task)
    if found is None or not found[1]:
        raise Missing("the outputs cannot be compared with the targets")
    errors, base = found
    mean, low, high = interval(errors, shares=task != "real")
    return mean / base, low / base, high / base


def interval(values: np.ndarray, *, shares: bool = False) -> tuple[float, float, float]:
    """(mean, low, high) at 95 %: Wilson's interval for shares of 0 and 1, else the normal one."""
    n, mean = len(values), float(np.mean(values))
    if not shares:
        half = 1.96 * float(np.std(values)) / np.sqrt(max(n, 1))
        return mean, mean - half, mean + half
    z = 1.96**2 / n
    centre = (mean + z / 2) / (1 + z)
    half = 1.96 * np.sqrt(mean * (1 - mean) / n + z / (4 * n)) / (1 + z)
    return mean, float(centre - half), float(centre + half)


@dataclass(frozen=True)
class LayerProbe:
    """How well a ridge regression on what a layer gives predicts the targets.

    Attributes:
        path: the layer's.
        error, low, high: leave-one-out, after training, ÷ a constant's.
        untrained: the same from the network before training.
    """

    path: str
    error: float
    low: float
    high: float
    untrained: float


def layer_probes(case: Case, rows: int = 300) -> list[LayerProbe]:
    """For each layer, what a linear model reads off it, against its untrained twin."""
    found = []
    twins = {layer.path: layer for layer in case.first_probe.layers}
    for layer in case.probe.layers:
        if case.time_left < 0.3:
            break
        if layer.path in twins and not layer.last and np.isfinite(layer.h).all():
            after = _read_off(case, layer, rows)
            if after is not None:
                before = _read_off(case, twins[layer.path], rows)
                found.append(LayerProbe(layer.path, *after, before[0] if before else float("nan")))
    return found


def _read_off(case: Case, layer: Layer, rows: int) -> tuple[float, float, float] | None:
    y, task = case.probe.y, case.setup.task
    if y is None or len(layer.h) != len(y) or len(y) < 20:
        return None
    features = features_of(layer.h[:rows])
    if not features.shape[1]:
        return 1.0, 1.0, 1.0
    kernel = features @ features.T / features.shape[1] + 1
    return compared(probe("linear", kernel, targets_of(y[:rows], task)).scores, y[:rows], task)

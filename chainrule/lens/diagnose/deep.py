"""Deep measurements, on demand: curvature, noise, spectra, ranks, probes, the tangent kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.measure.confident import noise_of
from chainrule.lens.diagnose.measure.duplicates import overlap_of, strongest_column
from chainrule.lens.diagnose.measure.jacobians import spectra
from chainrule.lens.diagnose.measure.noise import gradient_noise
from chainrule.lens.diagnose.measure.ntk import tangent_kernel
from chainrule.lens.diagnose.measure.probes import layer_probes, reach
from chainrule.lens.diagnose.measure.ranks import (
    coherence,
    dead_units,
    dormant_units,
    effective_rank,
    stable_rank,
)
from chainrule.lens.diagnose.measure.sharpness import (
    bench,
    critical_rate,
    largest_stable_rate,
    top_eigenvalue,
)
from chainrule.lens.diagnose.measure.slopes import agree, slopes_of
from chainrule.tensor.products import on_one_thread

KERNEL_ROWS = 64
UNITS = 1024
"""Weights and values of wider layers are not decomposed."""


@dataclass(frozen=True)
class Quantity:
    """A number that was measured.

    Attributes:
        subject: what it belongs to: "curvature", "noise", "gradients", "layers", "kernel", "data".
        where: a layer's path, or "".
        what: its name.
        value: the number.
        means: what it says, with what it is to be compared with.
        source: of the formula.
    """

    subject: str
    where: str
    what: str
    value: float
    means: str
    source: str


@dataclass(frozen=True, repr=False)
class Measurements:
    """What `Diagnosis.measure` found.

    Attributes:
        quantities: in the order of their subjects.
        left_out: (subject, why not).
    """

    quantities: Sequence[Quantity]
    left_out: Sequence[tuple[str, str]] = ()

    def __getitem__(self, what: str) -> list[Quantity]:
        """The quantities of a name, for each layer where it is one of layers."""
        return [q for q in self.quantities if q.what == what]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "quantities": [asdict(q) for q in self.quantities],
            "left_out": [list(pair) for pair in self.left_out],
        }

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """A row for each quantity: of what, its name, value, meaning, source."""
        return [
            (f"{q.subject} {q.where}".rstrip(), q.what, _number(q.value), q.means, q.source)
            for q in self.quantities
        ]

    def __str__(self) -> str:
        rows = self.table()
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        lines = [
            f"{place:{widths[0]}}  {what:{widths[1]}}  {value:>{widths[2]}}  {means}".rstrip()
            for place, what, value, means, _ in rows
        ]
        return "\n".join([*lines, *(f"left out: {what}: {why}" for what, why in self.left_out)])

    __repr__ = __str__


def measurements(case: Case) -> Measurements:
    """Every deep measurement that this case allows, at its first and last weights."""
    found: list[Quantity] = []
    left_out = []
    for subject, measure in _SUBJECTS:
        try:
            with on_one_thread():
                found += [Quantity(subject, *parts) for parts in measure(case)]
        except Missing as missing:
            left_out.append((subject, str(missing)))
        except Exception as error:  # of a network that one measurement does not suit
            left_out.append((subject, f"{type(error).__name__}: {error}"))
    return Measurements(found, left_out)


Parts = tuple[str, str, float, str, str]


def _curvature(case: Case) -> Iterator[Parts]:
    facts = case.optimizer
    for last, when in ((False, "first weights"), (True, "last weights")):
        if last and case.trained is None:
            return
        value = top_eigenvalue(bench(case, last=last))
        rate = largest_stable_rate(facts, value)
        # Adam's own bound is one on the preconditioned Hessian, which this is not.
        bounded = isfinite(rate) and "adam" not in facts.kind.lower()
        bound = f"{facts.kind} is stable below {rate:.4g}; " if bounded else ""
        yield ("", f"top Hessian eigenvalue, {when}", value, f"{bound}the rate is {facts.rate:g}",
               "power iteration on Hessian-vector products; Cohen et al. 2021")  # fmt: skip
        critical = critical_rate(case, last=last)
        if critical is not None:
            yield ("", f"critical rate, {when}", critical.rate,
                   f"the smallest that raises the loss along the actual update; used: "
                   f"{critical.used:g}", "2/η_c is the critical sharpness")  # fmt: skip


def _noise(case: Case) -> Iterator[Parts]:
    for last, when in ((False, "first weights"), (True, "last weights")):
        noise = None if last and case.trained is None else gradient_noise(case, last=last)
        if noise is not None:
            yield ("", f"gradient noise scale, {when}", noise.scale,
                   "rows beyond which a larger batch hardly makes a step better; used: "
                   f"{case.setup.batch_size}", "tr Σ/|G|², McCandlish et al. 2018")  # fmt: skip


def _gradients(case: Case) -> Iterator[Parts]:
    slopes = slopes_of(case.first)
    kept = agree(slopes)
    for s in slopes:
        parts = f"weights {s.weights:+.2f}, activation {s.activation:+.2f}"
        means = parts if kept else "the parts do not reproduce it, and are not given"
        yield (f"{s.above} → {s.below}", "ln of the growth of ‖δ‖², first weights", s.measured,
               means, "ln(n·E[w²]) + ln E[φ′²], Schoenholz et al. 2017")  # fmt: skip
    for spectrum in spectra(case.first):
        ratio = spectrum.isometry
        isometry = "" if ratio is None else f"{ratio:.3g} times the median"
        yield (spectrum.path, "largest singular value of the Jacobian", spectrum.largest, isometry,
               "dynamical isometry, Pennington et al. 2017")  # fmt: skip


def _layers(case: Case) -> Iterator[Parts]:
    probes = {p.path: p for p in layer_probes(case)}
    for layer in case.probe.layers:
        weight = case.probe.parameters.get(layer.weight or "")
        if weight is not None and weight.ndim >= 2 and max(weight.shape) <= UNITS:
            rank = stable_rank(weight)
            yield (layer.path, "stable rank of the weights", rank, f"of {min(weight.shape)}",
                   "‖W‖²_F/‖W‖₂²")  # fmt: skip
            yield (layer.path, "coherence of the units' weights", coherence(weight),
                   "1: two units do the same", "max |cos(w_i, w_j)|")  # fmt: skip
        h = layer.by_unit(layer.h)
        if not np.isfinite(h).all() or layer.last or h.shape[1] > UNITS:
            continue
        h = h[:2000]
        yield (layer.path, "effective rank of what it gives", effective_rank(h - h.mean(0)),
               f"of {layer.units} units",
               "exp of the spectrum's entropy, Roy & Vetterli 2007")  # fmt: skip
        yield (layer.path, "dead units", float(dead_units(h).sum()), f"of {layer.units}: 0 on "
               f"{len(h)} rows and places", "")  # fmt: skip
        yield (layer.path, "dormant units", float(dormant_units(h).sum()), f"of {layer.units}: "
               "below 2.5 % of the layer's mean activity", "Sokar et al. 2023")  # fmt: skip
        probe = probes.get(layer.path)
        if probe is not None:
            yield (layer.path, "error of a ridge probe", probe.error,
                   f"{probe.low:.3g} to {probe.high:.3g}; before training {probe.untrained:.3g}; "
                   "1 is a constant's", "leave-one-out, Alain & Bengio 2017")  # fmt: skip


def _kernel(case: Case) -> Iterator[Parts]:
    setup = case.setup
    order = np.random.default_rng(4).permutation(len(setup.x))[:KERNEL_ROWS]
    kernel = tangent_kernel(case.framework, setup.model, setup.x[order])
    yield ("", "condition number of the tangent kernel", kernel.condition,
           "large where inputs are unscaled or nearly alike",
           "K = JJᵀ, Jacot et al. 2018")  # fmt: skip
    outputs = case.framework.outputs(setup.model, setup.x[order]).reshape(len(order), -1)
    targets = _as_outputs(setup.y[order], outputs.shape[1])
    if targets is not None:
        steps = kernel.slowest(targets - outputs, setup.rate)
        yield ("", "steps until 90 % of the residual is gone", steps,
               f"by gradient descent on a square loss at the rate {setup.rate:g}; the run has "
               f"{setup.steps}", "modes take 1/(ηλᵢ)")  # fmt: skip


def _as_outputs(y: np.ndarray, width: int) -> np.ndarray | None:
    """Targets beside outputs: labels as indicator rows."""
    flat = np.asarray(y).reshape(len(y), -1)
    if flat.shape[1] == width:
        return flat.astype(np.float64)
    if flat.shape[1] == 1 and flat.dtype.kind in "biu" and 0 <= flat.min() <= flat.max() < width:
        return np.eye(width)[flat[:, 0]]
    return None


def _data(case: Case) -> Iterator[Parts]:
    setup = case.setup
    best = reach(case)
    yield ("", f"error of a simple model ({best.best.kernel})", best.error,
           f"{best.low:.3g} to {best.high:.3g}; 1 is a constant's",
           "kernel ridge, leave-one-out")  # fmt: skip
    classes = setup.task != "real"
    if classes and best.targets.shape[1] >= 2:
        noise = noise_of(best.best.scores, best.targets.argmax(1), best.features)
        yield ("", "labels that contradict clear rows", noise.share,
               f"{noise.low:.3g} to {noise.high:.3g}",
               "confident joint, Northcutt et al. 2021")  # fmt: skip
        shares = best.targets.mean(0)
        yield ("", "commonest ÷ rarest class", float(shares.max() / max(shares.min(), 1e-12)),
               "1 is balanced", "")  # fmt: skip
    if len(setup.x_held):
        overlap = overlap_of(setup.x, setup.x_held)
        yield ("", "held-out rows that are training rows", overlap.across,
               f"by chance {overlap.by_chance:.2g}", "")  # fmt: skip
    column = strongest_column(setup.x[best.rows], best.targets, classes=classes)
    name = setup.columns[column.column] if setup.columns else f"column {column.column}"
    yield (name, "share of the target that one column tells", column.power,
           "the strongest column; near 1 it may be the target itself", "")  # fmt: skip


_SUBJECTS: Sequence[tuple[str, Callable[[Case], Iterable[Parts]]]] = (
    ("curvature", _curvature),
    ("noise", _noise),
    ("gradients", _gradients),
    ("layers", _layers),
    ("kernel", _kernel),
    ("data", _data),
)


def _number(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "none" if value > 0 else str(value)

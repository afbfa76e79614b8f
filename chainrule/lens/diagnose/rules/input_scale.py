"""input-scale: inputs of a size that the first layer was not made for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.sampling import rms
from chainrule.lens.diagnose.severity import weighed

ROWS = 512
LARGE, LARGEST = 5.0, 20.0
SMALL = 0.02
RATIO = 1e3
CONSEQUENCES = (
    "exploding-gradients", "saturated-units", "dead-units", "non-finite", "learning-rate-too-high",
    "vanishing-gradients", "learning-rate-too-low", "too-few-steps", "not-learning",
    "capacity-too-small", "bad-initialisation", "optimizer-setting",
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """Of the numbers that the first layer takes, (rows, columns).

    Attributes:
        rms: of all; `mean`: largest |mean| of a column; `columns`: how many.
        widest, narrowest: the largest and smallest standard deviation of a column that varies, and
            the positions of these columns.
    """

    rms: float
    mean: float
    columns: int
    widest: tuple[float, int]
    narrowest: tuple[float, int]

    @property
    def ratio(self) -> float:
        return self.widest[0] / self.narrowest[0] if self.narrowest[0] else 1.0


class InputScale(Rule):
    """∂²L/∂w² of the first layer is E[x̃x̃ᵀ] ⊗ (what comes after), x̃ = (x, 1): it grows with x², a
    rate above 2/λ diverges, and directions with small eigenvalues wait (LeCun et al., Efficient
    BackProp, 1998). Seen as the first layer sees them: behind a normalisation they are fine."""

    name = "input-scale"
    stage = "static"
    looks_at = "the size, offset and spread of the inputs as the first layer sees them"

    def look(self, case: Case) -> Iterable[Finding]:
        layer = _first_layer(case.first)
        if layer is None:
            return
        values = _inputs(case, layer)
        if values is None:
            return
        seen = scale_of(values)
        if seen.rms <= 0 or not np.isfinite(seen.rms):
            return
        sums = rms(layer.z)
        large = seen.rms > LARGE or (seen.ratio > RATIO and seen.rms > 1)
        if large:
            yield self._large(case, layer, seen, sums, curvature(values))
        elif seen.rms < SMALL and seen.ratio < RATIO:
            yield self._small(case, layer, seen, sums)

    def _large(self, case: Case, layer: Layer, seen: Scale, sums: float, curved: float) -> Finding:
        far = seen.rms > LARGEST or (seen.ratio > RATIO and seen.rms > LARGE)
        severity = (
            "advice" if layer.norm
            else weighed(case) if far
            else weighed(case, bad="warning", unknown="advice")
        )  # fmt: skip
        wide, narrow = (_name(case, column) for _, column in (seen.widest, seen.narrowest))
        uneven = (f", and {wide} varies {seen.ratio:.3g} times as much as {narrow}"
                  if seen.ratio > 100 else "")  # fmt: skip
        return Finding(
            self.name,
            "data",
            f"the inputs have an rms of {seen.rms:.4g} where about 1 is assumed{uneven}",
            (
                Measured("rms of the inputs", seen.rms, "about 1"),
                Measured("largest standard deviation of a column ÷ smallest", seen.ratio, "below "
                                                                                          "10"),
                Measured("largest |mean| of a column", seen.mean, "about 0"),
                Measured("largest eigenvalue of E[x̃x̃ᵀ]", curved,
                         f"at most {seen.columns + 1} (standardised columns)"),
                Measured(f"rms of the sums of {written(layer.path)} at the start", sums, "about 1"),
            ),
            f"the curvature in the first layer's weights grows with λ = λ_max(E[x̃x̃ᵀ]) = "
            f"{curved:.3g}: a squared error's step diverges above 2/λ = "
            f"{2 / curved:.2g}, and a direction of variance s² learns at the rate ηs² "
            f"(between {seen.narrowest[0] ** 2:.2g}η and {seen.widest[0] ** 2:.2g}η here)",
            severity,
            (0.87 if far else 0.6) if severity != "advice" else 0.3,
            (changes.standardise_inputs(), changes.scale_inputs(1 / seen.rms)),
            explains=CONSEQUENCES if severity != "advice" else (),
        )  # fmt: skip

    def _small(self, case: Case, layer: Layer, seen: Scale, sums: float) -> Finding:
        severity = weighed(case, unknown="advice" if seen.rms > SMALL / 4 else "warning")
        return Finding(
            self.name,
            "data",
            f"the inputs have an rms of {seen.rms:.2g} where about 1 is assumed",
            (
                Measured("rms of the inputs", seen.rms, "about 1"),
                Measured(f"rms of the sums of {written(layer.path)} at the start", sums, "about 1"),
                Measured("largest eigenvalue of E[x̃x̃ᵀ] without the offset", seen.rms**2, "about "
                                                                                           "1"),
            ),
            f"the gradient of the first layer's weights is δxᵀ: with x of {seen.rms:.2g} it, and "
            "what "
            f"a weight does to the output, are {1 / seen.rms:.3g} times smaller; the curvature "
            f"by (1/{seen.rms:.2g})²",
            "advice" if layer.norm else severity,
            0.8 if severity != "advice" else 0.3,
            (changes.standardise_inputs(), changes.scale_inputs(1 / seen.rms)),
            explains=CONSEQUENCES if severity != "advice" else (),
        )  # fmt: skip


def scale_of(values: np.ndarray) -> Scale:
    """The numbers of a matrix of inputs.

    >>> scale_of(np.array([[3.0, 0.0], [-3.0, 0.0]])).widest
    (3.0, 0)
    """
    x = values.astype(np.float64)
    mean, std = x.mean(0), x.std(0)
    varies = np.flatnonzero(std > 1e-9 * max(float(np.abs(x).max()), 1e-30))
    if len(varies):
        wide, narrow = varies[std[varies].argmax()], varies[std[varies].argmin()]
    else:
        wide = narrow = 0
    return Scale(
        rms(x), float(np.abs(mean).max()), x.shape[1],
        (float(std[wide]), int(wide)), (float(std[narrow]), int(narrow)),
    )  # fmt: skip


def curvature(values: np.ndarray, steps: int = 20) -> float:
    """The largest eigenvalue of E[x̃x̃ᵀ], x̃ = (x, 1), by power iteration.

    >>> round(curvature(np.array([[3.0, 0.0], [-3.0, 0.0]])), 6)   # E[x²] of the first column
    9.0
    """
    x = np.concatenate([values.astype(np.float64), np.ones((len(values), 1))], 1)
    gram = x.T @ x
    v = np.random.default_rng(0).normal(size=(x.shape[1], 1))
    for _ in range(steps):
        v = gram @ v
        v /= np.linalg.norm(v)  # never 0: there is a column of ones
    return float(np.mean((x @ v) ** 2))


def _first_layer(run: Pass) -> Layer | None:
    """The first layer with weights, unless it looks numbers up."""
    first = run.layers[0] if run.layers else None
    if first is None or first.kind == "embedding" or first.x is None:
        return None
    return first if first.x.dtype.kind == "f" and len(first.x) == len(run.x) else None


def _inputs(case: Case, layer: Layer) -> np.ndarray | None:
    """(rows, columns) of what the layer takes: all rows where that is the data itself."""
    taken, given = np.asarray(layer.x), np.asarray(case.first.x)
    if given.dtype.kind not in "biuf" or not (
        np.isfinite(taken).all() and np.isfinite(given).all()
    ):
        return None
    same = taken.size == given.size
    if same and np.allclose(
        taken.ravel(), given.ravel(), rtol=1e-3, atol=1e-5 * np.abs(given).max()
    ):
        taken = np.asarray(case.setup.x[:ROWS])
    flat = taken.reshape(len(taken), -1).astype(np.float64)
    return flat if flat.size and np.isfinite(flat).all() else None


def _name(case: Case, column: int) -> str:
    names = case.setup.columns
    return f"column {names[column] if column < len(names) else column}"

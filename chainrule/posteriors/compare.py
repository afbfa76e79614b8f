"""Methods side by side on one network, with Hamiltonian Monte Carlo as the reference."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError
from chainrule.posteriors.posterior import Posterior, posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor.locate import explained

METHODS = ("point", "dropout", "ensemble", "laplace", "variational", "hmc")
REFERENCE = "hmc"

Predictive = ClassPredictive | RealPredictive


@dataclass(frozen=True)
class Row:
    """One method, on the same network, rows and prior.

    Attributes:
        method: its name.
        distances: name -> a mean over the rows of x, see `distances`; of the reference itself those
            between its two halves, which no distance can be told from.
        aleatoric, epistemic: means over the rows, in nats for classes, as variances for real
            targets.
        seconds: to fit and to predict.
        warnings: the posterior's own.
        failed: why there is nothing, such as dropout for a network without; "" otherwise.
    """

    method: str
    distances: dict[str, float]
    aleatoric: float | None
    epistemic: float | None
    seconds: float
    warnings: tuple[str, ...]
    failed: str = ""


@dataclass(frozen=True)
class Comparison:
    """A `Row` for each method, the reference last."""

    rows: tuple[Row, ...]

    def __getitem__(self, method: str) -> Row:
        """The row of a method."""
        for row in self.rows:
            if row.method == method:
                return row
        raise DataError(f"{method!r} was not compared; there are {', '.join(self.methods)}")

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(row.method for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {"reference": REFERENCE, "rows": [asdict(row) for row in self.rows]}


@explained
def compare(
    model: Any,
    data: tuple[Any, Any],
    x: Any,
    *,
    methods: Sequence[str] = METHODS,
    samples: int = 1000,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    **own: Any,
) -> Comparison:
    """What each method predicts for the rows x, and how far that is from Hamiltonian Monte Carlo.

    Args:
        model: a small network, trained.
        data: (X, y), the training rows.
        x: rows to predict.
        methods: of `posterior`; "hmc" is always among them.
        samples: draws of a prediction.
        options: method -> options of that method alone.
        own: `likelihood`, `noise` and `precision`, the same for all.

    Raises:
        DataError: what keeps Hamiltonian Monte Carlo from running. What keeps another method is
            said in its row.
    """
    found, rows = _predicted(model, data, x, REFERENCE, samples, options, own)
    if isinstance(rows, str):
        raise DataError(f"there is no reference to compare with: {rows}")
    reference, seconds, warnings = rows
    floor = distances(*_halves(found, x))
    last = Row(REFERENCE, floor, *_parts(reference), seconds, warnings)
    others = []
    for method in methods:
        if method == REFERENCE:
            continue
        _, result = _predicted(model, data, x, method, samples, options, own)
        if isinstance(result, str):
            others.append(Row(method, {}, None, None, 0.0, (), result))
            continue
        predicted, seconds, warnings = result
        apart = distances(predicted, reference)
        others.append(Row(method, apart, *_parts(predicted), seconds, warnings))
    return Comparison((*others, last))


def _predicted(
    model: Any,
    data: tuple[Any, Any],
    x: Any,
    method: str,
    samples: int,
    options: Mapping[str, Mapping[str, Any]] | None,
    own: Mapping[str, Any],
) -> tuple[Any, tuple[Predictive, float, tuple[str, ...]] | str]:
    """(the posterior, (what it predicts, seconds, warnings)); (None, why not) where it cannot."""
    begun = time.perf_counter()
    try:
        found = posterior(model, data, method=method, **own, **(options or {}).get(method, {}))
        predicted = found.predict(x, samples=samples)
    except ChainruleError as error:
        return None, str(error)
    return found, (predicted, time.perf_counter() - begun, tuple(found.warnings))


def _parts(predicted: Predictive) -> tuple[float, float]:
    return float(predicted.aleatoric.mean()), float(predicted.epistemic.mean())


def _halves(found: Posterior, x: Any) -> tuple[Predictive, Predictive]:
    """What the first and the last half of the chains' draws predict. (With several chains these are
    other chains, so that what they disagree on shows.)"""
    everything = found.predict(x, samples=10**9)
    if isinstance(everything, ClassPredictive):
        half = len(everything.draws) // 2
        return ClassPredictive(everything.draws[:half]), ClassPredictive(everything.draws[half:])
    half = len(everything.means) // 2
    return (
        RealPredictive(everything.means[:half], everything.noise[:half]),
        RealPredictive(everything.means[half:], everything.noise[half:]),
    )


def distances(p: Predictive, reference: Predictive) -> dict[str, float]:
    """How far a prediction is from the reference's, as means over the rows.

    | classes | |
    |---|---|
    | `total variation` | ½ Σ_k abs(p_k − r_k), the most that a set of classes is off by |
    | `divergence` | KL(r ‖ p) in nats: what coding by p costs |
    | `disagreement` | the share of rows with another likeliest class |

    | real targets | |
    |---|---|
    | `mean` | abs(m_p − m_r)/σ_r |
    | `std` | abs(log σ_p/σ_r) |
    | `wasserstein` | ∫ abs(F_p − F_r) dy / σ_r: how far probability has to be moved, in σ_r |
    """
    if isinstance(p, ClassPredictive) and isinstance(reference, ClassPredictive):
        ours, theirs = p.probabilities, reference.probabilities
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(theirs > 0, theirs * np.log(theirs / ours), 0.0)
        apart = {
            "total variation": 0.5 * np.abs(ours - theirs).sum(1),
            "divergence": terms.sum(1),
            "disagreement": ours.argmax(1) != theirs.argmax(1),
        }
    elif isinstance(p, RealPredictive) and isinstance(reference, RealPredictive):
        apart = {
            "mean": np.abs(p.mean - reference.mean) / reference.std,
            "std": np.abs(np.log(p.std / reference.std)),
            "wasserstein": _wasserstein(p, reference) / reference.std,
        }
    else:
        raise DataError("one prediction is of classes and the other of real targets")
    return {name: float(np.mean(values)) for name, values in apart.items()}


def _wasserstein(p: RealPredictive, reference: RealPredictive) -> np.ndarray:
    """(n,): ∫ abs(F − G) dy, by the trapezoidal rule over 6 σ on both sides of both means."""
    low = np.minimum(p.mean - 6 * p.std, reference.mean - 6 * reference.std)
    high = np.maximum(p.mean + 6 * p.std, reference.mean + 6 * reference.std)
    grid = np.linspace(low, high, 241)
    apart = np.array([np.abs(p.cdf(y) - reference.cdf(y)) for y in grid])
    found: np.ndarray = np.trapezoid(apart, grid, axis=0)
    return found

"""What a network's answers are worth, by rows that nothing was chosen on; stored with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data import ColumnEncoder
from chainrule.errors import CheckpointError, DataError
from chainrule.nn.layers.containers import Sequential
from chainrule.probability.calibration.choice import recalibrate
from chainrule.probability.calibration.recalibrator import ClassRecalibrator, Identity, Recalibrator
from chainrule.probability.calibration.temperature import fit_temperature
from chainrule.probability.calibration.variance import VarianceScaling
from chainrule.probability.conformal.classes import ConformalClassifier
from chainrule.probability.conformal.law import Guarantee, check_coverage
from chainrule.probability.conformal.reals import ConformalRegressor
from chainrule.probability.conformal.regions import PredictionIntervals, PredictionSets
from chainrule.probability.novelty.seen import SeenRange
from chainrule.train.last_layer import DRAWS, LastLayer
from chainrule.train.loop import outputs_of

FEWEST = 9
"""With fewer rows no set of a coverage of 0.9 can rule anything out."""
MOST = 10_000
"""More would only lengthen the file: with so many the coverage is known to ±0.5 %."""
LEAST_NOISE = 1e-6
"""In standard deviations of the target: float32 outputs tell no less."""
AT_ONCE = 2**22
"""Numbers that the draws of a chunk of rows may have."""

Rows = tuple[np.ndarray, np.ndarray]
"""(encoded inputs, class codes or standardised targets)."""


@dataclass(frozen=True)
class Doubt:
    """What is known about how far a network's answers hold.

    The network was fitted to training rows and stopped by others; what stands here was measured on
    a third part of the rows, on which nothing was chosen, so that its promises hold exactly.
    Conformal scores are those of probabilities that know nothing of these rows: softmax(outputs /
    temperature), where the rows that stopped the training tell the temperature.

    Attributes:
        rows: how many rows it was measured on.
        recalibrator: from logits to probabilities; of a real target, for the variance.
        conformal: for sets of classes (score "lac"), or for intervals (score "normalised").
        seen: what training rows were like.
        last: what they leave open about the last layer.
        noise: σ of a standardised real target; None of classes.
        temperature: of the probabilities that conformal scores are made of; None of a real target.
    """

    rows: int
    recalibrator: Recalibrator
    conformal: ConformalClassifier | ConformalRegressor
    seen: SeenRange
    last: LastLayer
    noise: float | None = None
    temperature: float | None = None

    @classmethod
    def measured(
        cls, model: Sequential, encoder: ColumnEncoder, train: Rows, stopping: Rows, held: Rows,
        *, classes: bool,
    ) -> Doubt:  # fmt: skip
        """Measure it.

        Args:
            model: dense layers, the last of which gives logits or the standardised target.
            train: rows that the network was fitted to.
            stopping: rows that chose the epoch, which also tell the temperature of classes, and the
                noise of a real target.
            held: rows on which nothing was chosen.
        """
        (x, y), outputs = held, outputs_of(model, held[0]).astype(np.float64)
        seen = SeenRange(encoder).fit(train[0], x)
        noise = None
        if not classes:
            missed = outputs_of(model, stopping[0])[:, 0].astype(np.float64) - stopping[1]
            noise = max(float(np.sqrt(np.mean(missed**2))), LEAST_NOISE)
        last = LastLayer.fitted(model[-1], features_of(model, train[0]), train[1], noise=noise)
        if classes:
            temperature = fit_temperature(outputs_of(model, stopping[0]), stopping[1])
            sets = ConformalClassifier("lac").fit(own_probabilities(outputs / temperature), y)
            chosen = recalibrate(outputs, y).recalibrator
            return cls(len(y), chosen, sets, seen, last, temperature=temperature)
        assert noise is not None
        total = np.sqrt(noise**2 + last.spread(features_of(model, x))[:, 0])
        missed = np.maximum(np.abs(y - outputs[:, 0]), LEAST_NOISE)
        scaling = VarianceScaling().fit((np.zeros(len(y)), total), missed)
        intervals = ConformalRegressor("normalised").fit((outputs[:, 0], total), y)
        return cls(len(y), scaling, intervals, seen, last, noise=noise)

    # Classes

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """(n, K) recalibrated, of outputs (n, K)."""
        found: np.ndarray = self.recalibrator.transform(outputs)
        return found

    def sets(self, outputs: np.ndarray, coverage: float) -> PredictionSets:
        """The classes that cannot be ruled out; DataError where the rows are too few."""
        self._check(coverage)
        assert isinstance(self.conformal, ConformalClassifier)
        assert self.temperature is not None
        return self.conformal.predict_set(own_probabilities(outputs / self.temperature), coverage)

    def entropies(self, model: Sequential, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(aleatoric, epistemic), (n,) each in nats: the mean entropy over draws of the last layer,
        and the mutual information of answer and weights."""
        from chainrule.posteriors.predictive import ClassPredictive

        outputs, features = outputs_of(model, x).astype(np.float64), features_of(model, x)
        step = max(1, AT_ONCE // (DRAWS * outputs.shape[1]))
        parts = []
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            drawn = self.last.draws(outputs[rows], features[rows], DRAWS)
            p = self.probabilities(drawn.reshape(-1, drawn.shape[2])).reshape(drawn.shape)
            found = ClassPredictive(p)
            parts.append(np.stack([found.aleatoric, found.epistemic]))
        aleatoric, epistemic = np.concatenate([np.empty((2, 0)), *parts], 1)
        return aleatoric, epistemic

    # Real targets, standardised

    def intervals(self, model: Sequential, x: np.ndarray, coverage: float) -> PredictionIntervals:
        """The targets that cannot be ruled out; DataError where the rows are too few."""
        self._check(coverage)
        assert isinstance(self.conformal, ConformalRegressor)
        assert self.noise is not None
        total = np.sqrt(self.noise**2 + self.last.spread(features_of(model, x))[:, 0])
        return self.conformal.predict_interval((outputs_of(model, x)[:, 0], total), coverage)

    def deviations(self, model: Sequential, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(aleatoric, epistemic), (n,) each: standard deviations of the noise, and of the mean that
        more data would tell better. Their squares add up to the variance of the target."""
        assert self.noise is not None
        assert isinstance(self.recalibrator, VarianceScaling)
        epistemic = self.last.spread(features_of(model, x))[:, 0]
        factor = np.sqrt(self.recalibrator.factor)
        return np.full(len(x), self.noise * factor), np.sqrt(epistemic) * factor

    def _check(self, coverage: float) -> None:
        law = Guarantee(self.rows, check_coverage(coverage))
        if law.vacuous:
            raise DataError(
                f"{self.rows} rows were held back to calibrate this network, and a coverage of "
                f"{coverage:.4g} takes {law.needed}: with fewer nothing can be ruled out. Ask for "
                f"at most {self.rows / (self.rows + 1):.3g}, or fit it with more rows or a larger "
                "share held back (validation_fraction)."
            )

    def __str__(self) -> str:
        rows = f"{self.rows} validation rows, on which nothing was chosen, calibrate"
        if isinstance(self.recalibrator, VarianceScaling):
            factor = self.recalibrator.factor**0.5
            return f"{rows}: standard deviations are multiplied by {factor:.3g}"
        if isinstance(self.recalibrator, Identity):
            return f"{rows}: probabilities stay as they are, since nothing makes them better"
        return f"{rows}: probabilities are recalibrated ({self.recalibrator.name})"

    def to_dict(self) -> dict[str, Any]:
        """Everything, as data that JSON holds; `from_dict` turns it back."""
        return {
            "rows": self.rows, "recalibrator": self.recalibrator.to_dict(),
            "conformal": self.conformal.to_dict(), "seen": self.seen.to_dict(),
            "last": self.last.to_dict(), "noise": self.noise, "temperature": self.temperature,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Doubt:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            real = data["noise"] is not None
            conformal = ConformalRegressor if real else ConformalClassifier
            recalibrator = VarianceScaling if real else ClassRecalibrator
            return cls(
                int(data["rows"]),
                recalibrator.from_dict(data["recalibrator"]),
                conformal.from_dict(data["conformal"]),
                SeenRange.from_dict(data["seen"]),
                LastLayer.from_dict(data["last"]),
                float(data["noise"]) if real else None,
                None if real else float(data["temperature"]),
            )
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise CheckpointError(
                f"what is stored about a network's doubt is not whole ({type(error).__name__}: "
                f"{error}). The file is damaged, or was written by another version."
            ) from None


def share_held(validation: int) -> float:
    """Which share of so many validation rows calibrates; the others stop the training.

    >>> share_held(17), share_held(180), share_held(100_000)
    (0.0, 0.5, 0.1)
    """
    return min(0.5, MOST / validation) if validation >= 2 * FEWEST else 0.0


def features_of(model: Sequential, x: np.ndarray) -> np.ndarray:
    """(n, d): what goes into the last layer."""
    return outputs_of(model[:-1].eval(), x) if len(model) > 1 else x


def own_probabilities(outputs: np.ndarray) -> np.ndarray:
    """(n, K): softmax of the outputs, float64."""
    from scipy.special import softmax

    found: np.ndarray = softmax(outputs.astype(np.float64), 1)
    return found

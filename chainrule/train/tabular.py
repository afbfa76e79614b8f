"""A network for a table: its columns' encoders, the model, and the settings it is trained with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn, optim
from chainrule.data import ColumnEncoder, Table, TargetEncoder, split
from chainrule.errors import CheckpointError, DataError
from chainrule.lens.interpret.view import View
from chainrule.probability.calibration import fit_temperature
from chainrule.probability.conformal.regions import PredictionIntervals, PredictionSets
from chainrule.probability.novelty.seen import Familiarity
from chainrule.tensor.generator import seed as seed_generator
from chainrule.tensor.graph import no_grad
from chainrule.train.doubt import FEWEST, Doubt, own_probabilities, share_held
from chainrule.train.loop import History, fit, outputs_of
from chainrule.train.metrics import accuracy, r2
from chainrule.train.progress import showing
from chainrule.train.settings import ACTIVATIONS, Settings


class TableNetwork:
    """A network that takes the rows of a table, and what it learnt about their columns.

    Attributes:
        encoder: the columns' encoder, learnt from the training rows.
        target: the target's encoder.
        model: a `Sequential` of dense layers; its outputs are logits for each class, or the
            standardised target.
        settings: how it was built and trained.
        history: what training went through; None for one that was loaded.
        temperature: what the trained logits were divided by, so that their probabilities fit the
            validation rows; 1 where nothing was done.
        doubt: what rows on which nothing was chosen say about its answers; None where there were
            too few of them.
    """

    def __init__(
        self,
        encoder: ColumnEncoder,
        target: TargetEncoder,
        model: nn.Sequential,
        settings: Settings,
        doubt: Doubt | None = None,
    ) -> None:
        self.encoder, self.target, self.model, self.settings = encoder, target, model, settings
        self.history: History | None = None
        self.temperature = 1.0
        self.doubt = doubt

    @classmethod
    def train(
        cls,
        columns: Table,
        target: Any,
        decided: TargetEncoder,
        *,
        train: np.ndarray,
        validation: np.ndarray,
        settings: Settings,
        encoder: ColumnEncoder | None = None,
        quiet: bool = False,
        watch: bool = False,
    ) -> TableNetwork:
        """Fit the encoders to the training rows, then train a network on them.

        Args:
            columns: the features of all rows.
            target: the target of all rows, a column or an array.
            decided: the target's encoder, which has seen all rows (`decide`).
            train, validation: indices of rows. Half of the validation rows stop the training; on
                the others nothing is chosen, and they say what the answers are worth (`Doubt`).
                Too few to be halved, all of them stop it; without any, all epochs are done.
            encoder: with columns declared numeric or categorical.
            quiet: show no progress.
            watch: measure on the way; see `fit`.
        """
        settings = settings.for_rows(len(train), decided.task)
        assert settings.epochs is not None
        assert settings.batch_size is not None
        encoder = (encoder or ColumnEncoder()).fit(columns.take(train))
        decided.fit(target.take(train))
        x, y = encoder.transform(columns), decided.transform(target)
        seed_generator(settings.seed)
        classes = decided.task == "classes"
        outputs = len(decided.classes) if classes else 1
        network = cls(encoder, decided, build(x.shape[1], outputs, settings), settings)
        optimizer = optim.AdamW(
            network.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        schedule = optim.OneCycleLR(
            optimizer,
            max_lr=settings.lr,
            total_steps=max(2, settings.epochs * -(-len(train) // settings.batch_size)),
        )
        stopping, held = _halves(validation, settings.seed)
        held_out = (x[stopping], y[stopping]) if len(stopping) else None
        with showing(settings.epochs, quiet=quiet) as progress:
            network.history = fit(
                network.model,
                (x[train], y[train]),
                loss=network.training_loss,
                optimizer=optimizer,
                schedule=schedule,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                validation=held_out,
                score=_score_classes if classes else _score_real,
                patience=settings.patience if held_out else None,
                seed=settings.seed,
                progress=progress,
                watch=watch,
            )
        network.model.eval()
        if classes and len(validation):
            network._temper(x[validation], y[validation])
        if held_out is not None and len(held):
            network.doubt = Doubt.measured(
                network.model, encoder, (x[train], y[train]), held_out, (x[held], y[held]),
                classes=classes,
            )  # fmt: skip
        return network

    def _temper(self, x: np.ndarray, codes: np.ndarray) -> None:
        """Divide the last layer by the temperature that makes its probabilities fit the validation
        rows: smoothed labels teach a network to be less sure than it is right."""
        self.temperature = fit_temperature(outputs_of(self.model, x), codes)
        last = list(self.model.modules())[-1]
        with no_grad():
            for parameter in last.parameters():
                parameter.assign(parameter * (1 / self.temperature))

    def training_loss(self, outputs: Any, targets: Any) -> Any:
        """Cross-entropy for classes, the mean squared error for a real target."""
        if self.target.task == "classes":
            return nn.cross_entropy(outputs, targets, label_smoothing=self.settings.label_smoothing)
        return nn.mse_loss(outputs[:, 0], targets)

    @property
    def least_loss(self) -> float:
        """The smallest training loss there can be: the entropy of a smoothed label."""
        smoothing, classes = self.settings.label_smoothing, len(self.target.classes)
        if self.target.task != "classes" or not smoothing:
            return 0.0
        rest = smoothing / classes
        own = 1 - smoothing + rest
        return -own * math.log(own) - (classes - 1) * rest * math.log(rest)

    def outputs(self, columns: Table) -> tuple[np.ndarray, list[str]]:
        """(the model's outputs for each row, notes on what the encoder had to assume)."""
        values, notes = self.encoder.encode(columns)
        return outputs_of(self.model, values), notes

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """softmax of the outputs, recalibrated; float64 of shape (rows, classes)."""
        if self.doubt is None:
            return own_probabilities(outputs)
        return self.doubt.probabilities(outputs)

    def codes(self, outputs: np.ndarray) -> np.ndarray:
        """(rows,): the code of the likeliest class."""
        found: np.ndarray = self.probabilities(outputs).argmax(1)
        return found

    def labels(self, outputs: np.ndarray) -> np.ndarray:
        """The likeliest class of each row, or the real target."""
        if self.target.task == "classes":
            return self.target.inverse(self.codes(outputs))
        return self.target.inverse(outputs[:, 0])

    def sets(self, columns: Table, coverage: float = 0.9) -> PredictionSets:
        """The classes that cannot be ruled out, for each row; they hold the true one with the
        probability `coverage` (split conformal prediction, score "lac").

        Raises:
            DataError: too few rows were held back for that.
        """
        return self._doubt("sets").sets(self.outputs(columns)[0], coverage)

    def intervals(self, columns: Table, coverage: float = 0.9) -> PredictionIntervals:
        """The real targets that cannot be ruled out, in their own unit; they hold the true one with
        the probability `coverage` (split conformal prediction, score "normalised").

        Raises:
            DataError: too few rows were held back for that.
        """
        x, _ = self.encoder.encode(columns)
        found = self._doubt("intervals").intervals(self.model, x, coverage)
        ends = self.target.inverse(found.low), self.target.inverse(found.high)
        return replace(found, low=ends[0], high=ends[1])

    def uncertainty(self, columns: Table) -> tuple[np.ndarray, np.ndarray]:
        """(aleatoric, epistemic), (rows,) each: what would stay however many rows there were to
        learn from, and what more of them would take away, as far as the last layer tells
        (`LastLayer`).

        Of classes in nats: they add up to the entropy of the mean over draws of the last layer. Of
        a real target standard deviations in its unit: their squares add up to the variance.

        Raises:
            DataError: too few rows were held back for that.
        """
        x, _ = self.encoder.encode(columns)
        doubt = self._doubt("uncertainty")
        if self.target.task == "classes":
            return doubt.entropies(self.model, x)
        aleatoric, epistemic = doubt.deviations(self.model, x)
        return self.target.std * aleatoric, self.target.std * epistemic

    def familiarity(self, columns: Table) -> Familiarity:
        """Whether rows are like those that were trained on.

        Raises:
            DataError: too few rows were held back for that.
        """
        x, _ = self.encoder.encode(columns)
        return self._doubt("familiarity").seen.check(x)

    def _doubt(self, what: str) -> Doubt:
        if self.doubt is None:
            raise DataError(
                f"no {what} can be given: no rows were held back to calibrate this network, which "
                f"takes {2 * FEWEST} validation rows (half of them stop the training), or it was "
                "saved by an earlier version. Fit it anew with more rows, or with a larger share "
                "held back (validation_fraction=0.3). Where rows are scarce, "
                "prob.CrossConformalClassifier and prob.CrossConformalRegressor calibrate with all "
                "of them."
            )
        return self.doubt

    def viewed(self, table: Callable[[Any], Table] = Table.of) -> View:
        """What `interpret` looks through; `table` reads rows as a user has them."""
        names = self.encoder.feature_names_out
        places, start = [], 0
        for column in self.encoder.columns:
            end = start + len(column.features)
            places.append((column.name, tuple(range(start, end))))
            start = end
        assert start == len(names)

        def cells(rows: Any) -> dict[str, list[str]]:
            found = table(rows)
            return {name: [found[name].written(i) for i in range(len(found))] for name, _ in places}

        classes = self.target.task == "classes"
        return View(
            self.model,
            lambda rows: self.encoder.encode(table(rows)).values,
            self.target.transform if classes else lambda y: np.asarray(y, np.float64),
            places,
            cells,
            {column.name: column.decode for column in self.encoder.columns},
            self.encoder,
            tuple(str(c) for c in self.target.classes) if classes else (),
            (0.0, 1.0) if classes else (self.target.mean, self.target.std),
        )

    def __interpreted__(self) -> View:
        return self.viewed()

    def save(self, path: str | Path) -> None:
        """Everything into one safetensors file: weights, architecture, encoders, settings, and
        what the answers are worth."""
        settings = {**asdict(self.settings), "hidden": list(self.settings.hidden)}
        nn.save(
            self.model,
            path,
            metadata={
                "table": {
                    "encoder": self.encoder.to_dict(),
                    "target": self.target.to_dict(),
                    "settings": settings,
                    "doubt": None if self.doubt is None else self.doubt.to_dict(),
                }
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> TableNetwork:
        """The network that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged, or no network for tables.
        """
        described = nn.read_metadata(path).get("table")
        if not isinstance(described, dict):
            raise CheckpointError(
                f"{path} holds a model without the encoders of a table's columns; it was not "
                "written by `chainrule fit` or an estimator's save. Load it with cr.load(path)."
            )
        doubt = described.get("doubt")  # files of earlier versions have none
        return cls(
            ColumnEncoder.from_dict(described["encoder"]),
            TargetEncoder.from_dict(described["target"]),
            nn.load(path).eval(),
            Settings(**described["settings"]),
            None if doubt is None else Doubt.from_dict(doubt),
        )


def build(inputs: int, outputs: int, settings: Settings) -> nn.Sequential:
    """Dense layers with activations and dropout between them."""
    layers: list[nn.Module] = []
    size = inputs
    for width in settings.hidden:
        layers += [nn.Linear(size, width), ACTIVATIONS[settings.activation]()]
        if settings.dropout:
            layers.append(nn.Dropout(settings.dropout))
        size = width
    return nn.Sequential(*layers, nn.Linear(size, outputs))


def _halves(validation: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows that stop the training, rows on which nothing is chosen), drawn at random."""
    share = share_held(len(validation))
    if not share:
        return validation, validation[:0]
    stopping, held, _ = split(len(validation), fractions=(1 - share, share, 0.0), seed=seed)
    return validation[stopping], validation[held]


def _score_classes(outputs: np.ndarray, targets: np.ndarray) -> float:
    return accuracy(targets, outputs.argmax(1))


def _score_real(outputs: np.ndarray, targets: np.ndarray) -> float:
    return r2(targets, outputs[:, 0])

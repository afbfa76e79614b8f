"""A network for a table: its columns' encoders, the model, and the settings it is trained with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn, optim
from chainrule.data import ColumnEncoder, Table, TargetEncoder
from chainrule.errors import CheckpointError, DataError
from chainrule.probability.calibration import fit_temperature
from chainrule.tensor.generator import seed as seed_generator
from chainrule.tensor.graph import no_grad
from chainrule.train.loop import History, fit, outputs_of
from chainrule.train.metrics import accuracy, r2
from chainrule.train.progress import showing

UPDATES = 2400
"""About how many updates a small table gets, where the number of epochs is left open."""
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class Settings:
    """How a network for a table is built and trained.

    Attributes:
        hidden: the sizes of the hidden layers.
        activation: "relu", "gelu", "silu" or "tanh".
        dropout: the probability with which a hidden unit is dropped in training; None is 0.3 for
            classes and 0 for a real target.
        lr: the peak of the learning rate, which warms up and then falls to 0 along a cosine.
        weight_decay: AdamW's.
        label_smoothing: how much of each label is spread over all classes.
        batch_size: rows for each update; None chooses 32 to 256 by the number of rows.
        epochs: passes over the training rows, at most; None chooses as many as make some 2400
            updates, 30 to 600.
        patience: epochs without a smaller validation loss after which training stops; None is a
            third of all.
        seed: of the first weights, the order of the rows and dropout.
    """

    hidden: tuple[int, ...] = (256, 128)
    activation: str = "relu"
    dropout: float | None = None
    lr: float = 2e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    batch_size: int | None = None
    epochs: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        hidden = self.hidden if isinstance(self.hidden, (tuple, list)) else (self.hidden,)
        checks: list[tuple[str, Any, bool, str]] = [
            ("hidden", hidden, all(map(_whole, hidden)), "sizes of at least 1, such as (128, 64)"),
            ("activation", self.activation, self.activation in ACTIVATIONS, _one_of(ACTIVATIONS)),
            ("dropout", self.dropout, self.dropout is None or _between(self.dropout, 0, 1),
             "from 0 up to 1"),
            ("lr", self.lr, _between(self.lr, 0, math.inf) and self.lr > 0, "a number above 0"),
            ("weight_decay", self.weight_decay, _between(self.weight_decay, 0, math.inf),
             "at least 0"),
            ("label_smoothing", self.label_smoothing, _between(self.label_smoothing, 0, 1),
             "from 0 up to 1"),
            *((name, value, value is None or _whole(value), "a whole number, 1 or more")
              for name, value in (("batch_size", self.batch_size), ("epochs", self.epochs),
                                  ("patience", self.patience))),
            ("seed", self.seed, _whole(self.seed, 0), "a whole number, 0 or more"),
        ]  # fmt: skip
        for name, value, good, wanted in checks:
            if not good:
                raise DataError(f"{name} is {value!r}; it is {wanted}")
        object.__setattr__(self, "hidden", tuple(int(n) for n in hidden))

    def for_rows(self, rows: int, task: str | None) -> Settings:
        """The same with what was left open chosen for a task and so many training rows."""
        dropout = self.dropout
        if dropout is None:
            dropout = 0.3 if task == "classes" else 0.0
        batch = self.batch_size
        if batch is None:
            batch = min(256, max(32, 2 ** round(math.log2(max(rows, 1) / 128))))
        batch = min(batch, rows)
        epochs = self.epochs
        if epochs is None:
            epochs = min(600, max(30, round(UPDATES / -(-rows // batch))))
        patience = max(10, epochs // 3) if self.patience is None else self.patience
        return replace(self, dropout=dropout, batch_size=batch, epochs=epochs, patience=patience)


def _whole(value: Any, least: int = 1) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and int(value) >= least


def _between(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float, np.number)) and low <= float(value) < high


def _one_of(names: Any) -> str:
    return "one of " + ", ".join(names)


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
    """

    def __init__(
        self, encoder: ColumnEncoder, target: TargetEncoder, model: nn.Module, settings: Settings
    ) -> None:
        self.encoder, self.target, self.model, self.settings = encoder, target, model, settings
        self.history: History | None = None
        self.temperature = 1.0

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
            train, validation: indices of rows; without any validation row all epochs are done.
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
        held_out = (x[validation], y[validation]) if len(validation) else None
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
        if classes and held_out is not None:
            network._calibrate(*held_out)
        return network

    def _calibrate(self, x: np.ndarray, codes: np.ndarray) -> None:
        """Divide the last layer by the temperature that makes its probabilities fit held-out rows.

        Smoothed labels teach a network to be less sure than it is right.
        """
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
        """softmax of the outputs, float64 of shape (rows, classes)."""
        wide = outputs.astype(np.float64)
        wide = np.exp(wide - wide.max(1, keepdims=True))
        return wide / wide.sum(1, keepdims=True)

    def labels(self, outputs: np.ndarray) -> np.ndarray:
        """The likeliest class of each row, or the real target."""
        if self.target.task == "classes":
            return self.target.inverse(outputs.argmax(1))
        return self.target.inverse(outputs[:, 0])

    def save(self, path: str | Path) -> None:
        """Everything into one safetensors file: weights, architecture, encoders, settings."""
        settings = {**asdict(self.settings), "hidden": list(self.settings.hidden)}
        nn.save(
            self.model,
            path,
            metadata={
                "table": {
                    "encoder": self.encoder.to_dict(),
                    "target": self.target.to_dict(),
                    "settings": settings,
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
        return cls(
            ColumnEncoder.from_dict(described["encoder"]),
            TargetEncoder.from_dict(described["target"]),
            nn.load(path).eval(),
            Settings(**described["settings"]),
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


def _score_classes(outputs: np.ndarray, targets: np.ndarray) -> float:
    return accuracy(targets, outputs.argmax(1))


def _score_real(outputs: np.ndarray, targets: np.ndarray) -> float:
    return r2(targets, outputs[:, 0])


def with_settings(settings: Settings, **changes: Any) -> Settings:
    """The settings with those changed that are not None."""
    return replace(settings, **{k: v for k, v in changes.items() if v is not None})

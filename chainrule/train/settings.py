"""The settings of a network for a table: how it is built and trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import DataError

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


def with_settings(settings: Settings, **changes: Any) -> Settings:
    """The settings with those changed that are not None."""
    return replace(settings, **{k: v for k, v in changes.items() if v is not None})

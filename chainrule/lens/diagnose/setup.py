"""A setup: everything that makes a training run, so that it can be made again, changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.lens.diagnose.frameworks.framework import Framework
from chainrule.lens.diagnose.loss_forms import of_logarithms
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rebinding import rebound
from chainrule.nn.redraw import redraw


@dataclass(frozen=True)
class Setup:
    """Model, data, loss, optimiser and how long: the model as it is before training. It is never
    trained itself; whoever trains takes a `fresh` copy.

    Attributes:
        framework: how to talk to the model.
        model, optimizer, schedule: as they were given (the optimiser holds the model's parameters).
        loss: (outputs, targets) → a single number.
        x, y: the rows that are trained on. `x_held`, `y_held`: rows that nothing is learnt from.
        epochs, batch_size, seed: of the run.
        task: "classes" (integer targets, or rows that are one-hot), "binary" (0 and 1, one output)
            or "real".
        clear, sign, clip: of the user's loop: whether gradients are cleared, whether the step
            descends, the largest gradient norm.
        shuffle: whether the order of the rows is another in each epoch.
        early: the share of the training rows that is set aside to choose the best epoch by; 0
            trains on all rows to the end.
        moved: where modules stand now that a change has moved, by the path that they had before any
            change; None for those that were taken out.
        seen: what the rows were made of, for a held-out comparison in the same units: functions
            that take raw rows to x (and y) are listed in `notes` in words.
        notes: what changes did, in words.
        source: where the user wrote it, if known: {"script": path, "optimizer": "train.py:12", …}
            or {"run": folder}.
        given: the numbers of x's rows, then of x_held's, in the data as they were given, where
            the rows were split; None where they are as they were.
    """

    framework: Framework
    model: Any
    optimizer: Any
    loss: Callable[[Any, Any], Any]
    x: np.ndarray
    y: np.ndarray
    x_held: np.ndarray
    y_held: np.ndarray
    epochs: int
    batch_size: int
    task: str
    seed: int = 0
    schedule: Any = None
    clear: bool = True
    sign: float = 1.0
    clip: float | None = None
    shuffle: bool = True
    early: float = 0.0
    moved: dict[str, str | None] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    given: np.ndarray | None = None

    def row(self, i: int, held: bool = False) -> int:
        """The number of training row i, or of a held-out one, in the data as they were given."""
        rows = None if self.given is None else self.given[len(self.x) if held else 0 :]
        whole = self.given is not None and len(self.given) == len(self.x) + len(self.x_held)
        return int(i if rows is None or not whole else rows[i])

    def with_(self, **changes: Any) -> Setup:
        """The same with some things changed; what belongs together (model and optimiser) is given
        together."""
        return replace(self, **changes)

    def copied(self) -> Setup:
        """The same with copies of model, optimiser, schedule and loss that refer to each other, to
        be changed in place; a loss that reads the model reads the copy."""
        given = (self.model, self.optimizer, self.schedule)
        try:
            model, optimizer, schedule, loss = self.framework.copy(*given, self.loss)
        except Exception:  # a loss that holds a lock, say, is shared
            model, optimizer, schedule = self.framework.copy(*given)
            loss = self.loss
        loss = rebound(loss, self.model, model)
        return replace(self, model=model, optimizer=optimizer, schedule=schedule, loss=loss)

    def fresh(self, seed: int = 0) -> Setup:
        """A copy to be trained; with a seed other than 0, with other first weights of the same
        distribution, and the rows in another order."""
        found = self.copied()
        if seed:
            frozen = found.framework.frozen(found.model)
            names = [n for n in found.framework.parameters(found.model) if n not in frozen]
            state = found.framework.state(found.model)
            found.framework.load(found.model, redraw(state, seed, names))
        return replace(found, seed=self.seed + seed)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.x) // self.batch_size)

    @property
    def steps(self) -> int:
        """How many updates the run makes."""
        return self.epochs * self.steps_per_epoch

    @cached_property
    def rate(self) -> float:
        """The learning rate that the user set: of a schedule the largest, wherever it begins."""
        now = self.framework.rate(self.optimizer)
        if self.schedule is None:
            return now
        group = self.optimizer.param_groups[0]
        highs = getattr(self.schedule, "max_lrs", ())
        return max(now, group.get("initial_lr", 0.0), group.get("max_lr", 0.0), *highs[:1])

    @cached_property
    def _seen(self) -> Pass:
        """A recorded pass of a few rows, for what is asked of the loss and the outputs."""
        return self.framework.observe(self.model, *self.batch(8), self.loss)

    @cached_property
    def loss_kind(self) -> str:
        """`LossFacts.kind`; where the loss does not run, what its name says."""
        if self._seen.facts.kind != "custom" or self._seen.error is None:
            return self._seen.facts.kind
        return kind_by_name(self.framework.describe(self.loss))

    @cached_property
    def reading(self) -> str:
        """What the outputs are: see `yardstick.error_of`."""
        return reading_of(self._seen, self.loss_kind)

    def batch(self, rows: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """The first rows of the run: some of every class, where there are classes."""
        order = np.random.default_rng(self.seed).permutation(len(self.x))[:rows]
        return self.x[order], self.y[order]


def task_of(y: np.ndarray, outputs: np.ndarray | None, loss_kind: str = "custom") -> str:
    """What kind of target this is: "classes", "binary" or "real"."""
    y = np.asarray(y)
    one = outputs is not None and (outputs.ndim < 2 or outputs.shape[-1] == 1)
    values = np.unique(y[:100_000])
    if y.dtype.kind in "biu":
        if len(values) <= 2 and set(values.tolist()) <= {0, 1}:
            return "binary" if one else "classes"
        small = len(values) <= max(50, int(np.sqrt(len(y))))
        return "classes" if loss_kind in ("cross_entropy", "nll") or small else "real"
    if set(values.tolist()) <= {0.0, 1.0} and len(values) <= 2:
        if y.ndim == 2 and y.shape[-1] > 1 and np.all(y.sum(-1) == 1):
            return "classes"
        return "binary"
    whole = len(values) <= 20 and bool(np.all(values == np.round(values)))
    if loss_kind in ("cross_entropy", "nll", "bce", "bce_with_logits") and whole:
        return "classes"
    return "real"


def labels_of(y: np.ndarray) -> np.ndarray:
    """Class numbers of targets that are classes: one-hot rows become their position."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[-1] > 1:
        return y.argmax(-1)
    return y.reshape(len(y)).astype(np.int64)


def kind_by_name(name: str) -> str:
    """A loss's kind by what it is called, such as `CrossEntropyLoss()` or `nll_loss`."""
    plain = name.lower().replace("_", "")
    for kind, word in NAMES.items():
        if word in plain:
            return kind
    return "custom"


NAMES = {
    "bce_with_logits": "withlogits",
    "bce": "bceloss",
    "cross_entropy": "crossentropy",
    "nll": "nllloss",
    "mse": "mseloss",
    "mae": "l1loss",
    "huber": "huberloss",
}


def reading_of(run: Pass, kind: str) -> str:
    """What outputs are, as the loss reads them: "logarithms" of the targets' means, and for classes
    "logits" of a softmax or sigmoid (log-probabilities are logits too), or "probabilities"; of a
    loss that is not known, as the output layer says."""
    if kind in ("cross_entropy", "nll", "bce_with_logits"):
        return "logits"
    if kind == "custom" and of_logarithms(run):
        return "logarithms"
    name = run.ops[run.output].name if run.output is not None else ""
    squashed = name in ("softmax", "sigmoid", "hardsigmoid", "softmin", "sparsemax")
    return "probabilities" if squashed or kind in ("bce", "mse", "mae", "huber") else "logits"

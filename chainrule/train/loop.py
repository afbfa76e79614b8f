"""`fit`: a network trained by minibatches, with early stopping and the best weights kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.compile.compiled import compile
from chainrule.data import Batches
from chainrule.errors import (
    BoundsError,
    CompileError,
    DataError,
    DTypeError,
    GradientError,
    NonFiniteError,
)
from chainrule.nn.module import Module
from chainrule.ops.finite import require_finite
from chainrule.optim import AdamW
from chainrule.optim.optimizer import Optimizer
from chainrule.tensor import dtypes
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import no_grad
from chainrule.tensor.locate import explained

if TYPE_CHECKING:
    from chainrule.lens.diagnose.diagnosis import Diagnosis
    from chainrule.lens.diagnose.trace import Trace
    from chainrule.train.watching import Watched

ROWS_AT_ONCE = 4096
"""Rows whose outputs are computed together where nothing is learnt."""

WORTH_COMPILING = 200
"""So many steps take longer than compiling one."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows.

    Attributes:
        epoch: counted from 1.
        train_loss: the mean over the epoch's rows, as they were met.
        validation_loss, validation_score: after the epoch; None without validation rows.
        learning_rate: at the epoch's end.
        seconds: since training began.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_score: float | None
    learning_rate: float
    seconds: float


@dataclass
class History:
    """What training went through.

    Attributes:
        epochs: an `Epoch` for each.
        best_epoch: the one whose weights the model has now.
        stopped: why training ended.
        trace: what was measured (`fit(watch=True)`): losses of every step, and at some steps the
            gradients, updates and activations of each layer.
        diagnosis: what the rules find in it, without trials.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    trace: Trace | None = field(default=None, repr=False, compare=False)
    diagnosis: Diagnosis | None = field(default=None, repr=False, compare=False)

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        return self.epochs[self.best_epoch - 1]

    def to_dict(self) -> dict[str, Any]:
        """The epochs, the best one and the reason for the end, as plain data."""
        epochs = [asdict(epoch) for epoch in self.epochs]
        return {"epochs": epochs, "best_epoch": self.best_epoch, "stopped": self.stopped}


@explained
def fit(
    model: Module,
    data: tuple[Any, Any],
    *,
    loss: Callable[[Any, Any], Any],
    optimizer: Any = None,
    schedule: Any = None,
    epochs: int = 100,
    batch_size: int = 32,
    validation: tuple[Any, Any] | None = None,
    score: Callable[[np.ndarray, np.ndarray], float] | None = None,
    patience: int | None = None,
    seed: int = 0,
    progress: Callable[[Epoch], None] | None = None,
    watch: bool = False,
) -> History:
    """Train a model by minibatches: forward, loss, backward, update.

    Floating-point data are cast to the dtype of the model's parameters. The order of the rows is a
    function of `seed` and the epoch; what the model itself draws (dropout) follows `cr.seed`. Where
    there are many steps, a step is compiled (`cr.compile`), unless model or loss branch on values.

    Args:
        model: takes a batch of rows, gives the outputs that `loss` takes.
        data: (inputs, targets), arrays of equally many rows.
        loss: (outputs, targets) -> a single number.
        optimizer: AdamW with its own defaults if left out.
        schedule: of the learning rate; its `step()` is called after each batch.
        validation: (inputs, targets) that nothing is learnt from. With them, the weights of the
            epoch with the smallest validation loss are kept, and put back at the end.
        score: (outputs, targets) -> a number for people to read, computed on the validation rows.
        patience: stop after so many epochs without a smaller validation loss.
        progress: called with each `Epoch` as it ends.
        watch: measure gradients, updates and activations on the way, in about 2 % of the time, for
            `History.trace` and `History.diagnosis`. What cannot work is said on stderr: after the
            first step what the graph shows, at the end what the run does. The training itself is
            the same to the bit.

    Raises:
        DataError: arrays of different lengths, or no rows.
        NonFiniteError: the loss became NaN or infinite; names epoch and batch.
        GradientError: the model has no parameters to train.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.seed(0)
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> line = nn.Linear(1, 1)
    >>> history = fit(line, (x, 2 * x + 1), loss=nn.mse_loss, epochs=60,
    ...               optimizer=cr.optim.SGD(line.parameters(), lr=0.2))
    >>> line.weight.numpy().round(3), line.bias.numpy().round(3)
    (array([[2.]], dtype=float32), array([1.], dtype=float32))
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise GradientError(
            f"{type(model).__name__} has no parameters that require gradients: there is nothing to "
            "train. Are its layers in a plain list instead of nn.ModuleList?"
        )
    if epochs < 1 or (patience is not None and patience < 1):
        raise DTypeError(f"epochs and patience are at least 1, not {epochs} and {patience}")
    dtype = parameters[0].dtype
    arrays = _arrays(data, dtype, "data")
    batches = Batches(arrays, batch_size, seed=seed)
    held_out = None if validation is None else _arrays(validation, dtype, "validation")
    optimizer = AdamW(parameters) if optimizer is None else optimizer
    history, kept = History(), None
    lowest, began = np.inf, time.perf_counter()
    watched = None
    if watch:
        from chainrule.train.watching import Watched

        watched = Watched(
            model, optimizer, loss, arrays, held_out, epochs=epochs, batch_size=batch_size
        )
    step = _Step(model, loss, optimizer, epochs * len(batches), watched)
    try:
        for number in range(1, epochs + 1):
            train_loss = _one_epoch(model, batches, number, step, optimizer, schedule)
            outputs = found = value = None
            if held_out is not None:
                outputs, found = evaluate(model, *held_out, loss)
                if not np.isfinite(found):
                    raise NonFiniteError(_not_finite("validation", found, number, "", optimizer))
                value = None if score is None else float(score(outputs, held_out[1]))
            record = Epoch(
                number, train_loss, found, value, _rate(optimizer), time.perf_counter() - began
            )
            history.epochs.append(record)
            if watched is not None:
                watched.epoch(number, train_loss, outputs, found)
            if progress is not None:
                progress(record)
            if found is None:
                history.best_epoch = number
            elif found < lowest:
                lowest, history.best_epoch, kept = found, number, model.state_dict()
            elif patience is not None and number - history.best_epoch >= patience:
                history.stopped = f"the validation loss did not fall for {patience} epochs"
                break
        else:
            history.stopped = f"all {epochs} epochs were done"
    except NonFiniteError as error:
        if watched is not None:
            watched.finish(error)
        raise
    if watched is not None:
        history.diagnosis = watched.finish()
        history.trace = history.diagnosis.trace
    if kept is not None:
        model.load_state_dict(kept)
    return history


class _Step:
    """What is done with one batch: compiled where that is possible and pays, else eager."""

    def __init__(
        self, model: Module, loss: Any, optimizer: Any, steps: int, watched: Watched | None
    ) -> None:
        self.model, self.loss, self.optimizer, self.watched = model, loss, optimizer, watched
        worth = steps >= WORTH_COMPILING and isinstance(optimizer, Optimizer)
        self.compiled = compile(self._whole) if worth else None

    def _whole(self, x: Any, y: Any) -> Any:
        value = require_finite(self.loss(self.model(x), y))
        value.backward()
        self.optimizer.step()
        return value

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        """The loss; where it is not finite, eager code learns nothing from it."""
        if self.watched is None:
            return self._learn(asarray(x, copy=False), asarray(y, copy=False))
        self.watched.before(x, y)
        found = self._learn(asarray(x, copy=False), asarray(y, copy=False))
        self.watched.after(found)
        return found

    def _learn(self, x: Any, y: Any) -> float:
        if self.compiled is not None:
            try:
                return float(self.compiled(x, y).item())
            except CompileError:  # Python code looks at values, which eager code has
                self.compiled = None
            except (BoundsError, NonFiniteError):
                pass  # nothing was written, and eager code says more
        value = self.loss(self.model(x), y)
        found = float(value.item())
        if np.isfinite(found):
            value.backward()
            self.optimizer.step()
        return found


def _one_epoch(
    model: Module, batches: Batches, number: int, step: _Step, optimizer: Any, schedule: Any
) -> float:
    """The mean loss of the rows of one pass."""
    model.train()
    total, rows = 0.0, 0
    for i, (x, y) in enumerate(batches.epoch(number - 1), 1):
        found = step(x, y)
        if not np.isfinite(found):
            place = f" batch {i} of {len(batches)},"
            raise NonFiniteError(_not_finite("training", found, number, place, optimizer))
        if schedule is not None:
            schedule.step()
        total, rows = total + found * len(x), rows + len(x)
    return total / rows


def _not_finite(which: str, value: float, epoch: int, place: str, optimizer: Any) -> str:
    return (
        f"the {which} loss is {value} in epoch {epoch},{place} at the learning rate "
        f"{_rate(optimizer):g}. Usually the learning rate is too large: try a tenth of it, or clip "
        "the gradients (optim.clip_grad_norm_); else look for inputs far from 0, or for a log or a "
        "division in the loss that meets 0."
    )


def _rate(optimizer: Any) -> float:
    return float(optimizer.param_groups[0]["lr"])


def _arrays(data: Any, dtype: np.dtype, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets) as arrays, the floating-point ones in the parameters' dtype."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataError(f"{name} is a pair of inputs and targets: (X, y)")
    x, y = (np.asarray(part) for part in data)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or not len(x):
        raise DataError(
            f"{name}: the inputs have the shape {x.shape} and the targets {y.shape}; row i of one "
            "belongs to row i of the other, and there is one at least"
        )
    for part, values in (("inputs", x), ("targets", y)):
        if values.dtype.kind not in "biufc" and values.dtype.name != "bfloat16":
            raise DataError(
                f"{name}: the {part} are {values.dtype}, and a network takes numbers. "
                "cr.Classifier encodes text; or encode it with data.ColumnEncoder."
            )
        if dtypes.is_float(values.dtype) and not np.isfinite(values).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise DataError(f"{name}: the {part} have {values[place]} at {place}")
    return _cast(x, dtype), _cast(y, dtype)


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return values.astype(dtype, copy=False) if values.dtype.kind == "f" else values


def outputs_of(model: Module, x: np.ndarray) -> np.ndarray:
    """The model's outputs for all rows, in use (not in training), without a graph."""
    training = model.training
    model.eval()
    try:
        with no_grad():
            parts: Sequence[np.ndarray] = [
                model(asarray(x[start : start + ROWS_AT_ONCE], copy=False)).numpy()
                for start in range(0, max(len(x), 1), ROWS_AT_ONCE)
            ]
    finally:
        model.train(training)
    return np.concatenate(parts) if len(parts) > 1 else np.array(parts[0])


def evaluate(
    model: Module, x: np.ndarray, y: np.ndarray, loss: Callable[[Any, Any], Any]
) -> tuple[np.ndarray, float]:
    """(outputs, loss) on rows that nothing is learnt from."""
    outputs = outputs_of(model, x)
    with no_grad():
        return outputs, loss(asarray(outputs, copy=False), asarray(y, copy=False)).item()

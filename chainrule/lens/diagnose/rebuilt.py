"""A watched loop made into a `Setup`: the rows of its first epoch, its loss, its first weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.recognising import SHAPING
from chainrule.lens.diagnose.setup import Setup, task_of

if TYPE_CHECKING:
    from chainrule.lens.diagnose.watch import Watch

KNOWN = 0.9
"""Where so many of a batch's rows were seen before, the first epoch is over."""
HELD_OUT = 0.25
"""The share of the rows that trials do not train on."""


class Rows:
    """The rows of a loop's first epoch, in the order in which they came, each once.

    Args:
        memory: largest number of bytes that are kept.

    Attributes:
        wanted: whether more are to be added.
        batch_size: rows of the first batch; None before it.
        whole: whether the first epoch was seen to its end.
        batches: how many there were.
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.wanted, self.whole = memory, True, False
        self.batch_size: int | None = None
        self.batches = 0
        self._parts: list[tuple[np.ndarray, np.ndarray | None]] = []
        self._known: set[int] = set()
        self._bytes = 0

    def add(self, x: np.ndarray, y: np.ndarray | None) -> None:
        """A batch; copied. What does not fit the batches before (other shapes) is left out."""
        if not self.wanted or x.ndim == 0 or (y is not None and (y.ndim == 0 or len(y) != len(x))):
            return
        if self._parts and not _alike((x, y), self._parts[0]):
            return
        if self.batch_size is None:
            self.batch_size = len(x)
        keys = [_key(x, y, i) for i in range(len(x))]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if len(new) <= (1 - KNOWN) * len(x):
            self.wanted, self.whole = False, True
            return
        size = x.nbytes + (0 if y is None else y.nbytes)
        if self._parts and self._bytes + size > self.memory:
            self.wanted = False
            return
        self._known.update(keys)
        self._bytes += size
        self.batches += 1
        self._parts.append((x[new], None if y is None else y[new]))

    def given(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """All rows at once, where they are known; not copied."""
        self._parts, self.batch_size, self.wanted, self.whole = [(x, y)], batch_size, False, True

    def joined(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(x, y), or None where there are none; y is None where the targets are not known."""
        if not self._parts:
            return None
        xs, ys = zip(*self._parts, strict=True)
        return np.concatenate(xs), None if ys[0] is None else np.concatenate(ys)


def _key(x: np.ndarray, y: np.ndarray | None, row: int) -> int:
    return hash((x[row].tobytes(), b"" if y is None else y[row].tobytes()))


def _alike(one: tuple, other: tuple) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or a.shape[1:] == b.shape[1:])
        for a, b in zip(one, other, strict=True)
    )


def aligned(run: Pass) -> np.ndarray | None:
    """The targets of a pass as its loss takes them from the model's own output: where the loop
    reshapes the output to the targets' shape first, the targets are given the output's."""
    facts, outputs, target = run.facts, run.outputs, run.facts.target
    if target is None or outputs is None or target.shape == outputs.shape:
        return target
    reshaped = facts.operation is not None and run.ops[facts.operation].name in SHAPING
    if reshaped and target.size == outputs.size and facts.kind != "cross_entropy":
        return target.reshape(outputs.shape)
    if _flattened(run):  # sequences: a class for each place
        return target.reshape(outputs.shape[:-1])
    return target


def _flattened(run: Pass) -> bool:
    """Whether the loss takes the places of all sequences in one row, each with its class."""
    target, outputs = run.facts.target, run.outputs
    return (
        run.facts.kind in ("cross_entropy", "nll")
        and outputs is not None
        and outputs.ndim > 2
        and target is not None
        and target.shape == (outputs.size // outputs.shape[-1],)
    )


def unknown(outputs: Any, targets: Any) -> Any:
    """The loss of a setup whose own cannot be called again."""
    raise DataError(
        "the loop computes a loss of its own, which cannot be called again: hand it over, "
        "cr.watch(model, optimizer, loss=my_loss)"
    )


def rebuilt(watch: Watch) -> Setup:
    """See `Watch.setup`."""
    found = watch.rows.joined()
    if watch.first is None or found is None:
        raise DataError("nothing was trained: no backward pass through the model was seen")
    x, y = found
    if y is None:
        raise DataError("what the loop compares the model's outputs with was not seen")
    facts, framework = watch.first.facts, watch.framework
    model, optimizer = watch.before
    if optimizer is None:
        optimizer = framework.optimizer("SGD", model, lr=_plain_rate(watch))
    rows = len(x)
    if watch.held_out is None:
        order = np.random.default_rng(0).permutation(len(x))
        cut = len(x) - int(HELD_OUT * len(x))
        (x, x_held), (y, y_held) = ((part[order[:cut]], part[order[cut:]]) for part in (x, y))
    else:
        x_held, y_held = watch.held_out
    size = min(watch.rows.batch_size or 1, len(x))
    epochs = watch.epochs or max(1, round(watch.step / -(-rows // size)))
    stale = any(e.kind == "stale-gradients" for e in watch.trace.events)
    return Setup(
        framework, model, optimizer, _loss(watch), x, y, x_held, y_held, epochs, size,
        task_of(y, watch.first.outputs, facts.kind), clear=not stale, sign=facts.sign,
        clip=watch.clip,
    )  # fmt: skip


def _loss(watch: Watch) -> Callable[[Any, Any], Any]:
    if watch.loss_function is not None:
        return watch.loss_function
    facts = watch.first.facts if watch.first is not None else None
    if facts is None or facts.kind == "custom":
        return unknown
    reduction = facts.reduction if facts.reduction in ("mean", "sum") else "mean"
    options = {k: v for k, v in facts.options.items() if k != "takes"}
    made = watch.framework.loss(facts.kind, reduction, **options)
    if watch.first is not None and _flattened(watch.first):
        return lambda outputs, targets: made(
            outputs.reshape((-1, outputs.shape[-1])), targets.reshape((-1,))
        )
    if len(options) == len(facts.options):
        return made
    return lambda outputs, targets: made(outputs.log(), targets)  # of probabilities


def _plain_rate(watch: Watch) -> float:
    """η of Δw = −η g, by least squares over the first sample, where the loop updates by hand."""
    run, sample = watch.first, watch.trace.samples[0] if watch.trace.samples else None
    if run is None or sample is None:
        return 0.01
    top = -sum(p.descent or 0.0 for p in sample.parameters.values())
    below = sum(float(np.vdot(g, g)) for g in run.gradients.values() if g is not None)
    return top / below if top > 0 and below > 0 else 0.01

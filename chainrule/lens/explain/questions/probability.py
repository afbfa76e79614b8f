"""The output as a distribution: which one the loss assumes, and what it says of this example."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.errors import BoundsError, DataError
from chainrule.lens.explain.derivation import Section
from chainrule.lens.explain.questions.classes import class_steps, yes_or_no_steps
from chainrule.lens.explain.questions.prediction import Prediction
from chainrule.lens.explain.record import Recorded
from chainrule.probability.assumed import Assumption
from chainrule.probability.categorical import Classes
from chainrule.probability.discrete import Bernoulli
from chainrule.probability.distribution import Distribution


def probability_section(
    recorded: Recorded, row: int, classes: Sequence[str] | None
) -> Section:  # fmt: skip
    """The distribution of one example's target, number by number.

    Raises:
        DataError: the loss declares no distribution, or there is none and the output does not read
            like logits.
        BoundsError: the row is out of range; it says the range.
    """
    if recorded.assumptions:
        return _assumed(recorded, recorded.assumptions[-1], row, classes)
    if recorded.loss is not None:
        raise DataError(
            "this loss declares no distribution that it is the likelihood of; cross_entropy, "
            "mse_loss, l1_loss, binary_cross_entropy and their like do, and any distribution does "
            "as probability.Likelihood(Normal)"
        )
    return _without_loss(recorded, row, classes)


def _without_loss(recorded: Recorded, row: int, classes: Sequence[str] | None) -> Section:
    """The last axis of the output read as logits, or as probabilities where it adds up to 1."""
    value = None if recorded.output is None else recorded.output.value
    if value is None or value.ndim == 0 or value.shape[-1] < 2 or value.dtype.kind != "f":
        shape = "of several parts" if value is None else f"of shape {value.shape}"
        raise DataError(
            f"the output, {shape}, does not read like logits of classes along the last axis. Give "
            "explain a loss= and a target: the loss says which distribution the output stands for"
        )
    outputs = value.astype(np.float64)
    sums = bool((outputs >= 0).all() and np.allclose(outputs.sum(-1), 1, atol=1e-4))
    what = "probabilities" if sums else "logits"
    if sums:
        outputs = np.log(outputs, where=outputs > 0, out=np.full(outputs.shape, -np.inf))
    rows = outputs.reshape(-1, outputs.shape[-1])
    chosen = _row(row, len(rows))
    name = recorded.names.of(value)
    steps = class_steps(rows[chosen], f"row {chosen} of {name}", (name,), None, classes)
    text = f"No loss was given: the last axis of the output is taken for {what} of classes."
    return Section("The output as a distribution", tuple(steps), summary=text)


def _row(row: int, size: int) -> int:
    if not isinstance(row, (int, np.integer)) or not -size <= row < size:
        raise BoundsError(f"row {row!r}: there are {size} examples, counted from 0 to {size - 1}")
    return int(row) % size


def _assumed(
    recorded: Recorded, assumption: Assumption, row: int, classes: Sequence[str] | None
) -> Section:
    """The distribution that the loss declares."""
    wide = assumption.wide()
    made, target = wide.distribution, wide.target.numpy()
    shape = made.batch_shape
    chosen = _row(row, shape[0] if shape else 1)
    soft = _are_probabilities(made, target)
    losses = np.broadcast_to(wide.losses.numpy().astype(np.float64), shape)
    at = _telling(losses, chosen)
    view = Prediction(recorded, wide, made, at, float(losses[at]))
    of = f"example {chosen}" + (f", prediction {list(at[1:])}" if len(at) > 1 else "")
    source = f"{of}, from {view.operands[0]}"
    kind = _article(type(made).__name__)
    summary = f"{assumption.name} is the negative log-likelihood of {kind} distribution."
    known = soft or bool(view.valid[at])
    if isinstance(made, Classes):
        logits = _logits(wide, made)[at]
        goal = None if not known else _classes_last(target, made)[at] if soft else int(target[at])
        steps = class_steps(logits, source, view.operands, goal, classes)
    elif not known:
        raise DataError(
            f"the target {target[at]} of {of} is no value of {kind} distribution, which "
            f"{assumption.name} assumes: that takes {made.support.text}"
        )
    elif isinstance(made, Bernoulli):
        steps = yes_or_no_steps(_logit(made, at), source, view.operands, float(target[at]))
    else:
        steps = view.steps(of)
    if soft:
        summary += " The targets are probabilities, and it is their cross-entropy with the output."
        return _section(kind, summary, Section(f"This prediction ({of})", tuple(steps)))
    if known:
        steps = [*steps, *view.loss_steps()]
    else:
        summary += f" The label {target[at]} of this prediction counts for nothing."
    parts = [Section(f"This prediction ({of})", tuple(steps))]
    if view.valid.any():
        parts.append(Section("All of them: the likelihood", tuple(view.likelihood_steps())))
    return _section(kind, summary, *parts)


def _section(kind: str, summary: str, *parts: Section) -> Section:
    return Section(f"The output as {kind} distribution", parts, summary=summary)


def _are_probabilities(made: Distribution, target: np.ndarray) -> bool:
    """Whether the targets are probabilities of what may come true, not what did."""
    if isinstance(made, Classes):
        return target.shape != made.batch_shape
    return isinstance(made, Bernoulli) and not np.isin(target, (0, 1)).all()


def _logits(assumption: Assumption, made: Classes) -> np.ndarray:
    """The logits as the network gave them, which the distribution has shifted to log p."""
    given = assumption.outputs
    if given is not None:
        found = _classes_last(given.numpy(), made)
        if found.shape == made.probs.shape:
            return found
    return made.logits.numpy()


def _classes_last(values: np.ndarray, made: Classes) -> np.ndarray:
    """Logits or probabilities of classes in the order of the distribution's own."""
    return np.moveaxis(values, 1, -1) if made.probs.ndim > 2 else values


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def _telling(losses: np.ndarray, row: int) -> tuple[int, ...]:
    """Of the predictions of an example, the one with the largest loss."""
    if not losses.ndim:
        return ()
    inner = np.nan_to_num(losses[row], nan=np.inf)
    return (row, *(int(i) for i in np.unravel_index(int(np.argmax(inner)), inner.shape)))


def _logit(made: Bernoulli, at: tuple[int, ...]) -> float:
    if "logits" in made.parameters:
        return float(made.logits.numpy()[at])
    p = float(made.probs.numpy()[at])
    with np.errstate(divide="ignore"):
        return float(np.log(p) - np.log1p(-p))

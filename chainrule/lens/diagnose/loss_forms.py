"""What a loss is, told from what it does: each kind of loss has a derivative of its own form.

A loss that the user wrote by hand has no name. But ∂L/∂(prediction) of a recorded pass is
softmax(p) − y for a cross-entropy of logits, p − y for squared error, (p − y)/(p(1 − p)) for a
binary cross-entropy of probabilities: whichever form it is a multiple of says what the loss is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.lens.diagnose.passes import LossFacts, Pass

if TYPE_CHECKING:
    from chainrule.lens.diagnose.setup import Setup

CLOSE = 2e-3
"""Largest relative distance between a derivative and the form that it is said to have."""
CANDIDATES = 8


def recognised(run: Pass, setup: Setup) -> LossFacts:
    """The facts of a pass's loss: its kind by its derivative where it has no name, its reduction by
    what it does to twice the rows."""
    facts = run.facts
    if run.error is not None:
        return facts if facts.kind != "custom" else _tried(run, setup)
    if facts.kind == "custom" and run.y is not None:
        facts = _by_derivative(run, facts)
    measured = _reduction(run, setup)
    return facts if measured == "unknown" else replace(facts, reduction=measured)


def _by_derivative(run: Pass, facts: LossFacts) -> LossFacts:
    y = np.asarray(run.y)
    for position in _candidates(run):
        op = run.ops[position]
        if op.gradient is None or op.gradient.shape != op.value.shape:
            continue
        found = kind_of(np.asarray(op.value), np.asarray(op.gradient), y)
        if found is not None:
            kind, sign, options = found
            return replace(
                facts, kind=kind, prediction=position, target=y, sign=sign,
                options={**facts.options, **options},
            )  # fmt: skip
    return facts


def _candidates(run: Pass) -> Iterator[int]:
    """The model's output, and what the loss makes of it element by element."""
    if run.output is None:
        return
    yield run.output
    size, reached, given = run.ops[run.output].value.size, {run.output}, 0
    for i in range(run.output + 1, len(run.ops)):
        op = run.ops[i]
        if reached.isdisjoint(s for s in op.inputs if s is not None):
            continue
        reached.add(i)
        if op.value.size == size and given < CANDIDATES:
            given += 1
            yield i


def kind_of(
    p: np.ndarray, g: np.ndarray, y: np.ndarray
) -> tuple[str, float, dict[str, Any]] | None:
    """(kind, sign, options) of the loss whose derivative in the prediction p is g, for targets y.

    >>> p, y = np.array([[0.5], [2.0]]), np.array([[1.0], [0.0]])
    >>> kind_of(p, p - y, y)
    ('mse', 1.0, {})
    """
    p, g = p.astype(np.float64), g.astype(np.float64)
    if not p.size or not np.isfinite(p).all() or not np.isfinite(g).all() or not g.any():
        return None
    labels = one_hot(y, p)
    if labels is not None:
        found = _of_classes(p, g, *labels)
        if found is not None:
            return found
    if y.dtype.kind in "biuf" and y.size == p.size:
        return _of_elements(p, g, y.astype(np.float64).reshape(p.shape))
    return None


def _of_classes(
    p: np.ndarray, g: np.ndarray, t: np.ndarray, axis: int
) -> tuple[str, float, dict[str, Any]] | None:
    with np.errstate(all="ignore"):
        e = np.exp(p - p.max(axis, keepdims=True))
        s = e / e.sum(axis, keepdims=True)
        smooth = t - t.mean(axis, keepdims=True)
        forms: list[tuple[str, np.ndarray, dict[str, Any]]] = [
            ("cross_entropy", s - t, {}),
            ("nll", -t, {}),
        ]
        if (p > 0).all() and (p <= 1 + 1e-6).all():
            forms.append(("nll", -t / p, {"takes": "probabilities"}))
        for kind, form, options in forms:
            factor = _multiple(g, form)
            if factor is not None:
                return kind, float(np.sign(factor)), options
        # y' = (1 − ε) y + ε/C: softmax − y + ε (y − 1/C), two unknown factors.
        basis = np.stack([(s - t).reshape(-1), smooth.reshape(-1)], 1)
        (factor, slope), *_ = np.linalg.lstsq(basis, g.reshape(-1), rcond=None)
        left = np.linalg.norm(basis @ (factor, slope) - g.reshape(-1))
        if factor and left <= CLOSE * np.linalg.norm(g) and 0 < slope / factor < 1:
            return "cross_entropy", float(np.sign(factor)), {
                "label_smoothing": round(float(slope / factor), 4)
            }  # fmt: skip
        for kind, form, options in forms:  # a weight for each row: those of classes
            size = np.sum(form * form, axis, keepdims=True)
            weights = np.sum(form * g, axis, keepdims=True) / np.where(size > 0, size, 1)
            left = np.linalg.norm(weights * form - g)
            if left <= CLOSE * np.linalg.norm(g) and p.shape[axis] > 2 and (weights >= 0).all():
                return kind, 1.0, {**options, "weight": True}
    return None


def _of_elements(
    p: np.ndarray, g: np.ndarray, t: np.ndarray
) -> tuple[str, float, dict[str, Any]] | None:
    d = p - t
    with np.errstate(all="ignore"):
        forms = [
            ("mse", d),
            ("mae", np.sign(d)),
            ("bce_with_logits", 1 / (1 + np.exp(-p)) - t),
        ]
        if (p > 0).all() and (p < 1).all():
            forms.append(("bce", d / (p * (1 - p))))
        for kind, form in forms:
            factor = _multiple(g, form)
            if factor is not None:
                return kind, float(np.sign(factor)), {}
        near = np.abs(d).argmin()
        if d.flat[near] and np.abs(g.flat[near]) < np.abs(g).max():
            scale = g.flat[near] / d.flat[near]
            bound = np.abs(g).max() / np.abs(scale)
            if _multiple(g, np.clip(d, -bound, bound)) is not None:
                return "huber", float(np.sign(scale)), {}
    return None


def of_logarithms(run: Pass) -> bool:
    """Whether the loss takes the model's outputs as logarithms of the targets' means, as that of
    Poisson's distribution does: its derivative is a multiple of e^p − y."""
    op = run.ops[run.output] if run.output is not None else None
    if op is None or op.gradient is None or run.y is None:
        return False
    p, g, y = (np.asarray(v) for v in (op.value, op.gradient, run.y))
    if y.dtype.kind not in "biuf" or not y.size == p.size == g.size:
        return False
    with np.errstate(over="ignore"):
        means = np.exp(p.astype(np.float64))
    return _multiple(g.astype(np.float64), means - y.reshape(p.shape)) is not None


def _multiple(g: np.ndarray, form: np.ndarray) -> float | None:
    """The factor by which g is a multiple of the form, or None where it is none."""
    size = float(np.vdot(form, form))
    if not np.isfinite(size) or not size:
        return None
    factor = float(np.vdot(form, g)) / size
    left = float(np.linalg.norm(g - factor * form))
    return factor if factor and left <= CLOSE * float(np.linalg.norm(g)) else None


def one_hot(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, int] | None:
    """(the targets as rows of probabilities, the axis of p that counts classes); None where p has
    one class, or y no classes of it."""
    if p.ndim < 2 or p.size == len(p):
        return None
    axis = class_axis(y, p.shape)
    if axis is None:
        return None
    if y.shape == p.shape:
        return y.astype(np.float64), axis
    labels = np.asarray(y).reshape([n for i, n in enumerate(p.shape) if i != axis % p.ndim])
    if not np.array_equal(labels, np.round(labels)):
        return None
    if labels.min() < 0 or labels.max() >= p.shape[axis]:
        return None
    eye = np.eye(p.shape[axis])[labels.astype(np.int64)]
    return np.moveaxis(eye, -1, axis), axis


def class_axis(y: np.ndarray, shape: tuple[int, ...]) -> int | None:
    """The axis of a prediction of this shape that counts the classes of y: the one that labels do
    not have, or along which rows of probabilities add up to 1."""
    if y.dtype.kind not in "biuf" or len(shape) < 2:
        return None
    if y.shape == shape:
        for axis in (-1, 1):
            if shape[axis] > 1 and np.allclose(y.sum(axis), 1, atol=1e-4):
                return axis
        return None
    plain = y.reshape(y.shape[:-1]) if y.ndim > 1 and y.shape[-1] == 1 else y
    if plain.shape == shape[:-1]:
        return -1
    return 1 if plain.shape == (shape[0], *shape[2:]) else None


def _reduction(run: Pass, setup: Setup) -> str:
    """Whether twice the rows give twice the loss: those of the pass, each taken twice."""
    ratio = growth(run, setup)
    if ratio is None:
        return "unknown"
    return "sum" if abs(ratio - 2) < 0.02 else "mean" if abs(ratio - 1) < 0.02 else "unknown"


def growth(run: Pass, setup: Setup) -> float | None:
    """loss(rows, and the same rows again) ÷ loss(rows); None where it cannot be had."""
    if run.outputs is None or run.y is None:
        return None
    outputs, y = np.asarray(run.outputs), np.asarray(run.y)
    if outputs.shape[:1] != y.shape[:1] or not y.ndim:
        return None
    try:
        once = setup.framework.loss_of(setup.loss, outputs, y)
        twice = setup.framework.loss_of(
            setup.loss, np.concatenate([outputs, outputs]), np.concatenate([y, y])
        )
    except Exception:  # a loss that has a number of rows built in
        return None
    return twice / once if np.isfinite(once) and np.isfinite(twice) and abs(once) > 1e-12 else None


def _tried(run: Pass, setup: Setup) -> LossFacts:
    """The facts of a loss that refuses this pass: what it gives for arrays that it should take."""
    facts, outputs = run.facts, run.outputs
    if outputs is None or not outputs.size:
        return facts
    rng = np.random.default_rng(0)
    classes = max(3, outputs.shape[-1]) if outputs.ndim > 1 else 3
    labels = np.arange(6) % classes
    logits = rng.uniform(0.1, 0.9, (6, classes)).astype(np.float32)
    p = logits.astype(np.float64)
    s = np.exp(p) / np.exp(p).sum(1, keepdims=True)
    chosen = np.arange(6), labels
    column = logits[:, :1].copy()
    q, t = column.astype(np.float64), (np.arange(6) % 2).astype(np.float64)[:, None]
    tries = [
        (logits, labels, {
            "cross_entropy": -np.log(s[chosen]),
            "nll": -p[chosen],
        }),
        (column, t.astype(np.float32), {
            "bce": -t * np.log(q) - (1 - t) * np.log(1 - q),
            "bce_with_logits": np.log1p(np.exp(q)) - t * q,
            "mse": (q - t) ** 2,
            "mae": np.abs(q - t),
            "huber": 0.5 * (q - t) ** 2,
        }),
    ]  # fmt: skip
    for given, target, kinds in tries:
        try:
            value = setup.framework.loss_of(setup.loss, given, target)
        except Exception:  # it takes the other kind of target, or its shapes are built in
            continue
        for kind, terms in kinds.items():
            for reduction, expected in (("mean", terms.mean()), ("sum", terms.sum())):
                if np.isclose(value, expected, rtol=1e-4):
                    return replace(
                        facts, kind=kind, reduction=reduction, prediction=run.output,
                        target=run.y, name=facts.name or setup.framework.describe(setup.loss),
                    )  # fmt: skip
    return facts

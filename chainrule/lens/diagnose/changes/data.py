"""Changes of the rows that a network learns from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from chainrule.lens.diagnose.changes.editing import Inapplicable, output_shape
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.setup import Setup, labels_of


def standardise_inputs() -> Change:
    """(x − mean) / std of each column, or channel, over the training rows; held-out rows too."""

    def apply(setup: Setup) -> Setup:
        x = np.asarray(setup.x)
        if x.dtype.kind not in "f" and _embedded(setup):
            raise Inapplicable("the inputs are numbers of things (an embedding takes them)")
        axes = {4: (0, 2, 3), 3: (0, 1)}.get(x.ndim, (0,))
        with np.errstate(all="ignore"):
            mean = x.mean(axes, keepdims=True, dtype=np.float64)
            std = x.std(axes, keepdims=True, dtype=np.float64)
        std = np.where(std > 1e-12 * np.maximum(1, abs(mean)), std, 1.0)
        dtype = x.dtype if x.dtype.kind == "f" else np.float32

        def scaled(values: np.ndarray) -> np.ndarray:
            return ((values - mean) / std).astype(dtype)

        return setup.copied().with_(x=scaled(x), x_held=scaled(setup.x_held))

    return Change(
        "standardise the inputs",
        apply,
        "mean, std = X_train.mean(0), X_train.std(0)\nX = (X - mean) / np.where(std > 0, std, 1)",
        "standardise-inputs",
    )


def _embedded(setup: Setup) -> bool:
    return any(kind == "Embedding" for _, kind, _ in setup.framework.modules(setup.model))


def scale_inputs(factor: float) -> Change:
    """Every input times a number."""

    def apply(setup: Setup) -> Setup:
        dtype = setup.x.dtype if setup.x.dtype.kind == "f" else np.float32
        x, held = ((v * factor).astype(dtype) for v in (setup.x, setup.x_held))
        return setup.copied().with_(x=x, x_held=held)

    by = (
        f"divide the inputs by {1 / factor:g}"
        if factor < 1
        else f"multiply the inputs by {factor:g}"
    )
    return Change(by, apply, f"X = X * {factor:g}", f"scale-inputs:{factor:g}")


def standardise_targets() -> Change:
    """(y − mean) / std over the training rows: a mean for each column, and one scale for all, so
    that errors of the columns keep their proportion."""

    def apply(setup: Setup) -> Setup:
        if setup.task != "real":
            raise Inapplicable("the targets are classes")
        y = np.asarray(setup.y)
        mean = y.mean(0, keepdims=True, dtype=np.float64)
        std = float(np.sqrt(np.mean((y - mean) ** 2))) or 1.0
        dtype = y.dtype if y.dtype.kind == "f" else np.float32
        y, held = (((v - mean) / std).astype(dtype) for v in (y, setup.y_held))
        return setup.copied().with_(y=y, y_held=held)

    return Change(
        "standardise the targets",
        apply,
        "mean, std = y_train.mean(0), y_train.std()\ny = (y - mean) / std",
        "standardise-targets",
    )


def reshape_targets() -> Change:
    """Targets in the shape of the outputs, so that nothing is broadcast: (n,) → (n, 1) or back."""

    def apply(setup: Setup) -> Setup:
        shape = output_shape(setup)
        if shape is None or int(np.prod(shape)) != setup.y.size:
            raise Inapplicable(f"targets of shape {setup.y.shape} do not fit outputs of {shape}")
        return in_shape(setup.copied(), shape)

    return Change(
        "give the targets the shape of the outputs",
        apply,
        "y = y.reshape(outputs.shape)",
        "reshape-targets",
    )


def in_shape(setup: Setup, shape: tuple[int, ...]) -> Setup:
    """Training and held-out targets of these sizes after the rows."""
    y, held = (v.reshape(len(v), *shape[1:]) for v in (setup.y, setup.y_held))
    return setup.with_(y=y, y_held=held)


def codes_of(setup: Setup) -> tuple[np.ndarray, np.ndarray, int]:
    """(training codes, held-out codes, number of classes), counted from 0, of targets that are
    classes in any encoding."""
    y, held = np.asarray(setup.y), np.asarray(setup.y_held)
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "bfiu":
        return y.argmax(1), held.argmax(1), y.shape[1]
    if y.ndim > 1 and y.shape[1:] != (1,) * (y.ndim - 1):
        return y.astype(np.int64), held.astype(np.int64), int(y.max()) + 1
    y, held = y.reshape(-1), held.reshape(-1)
    values, codes = np.unique(np.concatenate([y, held]), return_inverse=True)
    whole = y.dtype.kind in "iu" and values[0] >= 0 and values[-1] < 2 * len(values)
    if whole:
        return y.astype(np.int64), held.astype(np.int64), int(values[-1]) + 1
    return codes[: len(y)], codes[len(y) :], len(values)


def encode_targets() -> Change:
    """Classes as the numbers 0, 1, …, C − 1, in the form that the loss takes."""

    def apply(setup: Setup) -> Setup:
        from chainrule.lens.diagnose.changes.losses import with_targets

        y, held, classes = codes_of(setup)
        if classes > max(50, len(y) // 2):
            raise Inapplicable(f"{classes} values among {len(y)} targets are no classes")
        made = setup.copied().with_(y=y, y_held=held, task="classes")
        return with_targets(made, setup.loss_kind)

    return Change(
        "encode the targets as class numbers 0 … C − 1",
        apply,
        "classes, y = np.unique(y, return_inverse=True)",
        "encode-targets",
    )


def drop_rows(rows: Sequence[int], why: str) -> Change:
    """Leave training rows out."""
    doomed = np.unique(np.asarray(rows, dtype=np.int64))

    def apply(setup: Setup) -> Setup:
        keep = np.setdiff1d(np.arange(len(setup.x)), doomed)
        if not len(keep):
            raise Inapplicable("no rows would be left")
        made = setup.copied().with_(x=setup.x[keep], y=setup.y[keep])
        return made.with_(batch_size=min(made.batch_size, len(keep)))

    return Change(
        f"leave out {len(doomed)} rows: {why}",
        apply,
        f"X, y = np.delete(X, rows, 0), np.delete(y, rows, 0)  # {len(doomed)} rows",
        f"drop-rows:{len(doomed)}:{zlib.crc32(doomed.tobytes()):x}",
    )


def balance_classes() -> Change:
    """As many rows of every class, by repeating those of rare classes and leaving out some of the
    common ones; as many rows in all as before."""

    def apply(setup: Setup) -> Setup:
        if setup.task == "real":
            raise Inapplicable("the targets are no classes")
        labels, rng = labels_of(setup.y), np.random.default_rng(setup.seed)
        values = np.unique(labels)
        share = -(-len(labels) // len(values))
        rows = np.concatenate([_drawn(np.flatnonzero(labels == v), share, rng) for v in values])
        return setup.copied().with_(x=setup.x[rows], y=setup.y[rows])

    return Change(
        "draw every class equally often",
        apply,
        "rows = np.concatenate([rng.choice(np.flatnonzero(y == c), n) for c in classes])",
        "balance-classes",
    )


def _drawn(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """So many of these rows: each as often as can be, the rest by lot."""
    whole, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, whole), rng.permutation(rows)[:rest]])


def remove_column(index: int) -> Change:
    """Leave a column out: it is held at its mean over the training rows."""

    def apply(setup: Setup) -> Setup:
        if setup.x.ndim != 2 or not 0 <= index < setup.x.shape[1]:
            raise Inapplicable(f"there is no column {index} in inputs of shape {setup.x.shape}")
        x, held = setup.x.copy(), setup.x_held.copy()
        x[:, index] = held[:, index] = x[:, index].mean()
        return setup.copied().with_(x=x, x_held=held)

    return Change(
        f"leave out column {index}",
        apply,
        f"X = np.delete(X, {index}, 1)",
        f"column:{index}",
        judged=False,  # held-out rows have the same column
    )

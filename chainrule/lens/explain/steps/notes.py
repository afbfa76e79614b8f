"""What a step means, for the operations about which there is something to say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import largest
from chainrule.lens.explain.remark import Remark
from chainrule.ops.pooling import pool_window
from chainrule.tensor.graph import Node, reachable

Index = tuple[int, ...]


def notes(node: Node) -> tuple[Remark, ...]:
    """Sentences about a step that has run, each with its own numbers."""
    about = _ABOUT.get(node.op.name)
    if about is None or node.saved is None or node.value is None or not node.value.size:
        return ()
    return about(node)


def _likelihood(node: Node) -> tuple[Remark, ...]:
    """A label's probability, and its negative logarithm."""
    logits, labels = (np.asarray(entry) for entry in node.saved[:2])  # type: ignore[index]
    rows = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    return tuple(
        _of_label(node, rows[i], int(label), i, len(rows) > 1)
        for i, label in enumerate(labels.reshape(-1)[:3])
    )


def _of_label(node: Node, logits: np.ndarray, label: int, row: int, several: bool) -> Remark:
    with np.errstate(invalid="ignore"):  # of logits that are not finite
        shifted = np.exp(logits - logits.max())
    p = float(shifted[label] / shifted.sum())
    start = f"row {row}: " if several else ""
    start += f"softmax gives the label {label} "
    bound = 100 * _eps(node)
    if p == 0:
        loss = float(logits.max() - logits[label] + math.log(shifted.sum()))
        text = start + "a probability that float64 rounds to 0; its −log is {}"
        return Remark(text, (loss,), lambda y: (float(y.reshape(-1)[row]),), bound)

    def again(y: np.ndarray) -> tuple[float, ...]:
        loss = float(y.reshape(-1)[row])
        return math.exp(-loss), math.exp(-loss), loss

    text = start + "the probability {}; −log {} = {}"
    # Near 1 a probability is written with more digits: its logarithm is about p − 1.
    digits = 4 if not p >= 0.9 else min(15, 4 + math.ceil(-math.log10(max(1 - p, 1e-15))))
    return Remark(text, (p, p, -math.log(p)), again, bound, digits)


def _normalised(node: Node) -> tuple[Remark, ...]:
    """Mean and variance of the group of numbers to which the telling element belongs."""
    view, shaped = _view(node, node.value)
    x, group = np.asarray(view["x"]), largest(shaped)[:-1]
    before, after = x[group].astype(np.float64), shaped[group].astype(np.float64)
    if not np.isfinite(before).all():
        return ()

    def again(value: np.ndarray) -> tuple[float, ...]:
        return (*_moments(before.tolist()), *_moments(_view(node, value)[1][group].tolist()))

    numbers = (before.mean(), before.var(), after.mean(), after.var())
    text = (
        f"the {before.size} numbers that this element is normalised with have the mean {{}} and "
        "the variance {} before, {} and {} after (weight and bias included)"
    )
    return (Remark(text, tuple(map(float, numbers)), again),)


def _moments(values: list[float]) -> tuple[float, float]:
    """Mean and variance, by exactly rounded sums."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / len(values)


def _dropped(node: Node) -> tuple[Remark, ...]:
    """How many were dropped, and what became of the others."""
    x, keep = (np.asarray(entry) for entry in node.saved[:2])  # type: ignore[index]
    p = float(node.attrs["p"])
    kept = np.broadcast_to(keep, x.shape)

    def again(value: np.ndarray) -> tuple[float, ...]:
        became_zero = np.count_nonzero((value == 0) & (x != 0))
        were_zero = np.count_nonzero(~kept & (x == 0))
        return int(became_zero + were_zero), value.size, p, 1 + p / (1 - p)

    numbers = (int((~kept).sum()), x.size, p, 1 / (1 - p))
    text = "{} of {} elements are dropped (p = {}); the others are multiplied by 1/(1 − p) = {}"
    return (Remark(text, numbers, again),)


def _residual(node: Node) -> tuple[Remark, ...]:
    """How much each branch gives, where what went into a block is added to what came out."""
    assert node.value is not None
    branches = node.inputs[:2]
    if any(b is None or b.op is None or b.shape != node.shape for b in branches):
        return ()
    first, second = branches
    if first is second or not (_made_of(first, second) or _made_of(second, first)):
        return ()
    arrays = [np.asarray(entry) for entry in node.saved[:2]]  # type: ignore[index]

    def again(value: np.ndarray) -> tuple[float, ...]:
        return tuple(_root_of_squares(a) for a in (*arrays, value))

    numbers = tuple(
        math.sqrt(float(np.square(a, dtype=np.float64).sum())) for a in (*arrays, node.value)
    )
    text = "a residual connection: the two branches have the norms {} and {}, the sum {}"
    return (Remark(text, numbers, again),)


def _made_of(node: Any, source: Any) -> bool:
    """Whether `source` is among what a node was made of."""
    return source.serial < node.serial and source in reachable([node], source.serial - 1)


def _root_of_squares(a: np.ndarray) -> float:
    flat = a.astype(np.float64).reshape(-1)
    return math.sqrt(float(np.einsum("i,i", flat, flat)))


def _cut_off(node: Node) -> tuple[Remark, ...]:
    """How many units give nothing, for any of the rows."""
    value = node.value
    assert value is not None
    axis = _unit_axis(value)

    def again(y: np.ndarray) -> tuple[float, ...]:
        rows = np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1) if y.ndim else y.reshape(1, 1)
        alive = np.abs(rows).max(axis=1) > 0
        return y.size - int(np.count_nonzero(y)), y.size, len(alive) - int(alive.sum()), len(alive)

    zero = value == 0
    others = tuple(i for i in range(value.ndim) if i != axis % max(value.ndim, 1))
    dead = zero.all(axis=others)
    numbers = (int(zero.sum()), value.size, int(dead.sum()), dead.size)
    text = "{} of {} elements are 0, and {} of {} units are 0 for everything in this input"
    return (Remark(text, numbers, again),)


def _unit_axis(value: np.ndarray) -> int:
    """Units lie along the last axis, channels of images along the second."""
    return 1 if value.ndim > 3 else -1


def _below_zero(node: Node) -> tuple[Remark, ...]:
    """How many inputs lie where the function lets little through."""
    x = np.asarray(node.saved[0])  # type: ignore[index]

    def again(y: np.ndarray) -> tuple[float, ...]:
        # These functions have the sign of their argument, until it is too small to be seen.
        unseen = np.count_nonzero((y == 0) & (x < 0))
        return int(np.count_nonzero(np.signbit(y) & (y != 0)) + unseen), y.size

    text = f"{{}} of {{}} inputs lie below 0, where {node.op.name} lets little through"
    return (Remark(text, (int((x < 0).sum()), x.size), again),)


def _pooled(node: Node) -> tuple[Remark, ...]:
    """Which pixel of its window won."""
    assert node.value is not None
    at = largest(node.value)
    x = np.asarray(node.saved[0])  # type: ignore[index]
    rank = int(node.op.name[-2])
    window = pool_window(x.shape[-rank:], **node.attrs)
    image = x[at[:-rank]]
    lines = []
    for axis, i in enumerate(at[-rank:]):
        kernel, stride, apart = (window[k][axis] for k in ("kernel", "stride", "dilation"))
        start = i * stride - window["padding"][axis][0]
        pixels = (start + apart * k for k in range(kernel))
        lines.append([pixel for pixel in pixels if 0 <= pixel < image.shape[axis]])
    patch = image[np.ix_(*lines)]
    winner = np.unravel_index(int(np.argmax(patch)), patch.shape)
    won = tuple(line[int(i)] for line, i in zip(lines, winner, strict=True))

    def again(y: np.ndarray) -> tuple[float, ...]:
        best = max(itertools.product(*lines), key=lambda pixel: image[pixel])
        return (*best, float(y[at]), math.prod(map(len, lines)))

    spot = ", ".join("{}" for _ in range(rank))
    text = f"in the window of {list(at)} the pixel [{spot}] won, with {{}}, among {{}}"
    return (Remark(text, (*won, float(node.value[at]), patch.size), again),)


def _looked_up(node: Node) -> tuple[Remark, ...]:
    """Which rows of the table were taken."""
    indices, table = (np.asarray(entry) for entry in node.saved[:2])  # type: ignore[index]
    first = int(indices.reshape(-1)[0])

    def again(y: np.ndarray) -> tuple[float, ...]:
        same = np.array_equal(y.reshape(indices.size, -1)[0], table[first].reshape(-1))
        return first if same else math.nan, len(table), len(set(indices.reshape(-1).tolist()))

    text = "the first index takes row {} of the {} rows of the table; {} different rows are taken"
    return (Remark(text, (first, len(table), len(np.unique(indices))), again),)


def _sigmoid(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2


def _unit(node: Node, states: int) -> tuple[Index, int]:
    """(the index of the telling element without its last axis, which unit it belongs to)."""
    assert node.value is not None
    *row, j = largest(node.value)
    return tuple(row), j % (node.value.shape[-1] // states)


def _lstm(node: Node) -> tuple[Remark, ...]:
    """The gates of one unit, and what they do."""
    gates, cell = (np.asarray(e).astype(np.float64) for e in node.saved[:2])  # type: ignore[index]
    row, j = _unit(node, 2)
    size = cell.shape[-1]
    raw = [float(gates[(*row, j + k * size)]) for k in range(4)]
    i, f, o = (1 / (1 + math.exp(-raw[k])) for k in (0, 1, 3))
    g, c = math.tanh(raw[2]), float(cell[(*row, j)])
    new = f * c + i * g
    h = o * math.tanh(new)

    def again(y: np.ndarray) -> tuple[float, ...]:
        squashed = [_sigmoid(raw[0]), _sigmoid(raw[1]), math.tanh(raw[2]), _sigmoid(raw[3])]
        after, out = float(y[(*row, j + size)]), float(y[(*row, j)])
        return (*squashed, squashed[1], c, squashed[0], squashed[2], after, squashed[3], after, out)

    text = (
        f"unit {j}: input gate i = {{}}, forget gate f = {{}}, candidate g = {{}}, output gate "
        "o = {}; the cell keeps f · c + i · g = {} · {} + {} · {} = {}, and shows "
        "h = o · tanh(c) = {} · tanh({}) = {}"
    )
    return (Remark(text, (i, f, g, o, f, c, i, g, new, o, new, h), again, 100 * _eps(node)),)


def _gru(node: Node) -> tuple[Remark, ...]:
    """The gates of one unit, and what they do."""
    inside, before, state = (np.asarray(e).astype(np.float64) for e in node.saved[:3])  # type: ignore[index]
    row, j = _unit(node, 1)
    size = state.shape[-1]
    (xr, xz, xn), (hr, hz, hn) = (
        [float(part[(*row, j + k * size)]) for k in range(3)] for part in (inside, before)
    )
    h = float(state[(*row, j)])
    r, z = 1 / (1 + math.exp(-xr - hr)), 1 / (1 + math.exp(-xz - hz))
    n = math.tanh(xn + r * hn)

    def again(y: np.ndarray) -> tuple[float, ...]:
        reset, update = _sigmoid(xr + hr), _sigmoid(xz + hz)
        new = math.tanh(xn + reset * hn)
        return reset, update, new, new, update, h, new, float(y[(*row, j)])

    text = (
        f"unit {j}: reset gate r = {{}}, update gate z = {{}}, candidate n = {{}}; the state "
        "becomes n + z · (h − n) = {} + {} · ({} − {}) = {}"
    )
    return (Remark(text, (r, z, n, n, z, h, n, n + z * (h - n)), again, 100 * _eps(node)),)


def _eps(node: Node) -> float:
    return float(np.finfo(node.dtype).eps)


def _view(node: Node, value: Any) -> tuple[dict[str, Any], np.ndarray]:
    operands = node.saved[: len(node.inputs)]  # type: ignore[index]
    return node.op.formula_view(*operands, y=value, **node.attrs)


_ABOUT: dict[str, Callable[[Node], tuple[Remark, ...]]] = {
    "softmax_cross_entropy": _likelihood,
    "add": _residual,
    "relu": _cut_off,
    "drop": _dropped,
    "embedding": _looked_up,
    "lstm_update": _lstm,
    "gru_update": _gru,
    **dict.fromkeys(("gelu", "silu", "mish", "elu", "leaky_relu"), _below_zero),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), _pooled),
    **dict.fromkeys(
        ("layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"), _normalised
    ),
}

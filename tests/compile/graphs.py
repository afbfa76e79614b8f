"""Random functions, made of the registered operations, as data that hypothesis draws and shrinks.

A graph is a list of moves. Each takes values that there are and adds one: an operation, its
operands made to fit by views, reductions and bounded functions. Which values and which axes it
takes is drawn from a seed of its own, so that leaving a move out leaves the others as they were.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import chainrule as cr
from chainrule.ops.elementwise import Elementwise
from tests.ops.test_registry import OURS, at, floats, put, samples

LARGEST = 600  # elements of a value

PLAIN = {
    "add", "subtract", "negative", "positive", "abs", "relu", "maximum", "minimum", "multiply",
    "square", "sign", "floor", "round", "tanh", "sigmoid", "sin", "cos", "atan", "softsign", "erf",
}  # fmt: skip
"""Elementwise operations that take any number and make none of it that is far larger."""


def plain(op):
    """Not of those that are left to NumPy and SciPy in compiled code too, and refuse operands by
    their values: decompositions, special functions, samplers. They are tested one by one."""
    space = getattr(sys.modules[op.__module__], "NAMESPACE", "")
    return not op.display_only and space not in ("linalg", "special", "fft")


ELEMENTWISE = [
    op
    for op in OURS.values()
    if isinstance(op, Elementwise) and op.accepts not in ("bool", "bits", "integer") and plain(op)
]
WITH_SAMPLES = [
    (op, args, kwargs)
    for op in OURS.values()
    if not isinstance(op, Elementwise) and not op.name.startswith("random_") and plain(op)
    for args, kwargs in samples(op)
    if list(floats(args))
]
SHAPES = [(), (1,), (7,), (16,), (33,), (1, 1), (3, 5), (5, 1), (1, 17), (4, 16), (2, 3, 4),
          (3, 1, 5), (2, 1, 1, 3), (0,), (0, 3), (2, 0), (1, 20, 3), (2, 2, 2, 2, 3)]  # fmt: skip


class Values(list):
    """The values so far, and one way of drawing from them."""

    def any(self, rng):
        found = [v for v in self if v.dtype.kind == "f"]
        # The newest are likelier, so that graphs grow deep.
        return found[max(rng.integers(len(found)), rng.integers(len(found)))]


def fit(x, shape):
    """The value in another shape: seen otherwise where that can be, repeated or cut if not."""
    n = math.prod(shape)
    if x.shape == shape:
        return x
    if not x.size or not n:
        return cr.broadcast_to(cr.sum(x), shape)
    if x.size == 1 or (len(x.shape) <= len(shape) and all(
        a in (1, b) for a, b in zip(x.shape[::-1], shape[::-1], strict=False)
    )):  # fmt: skip
        return cr.broadcast_to(x.reshape(()) if x.size == 1 else x, shape)
    flat = cr.reshape(x, (-1,))
    if flat.size < n:
        flat = cr.concat([flat] * -(-n // flat.size))
    return cr.reshape(flat if flat.size == n else flat[:n], shape)


def within(x, interval):
    middle, half = (interval.low + interval.high) / 2, (interval.high - interval.low) / 2
    return cr.tanh(x) * (0.95 * half) + middle


def axes_of(rng, x, most=None):
    if not x.ndim:
        return ()
    count = rng.integers(1, min(x.ndim, most or x.ndim) + 1)
    return tuple(int(a) for a in sorted(rng.permutation(x.ndim)[:count]))


# Moves


def elementwise(rng, values):
    op = ELEMENTWISE[rng.integers(len(ELEMENTWISE))]
    if rng.random() < 0.4:
        op = OURS[sorted(PLAIN)[rng.integers(len(PLAIN))]]
    first = values.any(rng)
    operands = [first]
    for _ in range(op.arity - 1):
        shape = list(first.shape)
        for a in axes_of(rng, first):
            if rng.random() < 0.3:
                shape[a] = 1
        shape = shape[int(rng.integers(len(shape) + 1)) :] if rng.random() < 0.3 else shape
        operands.append(fit(values.any(rng), tuple(shape)))
    if rng.random() < 0.3:
        operands = operands[::-1]
    if op.name not in PLAIN:
        operands = [within(x, d) for x, d in zip(operands, op.domain, strict=True)]
    if op.arity == 2 and rng.random() < 0.15 and op.name in PLAIN:
        operands[rng.integers(2)] = float(rng.integers(-2, 3))
    return op(*operands)


def sampled(rng, values):
    op, args, kwargs = WITH_SAMPLES[rng.integers(len(WITH_SAMPLES))]
    places = [p for p in floats(args) if not (op.name in ("getitem", "setitem") and p == (1,))]
    given = [cr.tanh(fit(values.any(rng), at(args, p).shape)) for p in places]
    return op(*put(args, places, given), **kwargs)


def reduction(rng, values):
    x = values.any(rng)
    name = ["sum", "mean", "max", "min", "var", "logsumexp", "prod", "std", "argmax",
            "any"][rng.integers(10)]  # fmt: skip
    axes, keep = axes_of(rng, x), bool(rng.random() < 0.5)
    if name in ("max", "min", "argmax", "logsumexp") and 0 in x.shape:
        return cr.sum(x, axis=axes, keepdims=keep)
    if name == "argmax":
        return cr.argmax(x, axis=axes[0] if axes else None)
    if name == "any":
        return cr.any(x > 0.25, axis=axes, keepdims=keep)
    if name == "std" and 1 in [math.prod(x.shape[a] for a in axes)]:
        name = "var"
    return getattr(cr, name)(cr.tanh(x) if name == "prod" else x, axis=axes, keepdims=keep)


def view(rng, values):
    x = values.any(rng)
    match rng.integers(6):
        case 0:
            return cr.permute_dims(x, tuple(int(a) for a in rng.permutation(x.ndim)))
        case 1:
            sizes = [n for n in x.shape if n != 1] or [1]
            if len(sizes) > 1 and rng.random() < 0.5:
                at_ = int(rng.integers(len(sizes) - 1))
                sizes[at_ : at_ + 2] = [sizes[at_] * sizes[at_ + 1]]
            elif sizes[-1] % 2 == 0:
                sizes[-1:] = [2, sizes[-1] // 2]
            return cr.reshape(x, tuple(sizes))
        case 2:
            return cr.flip(x, axis=axes_of(rng, x) or None)
        case 3:
            return cr.expand_dims(x, axis=int(rng.integers(x.ndim + 1)))
        case 4:
            return cr.broadcast_to(x, (int(rng.integers(1, 4)), *x.shape))
        case _:
            return x[part(rng, x.shape)]


def part(rng, shape):
    """Basic indexing that takes at least something."""
    key = []
    for n in shape:
        if n and rng.random() < 0.3:
            key.append(int(rng.integers(-n, n)))
        elif n > 1 and rng.random() < 0.6:
            start, stop = sorted(int(i) for i in rng.choice(n + 1, 2, replace=False))
            step = int(rng.integers(1, 3))
            key.append(
                slice(start, stop, step) if rng.random() < 0.7
                else slice(stop - 1, start - 1 if start else None, -step)
            )  # fmt: skip
        else:
            key.append(slice(None))
    if key and rng.random() < 0.2:
        key[rng.integers(len(key))] = Ellipsis if rng.random() < 0.5 else slice(None)
    return tuple(key)


def product(rng, values):
    a = values.any(rng)
    if a.ndim == 0:
        a = cr.reshape(a, (1,))
    k, n = a.shape[-1], int(rng.choice([1, 2, 7, 16, 20]))
    lead = a.shape[:-2] if rng.random() < 0.4 else ()
    b = fit(values.any(rng), (*lead, k, n) if rng.random() < 0.85 else (k,))
    if b.ndim > 1 and rng.random() < 0.4:
        b = fit(values.any(rng), (*lead, n, k)).mT
    y = cr.matmul(a, b)
    return cr.relu(y + fit(values.any(rng), y.shape[-1:])) if rng.random() < 0.4 else y


def chosen(rng, values):
    x = values.any(rng)
    if not x.ndim or 0 in x.shape:
        return cr.where(x > 0, x, 1.0)
    axis = int(rng.integers(x.ndim))
    n, count = x.shape[axis], int(rng.integers(1, 9))
    match rng.integers(4):
        case 0:
            return cr.take(x, cr.asarray(rng.integers(-n, n, count)), axis=axis)
        case 1:
            index = np.expand_dims(rng.integers(0, n, x.shape).max(axis), axis)
            return cr.take_along_axis(x, cr.asarray(index), axis=axis)
        case 2:
            y = values.any(rng)
            return cr.where(fit(y, x.shape) > 0.1, x, fit(values.any(rng), x.shape[-1:]))
        case _:
            index = cr.argmax(x, axis=axis)
            return cr.take(fit(values.any(rng), (n,)), index)


def joined(rng, values):
    x = values.any(rng)
    if not x.ndim or rng.random() < 0.3:
        return cr.stack([x, fit(values.any(rng), x.shape)], axis=int(rng.integers(x.ndim + 1)))
    if rng.random() < 0.3:
        widths = [tuple(int(w) for w in rng.integers(0, 3, 2)) for _ in x.shape]
        return cr.pad(x, widths, float(rng.integers(2)))
    axis, shape = int(rng.integers(x.ndim)), list(x.shape)
    shape[axis] = int(rng.integers(0, 6))
    parts = [x, fit(values.any(rng), tuple(shape)), x]
    return cr.concat(parts[: rng.integers(2, 4)], axis=axis)


def written(rng, values):
    """A part written over, and added to in place; those who had the value before keep it."""
    y = OURS["identity"](values.any(rng))
    if rng.random() < 0.3:
        y += fit(values.any(rng), y.shape)
        return y
    if y.ndim and y.shape[0] and rng.random() < 0.3:
        index = cr.asarray(rng.permutation(y.shape[0])[: 1 + y.shape[0] // 2])
        y[index] = fit(values.any(rng), (index.size, *y.shape[1:]))
        return y
    key = part(rng, y.shape)
    y[key] = fit(values.any(rng), y[key].shape)
    return y


def normalised(rng, values):
    x = values.any(rng)
    if not x.ndim or 0 in x.shape:
        return cr.tanh(x)
    axis = int(rng.integers(x.ndim))
    match rng.integers(4):
        case 0:
            return cr.softmax(x, axis=axis)
        case 1:
            return cr.log_softmax(x, axis=axis)
        case 2:
            centred = x - cr.mean(x, axis=axis, keepdims=True)
            return centred / cr.sqrt(cr.mean(centred * centred, axis=axis, keepdims=True) + 0.5)
        case _:
            return cr.cumulative_sum(x, axis=axis)


MOVES = {
    f.__name__: f
    for f in (elementwise, sampled, reduction, view, product, chosen, joined, written, normalised)
}
WEIGHTS = ["elementwise"] * 4 + ["reduction", "view"] * 2 + [m for m in MOVES if m != "elementwise"]


def seen(rng, cell):
    """What a cell holds now, as a value."""
    match rng.integers(6):
        case 0:
            return cr.flip(cell)
        case 1:
            return cell - cr.sum(cell, axis=-1 if cell.ndim else None, keepdims=True)
        case 2:
            return cr.permute_dims(cell, tuple(range(cell.ndim))[::-1])
        case 3:
            return cr.sum(cell) + cr.reshape(cell, (-1,))
        case _:
            return cell * 1.0


@dataclass(frozen=True)
class Graph:
    """A function of tensors and of cells, which it reads and writes in place.

    Attributes:
        shapes: of the arguments; those of the cells are the same, the last one first.
        moves: (name, seed); "read" and "write" are of cells.
        outputs: which values come out, counted from the last one.
        gradients: whether the gradients of the results are results too.
    """

    shapes: tuple[tuple[int, ...], ...]
    moves: tuple[tuple[str, int], ...]
    outputs: tuple[int, ...]
    gradients: bool = False

    def arrays(self, dtype=np.float32):
        rng = np.random.default_rng(len(self.moves))
        return [rng.uniform(-1.5, 1.5, shape).astype(dtype) for shape in self.shapes]

    def cells(self, dtype=np.float32):
        return [cr.nn.Buffer(x + dtype(0.25)) for x in self.arrays(dtype)[::-1]]

    def values(self, xs, cells):
        values = Values(xs)
        for name, seed in self.moves:
            rng = np.random.default_rng(seed)
            if name == "read":
                values.append(seen(rng, cells[rng.integers(len(cells))]))
            elif name == "write":
                cell = cells[rng.integers(len(cells))]
                value = cr.tanh(values.any(rng))
                if rng.random() < 0.6:  # what it held, perhaps of elsewhere in it
                    value = fit(seen(rng, cell), cell.shape) * 0.5 + fit(value, cell.shape)
                if rng.random() < 0.5 or not cell.ndim:
                    cell.assign(fit(value, cell.shape))
                else:
                    key = part(rng, cell.shape)
                    cell[key] = fit(value, cell[key].shape)
            else:
                found = MOVES[name](rng, values)
                if found.size <= LARGEST:
                    values.append(found)
        return [values[-1 - i % len(values)] for i in self.outputs], [c * 1.0 for c in cells]

    def function(self, cells):
        """As a function of tensors: the outputs, the gradients, and what the cells hold then."""
        if not self.gradients:
            return lambda *xs: [y for found in self.values(xs, cells) for y in found]

        def total(*xs):
            found = [y for y in self.values(xs, cells)[0] if y.dtype.kind == "f"]
            weights = (
                cr.asarray(np.cos(np.arange(y.size)).reshape(y.shape), dtype=y.dtype) for y in found
            )
            return sum(((y * w).sum() for y, w in zip(found, weights, strict=True)), xs[0].sum())

        def function(*xs):
            outputs, held = self.values(xs, cells)
            return [*outputs, *cr.grad(total, argnums=tuple(range(len(xs))))(*xs), *held]

        return function


def graphs(kind="plain"):
    """Of the kinds "plain", "gradients", and "cells": much is read from cells and written there."""
    gradients = kind == "gradients"
    names = [*WEIGHTS, *["read", "write"] * {"plain": 1, "gradients": 0, "cells": 12}[kind]]
    # More than one vector, so that the order of reading and writing matters.
    shapes = [(33,), (5, 33), (20, 20), (40, 3), (2, 7, 20)] if kind == "cells" else SHAPES
    seeds = st.integers(0, 2**20)
    return st.builds(
        Graph,
        st.lists(st.sampled_from(shapes), min_size=1, max_size=3).map(tuple),
        st.lists(st.tuples(st.sampled_from(names), seeds), min_size=2, max_size=10).map(tuple),
        st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple),
        st.just(gradients),
    )

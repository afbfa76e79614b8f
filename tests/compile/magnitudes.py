"""How far rounding may move a result: a backend that computes, beside each value, a magnitude.

The magnitude of a sum is the sum of its terms' magnitudes, Σ|terms|; in general, to first order,

    m(f(x₁, …)) = |f| + Σᵢ |∂f/∂xᵢ| m(xᵢ)

so that a computation whose operations each err by at most u |f| errs by at most u m at the end
(the running error bound of Wilkinson; Higham, Accuracy and Stability of Numerical Algorithms, 3.3).
Where a value lies so near to a jump that rounding may put it on the other side, m is infinite.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compile.derivative import resolved
from chainrule.compile.program import Argument, Captured, Program, Scalar, Storage
from chainrule.ops.declare import Bilinear, Linear
from chainrule.ops.elementwise import Elementwise
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import Node

MARGIN = 1e-4
"""A jump nearer than this, times the magnitude, is left out."""

SECOND = 1e-6
"""Of products, where the first order may be 0 and errors are not: a few rounding units."""

JUMPS: dict[str, Callable[..., np.ndarray]] = {
    "floor": lambda x: np.abs(x - np.round(x)),
    "ceil": lambda x: np.abs(x - np.round(x)),
    "trunc": lambda x: np.abs(x - np.round(x)),
    "round": lambda x: np.abs(x - np.floor(x) - 0.5),
    "sign": np.abs,
    "floor_divide": lambda a, b: np.abs(b) * np.abs(a / b - np.round(a / b)),
    "remainder": lambda a, b: np.abs(b) * np.abs(a / b - np.round(a / b)),
    **dict.fromkeys(
        ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
        lambda a, b: np.abs(np.subtract(a, b, dtype=float)),
    ),
}
"""How far the operands are from where the value jumps."""


class Bounded:
    """Runs a program's operations one by one.

    Attributes:
        outputs: of the last run.
        magnitudes: of these outputs, then of the values that it wrote.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.nodes = program, program.nodes()
        self.outputs: list[np.ndarray] = []
        self.magnitudes: list[np.ndarray] = []

    def run(
        self, arrays: Sequence[np.ndarray], scalars: Sequence[float], streams: Sequence[Any]
    ) -> list[np.ndarray]:
        program, rest = self.program, iter(arrays)
        values: dict[Node, np.ndarray] = {}
        sizes: dict[Node, np.ndarray] = {}
        for node, source in program.inputs:
            if isinstance(source, (Argument, Captured)):
                values[node] = next(rest)
            elif isinstance(source, Storage):
                values[node] = source.array
            elif isinstance(source, Scalar):
                values[node] = np.asarray(scalars[source.index], node.dtype)
            sizes[node] = np.abs(values[node].astype(np.float64))
        with np.errstate(all="ignore"):
            for node in self.nodes:
                if node.op is None:
                    values.setdefault(node, node.value)  # type: ignore[arg-type]
                    sizes[node] = np.abs(values[node].astype(np.float64))
                    continue
                operands = [None if n is None else values[n] for n in node.inputs]
                attrs = resolved(node.attrs, streams)
                value = np.asarray(node.op.run(_as_given(node, operands), attrs)[0])
                known = [None if n is None else sizes[n] for n in node.inputs]
                size = _magnitude(node, attrs, operands, value, known)
                values[node], sizes[node] = value, np.where(np.isnan(size), np.inf, size)
        roots = [*program.outputs, *(node for _, node in program.writes)]
        self.magnitudes = [sizes[node] for node in roots]
        self.outputs = outputs = [np.array(values[node]) for node in program.outputs]
        written = [(storage.array, np.array(values[node])) for storage, node in program.writes]
        for array, value in written:
            array[...] = value
        return outputs


def _as_given(node: Node, operands: list[Any]) -> list[Any]:
    """Python numbers beside tensors as such: they do not widen what they stand beside."""
    saved = node.saved or []
    return [
        saved[i] if i < len(saved) and isinstance(saved[i], (bool, int, float, complex)) else v
        for i, v in enumerate(operands)
    ]


def _magnitude(
    node: Node, attrs: dict, operands: list[Any], value: np.ndarray, sizes: list[Any]
) -> np.ndarray:
    op, name = node.op, node.op.name
    own = np.abs(value if value.dtype.kind == "c" else value.astype(np.float64))
    if name in JUMPS:
        reach = sum(
            np.where(x.dtype.kind == "f", m, 0) for x, m in zip(operands, sizes, strict=True)
        )
        distance = JUMPS[name](*(np.asarray(x, float) for x in operands))
        bad = (distance <= MARGIN * reach) | _any_infinite(sizes, value.shape)
        # Numbers that were given are the same in any precision, and what equals a maximum is it.
        exact = np.array(True)
        for x, m in zip(operands, sizes, strict=True):
            exact = exact & (np.abs(x.astype(float)) == m)
        same = (distance == 0) if name in ("equal", "not_equal") else np.array(False)
        bad = bad & ~exact & ~same
        if name == "remainder":
            own = own + sizes[0] + sizes[1] * np.abs(np.floor(operands[0] / operands[1]))
        return np.where(bad, np.inf, own)
    if isinstance(op, Elementwise):
        if not op.differentiable:
            return np.where(_any_infinite(sizes, value.shape), np.inf, own)
        tensors = [asarray(np.asarray(x, np.float64)) for x in operands]
        for derivative, m in zip(op.derivative, sizes, strict=True):
            slope = np.abs(np.asarray(derivative(*tensors, asarray(value.astype(float))), float))
            own = own + np.where((slope == 0) & np.isfinite(m), 0, slope * m)
        if name in ("multiply", "square"):
            own = own + SECOND * sizes[0] * sizes[-1]
        return own
    if name == "where":
        condition, *choices = sizes
        picked = np.where(operands[0], *choices)
        return np.where(np.isinf(condition), np.inf, picked) + np.zeros(value.shape)
    if isinstance(op, Bilinear):
        a, b = operands
        run = lambda x, y: np.asarray(op.run([x, y], attrs)[0], float)  # noqa: E731
        return own + run(sizes[0], np.abs(b)) + run(np.abs(a) + SECOND * sizes[0], sizes[1])
    if isinstance(op, Linear):
        given = [
            None if x is None else x if x.dtype.kind != "f" else m
            for x, m in zip(operands, sizes, strict=True)
        ]
        if node.dtype.kind != "f" or any(
            x is not None and x.dtype.kind != "f" and np.isinf(m).any()
            for x, m in zip(operands, sizes, strict=True)
        ):
            given = [None if x is None else x for x in operands]
            if any(np.isinf(m).any() for m in sizes if m is not None):
                return np.full(value.shape, np.inf)
            return own
        return own + np.asarray(op.run(given, attrs)[0], float)
    if name in ("max", "min"):
        return own + np.max(sizes[0], attrs["axes"], keepdims=attrs["keepdims"])
    if name in ("prod", "cumulative_prod"):
        n = operands[0].size
        return n * np.asarray(op.run([np.maximum(sizes[0], 1e-3)], attrs)[0], float)
    if name in ("argmax", "argmin"):
        return np.where(_near_ties(operands[0], sizes[0], attrs), np.inf, own) + np.zeros(own.shape)
    if any(m is not None and np.isinf(m).any() for m in sizes):
        return np.full(value.shape, np.inf)
    # What remains: sums of products of everything, scaled by the largest.
    biggest = math.prod(max(1.0, float(np.max(m, initial=0))) for m in sizes if m is not None)
    return own + biggest


def _any_infinite(sizes: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    found = np.zeros(shape, bool)
    for m in sizes:
        found = found | np.isinf(m)
    return found


def _near_ties(x: np.ndarray, m: np.ndarray, attrs: dict) -> bool:
    flat = np.sort(x.reshape(-1).astype(float))
    return bool((np.diff(flat) <= MARGIN * np.max(m, initial=0)).any()) or bool(np.isinf(m).any())

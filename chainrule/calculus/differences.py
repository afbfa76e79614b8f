"""Differences: a function of tensors as one of a single number, and its slope without calculus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.calculus.transforms import argument_positions, jvp, vjp
from chainrule.errors import ChainruleError, DTypeError, GradientError, NonFiniteError
from chainrule.ops.complex import view_as_complex, view_as_real
from chainrule.ops.composite import alias
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, Node, ancestors, recording
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten

STEPS = tuple(10.0**-k for k in range(1, 13))
_EPS = float(np.finfo(np.float64).eps)


class Problem:
    """f as a function of its floating-point leaves, in float64, weighted to a single number.

    A complex leaf is one of pairs of real numbers, along a further axis, and a complex result too:
    their derivatives are ∂L/∂Re and ∂L/∂Im, which are the gradient's parts by its definition.
    """

    def __init__(
        self, f: Callable[..., Any], args: Any, argnums: Any, rng: Any, about: str = ""
    ) -> None:
        self.f, self.about = f, about
        chosen = argument_positions(range(len(args)) if argnums is None else argnums, len(args))
        self.leaves, self.rebuild = flatten(list(args))
        paths = [
            (number, path)
            for number, arg in enumerate(args)
            for path in _paths(arg, f"argument {number}")
        ]
        self.places: list[int] = []
        self.names: list[str] = []
        self.values: list[np.ndarray] = []
        self.pairs: list[bool] = []
        for place, (leaf, (number, path)) in enumerate(zip(self.leaves, paths, strict=True)):
            if number not in chosen or not _is_numeric(leaf):
                continue
            x = as_operand(leaf)
            if dtypes.is_float(x.dtype):
                self.pairs.append(x.dtype.kind == "c")
                self.places.append(place)
                self.values.append(_as_real(x.numpy()))
                self.names.append(path)
        if not self.values:
            raise DTypeError(
                "check_gradients needs a floating-point argument, and there is none among "
                f"{len(chosen)}. Write x.astype(cr.float64), or choose others by argnums."
            )
        first = self.output(self.values)
        if not isinstance(first, Tensor):
            raise GradientError(
                f"f gave a {type(first).__name__}, not a tensor: no derivative can flow. Compute "
                "with chainrule's operations, without numpy() or item()."
            )
        if not dtypes.is_float(first.dtype):
            raise GradientError(
                f"f gave {first.dtype}, and whole numbers have no derivative. Return the "
                "floating-point value that they were made from."
            )
        if not np.isfinite(first.numpy()).all():
            raise NonFiniteError(
                f"f is {first.numpy().reshape(-1)[:3]} at this point, and differences of that say "
                "nothing. Check at a point where f is finite."
            )
        if not np.array_equal(first.numpy(), self.output(self.values).numpy()):
            raise GradientError(
                "f gives another value each time, so that differences measure the noise. Is there "
                "dropout in training mode, or another random operation? Call model.eval(), or "
                "cr.seed(0) inside of f."
            )
        shape = first.shape
        self.weights = rng.standard_normal(shape) if first.size != 1 else np.ones(shape)
        self.size = float(np.sum(np.abs(first.numpy() * self.weights)))
        self.sizes = {n for x in self.values for n in x.shape} | set(shape)

    def output(self, values: Any) -> Any:
        filled = list(self.leaves)
        for place, value, pairs in zip(self.places, values, self.pairs, strict=True):
            x = value if isinstance(value, Tensor) else as_operand(np.asarray(value))
            filled[place] = view_as_complex(x) if pairs else x
        y = self.f(*self.rebuild(filled))
        return view_as_real(y) if isinstance(y, Tensor) and y.dtype.kind == "c" else y

    def gradients(self, values: Any) -> tuple[Any, ...]:
        """The gradient of the weighted sum in each leaf, in reverse mode."""
        return vjp(lambda *v: self.output(v), *map(as_operand, values))[1](self.weights)

    def tangent(self, directions: Sequence[np.ndarray]) -> float:
        """The derivative of the weighted sum along a direction, in forward mode."""
        inputs, vs = tuple(map(as_operand, self.values)), tuple(map(as_operand, directions))
        return float(np.sum(jvp(lambda *v: self.output(v), inputs, vs)[1].numpy() * self.weights))

    def along(self, directions: Sequence[np.ndarray]) -> Callable[[float], float]:
        """The weighted sum as a function of the distance gone along a direction."""

        def number(t: float) -> float:
            moved = [x + t * v for x, v in zip(self.values, directions, strict=True)]
            return float(np.sum(self.output(moved).numpy() * self.weights))

        return number

    def unit(self, leaf: int, index: int) -> tuple[list[np.ndarray], float]:
        """(the direction of one element, the scale of steps along it)."""
        directions = [np.zeros(x.shape) for x in self.values]
        directions[leaf].reshape(-1)[index] = 1
        return directions, max(1.0, abs(float(self.values[leaf].reshape(-1)[index])))

    def recorded(self) -> list[Node]:
        """The operations that a derivative of f passes, in the order in which they ran."""
        with recording(FULL):
            output = self.output([alias(Tensor(x)) for x in self.values])
        nodes = ancestors([output._node]) if output._node is not None else []
        return [node for node in reversed(nodes) if node.op is not None and node.needs_grad]


def _is_numeric(leaf: Any) -> bool:
    return isinstance(leaf, (Tensor, np.ndarray, np.generic, float, complex))


def _as_real(x: np.ndarray) -> np.ndarray:
    """In float64; complex numbers as pairs."""
    if x.dtype.kind == "c":
        return np.stack([x.real, x.imag], -1).astype(np.float64)
    return np.array(x, dtype=np.float64)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    v = rng.standard_normal(shape)
    return np.asarray(v + 1j * rng.standard_normal(shape)) if dtype.kind == "c" else v


def _paths(tree: Any, name: str) -> list[str]:
    """A name for each leaf, as the user would write it, in the order of `flatten`."""
    if isinstance(tree, dict):
        return [path for key in tree for path in _paths(tree[key], f"{name}[{key!r}]")]
    if isinstance(tree, (list, tuple)):
        return [path for i, part in enumerate(tree) for path in _paths(part, f"{name}[{i}]")]
    return [] if tree is None else [name]


def stencil(f: Callable[[float], float], h: float) -> float:
    """f′(0) by five points: (8 (f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def slope(f: Callable[[float], float], scale: float, size: float) -> tuple[float, float]:
    """(f′(0), its uncertainty), from the step at which neighbouring steps agree best.

    The choice knows nothing of the derivative that is being checked; NaN where f is not finite on
    both sides at any step. `size` is what is added up in f, so that ε·size is its rounding.
    """
    found = np.array([stencil(f, scale * step) for step in STEPS])
    jumps = np.abs(np.diff(found))
    doubt = np.maximum(np.append(jumps, np.inf), np.insert(jumps, 0, np.inf))
    doubt[~np.isfinite(doubt)] = np.inf
    doubt += 20 * _EPS * size / (scale * np.array(STEPS))
    best = int(np.argmin(doubt))
    return (float(found[best]), float(doubt[best])) if doubt[best] < np.inf else (np.nan, np.inf)


def holds(node: Node) -> bool:
    """Whether an operation's vjp and jvp agree with differences where it ran."""
    assert node.saved is not None
    entries = node.saved[: len(node.inputs)]
    places = [
        i for i, e in enumerate(entries) if isinstance(e, np.ndarray) and dtypes.is_float(e.dtype)
    ]

    def again(*values: Any) -> Any:
        inputs = [Tensor(e) if isinstance(e, np.ndarray) else e for e in entries]
        for i, value in zip(places, values, strict=True):
            inputs[i] = value
        return node.op.again(inputs, node.attrs)

    rng = np.random.default_rng(0)
    xs = [entries[i] for i in places]
    vs = [_draw(rng, x.shape, x.dtype) for x in xs]
    g = _draw(rng, node.shape, node.dtype)

    def weighted(y: np.ndarray) -> float:
        return float(np.sum((np.conj(g) * y).real))

    def number(t: float) -> float:
        moved = (Tensor(np.asarray(x + t * v)) for x, v in zip(xs, vs, strict=True))
        return weighted(again(*moved).numpy())

    try:
        wanted, doubt = slope(number, 1.0, float(np.sum(np.abs(node.saved[-2] * g))))
        inputs = tuple(Tensor(x) for x in xs)
        pulled = [c.numpy() for c in vjp(again, *inputs)[1](g)]
        _, tangent = jvp(again, inputs, tuple(Tensor(np.asarray(v)) for v in vs))
    except ChainruleError:
        return True
    backward = sum(np.sum((np.conj(c) * v).real) for c, v in zip(pulled, vs, strict=True))
    forward = weighted(tangent.numpy())
    if np.isnan(wanted):
        return True
    size = max(float(sum(np.sum(np.abs(c * v)) for c, v in zip(pulled, vs, strict=True))), 1e-8)
    apart = max(abs(backward - wanted), abs(forward - wanted)) - doubt
    return bool(apart <= 1e-5 * max(size, abs(wanted)))

"""An operation's declared formula as a function of one operand, and the directions along which that
is moved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

import numpy as np

from chainrule.lens.explain.steps.forward import largest_finite, widened
from chainrule.ops.notation.evaluate import walk
from chainrule.ops.notation.tree import Flat, Reduce, Size, Subscript
from chainrule.ops.operation import Operation
from chainrule.tensor.tensor import Tensor

EVERY = 64
"""Operands of at most so many elements are checked element by element."""
_WIDE = 1e6
"""From which ratio on numbers are of very different sizes."""
BATCH = 1 << 19
"""How many numbers are moved at once."""


class Declared:
    """An operation's formula in float64, as a function of one of its operands.

    Attributes:
        x: that operand.
        weight: g, in the form in which the formula sees the result.
        view: the formula's operands; None where it is only shown, and the operation runs instead.
        separable: whether every element of the result is made of one element of x.
    """

    def __init__(
        self, op: Operation, operands: tuple, attrs: dict, position: int, arriving: np.ndarray
    ) -> None:
        self.op, self.attrs, self.position = op, attrs, position
        self.operands = list(widened(dict(enumerate(operands))).values())
        self.x: np.ndarray = np.asarray(self.operands[position])
        g = self.arriving = self.weight = widened({"g": arriving})["g"]
        self.view = None
        if not op.display_only:
            view, seen = self._view(self.x, g)
            if seen.size == g.size:  # a formula may be about a part of the result
                self.view, self.weight = view, seen
        self.separable = (self.view is not None or op.kind == "elementwise") and is_separable(
            op, self.x.shape, g.shape
        )

    def _view(self, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        operands = [*self.operands]
        operands[self.position] = x
        if self.op.formula_view is None:
            return dict(zip(self.op.operand_names, operands, strict=False)), y
        return self.op.formula_view(*operands, y=y, **self.attrs)

    def __call__(self, stack: np.ndarray) -> np.ndarray:
        """The results for several values of x, stacked."""
        each = [stack[i, ...] for i in range(len(stack))]
        if self.view is None:
            return np.stack([self._run(x) for x in each])
        views = [self._view(x, self.arriving)[0] for x in each]
        first = views[0]
        operands, stacked = dict(first), []
        for name, value in first.items():
            others = [v[name] for v in views]
            if isinstance(value, (np.ndarray, np.generic)) and not _all_equal(others):
                operands[name] = np.stack([np.asarray(v, np.result_type(value)) for v in others])
                stacked.append(name)
        shape = self.weight.shape
        found = self.op.formula.evaluate(operands, shape, stacked)
        return found if stacked else np.broadcast_to(found, (len(stack), *shape))

    def _run(self, x: np.ndarray) -> np.ndarray:
        operands = [*self.operands]
        operands[self.position] = x
        given = [Tensor(v) if isinstance(v, np.ndarray) else v for v in operands]
        return self.op.apply(given, self.attrs).numpy()


class Probes:
    """The directions along which an operand is moved.

    Numbers along them are arrays of one row for each direction: of one number, or where the
    function is separable of one for each element, all of which are moved at once.
    """

    def __init__(self, f: Declared, value: np.ndarray) -> None:
        self.x, self.separable = f.x, f.separable
        typical = float(np.linalg.norm(self.x) / math.sqrt(max(1, self.x.size)))
        if not math.isfinite(typical):
            typical = largest_finite(self.x)
        turns = (1.0, 1.0j) if self.x.dtype.kind == "c" else (1.0,)
        units = self._units(typical, value)
        every = units if len(turns) == 1 else np.concatenate([turn * units for turn in turns])
        self.directions = every.astype(self.x.dtype, copy=False)

    def _units(self, typical: float, value: np.ndarray) -> np.ndarray:
        """Real directions; their length says how far a step goes. Powers of two, and numbers of few
        digits, so that steps are exact."""
        n = self.x.size
        if self.separable or n <= EVERY:
            size = np.where(np.isfinite(self.x), np.abs(self.x), 0.0)
            if typical > _WIDE * np.min(size, initial=typical, where=size > 0):
                typical = float(np.median(size[size > 0]))  # a few outliers do not count
            scale = _power_of_two(np.maximum(size, typical / 8 or 1.0))
            if self.separable:
                return scale[None]
            units = np.zeros((n, n))
            np.fill_diagonal(units, scale.reshape(-1))
            return units.reshape(n, *self.x.shape)
        # Sizes, so that no two errors cancel; the value's signs three times out of four, so that
        # an error in its scale or its sign does not cancel itself.
        scale = float(_power_of_two(typical or 1.0))
        units = np.where(value.real < 0, -scale, scale)
        units *= np.resize(_random(), self.x.shape)
        return units[None]

    @cached_property
    def lengths(self) -> np.ndarray:
        """By what a number is divided, so that it is that of an element, or of a direction whose
        elements are about 1."""
        sizes = _rows(np.abs(self.directions))
        if self.separable:
            return sizes[:1]
        return (sizes.max if self.x.size <= EVERY else sizes.min)(axis=1, keepdims=True)

    def __str__(self) -> str:
        if self.separable or self.x.size <= EVERY:
            return "every element"
        return "all elements at once, in a random direction"

    def moves(self, f: Declared) -> Iterator[tuple[slice, np.ndarray]]:
        """(which, the directions), as many at once as memory allows."""
        many = max(1, BATCH // max(1, self.x.size, f.weight.size))
        for start in range(0, len(self.directions), many):
            rows = slice(start, start + many)
            yield rows, self.directions[rows]

    def reduce(self, products: np.ndarray, rows: slice) -> np.ndarray:
        """What the products of g and a change of F add up to."""
        if not self.separable:
            return _rows(products).sum(1)[:, None] / self.lengths[rows]
        return _rows(_sum_to(products, self.x.shape)) / self.lengths

    def of(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(⟨value, v⟩, √(Σ |value · v|²)) along the directions; the second is what roundings of the
        elements add up to."""
        products = _rows(inner(widened({"v": value})["v"], self.directions))
        if self.separable:
            return products / self.lengths, np.abs(products) / self.lengths
        sums, sizes = products.sum(1), np.sqrt(np.vecdot(products, products))
        return sums[:, None] / self.lengths, sizes[:, None] / self.lengths


def is_separable(op: Operation, shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether every element of a result is made of one element of an operand of this shape."""
    if op.kind == "elementwise":
        return True
    return not op.display_only and shape == result and _by_elements(op)


@cache
def _by_elements(op: Operation) -> bool:
    """Whether a formula is one of numbers, without indices."""
    parts = [part for s in op.formula.statements for part in (*walk(s.value), s.target)]
    return not any(isinstance(part, (Subscript, Flat, Reduce, Size)) for part in parts)


def _all_equal(values: list[Any]) -> bool:
    first = values[0]
    return all(_same_memory(first, v) or np.array_equal(first, v, equal_nan=True) for v in values)


def _same_memory(a: Any, b: Any) -> bool:
    """Whether two arrays are one, or equal views of one."""
    if a is b:
        return True
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return False
    here, there = a.__array_interface__, b.__array_interface__
    return all(here[k] == there[k] for k in ("data", "shape", "strides", "typestr"))


def _sum_to(stack: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Every array of a stack, added up over what a shape was broadcast along."""
    if stack.shape[1:] == shape:
        return stack
    extra = stack.ndim - 1 - len(shape)
    stack = stack.sum(tuple(range(1, 1 + extra)))
    axes = tuple(i for i, n in enumerate(stack.shape) if i and shape[i - 1] == 1 and n != 1)
    return stack.sum(axes, keepdims=True)


def _rows(stack: np.ndarray) -> np.ndarray:
    """Each array of a stack as a row."""
    return stack.reshape(len(stack), math.prod(stack.shape[1:]))


def _power_of_two(value: Any) -> Any:
    """The largest power of two that is no larger."""
    return np.exp2(np.floor(np.log2(value)))


@cache
def _random() -> np.ndarray:
    """Numbers of few digits from 1 to 2, a quarter of them with a minus."""
    rng = np.random.default_rng(0)
    sizes = 1 + rng.integers(0, 256, 65537) / 256
    return sizes * np.where(rng.random(sizes.size) < 0.75, 1.0, -1.0)


def inner(g: np.ndarray, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Re(ḡ y), element by element; in the memory of `out` where that has the right dtype."""
    return np.real(np.conj(g) * y) if g.dtype.kind == "c" else np.multiply(g, y, out=out)

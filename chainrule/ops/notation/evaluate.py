"""Formulas evaluated in float64 (of complex operands, in complex128), from the notation alone.

Every value is an array with named axes. An index is a name; the axes behind "…" are called
("…", −1), ("…", −2) from the right, so that they broadcast as NumPy's do. No code is shared with
the operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from chainrule.ops.notation.parse import FormulaError
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Datum,
    Expression,
    Flat,
    Name,
    Number,
    Reduce,
    Rest,
    Size,
    Statement,
    Subscript,
    Taken,
    Unary,
    walk,
)

Axis = Any  # the name of an index, ("…", -i), or STACK
STACK = "|"  # the axis along which operands have been stacked; no index has this name
CONSTANTS = {"π": math.pi, "e": math.e, "∞": math.inf}

_PLANNED = 1 << 14
"""A sum of so many products, or more, is contracted pair by pair, by matrix products if it can."""


class Named:
    """An array and the names of its axes."""

    __slots__ = ("array", "axes")

    def __init__(self, array: Any, axes: tuple[Axis, ...] = ()) -> None:
        self.array, self.axes = np.asarray(array), axes


def _special(name: str) -> Any:
    """A special function goes by SciPy's name; None: there is none."""
    import scipy.special

    return getattr(scipy.special, name, None)


FUNCTIONS: dict[str, Any] = {
    **{n: getattr(np, n) for n in ("exp", "log", "log1p", "expm1", "sin", "cos", "tan", "sinh")},
    **{n: getattr(np, n) for n in ("cosh", "tanh", "abs", "sign", "floor", "ceil", "trunc")},
    **{n: getattr(np, f"arc{n[1:]}") for n in ("asin", "acos", "atan", "asinh", "acosh", "atanh")},
    **{n: getattr(np, n) for n in ("conj", "real", "imag")},
    "√": np.sqrt,
    "sqrt": np.sqrt,
    "round": np.round,
    "atan2": np.arctan2,
    "max": np.maximum,
    "min": np.minimum,
    "bitand": np.bitwise_and,
    "bitor": np.bitwise_or,
    "bitxor": np.bitwise_xor,
    "bitnot": np.bitwise_not,
    "Γ": lambda x: _special("gamma")(x),
    "logΓ": lambda x: _special("gammaln")(x),
    "Φ": lambda x: _special("ndtr")(x),
}
_BINARY = {
    "+": np.add,
    "-": np.subtract,
    "·": np.multiply,
    "/": np.true_divide,
    "^": np.power,
    "=": np.equal,
    "≠": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "≤": np.less_equal,
    "≥": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
}


class Evaluator:
    """One evaluation of a formula's statements.

    Args:
        operands: what the names stand for.
        shape: the result's, from which indices take their range that stand alone nowhere else.
        fixed: values of some of the result's axes, to have one element of it.
        stacked: operands that hold several arrays along a first axis: the formula is evaluated for
            each of them, and the results are stacked, too.
    """

    def __init__(
        self,
        operands: Mapping[str, Any],
        shape: tuple[int, ...],
        fixed: Mapping[Axis, int] | None = None,
        stacked: Collection[str] = (),
    ) -> None:
        self.operands = {k: np.asarray(v) for k, v in operands.items()}
        self.stacked = set(stacked)
        self.shape = shape
        self.sizes: dict[Axis, int] = {}
        self.told: dict[Axis, int] = {}  # the sizes that the statements say themselves
        self.fixed = dict(fixed or {})
        self.outside = 0.0  # what an array counts as beyond its ends
        self.rounding: Callable[[np.ndarray], np.ndarray] | None = None  # of what is computed

    def run(self, statements: tuple[Statement, ...]) -> np.ndarray:
        """The last statement's value in the shape asked for."""
        last = self.prepare(statements)
        value = self.value(last.value)
        axes = self.target_axes(last.target, value)
        result = self.arrange(value, axes)
        shape = (*result.shape[: axes.count(STACK)], *self.shape)
        if isinstance(last.target, Flat):
            return result.reshape(shape)
        if len(shape) > len(self.shape):  # axes that the value lacks come behind the stack
            missing = len(shape) - result.ndim
            result = result.reshape(*result.shape[:1], *(1,) * missing, *result.shape[1:])
        return np.broadcast_to(result, shape)

    def prepare(
        self,
        statements: tuple[Statement, ...],
        needed: Mapping[str, Mapping[Axis, int]] | None = None,
    ) -> Statement:
        """Run all statements but the last, which comes back.

        Args:
            needed: for names of these statements, axes along which one place alone is read: their
                values elsewhere are not computed, and what stands there is that of this place.
        """
        *before, last = statements
        self.told.update(pair for statement in statements for pair in statement.ranges)
        self.sizes.update(self.told)
        if not self.fixed:
            self.learn_target(last.target)
        for statement in statements:
            self.learn_sizes(statement.value)
        fixed = self.fixed
        for statement, following in zip(before, statements[1:], strict=True):
            self.fixed = dict((needed or {}).get(statement.target.name, {}))
            value = self.value(statement.value)
            axes = self.target_axes(statement.target, value)
            self.operands[statement.target.name] = self.arrange(value, axes)
            if STACK in axes:
                self.stacked.add(statement.target.name)
            self.learn_sizes(following.value)
        self.fixed = fixed
        return last

    # The ranges of indices

    def learn_sizes(self, part: Expression) -> None:
        """The range of every index that stands alone in a subscript of an operand."""
        for sub in walk(part):
            if isinstance(sub, Flat) and sub.name in self.operands:
                self._learn(sub.index, math.prod(self._shape_of(sub.name)), sub.name)
            if isinstance(sub, Subscript) and sub.name in self.operands:
                for index, (axis, size) in self._axes_of(sub):
                    if index is None:
                        self.sizes[axis] = (
                            size if self.sizes.get(axis, 1) == 1 else self.sizes[axis]
                        )
                    elif isinstance(index, Name) and index.name not in self.operands:
                        self._learn(index.name, size, sub.name)

    def _axes_of(self, sub: Subscript) -> list[tuple[Expression | None, tuple[Axis, int]]]:
        """(index, (axis, size)) for every axis of a subscripted operand; index None behind …"""
        shape = self._shape_of(sub.name)
        explicit = len(sub.indices) - sub.indices.count(None)
        batch = len(shape) - explicit
        if batch < 0 or (batch and None not in sub.indices):
            raise FormulaError(
                f"{sub.name} has {len(shape)} axes, and {explicit} indices in the formula"
            )
        found: list[tuple[Expression | None, tuple[Axis, int]]] = []
        for index in sub.indices:
            if index is None:
                for i in range(batch):
                    found.append((None, (("…", i - batch), shape[len(found)])))
            else:
                found.append((index, (index, shape[len(found)])))
        return found

    def _shape_of(self, name: str) -> tuple[int, ...]:
        """An operand's shape; of a stacked one, that of each array."""
        return self.operands[name].shape[name in self.stacked :]

    def _learn(self, index: str, size: int, name: str) -> None:
        known = self.sizes.setdefault(index, size)
        if known != size and index not in self.told:
            raise FormulaError(
                f"the index {index} takes {known} values elsewhere, {size} in {name}"
            )

    def learn_target(self, target: Any) -> None:
        """The axes of the result, by name, with their sizes."""
        if isinstance(target, Subscript):
            explicit = len(target.indices) - target.indices.count(None)
            batch = len(self.shape) - explicit
            if batch < 0:
                raise FormulaError(f"the result of shape {self.shape} has too few axes")
            position = 0
            for index in target.indices:
                if index is None:
                    position += batch
                elif isinstance(index, Name):
                    self.sizes[index.name] = self.shape[position]
                    position += 1
                else:
                    raise FormulaError(f"the indices of the result {target.name} are names")

    def target_axes(self, target: Any, value: Named) -> tuple[Axis, ...]:
        """The result's axes in order; those behind … are what the value has."""
        batch = tuple(sorted((a for a in value.axes if isinstance(a, tuple)), key=lambda a: a[1]))
        stack = (STACK,) if STACK in value.axes else ()
        if isinstance(target, Flat):
            return (*stack, target.index)
        if not isinstance(target, Subscript):
            return (*stack, *batch)
        axes: list[Axis] = [*stack]
        for index in target.indices:
            if index is None:
                axes.extend(batch)
            else:
                axes.append(index.name)  # type: ignore[attr-defined]
        return tuple(axes)

    def arrange(self, value: Named, axes: tuple[Axis, ...]) -> np.ndarray:
        """The array with these axes in this order, spread along those that it lacks."""
        extra = [a for a in value.axes if a not in axes]
        if extra:
            raise FormulaError(f"the indices {extra} are neither added up over nor in the result")
        array = spread(value, axes)
        return np.broadcast_to(
            array,
            tuple(
                n if n != 1 else self.sizes.get(a, 1)
                for n, a in zip(array.shape, axes, strict=True)
            ),
        )

    # Values

    def value(self, part: Expression) -> Named:
        found: Named = getattr(self, f"_{type(part).__name__.lower()}")(part)
        if self.rounding is None or not isinstance(part, (Unary, Binary, Call, Reduce)):
            return found
        return Named(self.rounding(found.array), found.axes)

    def _number(self, part: Number) -> Named:
        return Named(int(part.text) if part.text.isdecimal() else float(part.text))

    def _datum(self, part: Datum | Rest) -> Named:
        return Named(part.value, (STACK,) * np.ndim(part.value))

    _rest = _datum

    def _taken(self, part: Taken) -> Named:
        return self.value(part.value)

    def _name(self, part: Name) -> Named:
        if part.name in self.operands:
            array = self.operands[part.name]
            batch = Subscript(part.name, (None,))
            return self._subscript(batch) if array.ndim else Named(_wide(array))
        if part.name in self.fixed:
            return Named(self.fixed[part.name])
        if part.name in self.sizes:
            return Named(np.arange(self.sizes[part.name]), (part.name,))
        if part.name in CONSTANTS:
            return Named(CONSTANTS[part.name])
        raise FormulaError(f"{part.name} is neither an operand nor an index with a known range")

    def _size(self, part: Size) -> Named:
        return Named(self._size_of(part.index))

    def _size_of(self, index: Axis) -> int:
        if index not in self.sizes:
            raise FormulaError(f"the index {index} has no known range")
        return self.sizes[index]

    def _operand(self, name: str) -> np.ndarray:
        if name not in self.operands:
            raise FormulaError(f"{name} is not among the operands {sorted(self.operands)}")
        return self.operands[name]

    def _flat(self, part: Flat) -> Named:
        array = self._operand(part.name)
        stack = (STACK,) if part.name in self.stacked else ()
        flat = array.reshape(*array.shape[: len(stack)], -1)
        if part.index in self.fixed:
            return Named(_wide(flat[..., self.fixed[part.index]]), stack)
        return Named(_wide(flat), (*stack, part.index))

    def _subscript(self, part: Subscript) -> Named:
        array = self._operand(part.name)
        indices = self._axes_of(part)
        if part.name in self.stacked:
            indices.insert(0, (Name(STACK), (STACK, len(array))))
            self.sizes[STACK] = len(array)
        positions = []
        for index, (axis, size) in indices:
            if index is not None:
                positions.append(self._index(index))
            elif axis in self.fixed:
                positions.append(Named(min(self.fixed[axis], size - 1)))
            else:
                positions.append(Named(np.arange(size), (axis,)))
        axes = tuple(dict.fromkeys(a for p in positions for a in p.axes))
        plain = all(
            len(p.axes) == 1 and (index is None or isinstance(index, Name))
            for p, (index, _) in zip(positions, indices, strict=True)
        )
        whole = all(self.sizes.get(a, n) == n for a, n in zip(axes, array.shape, strict=False))
        if plain and whole and len(axes) == array.ndim and self._starts_at_zero(part):
            return Named(_wide(array), axes)
        grid = [spread(p, axes).astype(np.intp) for p in positions]
        inside = np.ones((), bool)
        clipped = []
        for g, n in zip(grid, array.shape, strict=True):
            inside = inside & (g >= 0) & (g < n)
            clipped.append(np.clip(g, 0, max(n - 1, 0)))
        found = _wide(array[tuple(clipped)])
        if not inside.all():
            found = np.where(inside, found, self.outside)
        return Named(found, axes)

    def _index(self, part: Expression) -> Named:
        """The value of an index, which is never rounded."""
        rounding, self.rounding = self.rounding, None
        try:
            return self.value(part)
        finally:
            self.rounding = rounding

    def _starts_at_zero(self, part: Subscript) -> bool:
        """Whether bare indices are ranges, not index arrays among the operands."""
        return not any(isinstance(i, Name) and i.name in self.operands for i in part.indices)

    def _unary(self, part: Unary) -> Named:
        value = self.value(part.operand)
        function = np.logical_not if part.operator == "not" else np.negative
        return Named(function(value.array), value.axes)

    def _binary(self, part: Binary) -> Named:
        left, right = self.value(part.left), self.value(part.right)
        if part.operator == "^":
            left = Named(widest(left.array), left.axes)
        terms = softmax_terms(part) if part.operator == "/" else None
        if terms is not None and not (np.isfinite(right.array) & (right.array != 0)).all():
            exponent, total = terms
            return self.value(Call("exp", (Binary("-", exponent, Call("log", (total,))),)))
        return combine(_BINARY[part.operator], left, right)

    def _choice(self, part: Choice) -> Named:
        condition = self.value(part.condition)
        if not condition.axes:
            return self.value(part.then if condition.array else part.otherwise)
        then, otherwise = self.value(part.then), self.value(part.otherwise)
        return combine(np.where, condition, then, otherwise)

    def _call(self, part: Call) -> Named:
        inner = part.arguments[0]
        if part.function == "log" and isinstance(inner, Reduce) and inner.word == "Σ":
            body = inner.body
            if isinstance(body, Call) and body.function == "exp" and inner.condition is None:
                return self._log_sum_exp(inner, body)
        if part.function == "log" and isinstance(inner, Binary) and inner.operator == "+":
            exponents = [_exponent(side) for side in (inner.left, inner.right)]
            if None not in exponents:
                return combine(np.logaddexp, *(self.value(e) for e in exponents if e is not None))
        function = FUNCTIONS.get(part.function) or _special(part.function)
        if function is None:
            raise FormulaError(f"there is no function {part.function}")
        try:
            return combine(function, *(self.value(a) for a in part.arguments))
        except TypeError as error:
            raise FormulaError(f"{part.function} does not take these: {error}") from None

    def _log_sum_exp(self, part: Reduce, body: Call) -> Named:
        # By itself the sum overflows where the operation, which shifts too, does not.
        inside = self.value(body.arguments[0])
        axes = tuple(i for i, a in enumerate(inside.axes) if a in part.indices)
        rest = tuple(a for a in inside.axes if a not in part.indices)
        peak = np.max(inside.array, axes, keepdims=True)
        peak = np.where(np.isfinite(peak), peak, 0)
        total = np.sum(np.exp(inside.array - peak), axes)
        if self.rounding is not None:
            total = self.rounding(total)
        with np.errstate(divide="ignore"):  # log 0 is −∞: nothing but −∞ was added
            return Named(np.log(total) + peak.squeeze(axes), rest)

    def _reduce(self, part: Reduce) -> Named:
        if part.word == "Σ" and part.condition is None:
            return self._sum(part)
        before = self.outside
        self.outside = beyond = neutral(part.word)
        try:
            body = self.value(part.body)
        finally:
            self.outside = before
        indices = bound_in(part)
        axes = tuple(dict.fromkeys((*body.axes, *indices)))
        array = np.broadcast_to(spread(body, axes), tuple(self._length(a, body) for a in axes))
        if part.condition is not None:
            condition = self.value(part.condition)
            axes = tuple(dict.fromkeys((*axes, *condition.axes)))
            array = np.where(
                spread(condition, axes), spread(Named(array, axes[: array.ndim]), axes), beyond
            )
        reduced = tuple(i for i, a in enumerate(axes) if a in indices)
        rest = tuple(a for a in axes if a not in indices)
        if part.word in ("argmax", "argmin"):
            if len(reduced) != 1:
                raise FormulaError(f"{part.word} goes over one index, not {len(reduced)}")
            return Named(getattr(np, part.word)(array, reduced[0]), rest)
        function: Any = {"Σ": np.sum, "Π": np.prod, "max": np.max, "min": np.min}[part.word]
        return Named(function(array, reduced), rest)

    def _length(self, axis: Axis, value: Named) -> int:
        if axis in value.axes:
            return value.array.shape[value.axes.index(axis)]
        return self._size_of(axis)

    def _sum(self, part: Reduce) -> Named:
        """Σ of a product, contracted as einsum does."""
        indices, body = list(part.indices), part.body
        while isinstance(body, Reduce) and body.word == "Σ" and body.condition is None:
            indices.extend(body.indices)
            body = body.body
        factors = [self.value(f) for f in product(body)]
        factors = [Named(widest(f.array), f.axes) for f in factors]
        axes = list(dict.fromkeys(a for f in factors for a in f.axes))
        scale = 1
        for index in indices:
            if index not in axes:
                scale *= self._size_of(index)
        number = {a: i for i, a in enumerate(axes)}
        rest = [a for a in axes if a not in indices]
        sizes = {
            a: max(f.array.shape[f.axes.index(a)] for f in factors if a in f.axes) for a in axes
        }
        arguments: list[Any] = []
        for f in factors:
            # einsum does not broadcast axes of size 1 by name.
            keep = [i for i, a in enumerate(f.axes) if f.array.shape[i] == sizes[a]]
            dropped = tuple(i for i in range(f.array.ndim) if i not in keep)
            arguments += [f.array.squeeze(dropped), [number[f.axes[i]] for i in keep]]
        present = {n for lists in arguments[1::2] for n in lists}
        missing = [a for a in axes if number[a] not in present]
        for a in missing:
            arguments += [np.ones(sizes[a]), [number[a]]]
        planned = math.prod(sizes.values()) > _PLANNED
        result = np.einsum(*arguments, [number[a] for a in rest], optimize=planned)
        return Named(result if scale == 1 else result * scale, tuple(rest))


def neutral(word: str) -> float:
    """What leaves a reduction as it is, and so counts for what is not there."""
    beyond = {"max": -math.inf, "argmax": -math.inf, "min": math.inf, "argmin": math.inf, "Π": 1.0}
    return beyond.get(word, 0.0)


def bound_in(part: Reduce) -> tuple[str, ...]:
    """The indices that a reduction goes over; of a condition, the name on its left."""
    if part.condition is None:
        return part.indices
    if isinstance(part.condition, Binary) and isinstance(part.condition.left, Name):
        return (part.condition.left.name,)
    raise FormulaError("a condition under Σ compares the index on its left, as in Σ_{k ≤ i}")


def _exponent(part: Expression) -> Expression | None:
    """What e is raised to, where a part is such a power; 1 is e⁰."""
    if isinstance(part, Call) and part.function == "exp":
        return part.arguments[0]
    return Number("0") if part == Number("1") else None


def product(part: Expression) -> list[Expression]:
    """The factors of a product."""
    if isinstance(part, Binary) and part.operator == "·":
        return [*product(part.left), *product(part.right)]
    return [part]


def spread(value: Named, axes: tuple[Axis, ...]) -> np.ndarray:
    """The array with its axes in the order of `axes`, with size 1 where it has none."""
    order = [value.axes.index(a) for a in axes if a in value.axes]
    array = value.array.transpose(order)
    return array[tuple(slice(None) if a in value.axes else None for a in axes)]


def softmax_terms(part: Binary) -> tuple[Expression, Reduce] | None:
    """(a, Σ exp b) of exp(a) / Σ exp b, which is exp(a − log Σ exp b) where the sum is no
    floating-point number."""
    left, right = part.left, part.right
    if not isinstance(left, Call) or left.function != "exp" or not isinstance(right, Reduce):
        return None
    body = right.body
    if right.word != "Σ" or right.condition is not None:
        return None
    if not isinstance(body, Call) or body.function != "exp":
        return None
    return left.arguments[0], right


def combine(function: Any, *values: Named) -> Named:
    """A function of several values, aligned by the names of their axes."""
    axes, arrays = values[0].axes, [v.array for v in values]
    if any(v.axes != axes for v in values):
        axes = tuple(dict.fromkeys(a for v in values for a in v.axes))
        arrays = [spread(v, axes) for v in values]
    with np.errstate(all="ignore"):
        return Named(function(*arrays), axes)


def widest(array: np.ndarray) -> np.ndarray:
    """In float64, or complex128 where it is complex."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64, copy=False)


def _wide(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return widest(array) if array.dtype.kind in "fcV" else array

"""One element of a formula's result, with its numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import Any

import numpy as np

from chainrule.ops.notation.evaluate import Evaluator, Named, product, softmax_terms, spread
from chainrule.ops.notation.needed import needed
from chainrule.ops.notation.render import Latex, MathML, Plain, number
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Datum,
    Expression,
    Flat,
    Name,
    Reduce,
    Rest,
    Size,
    Statement,
    Subscript,
    Taken,
    Unary,
)


@dataclass(frozen=True, eq=False)
class Origin:
    """Which element of which formula on which operands is written out.

    Attributes:
        statements: the formula.
        operands: what its names stand for.
        index: the element.
        places: for operands that are views, the position of each of their elements in the array
            that they are a view of; of the others the position is their own.
    """

    statements: tuple[Statement, ...]
    operands: Mapping[str, Any]
    index: tuple[int, ...]
    places: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Instance:
    """One element of a result, written out.

    Attributes:
        written: the expression with a `Datum` in the place of every operand: of a sum its largest
            terms, then the `Rest`.
        value: the element.
        count: how many terms the sum has; 0 where the element is no plain sum.
        digits: how many are written of a number, at least.
        origin: what it is an element of; `full.in_full` writes every term from it.
    """

    written: Expression
    value: float
    count: int = 0
    digits: int = 4
    origin: Origin | None = field(default=None, repr=False, compare=False)

    @cached_property
    def data(self) -> tuple[Datum | Rest, ...]:
        """Every number that is written, from left to right."""
        return tuple(_data(self.written))

    def text(self) -> str:
        """The numbers, and the value."""
        if isinstance(self.written, Datum):
            return self._shown
        text = Plain(digits=self.precision).write(self.written)
        return f"{f'({text})' if isinstance(self.written, Taken) else text} = {self._shown}"

    def latex(self) -> str:
        """The same as LaTeX source."""
        shown = self._shown.replace("−", "-")
        if isinstance(self.written, Datum):
            return shown
        return f"{Latex(digits=self.precision).write(self.written)} = {shown}"

    def mathml(self) -> str:
        """The same as MathML; numbers that are elements say of what, in data attributes."""
        written = MathML(digits=self.precision).write(self.written)
        return f"<mrow>{written}<mo>=</mo><mn>{self._shown}</mn></mrow>"

    @property
    def _shown(self) -> str:
        return number(self.value, self.precision)

    @cached_property
    def precision(self) -> int:
        """How many digits are written of a number: as many as it takes for who computes with what
        is written to get the value to two digits, where large numbers nearly cancel. Where five
        more would not do, the value is itself but rounding."""
        bound = 0.01 * abs(self.value)
        if not bound or not np.isfinite(bound):
            return self.digits
        for digits in range(self.digits, self.digits + 6):
            written = _changed(self.written, partial(_to_digits, digits))
            if abs(_evaluated(written)[0] - self.value) <= bound:
                return digits
        return self.digits

    def recomputed(self) -> float:
        """The value of what is written, from the numbers in it alone."""
        return _evaluated(self.written)[0]

    def rounding(self, eps: float = float(np.finfo(np.float64).eps)) -> float:
        """How far rounding may put `recomputed` off: four times the largest of the changes that
        moving every number by one unit in the last place, `eps`, up or down at random, makes, and
        of a long sum the rounding of the terms that are not written, none of which is larger than
        one that is."""
        rng = np.random.default_rng(0)
        here, *moved = _evaluated(
            _changed(self.written, lambda value: value * (1 + eps * _MOVES[rng.integers(8)]))
        )
        change = max((abs(other - here) for other in moved), default=0.0)
        if self.count:
            terms = (_evaluated(term)[0] for term in _terms(self.written))
            change += eps * self.count * max(abs(term) for term in terms)
        return 4 * (change + eps * abs(here)) if np.isfinite(change) else 0.0


_MOVES: list[Any] = [np.array([0.0, *signs]) for signs in itertools.product((-1.0, 1.0), repeat=3)]


def _terms(part: Expression) -> list[Expression]:
    """The summands of a sum, but for the rest of them."""
    if isinstance(part, Binary) and part.operator == "+":
        return [*_terms(part.left), *_terms(part.right)]
    return [] if isinstance(part, Rest) else [part]


def _evaluated(part: Expression) -> list[float]:
    """The value of what is written; several, where the numbers in it stand for several each."""
    with np.errstate(all="ignore"):
        return np.real(Evaluator({}, ()).value(part).array).reshape(-1).tolist()


def _to_digits(digits: int, value: float) -> float:
    return float(f"{value:.{digits}g}")


def _changed(part: Expression, change: Callable[[float], Any]) -> Expression:
    """An expression with other numbers, but for those that are compared or cut to whole numbers:
    over an edge a small change is a large one."""
    if isinstance(part, Binary) and part.operator in "=≠<>≤≥":
        return part
    if isinstance(part, Call) and part.function in ("sign", "floor", "ceil", "round", "trunc"):
        return part
    if isinstance(part, (Datum, Rest)):
        if not isinstance(part.value, float):
            return part
        with np.errstate(over="ignore"):
            return replace(part, value=change(part.value))
    changed: dict[str, Any] = {}
    for key, entry in vars(part).items():
        if isinstance(entry, Expression):
            changed[key] = _changed(entry, change)
        elif isinstance(entry, tuple):
            changed[key] = tuple(
                _changed(e, change) if isinstance(e, Expression) else e for e in entry
            )
    return type(part)(**{**vars(part), **changed})


def _data(part: Expression) -> list[Datum | Rest]:
    if isinstance(part, (Datum, Rest)):
        return [part]
    found: list[Datum | Rest] = []
    for entry in vars(part).values():
        for item in entry if isinstance(entry, tuple) else (entry,):
            if isinstance(item, Expression):
                found.extend(_data(item))
    return found


def instance(origin: Origin, terms: int) -> Instance:
    """Take one element of the result apart, with at most `terms` terms of a long sum."""
    statements, operands, index = origin.statements, origin.operands, origin.index
    evaluator = Evaluator(operands, tuple(1 for _ in index))
    evaluator.fixed = fixed_by(statements[-1].target, index)
    last = evaluator.prepare(statements, needed(statements, evaluator.fixed))
    value = float(np.real(evaluator.value(last.value).array))
    writer = _Substituted(evaluator, operands, origin.places)
    if not _is_sum(last.value):
        return Instance(writer.write(last.value), value, origin=origin)
    groups = list(writer.summands(last.value, 1.0))
    written, count = _largest_terms(groups, terms)
    return Instance(written, value, count, origin=origin)


def fixed_by(target: Any, index: tuple[int, ...]) -> dict[Any, int]:
    """What a result's axes are where one element of it is taken."""
    if isinstance(target, Flat):
        return {target.index: index[0]}
    if not isinstance(target, Subscript):
        return {("…", i - len(index)): value for i, value in enumerate(index)}
    explicit = len(target.indices) - target.indices.count(None)
    batch = len(index) - explicit
    fixed: dict[Any, int] = {}
    position = 0
    for part in target.indices:
        if part is None:
            for i in range(batch):
                fixed["…", i - batch] = index[position]
                position += 1
        else:
            assert isinstance(part, Name)
            fixed[part.name] = index[position]
            position += 1
    return fixed


def _is_sum(part: Expression) -> bool:
    """Whether a part is a Σ, or sums and differences with one in it."""
    if isinstance(part, Reduce):
        return part.word == "Σ" and part.condition is None
    if isinstance(part, Binary) and part.operator in "+-":
        return _is_sum(part.left) or _is_sum(part.right)
    return False


@dataclass(frozen=True)
class _Group:
    """The summands of one Σ: a row for each, a column for each factor."""

    factors: np.ndarray
    positions: np.ndarray
    names: tuple[str, ...]

    def term(self, row: int) -> Expression:
        data: list[Expression] = [
            Datum(float(v), name, int(p))
            for v, name, p in zip(self.factors[row], self.names, self.positions[row], strict=True)
        ]
        return reduce(lambda a, b: Binary("·", a, b), data[1:], data[0])


def _largest_terms(groups: list[_Group], most: int) -> tuple[Expression, int]:
    """(the largest terms of all groups and the rest of them, how many there are)."""
    values = np.concatenate([g.factors.prod(axis=1) for g in groups])
    owner = np.concatenate([np.full(len(g.factors), i) for i, g in enumerate(groups)])
    rows = np.concatenate([np.arange(len(g.factors)) for g in groups])
    size = len(values)
    if not size:
        return Datum(0.0), 0
    shown = size if size <= most + 1 else most
    order = np.argsort(-np.abs(values), kind="stable")
    parts = [groups[owner[i]].term(int(rows[i])) for i in order[:shown]]
    if shown < size:
        parts.append(Rest(size - shown, float(values[order[shown:]].sum())))
    return reduce(lambda a, b: Binary("+", a, b), parts[1:], parts[0]), size


class _Substituted:
    """Puts numbers in the place of operands; a reduction becomes its value."""

    def __init__(
        self, evaluator: Evaluator, operands: Mapping[str, Any], places: Mapping[str, np.ndarray]
    ) -> None:
        self.evaluator = evaluator
        self.places = places
        # The same evaluation on arrays that hold their own positions tells which element was read.
        self.positions = Evaluator(evaluator.operands, evaluator.shape, evaluator.fixed)
        self.positions.sizes = evaluator.sizes
        self.positions.outside = -1.0
        self.operands = operands

    def write(self, part: Expression) -> Expression:
        if isinstance(part, (Name, Subscript, Flat)):
            value, position = self._element(part)
            name = part.name if position.array.size else ""
            found = int(np.real(position.array)) if name else -1
            return Datum(_plain(value.array), name, found)
        if isinstance(part, (Size, Reduce)):
            return Datum(_plain(self.evaluator.value(part).array))
        if isinstance(part, Unary):
            return Unary(part.operator, self.write(part.operand))
        if isinstance(part, Binary):
            return self._shifted_quotient(part) or Binary(
                part.operator, self.write(part.left), self.write(part.right)
            )
        if isinstance(part, Call):
            return self._shifted(part) or Call(
                part.function, tuple(self.write(a) for a in part.arguments)
            )
        if isinstance(part, Choice):
            holds = bool(self.evaluator.value(part.condition).array)
            taken = part.then if holds else part.otherwise
            return Taken(self.write(taken), self.write(part.condition), holds)
        return part

    def _shifted(self, part: Call) -> Expression | None:
        """The logarithm of a sum of exponentials that is no floating-point number: the largest
        exponent, and the logarithm of the sum without it."""
        (inside, *_) = part.arguments
        if part.function != "log" or not isinstance(inside, Reduce) or inside.condition:
            return None
        body = inside.body
        if inside.word != "Σ" or not isinstance(body, Call) or body.function != "exp":
            return None
        if 0 < self.evaluator.value(inside).array < np.inf:
            return None
        peak = self.evaluator.value(Reduce("max", inside.indices, None, body.arguments[0])).array
        if not np.isfinite(peak):
            return None
        rest = np.exp(self.evaluator.value(part).array - peak)
        return Binary("+", Datum(_plain(peak)), Call("log", (Datum(_plain(rest)),)))

    def _shifted_quotient(self, part: Binary) -> Expression | None:
        """exp(a) / Σ exp b as exp(a − log Σ exp b), where the sum is no floating-point number."""
        terms = softmax_terms(part) if part.operator == "/" else None
        if terms is None or 0 < self.evaluator.value(terms[1]).array < np.inf:
            return None
        logarithm = self.evaluator.value(Call("log", (terms[1],))).array
        return Call("exp", (Binary("-", self.write(terms[0]), Datum(_plain(logarithm))),))

    def _element(self, part: Any) -> tuple[Named, Named]:
        """(the value, its position in its operand; nothing where it is not an operand's)."""
        value = self.evaluator.value(part)
        array = self.operands.get(part.name)
        if array is None or not np.ndim(array):
            return value, Named(np.empty(0))
        own = self.positions.operands
        before = own[part.name]
        own[part.name] = positions_in(array, self.places.get(part.name))
        try:
            return value, self.positions.value(part)
        finally:
            own[part.name] = before

    def summands(self, part: Expression, sign: float) -> Any:
        """The groups of a sum's terms."""
        if isinstance(part, Binary) and part.operator in "+-":
            yield from self.summands(part.left, sign)
            yield from self.summands(part.right, sign if part.operator == "+" else -sign)
            return
        while isinstance(part, Reduce) and part.word == "Σ" and part.condition is None:
            part = part.body
        values, places, names = [], [], []
        for factor in product(part):
            value, position, name = self.evaluator.value(factor), Named(-1.0), ""
            if isinstance(factor, (Name, Subscript, Flat)):
                found = self._element(factor)[1]
                if found.array.size:
                    position, name = found, factor.name
            values.append(value)
            places.append(position)
            names.append(name)
        axes = tuple(dict.fromkeys(a for v in values for a in v.axes))
        columns = np.broadcast_arrays(*(spread(v, axes) for v in values))
        shape = columns[0].shape
        flat = np.stack([np.real(c).reshape(-1).astype(np.float64) for c in columns], axis=1)
        flat[:, 0] *= sign
        where = np.stack(
            [np.broadcast_to(spread(p, axes), shape).reshape(-1) for p in places], axis=1
        )
        yield _Group(flat, where.astype(np.int64), tuple(names))


def positions_in(array: Any, places: np.ndarray | None) -> np.ndarray:
    """An array of the positions of an array's elements, in float64."""
    if places is not None:
        return places
    return np.arange(np.size(array), dtype=np.float64).reshape(np.shape(array))


def _plain(array: Any) -> Any:
    """An element as a Python number."""
    item = np.asarray(array).item()
    return item.real if isinstance(item, complex) and item.imag == 0 else item

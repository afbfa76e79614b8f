"""Terms in index notation: statements of `chainrule.ops.notation`, which are evaluated, too.

A product is what it says: Σ over the summed indices of its factors. An operation that works element
by element is its declared formula, with the operands' expressions in the place of their names. Any
other operation is an array that has a name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.calculus.derive.matrix_writing import closed
from chainrule.calculus.derive.rules_softmax import is_one_hot, labels_of
from chainrule.calculus.derive.slicing import is_slice, source
from chainrule.calculus.derive.terms import (
    Applied,
    Constant,
    Number,
    Product,
    Sum,
    Term,
    Variable,
    magnitude,
    power_of,
)
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.notation import parse, tree
from chainrule.ops.notation.evaluate import Evaluator, walk, widest
from chainrule.ops.notation.render import Latex, Plain, mathml

_TARGET = "𝒟"  # what the result is called inside, whatever the operands are called
_RESULT = "ijklpqrst"
_SUMMED = "nmklpqrstuvabcdgh"


class IndexForm:
    """A term in index notation.

    Attributes:
        statements: the last one is the result.
        given: the terms that have a name in them and no statement: the variables, and operations
            that index notation does not say.
    """

    def __init__(self, term: Term, target: str, names: Mapping[Term, str]) -> None:
        self.names = dict(names)
        self.target = target
        inside = target if target.isidentifier() else _TARGET
        self.given: dict[str, Term] = {}
        self._taken = {v.name for v in term.variables} | set(names.values()) | {inside}
        self._fresh = (f"a{k}" for k in itertools.count(1))
        self._before: dict[str, tree.Statement] = {}
        self._ranges: dict[str, int] = {}
        self._bound: set[str] = set()
        self.shape = term.shape
        letters = self._letters(_RESULT, set(), term.shape)
        if term in self.names:
            del self.names[term]
        self._bound = set(letters)  # which no sum inside goes over
        value = self.expression(term, [tree.Name(i) for i in letters])
        ranges = tuple(self._ranges.items())
        last = tree.Statement(_subscript(inside, [tree.Name(i) for i in letters]), value, ranges)
        self.statements = (*self._before.values(), last)

    def plain(self) -> str:
        """One line of text."""
        return Plain({_TARGET: self.target}).statements(self.statements)

    def latex(self) -> str:
        """LaTeX source."""
        text = Latex().statements(self.statements)
        above, _, below = self.target.partition("/")
        shown = rf"\frac{{{_partial(above)}}}{{{_partial(below)}}}" if below else above
        return text.replace(_TARGET, shown)

    def mathml(self) -> str:
        """A whole <math> element."""
        return mathml(self.statements, {_TARGET: self.target})

    @property
    def where(self) -> list[tuple[str, Term]]:
        """The arrays with a name that only an operation as a whole can say."""
        return [(n, t) for n, t in self.given.items() if not isinstance(t, Variable)]

    def evaluate(self, values: Mapping[str, Any]) -> np.ndarray:
        """The result in float64, by the notation alone, from the variables' values."""
        memo: dict[Term, np.ndarray] = {}
        operands = {name: term.evaluate(values, memo) for name, term in self.given.items()}
        evaluator = Evaluator(operands, self.shape)
        return widest(evaluator.run(self.statements))

    # Names

    def _letters(self, pool: str, used: Iterable[str], lengths: Sequence[int]) -> list[str]:
        """Indices for axes of these lengths; a letter stands for one range in all statements."""
        taken = self._taken | set(used)
        found: list[str] = []
        for n in lengths:
            free = itertools.chain(pool, (f"i{k}" for k in itertools.count(1)))
            letter = next(
                c for c in free
                if c not in taken and c not in found and self._ranges.get(c, n) == n
            )  # fmt: skip
            self._ranges[letter] = n
            found.append(letter)
        return found

    def _named(self, term: Term) -> str:
        """The name of a term that is an array by itself; a statement says what it is."""
        name = self.names.get(term)
        if isinstance(term, Variable):
            name = term.name
        if name is None:
            name = next(n for n in self._fresh if n not in self._taken)
            self._taken.add(name)
            self.names[term] = name
        if name in self.given or name in self._before:
            return name
        if isinstance(term, (Variable, Constant)) or _is_opaque(term):
            self.given[name] = term
        else:
            letters = [tree.Name(i) for i in self._letters(_RESULT, set(), term.shape)]
            outside, self._bound = self._bound, {i.name for i in letters}
            inside = self._expression(term, letters)
            self._bound = outside
            self._before[name] = tree.Statement(_subscript(name, letters), inside)
        return name

    # Expressions

    def expression(self, term: Term, at: Sequence[tree.Expression]) -> tree.Expression:
        """One element of a term."""
        plain = isinstance(term, Constant) and not term.shape
        if not plain and (term in self.names or isinstance(term, Variable) or _is_opaque(term)):
            return _subscript(self._named(term), at)
        return self._expression(term, at)

    def _expression(self, term: Term, at: Sequence[tree.Expression]) -> tree.Expression:
        if isinstance(term, Constant):
            return _number(term.value.item())
        if isinstance(term, Sum):
            return self._sum(term, at)
        if isinstance(term, Product):
            return self._product(term, at)
        assert isinstance(term, Applied)
        if is_one_hot(term):
            labels = self.expression(labels_of(term), at[:-1])
            return tree.Choice(_number(1), tree.Binary("=", labels, at[-1]), _number(0))
        if is_slice(term):
            places, condition = source(term, at)
            taken = self.expression(term.args[0], places)
            return taken if condition is None else tree.Choice(taken, condition, _number(0))
        exponent, base = power_of(term)
        if exponent != 1:
            raised = self.expression(base, at)
            if exponent == -1:
                return tree.Binary("/", _number(1), raised)
            return tree.Binary("^", raised, _number(exponent))
        return self._formula(term, at)

    def _sum(self, term: Sum, at: Sequence[tree.Expression]) -> tree.Expression:
        ordered = sorted(term.summands, key=lambda s: (s[0] < 0, s[1].cost, s[1].key))
        found: tree.Expression | None = None
        for c, a in ordered:
            part = self.expression(a, at)
            if a.kind == "b" and not is_one_hot(a):
                part = tree.Choice(_number(1), part, _number(0))
            if abs(c) != 1:
                part = (
                    _times([_number(magnitude(c))], part)
                    if part != _number(1)
                    else _number(magnitude(c))
                )
            if found is None:
                found = part if c > 0 else tree.Unary("-", part)
            else:
                found = tree.Binary("+" if c > 0 else "-", found, part)
        return found if found is not None else _number(0)

    def _product(self, term: Product, at: Sequence[tree.Expression]) -> tree.Expression:
        where: dict[int, tree.Expression] = {}
        same: list[tree.Expression] = []
        for i, index in zip(term.out, at, strict=True):
            if i in where and where[i] != index:
                same.append(tree.Binary("=", where[i], index))
            where.setdefault(i, index)
        used = {p.name for e in at for p in walk(e) if isinstance(p, tree.Name)} | self._bound
        where.update({i: _number(0) for i in term.summed if term.sizes[i] == 1})  # no sum
        summed = [i for i in term.summed if term.sizes[i] != 1]
        letters = self._letters(_SUMMED, used, [term.sizes[i] for i in summed])
        where.update({i: tree.Name(n) for i, n in zip(summed, letters, strict=True)})
        self._bound |= set(letters)
        top: list[tree.Expression] = []
        bottom: list[tree.Expression] = []
        for factor, given in sorted(term.factors, key=lambda f: (f[0].cost, f[0].key)):
            places = [where[i] for i in given]
            exponent, base = power_of(factor)
            if exponent < 0 and factor not in self.names:
                under = self.expression(base, places)
                bottom.append(
                    under if exponent == -1 else tree.Binary("^", under, _number(-exponent))
                )
            else:
                top.append(self.expression(factor, places))
        self._bound -= set(letters)
        body = _times(top[:-1], top[-1]) if top else _number(1)
        if bottom:
            body = tree.Binary("/", body, _times(bottom[:-1], bottom[-1]))
        if letters:
            body = tree.Reduce("Σ", tuple(letters), None, body)
        for condition in same:
            body = tree.Choice(body, condition, _number(0))
        return body

    def _formula(self, term: Applied, at: Sequence[tree.Expression]) -> tree.Expression:
        """The declared formula, with expressions in the place of the operands' names."""
        values = {}
        for name, operand in zip(term.op.operand_names, term.operands, strict=True):
            assert operand is not None
            lead = len(at) - operand.ndim
            places = [
                _number(0) if n == 1 and term.shape[lead + k] != 1 else at[lead + k]
                for k, n in enumerate(operand.shape)
            ]
            values[name] = self.expression(operand, places)
        (statement,) = term.op.formula.statements
        return put(statement.value, values)


def _is_opaque(term: Term) -> bool:
    """Whether a term is an array that is computed by an operation as a whole."""
    if isinstance(term, Constant):
        return bool(term.shape)
    if not isinstance(term, Applied):
        return False
    if is_slice(term):
        return False
    op = term.op
    plain = isinstance(op, Elementwise) or op.name in ("where", "astype")
    if not plain or op.display_only or len(op.formula.statements) > 1:
        return True
    return any(
        isinstance(p, (tree.Subscript, tree.Flat)) for p in walk(op.formula.statements[0].value)
    )


def put(part: Any, values: Mapping[str, tree.Expression]) -> Any:
    """A formula with expressions in the place of names."""
    if isinstance(part, tree.Name):
        return values.get(part.name, part)
    changed: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, tree.Expression):
            changed[field.name] = put(value, values)
        elif isinstance(value, tuple) and value and isinstance(value[0], tree.Expression):
            changed[field.name] = tuple(put(v, values) for v in value)
    return replace(part, **changed) if changed else part


def _subscript(name: str, at: Sequence[tree.Expression]) -> Any:
    return tree.Subscript(name, tuple(at)) if at else tree.Name(name)


def _number(value: Number | int) -> tree.Expression:
    if value < 0:
        return tree.Unary("-", _number(-value))
    if isinstance(value, Fraction) and value.denominator != 1:
        text = f"{float(value):.6g}"
        # One of so many, as in a mean over 32: 1 / 32 says it, 0.03125 does not.
        share = value.numerator == 1 and len(text) > 5 and text.strip("0.e-") != "1"
        if share or Fraction(text) != value:
            return tree.Binary("/", _number(value.numerator), _number(value.denominator))
        return tree.Number(text)
    if isinstance(value, float) and value == float("inf"):
        return tree.Name("∞")
    if isinstance(value, float) and (root := _root(value)) is not None:
        return root
    return tree.Number(str(int(value)) if value == int(value) else repr(float(value)))


def _root(value: float) -> tree.Expression | None:
    """A number that is a root in closed form: 1/√(2π) instead of 0.3989422804014327."""
    text = "/".join(part for part in closed(value) if part)
    if "√" not in text:
        return None
    text = re.sub(r"(\d)(?=[√π])", r"\1 · ", re.sub(r"√([^(])", r"√(\1)", text))
    return parse(f"y = {text}").statements[0].value


def _times(factors: Sequence[tree.Expression], last: tree.Expression) -> tree.Expression:
    parts: Iterator[tree.Expression] = iter([*factors, last])
    found = next(parts)
    for part in parts:
        found = tree.Binary("·", found, part)
    return found


def _partial(text: str) -> str:
    """∂²f as LaTeX."""
    return text.replace("²", "^{2}").replace("∂", r"\partial ")


def inline(term: Term, names: Mapping[Term, str]) -> tuple[str, str]:
    """(plain, LaTeX) of a term in brackets, for where there is no matrix notation."""
    form = IndexForm(term, "y", names)
    value = form.statements[-1]
    at = value.target.indices if isinstance(value.target, tree.Subscript) else ()
    plain, latex = Plain(), Latex()
    below = "".join(plain.write(i) for i in at if i is not None)
    return (
        f"[{plain.write(value.value)}]_{below}",
        rf"\left[{latex.write(value.value)}\right]_{{{below}}}",
    )

"""Formulas as runnable Python, in chainrule's public functions."""

from __future__ import annotations

import math
import string
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.calculus.derive.naming import used_in
from chainrule.calculus.derive.terms import (
    Applied,
    Constant,
    Number,
    Product,
    Sum,
    Term,
    Variable,
    is_ones,
    magnitude,
    power_of,
)
from chainrule.ops.composite import Composite
from chainrule.ops.operation import Operation

if TYPE_CHECKING:
    from chainrule.calculus.derive.derived import Derived

_SIGNS = {
    "equal": "==", "not_equal": "!=", "less": "<", "greater": ">", "less_equal": "<=",
    "greater_equal": ">=",
}  # fmt: skip
_SUM, _PRODUCT, _UNARY, _POWER, _ATOM = 1, 2, 3, 4, 5


def python(derived: Derived) -> str:
    """A function of the function's arguments that computes the formula in float64."""
    writer = _Writer(derived.names)
    arguments = [a.name for a in derived.arguments]
    inputs = list(arguments)
    lines = []
    if derived.direction is not None:
        inputs.append(derived.direction.name)
    for v in sorted(derived.term.variables, key=lambda v: v.name):
        if v.name not in inputs and v.value is not None:
            lines.append(f"    {_identifier(v.name)} = {_literal(v.value)}")
    for name, term in used_in(derived.term, derived.names):
        lines.append(f"    {_identifier(name)} = {writer.define(term)}")
    lines.append(f"    return {writer.define(derived.term)}")
    names = ", ".join(_identifier(a) for a in inputs)
    head = [f"def {derived.kind.lower()}({names}):", f'    """{derived.name}"""']
    text = "\n".join([*head, *lines])
    imports = ["import chainrule as cr"]
    if "registry[" in text:
        imports.append("from chainrule.ops.operation import registry")
    return "\n".join([*imports, "", "", text, ""])


def _identifier(name: str) -> str:
    return name.replace("′", "_prime")


def _literal(value: np.ndarray) -> str:
    if not value.ndim:
        return _setting(value.item())
    dtype = "" if value.dtype.kind != "f" else ", dtype=cr.float64"
    return f"cr.asarray({value.tolist()!r}{dtype})"


class _Writer:
    def __init__(self, names: Mapping[Term, str]) -> None:
        self.names = names

    def define(self, term: Term) -> str:
        """The expression of a term that goes by a name elsewhere."""
        return self._write(term)[0]

    def at(self, term: Term, least: int) -> str:
        """A term among numbers, in brackets if it binds less tightly."""
        if term.kind != "f":
            return f"{self.write(term)[0]}.astype(cr.float64)"
        text, tight = self.write(term)
        return text if tight >= least else f"({text})"

    def write(self, term: Term) -> tuple[str, int]:
        if term in self.names:
            return _identifier(self.names[term]), _ATOM
        return self._write(term)

    def _write(self, term: Term) -> tuple[str, int]:
        if isinstance(term, Variable):
            return _identifier(term.name), _ATOM
        if isinstance(term, Constant):
            return _literal(term.value), _ATOM
        if isinstance(term, Sum):
            return self.sum(term)
        if isinstance(term, Product):
            return self.product(term)
        assert isinstance(term, Applied)
        return self.applied(term)

    def sum(self, term: Sum) -> tuple[str, int]:
        shaped = any(not is_ones(a) for a in term.args)
        if not term.args:
            return (f"cr.zeros({term.shape}, dtype=cr.float64)", _ATOM)
        text = ""
        for c, a in sorted(term.summands, key=lambda s: (s[0] < 0, s[1].cost, s[1].key)):
            if is_ones(a) and (shaped or not a.shape):
                piece = _figure(magnitude(c))
            elif abs(c) == 1:
                piece = self.at(a, _PRODUCT)
            else:
                piece = _with_figure(magnitude(c), self.at(a, _PRODUCT))
            sign = " - " if c < 0 else " + "
            text += sign + piece if text else ("-" if c < 0 else "") + piece
        single = len(term.args) == 1
        return text, _PRODUCT if single and term.coefficients[0] > 0 else _SUM

    def applied(self, term: Applied) -> tuple[str, int]:
        exponent, base = power_of(term)
        if exponent == Fraction(1, 2):
            return f"cr.sqrt({self.write(base)[0]})", _ATOM
        if exponent == -1:
            return f"1 / {self.at(base, _UNARY)}", _PRODUCT
        if exponent != 1:
            return f"{self.at(base, _ATOM)} ** {_exponent(exponent)}", _POWER
        if term.op.name in _SIGNS:
            left, right = (self.write(a)[0] for a in term.args)
            return f"({left} {_SIGNS[term.op.name]} {right})", _ATOM
        given = ["None" if o is None else self.write(o)[0] for o in term.operands]
        name = _public(term.op)
        attrs = dict(term.attrs)
        if name is None or not (
            isinstance(term.op, Composite) or set(attrs) <= {"axes", "keepdims"}
        ):
            if name is not None and not attrs:
                return f"{name}({_arguments(given)})", _ATOM
            tensors = [_as_tensor(o, g) for o, g in zip(term.operands, given, strict=True)]
            operands = "".join(f"{g}, " for g in tensors)
            inside = ", ".join(f"{k!r}: {_setting(v)}" for k, v in attrs.items())
            return f'registry["{term.op.name}"].apply(({operands}), {{{inside}}})', _ATOM
        settings = [f"{'axis' if k == 'axes' else k}={_setting(v)}" for k, v in attrs.items()]
        return f"{name}({_arguments(given, settings)})", _ATOM

    # Products

    def product(self, term: Product) -> tuple[str, int]:
        top: list[str] = []
        bottom: list[str] = []
        factors: list[tuple[Term, tuple[int, ...]]] = []
        for factor, given in term.factors:
            exponent, base = power_of(factor)
            everywhere = given in ((), term.out) and len(set(given)) == len(given)
            if not everywhere:
                factors.append((factor, given))
            elif exponent < 0 and factor not in self.names:
                inside = self.at(base, _POWER)
                bottom.append(inside if exponent == -1 else f"{inside} ** {_exponent(-exponent)}")
            elif not given:
                top.append(self.at(factor, _PRODUCT))
            else:
                factors.append((factor, given))
        plain = [f for f in factors if f[1] == term.out]
        covered = set().union(*(g for f, g in factors)) if factors else set()
        if len(plain) == len(factors) and covered == set(term.out) and not term.summed:
            top += [self.at(f, _PRODUCT) for f, _ in factors]
        elif factors or term.out:
            top.append(self.contraction(term, factors))
        text = " * ".join(top) if top else "1.0"
        for under in bottom:
            text += f" / {under}"
        return text, _PRODUCT if len(top) + len(bottom) > 1 or not top else _ATOM

    def contraction(self, term: Product, factors: list[tuple[Term, tuple[int, ...]]]) -> str:
        """A matrix product, a transpose, or an einsum."""
        short = self.matmul(term, factors)
        if short is not None:
            return short
        if len(factors) == 2 and not term.summed and len(term.out) == 2:
            (a, left), (b, right) = factors if factors[0][1] == term.out[:1] else factors[::-1]
            if (left, right) == (term.out[:1], term.out[1:]) and left != right:
                return f"cr.outer({self.write(a)[0]}, {self.write(b)[0]})"
        if len(term.out) == 2 and len(term.sizes) == 1 and len(factors) <= 1:
            if not factors:
                return f"cr.eye({term.sizes[0]}, dtype=cr.float64)"
            if factors[0][1] == (0,):
                return f"cr.diag({self.write(factors[0][0])[0]})"
        letters = string.ascii_letters
        arguments = [self.at(f, _SUM) for f, _ in factors]
        inputs = ["".join(letters[i] for i in g) for _, g in factors]
        covered = set().union(*(g for _, g in factors)) if factors else set()
        for i, size in enumerate(term.sizes):
            if i not in covered:
                arguments.append(f"cr.ones({size}, dtype=cr.float64)")
                inputs.append(letters[i])
        out, extra = [], len(term.sizes)
        for k, i in enumerate(term.out):
            if i in term.out[:k]:  # a diagonal: an identity matrix makes the second index
                arguments.append(f"cr.eye({term.sizes[i]}, dtype=cr.float64)")
                inputs.append(letters[i] + letters[extra])
                out.append(extra)
                extra += 1
            else:
                out.append(i)
        equation = f"{','.join(inputs)}->{''.join(letters[i] for i in out)}"
        return f'cr.einsum("{equation}", {", ".join(arguments)})'

    def matmul(self, term: Product, factors: list[tuple[Term, tuple[int, ...]]]) -> str | None:
        out = term.out
        if len(set(out)) != len(out):
            return None
        if len(factors) == 1 and not term.summed:
            ((factor, given),) = factors
            if len(given) == 2 and given == out[::-1]:
                return f"{self.at(factor, _ATOM)}.T"
            return None
        if len(factors) != 2 or len(term.summed) != 1:
            return None
        (inner,) = term.summed
        found = []
        for (a, left), (b, right) in (tuple(factors), tuple(reversed(factors))):
            if not (1 <= len(left) <= 2 and 1 <= len(right) <= 2) or left == right == (
                inner,
                inner,
            ):
                continue
            if left.count(inner) != 1 or right.count(inner) != 1:
                continue
            rest = tuple(i for i in (*left, *right) if i != inner)
            if rest != out:
                continue
            first, second = self.at(a, _POWER), self.at(b, _POWER)
            if len(left) == 2 and left[0] == inner:
                first = f"{self.at(a, _ATOM)}.T"
            if len(right) == 2 and right[1] == inner:
                second = f"{self.at(b, _ATOM)}.T"
            found.append(f"({first} @ {second})")
        return min(found, key=lambda text: (text.count(".T"), text), default=None)


def _arguments(given: list[str], settings: Sequence[str] = ()) -> str:
    """What stands between the brackets of a call; operands that are left out at the end are not
    written."""
    while given and given[-1] == "None":
        given = given[:-1]
    return ", ".join([*given, *settings])


def _as_tensor(operand: Term | None, text: str) -> str:
    """An operand of an operation that is applied as it is, which takes no plain numbers."""
    if operand is None or operand.shape or isinstance(operand, Applied):
        return text
    if any(v.role != "length" for v in operand.variables):
        return text
    return f"cr.asarray({text}, dtype=cr.{'float64' if operand.kind == 'f' else 'int64'})"


def _setting(value: Any) -> str:
    """An attribute as Python."""
    if isinstance(value, np.dtype):
        return f"cr.{value.name}"
    infinite = isinstance(value, float) and math.isinf(value)
    return f'float("{value}")' if infinite else repr(value)


def _public(op: Operation) -> str | None:
    """How an operation is called from outside; None: it is not."""
    module = sys.modules[op.__module__]
    space = getattr(module, "NAMESPACE", "")
    if op.name in getattr(module, "INTERNAL", ()) or getattr(module, op.name, None) is not op:
        return None
    return f"cr.{space}.{op.name}" if space else f"cr.{op.name}"


def _figure(value: Number) -> str:
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        text = f"{float(value):.6g}"
        return text if Fraction(text) == value else f"{value.numerator} / {value.denominator}"
    return repr(float(value))


def _with_figure(value: Number, text: str) -> str:
    if isinstance(value, Fraction) and value.numerator == 1:
        return f"{text} / {value.denominator}"
    return f"{_figure(value)} * {text}"


def _exponent(value: Number) -> str:
    text = _figure(value)
    return f"({text})" if "/" in text or text.startswith("-") else text

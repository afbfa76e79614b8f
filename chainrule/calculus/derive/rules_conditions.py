"""Rules for conditions, which are numbers: [a > b] is 1 where it holds, else 0."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from chainrule.calculus.derive.reading import elementwise_product
from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.rules_softmax import called
from chainrule.calculus.derive.terms import (
    Applied,
    Constant,
    Number,
    Product,
    Sum,
    Term,
    Variable,
    applied,
    as_number,
    coefficient_of,
    constant,
    is_ones,
    is_zero,
    ones,
    power_of,
    product,
    total,
    zero,
)
from chainrule.ops.domain import NONZERO, REALS
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.operation import registry

_OPPOSITE = {
    "greater": "less_equal", "less_equal": "greater", "less": "greater_equal",
    "greater_equal": "less", "equal": "not_equal", "not_equal": "equal",
}  # fmt: skip


def number_of(t: Term) -> Number | None:
    """The number that a term is everywhere, if it is one."""
    if is_zero(t):
        return Fraction(0)
    if isinstance(t, Constant) and not t.shape:
        return as_number(float(t.value))
    c, rest = coefficient_of(t)
    return c if is_ones(rest) else None


def opposite(condition: Term) -> Term:
    """[a ≤ b] for [a > b]."""
    assert isinstance(condition, Applied)
    if called(condition, "logical_not"):
        return condition.args[0]
    op = registry[_OPPOSITE.get(condition.op.name, "logical_not")]
    operands = condition.operands if condition.op.name in _OPPOSITE else (condition,)
    return applied(op, operands, {}, condition.shape, "b")


@rule("a condition that always holds, or never")
def known_condition(t: Term) -> Term | None:
    if called(t, "where"):
        known = holds(t.args[0])
        return None if known is None else elementwise_product(t.shape, t.args[1 if known else 2])
    if not isinstance(t, Product):
        return None
    known_factors = [holds(a) for a in t.args]
    if False in known_factors:
        return zero(t.shape)
    if True not in known_factors:
        return None
    kept = [f for f, known in zip(t.factors, known_factors, strict=True) if known is None]
    return product(kept, t.out, dict(enumerate(t.sizes)))


def holds(condition: Term) -> bool | None:
    """Whether a condition always holds, or never; None: it depends."""
    if not isinstance(condition, Constant) or condition.kind != "b":
        return None
    return True if condition.value.all() else None if condition.value.any() else False


def everywhere(value: bool, shape: tuple[int, ...]) -> Term:
    """A condition that always holds, or never."""
    return constant(np.full(shape, value))


_DEFINED = {"softmax", "log_softmax", "logsumexp", "max", "min", "where", "det"}


def defined_everywhere(t: Term) -> bool:
    """Whether a term is finite whatever its variables are: 0 · log(x) is none at x = −1."""
    exponent, base = power_of(t)
    if isinstance(base, Variable) and base.role == "length":
        return True
    if not isinstance(t, Applied):
        return all(defined_everywhere(a) for a in t.args)
    if exponent != 1:
        return Fraction(exponent).denominator == 1 and exponent > 0 and defined_everywhere(base)
    plain = isinstance(t.op, Elementwise) and all(d in (REALS, NONZERO) for d in t.op.domain)
    known = t.op.name in _DEFINED or (plain and t.op.name != "pow")
    return known and all(defined_everywhere(a) for a in t.args)


@rule("what is 0 otherwise is a product with the condition")
def choice_with_zero(t: Term) -> Term | None:
    if not called(t, "where") or not all(defined_everywhere(a) for a in t.args[1:]):
        return None
    condition, a, b = t.args
    if number_of(b) == 0:
        return elementwise_product(t.shape, condition, a)
    if number_of(a) == 0 and isinstance(condition, Applied):
        return elementwise_product(t.shape, opposite(condition), b)
    return None


@rule("1 − [a > b] = [a ≤ b]")
def one_minus_a_condition(t: Term) -> Term | None:
    if not isinstance(t, Sum):
        return None
    for one, c in zip(t.args, t.coefficients, strict=True):
        for condition, d in zip(t.args, t.coefficients, strict=True):
            if not is_ones(one) or condition.kind != "b" or d != -c:
                continue
            if isinstance(condition, Applied):
                rest = [s for s in t.summands if s[1] not in (one, condition)]
                return total([*rest, (c, opposite(condition))], t.shape)
    return None


@rule("a condition is 1 or 0")
def power_of_a_condition(t: Term) -> Term | None:
    """[a]² = [a], and [a] times its opposite is 0."""
    exponent, base = power_of(t)
    if exponent != 1 and exponent > 0 and base.kind == "b":
        return base
    if not isinstance(t, Product):
        return None
    for c, given in t.factors:
        if c.kind == "b" and isinstance(c, Applied) and (opposite(c), given) in t.factors:
            return zero(t.shape)
    return None


@rule("a condition holds where its product is looked at")
def under_its_condition(t: Term) -> Term | None:
    """[a] f(where(a, b, c)) = [a] f(b): elsewhere the product is 0 anyway."""
    if not isinstance(t, Product):
        return None
    for k, (c, given) in enumerate(t.factors):
        if c.kind != "b" or not isinstance(c, Applied):
            continue
        changes = {c: ones(c.shape), opposite(c): zero(c.shape)}
        factors = [
            (f, g) if j == k or g != given else (_under(f, c, changes), g)
            for j, (f, g) in enumerate(t.factors)
        ]
        changed = [f for f, old in zip(factors, t.factors, strict=True) if f != old]
        if changed and all(defined_everywhere(f) for f, _ in changed):
            return product(factors, t.out, dict(enumerate(t.sizes)))
    return None


def _under(t: Term, condition: Term, changes: Mapping[Term, Term]) -> Term:
    """A term, element by element, where a condition holds."""
    if t in changes:
        return changes[t]
    if called(t, "where") and t.args[0] in changes:
        chosen = t.args[1 if t.args[0] is condition else 2]
        return elementwise_product(t.shape, chosen)
    if isinstance(t, Product):
        own = tuple(range(t.ndim))
        if t.out != own:
            return t
        factors = [(_under(f, condition, changes) if g == own else f, g) for f, g in t.factors]
        return product(factors, t.out, dict(enumerate(t.sizes)))
    if isinstance(t, Sum) or (isinstance(t, Applied) and isinstance(t.op, Elementwise)):
        args = [_under(a, condition, changes) if a.shape == t.shape else a for a in t.args]
        return t if tuple(args) == t.args else t.over(tuple(args))
    return t


@rule("relu(z) is positive where z is")
def relu_is_positive(t: Term) -> Term | None:
    if called(t, "greater") and called(t.args[0], "relu") and number_of(t.args[1]) == 0:
        assert isinstance(t, Applied)
        return applied(t.op, [t.args[0].args[0], t.args[1]], {}, t.shape, t.kind)
    return None


@rule("where the determinant is positive: elsewhere log det is not a number")
def positive_determinant(t: Term) -> Term | None:
    if not (called(t, "less") or called(t, "greater_equal")) or number_of(t.args[1]) != 0:
        return None
    sign = t.args[0].args[0] if isinstance(t.args[0], Product) else t.args[0]
    if not (isinstance(sign, Applied) and called(sign, "getitem")):
        return None
    first = sign.attrs["pattern"][-1] == (0, 1, None) and called(sign.args[0], "slogdet")
    return everywhere(called(t, "greater_equal"), t.shape) if first else None

"""Rules for absolute values, roots of squares, and what is never negative."""

from __future__ import annotations

from fractions import Fraction

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.rules_conditions import everywhere, number_of, opposite
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
    ones,
    power,
    power_of,
    product,
    scaled,
    total,
)
from chainrule.ops.operation import registry

_NEVER_NEGATIVE = {"abs", "exp", "sigmoid", "softmax", "softplus", "relu", "cosh"}
_AS_ITS_OPERANDS = {"max", "maximum", "sqrt", "min"}


def is_even(e: Number) -> bool:
    return Fraction(e).denominator == 1 and int(e) % 2 == 0


def never_negative(t: Term) -> bool:
    """Whether a term is at least 0, whatever its variables are."""
    if t.kind == "b":
        return True
    if isinstance(t, Variable):
        return t.role == "length"
    if isinstance(t, Constant):
        return bool((t.value >= 0).all())
    if isinstance(t, Sum):
        return all(c >= 0 and never_negative(a) for c, a in t.summands)
    if isinstance(t, Product):
        return all(never_negative(a) for a in t.args)
    e, base = power_of(t)
    if e != 1:
        return is_even(e) or never_negative(base)
    if called(t, "where"):
        return all(never_negative(a) for a in t.args[1:])
    assert isinstance(t, Applied)
    name = t.op.name
    return name in _NEVER_NEGATIVE or (
        name in _AS_ITS_OPERANDS and all(never_negative(a) for a in t.args)
    )


def absolute(t: Term) -> Term:
    return applied(registry["abs"], [t], {}, t.shape)


@rule("|a|² = a²")
def square_of_absolute(t: Term) -> Term | None:
    e, base = power_of(t)
    return power(base.args[0], e) if is_even(e) and called(base, "abs") else None


@rule("|a| = a where a is never negative")
def absolute_of_positive(t: Term) -> Term | None:
    return t.args[0] if called(t, "abs") and never_negative(t.args[0]) else None


@rule("√(a²) = |a|")
def root_of_square(t: Term) -> Term | None:
    e, base = power_of(t)
    inner, _ = power_of(base)
    return _root(base, e) if Fraction(e).denominator > 1 and is_even(inner) else None


def _root(t: Term, e: Number) -> Term:
    """tᵉ of what is never negative."""
    inner, a = power_of(t)
    if is_even(inner) and not never_negative(a):
        a = absolute(a)
    return power(a, inner * e)


@rule("√(ab) = √a √b where neither is negative")
def root_of_product(t: Term) -> Term | None:
    """Numbers that stand under a root with a sum are written beside it."""
    if not isinstance(t, Product):
        return None
    for k, (factor, given) in enumerate(t.factors):
        e, base = power_of(factor)
        if Fraction(e).denominator == 1 or not isinstance(base, Product):
            continue
        if len(base.args) < 2 or not never_negative(base):
            continue
        free = [(a, g) for a, g in base.factors if set(g) <= set(base.out)]
        bound = [f for f in base.factors if f not in free]
        if not free or not bound or len(set(base.out)) < len(base.out):
            continue
        rest = product(bound, base.out, dict(enumerate(base.sizes)))
        names = dict(zip(base.out, given, strict=True))
        beside = [(_root(a, e), [names[i] for i in g]) for a, g in free]
        others = [f for j, f in enumerate(t.factors) if j != k]
        factors = [*others, (power(rest, e), given), *beside]
        return product(factors, t.out, dict(enumerate(t.sizes)))
    return None


@rule("sign(a) |a| = a")
def sign_times_absolute(t: Term) -> Term | None:
    """And a² |a|ⁿ = |a|ⁿ⁺²."""
    if not isinstance(t, Product):
        return None
    for k, (factor, given) in enumerate(t.factors):
        n, size = power_of(factor)
        if not called(size, "abs"):
            continue
        a = size.args[0]
        for j, (other, places) in enumerate(t.factors):
            e, base = power_of(other)
            rest = [f for i, f in enumerate(t.factors) if i not in (j, k)]
            if places != given:
                continue
            if called(other, "sign") and other.args[0] is a:
                rest += [(a, given), (power(size, n - 1) if n != 1 else ones(a.shape), given)]
            elif base is a and e != 1 and is_even(e):
                rest += [(power(size, n + e) if n + e else ones(a.shape), given)]
            else:
                continue
            return product(rest, t.out, dict(enumerate(t.sizes)))
    return None


@rule("away from 0, where the derivative of a norm is taken as 0")
def away_from_zero(t: Term) -> Term | None:
    """Whether a sum of squares is 0."""
    if not (called(t, "equal") or called(t, "not_equal")) or number_of(t.args[1]) != 0:
        return None
    if not _adds_squares(t.args[0]):
        return None
    return everywhere(called(t, "not_equal"), t.shape)


def _adds_squares(t: Term) -> bool:
    """Whether it is Σ a², perhaps times numbers that are not negative."""
    if not isinstance(t, Product):
        return False
    squares = [f for f, g in t.factors if g and is_even(power_of(f)[0]) and power_of(f)[0] > 0]
    return bool(squares) and bool(t.summed) and never_negative(t)


@rule("δ beyond ±δ, itself between: cut off", last=True)
def cut_off(t: Term) -> Term | None:
    """sign(a) (|a| [|a| ≤ δ] + δ [|a| > δ]) = min(max(a, −δ), δ), as in Huber's loss."""
    if not isinstance(t, Product):
        return None
    for k, (sign, given) in enumerate(t.factors):
        for m, (inside, places) in enumerate(t.factors):
            if called(sign, "sign") and places == given and isinstance(inside, Sum):
                found = _cut_off(sign.args[0], inside)
                if found is not None:
                    rest = [f for j, f in enumerate(t.factors) if j not in (k, m)]
                    return product([*rest, (found, given)], t.out, dict(enumerate(t.sizes)))
    return None


def _cut_off(a: Term, inside: Sum) -> Term | None:
    """c · min(max(a, −δ), δ) of c |a| [|a| ≤ δ] + c δ [|a| > δ]."""
    beyond = next(((c, s) for c, s in inside.summands if called(s, "greater")), None)
    if beyond is None or len(inside.args) != 2 or beyond[1].args[0] is not absolute(a):
        return None
    c, condition = beyond
    limit = number_of(condition.args[1])
    if limit is None or limit <= 0:
        return None
    axes = tuple(range(a.ndim))
    within = [(absolute(a), axes), (opposite(condition), axes)]
    share = c / limit
    wanted = [(share, product(within, axes, dict(enumerate(a.shape)))), (c, condition)]
    if inside is not total(wanted, inside.shape):
        return None
    low, high = scaled(-limit, ones(())), scaled(limit, ones(()))
    below = applied(registry["maximum"], [a, low], {}, a.shape)
    return scaled(share, applied(registry["minimum"], [below, high], {}, a.shape))

"""Rules for deviations from a mean."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.calculus.derive.rules import rule, tidied
from chainrule.calculus.derive.rules_softmax import constant_along
from chainrule.calculus.derive.terms import Product, Sum, Term, is_zero, product, total, zero


@rule("deviations from the mean add up to 0")
def deviations_add_up(t: Term) -> Term | None:
    """Σ_k (u[k] − mean(u)) = 0: what does not depend on k is left out of what they are times."""
    if not isinstance(t, Product):
        return None
    found = []
    for index in t.summed:
        places = [(k, g.index(index)) for k, g in enumerate(t.indices) if index in g]
        if len(places) not in (1, 2) or any(t.indices[k].count(index) > 1 for k, _ in places):
            continue
        if len(places) == 1:
            ((k, axis),) = places
            if adds_up_to_0(t.args[k], axis):
                return zero(t.shape)
            kept = without(t.args[k], axis, adds_up_to_0)
            if kept is not None:
                found.append((t.args.count(t.args[k]), k, kept))
            continue
        for (k, axis), (j, other) in (places, places[::-1]):
            if adds_up_to_0(t.args[k], axis):
                kept = without(t.args[j], other, constant_along)
                if kept is not None:
                    found.append((t.args.count(t.args[j]), j, kept))
    if not found:
        return None
    _, j, kept = min(found, key=lambda f: f[:2])  # of two, in the one that the product has once
    factors = t.factors
    factors[j] = (kept, t.indices[j])
    return product(factors, t.out, dict(enumerate(t.sizes)))


def without(t: Term, axis: int, vanishes: Callable[[Term, int], bool]) -> Term | None:
    """A sum without the summands that vanish when it is added up along an axis; None: all stay."""
    if not isinstance(t, Sum):
        return None
    kept = [(c, a) for c, a in t.summands if not vanishes(a, axis)]
    return total(kept, t.shape) if len(kept) < len(t.args) else None


def adds_up_to_0(t: Term, axis: int) -> bool:
    """Whether the sum along an axis is 0, whatever the variables are."""
    if isinstance(t, Product):
        index = t.out[axis]
        places = [k for k, g in enumerate(t.indices) if index in g]
        if len(places) != 1 or t.out.count(index) > 1 or t.indices[places[0]].count(index) > 1:
            return False
        return adds_up_to_0(t.args[places[0]], t.indices[places[0]].index(index))
    if not isinstance(t, Sum) or not any(constant_along(a, axis) for a in t.args):
        return False
    out = [i for i in range(t.ndim) if i != axis]
    sizes = dict(enumerate(t.shape))
    summed = [(c, product([(a, range(t.ndim))], out, sizes)) for c, a in t.summands]
    return is_zero(tidied(total(summed, tuple(t.shape[i] for i in out))))

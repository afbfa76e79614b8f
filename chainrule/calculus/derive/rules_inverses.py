"""Rules for inverses and determinants."""

from __future__ import annotations

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.rules_products import inlined
from chainrule.calculus.derive.rules_softmax import called
from chainrule.calculus.derive.terms import Product, Term, applied, product
from chainrule.ops.determinants import det
from chainrule.ops.solving import inv

_PLAIN, _TURNED = (0, 1), (1, 0)


def inverse(x: Term) -> Term:
    """x⁻¹ of a square matrix."""
    return applied(inv, [x], {}, x.shape)


def transpose(x: Term) -> Term:
    """xᵀ of a matrix."""
    turned = product([(x, _TURNED)], _PLAIN, dict(enumerate(x.shape[::-1])))
    if isinstance(turned, Product) and isinstance(x, Product):
        return inlined(turned, 0)
    return turned


def untransposed(t: Term) -> Term | None:
    """x where a term is xᵀ."""
    if isinstance(t, Product) and t.indices == (_TURNED,) and t.out == _PLAIN:
        return t.args[0]
    return None


@rule("the adjugate is the determinant times the inverse: adj(X) = det(X) X⁻¹")
def adjugate_by_inverse(t: Term) -> Term | None:
    """Where X is not singular; the adjugate itself is defined there, too."""
    if not called(t, "adjugate") or t.ndim != 2:
        return None
    (x,) = t.args
    size = applied(det, [x], {}, ())
    return product([(size, ()), (inverse(x), _PLAIN)], _PLAIN, dict(enumerate(t.shape)))


@rule("the inverse of an inverse")
def inverse_of_an_inverse(t: Term) -> Term | None:
    return t.args[0].args[0] if called(t, "inv") and called(t.args[0], "inv") else None


@rule("the inverse of a transpose: (Xᵀ)⁻¹ = (X⁻¹)ᵀ")
def inverse_of_a_transpose(t: Term) -> Term | None:
    if called(t, "inv"):
        x = untransposed(t.args[0])
        return None if x is None else transpose(inverse(x))
    return None


@rule("the inverse of a product: (AB)⁻¹ = B⁻¹A⁻¹", tentative=True)
def inverse_of_a_product(t: Term) -> Term | None:
    """Of square matrices, written into the product in which it stands."""
    if not isinstance(t, Product):
        return None
    changes = {a: found for a in t.args if called(a, "inv") and (found := _inverses(a.args[0]))}
    new: Term = t
    while isinstance(new, Product):
        k = next((k for k, a in enumerate(new.args) if a in changes), None)
        if k is None:
            break
        factors = new.factors
        factors[k] = (changes[new.args[k]], new.indices[k])
        whole = product(factors, new.out, dict(enumerate(new.sizes)))
        place = whole.args.index(changes[new.args[k]]) if isinstance(whole, Product) else 0
        new = inlined(whole, place) if isinstance(whole, Product) else whole
    return None if new is t else new


def _inverses(t: Term) -> Term | None:
    """… B⁻¹A⁻¹ of a product A B … of square matrices."""
    n = t.shape[0]
    if not isinstance(t, Product) or len(t.args) < 2:
        return None
    if any(a.shape != (n, n) for a in t.args) or len(t.summed) != len(t.args) - 1:
        return None
    factors, at, end = [], t.out[0], t.out[1]
    rest = t.factors
    while at != end:
        found = [f for f in rest if at in f[1]]
        if len(found) != 1 or len(set(found[0][1])) < 2:
            return None
        rest.remove(found[0])
        factor, given = found[0]
        ahead = given[1] if given[0] == at else given[0]
        # A from `at` to `ahead`: A⁻¹ from `ahead` to `at`, and where A stands turned, so does A⁻¹.
        factors.append((inverse(factor), (given[1], given[0])))
        at = ahead
    return None if rest else product(factors, (t.out[1], t.out[0]), dict(enumerate(t.sizes)))


@rule("X⁻¹X = I")
def inverse_times_itself(t: Term) -> Term | None:
    if not isinstance(t, Product):
        return None
    for k, (a, given) in enumerate(t.factors):
        if not called(a, "inv"):
            continue
        for m, (b, theirs) in enumerate(t.factors):
            if b is not a.args[0] or m == k:
                continue
            rest = [f for j, f in enumerate(t.factors) if j not in (k, m)]
            found = _joined(t, rest, given, theirs) or _joined(t, rest, given[::-1], theirs[::-1])
            if found is not None:
                return found
    return None


def _joined(
    t: Product, rest: list[tuple[Term, tuple[int, ...]]], a: tuple[int, ...], b: tuple[int, ...]
) -> Term | None:
    """The product where X⁻¹[i, k] X[k, j], added up over k, is δ[i, j]."""
    (i, k), (m, j) = a, b
    if k != m or k in t.out or any(k in g for _, g in rest) or len({i, k, j}) < 3:
        return None
    names = {n: n for n in range(len(t.sizes))} | {j: i}
    sizes = {n: size for n, size in enumerate(t.sizes) if n not in (j, k)}
    return product([(f, [names[n] for n in g]) for f, g in rest], [names[n] for n in t.out], sizes)


@rule("the inverse of a symmetric matrix is symmetric")
def symmetric_inverse(t: Term) -> Term | None:
    """(XᵀX)⁻ᵀ = (XᵀX)⁻¹."""
    x = untransposed(t)
    return x if x is not None and called(x, "inv") and _is_symmetric(x.args[0]) else None


def _is_symmetric(x: Term) -> bool:
    """Whether a product is its own transpose, whatever its variables are."""
    return isinstance(x, Product) and transpose(x) is x

"""Rules for exponentials that add up to one: softmax, log-softmax, one-hot rows, the logistic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.terms import (
    Applied,
    Constant,
    Product,
    Sum,
    Term,
    applied,
    coefficient_of,
    constant,
    ones,
    power_of,
    product,
    replaced,
    scaled,
    topological,
    total,
)


def called(term: Term, name: str) -> bool:
    """Whether a term is an operation of this name."""
    return isinstance(term, Applied) and term.op.name == name


def axis_of(term: Term) -> int:
    """The axis of a softmax, counted from the front."""
    assert isinstance(term, Applied)
    return int(term.attrs["axis"]) % term.ndim


@rule("exp(a) / Σ exp(a) is the softmax")
def exponentials_over_their_sum(t: Term) -> Term | None:
    if not isinstance(t, Product):
        return None
    for k, (top, given) in enumerate(t.factors):
        if not called(top, "exp"):
            continue
        for m, (bottom, places) in enumerate(t.factors):
            e, total_ = power_of(bottom)
            if e != -1 or not isinstance(total_, Product) or total_.args != (top,):
                continue
            axis = _summed_axis(total_, given, places)
            if axis is None:
                continue
            from chainrule.ops.softmax import softmax

            whole = applied(softmax, [top.args[0]], {"axis": axis}, top.shape)
            rest = [f for j, f in enumerate(t.factors) if j not in (k, m)]
            return product([*rest, (whole, given)], t.out, dict(enumerate(t.sizes)))
    return None


def _summed_axis(total_: Product, given: tuple[int, ...], places: tuple[int, ...]) -> int | None:
    """The axis that is added up, where the rows of a sum are those of what it is written under."""
    (inner,) = total_.indices
    where = dict(zip(total_.out, places, strict=True))
    summed = [k for k, i in enumerate(inner) if i not in total_.out]
    if len(summed) != 1 or len(set(inner)) != len(inner):
        return None
    rows = [(where[i], given[k]) for k, i in enumerate(inner) if k != summed[0]]
    return summed[0] if all(a == b for a, b in rows) else None


@rule("softmax does not change when a number is added to a row")
def shifted_softmax(t: Term) -> Term | None:
    """softmax(z − c 𝟏) = softmax(z); the same number is subtracted from a log-softmax's logits."""
    if not (called(t, "softmax") or called(t, "log_softmax")) or not isinstance(t.args[0], Sum):
        return None
    axis = axis_of(t)
    kept = [(c, a) for c, a in t.args[0].summands if not constant_along(a, axis)]
    if len(kept) == len(t.args[0].args):
        return None
    return t.over((total(kept, t.shape),))


def constant_along(term: Term, axis: int) -> bool:
    """Whether a term says the same number again along an axis."""
    if not isinstance(term, Product) or term.out.count(term.out[axis]) > 1:
        return False
    return all(term.out[axis] not in given for given in term.indices)


@rule("exp of a log-softmax is the softmax")
def exp_of_log_softmax(t: Term) -> Term | None:
    if called(t, "exp") and called(t.args[0], "log_softmax"):
        from chainrule.ops.softmax import softmax

        inner = t.args[0]
        assert isinstance(inner, Applied)
        return applied(softmax, inner.args, inner.attrs, t.shape)
    return None


@rule("a softmax adds up to 1")
def softmax_adds_up(t: Term) -> Term | None:
    """Σ_k p[k] = 1, where nothing else depends on k."""
    if not isinstance(t, Product):
        return None
    for k, (term, given) in enumerate(t.factors):
        if called(term, "softmax"):
            found = _without(t, k, given[axis_of(term)])
            if found is not None:
                return found
    return None


def _without(t: Product, k: int, index: int) -> Term | None:
    """A product without its k-th factor, whose sum over an index is 1."""
    others = [g for j, g in enumerate(t.indices) if j != k]
    if index in t.out or any(index in g for g in others) or t.indices[k].count(index) != 1:
        return None
    rest = [f for j, f in enumerate(t.factors) if j != k]
    sizes = {i: n for i, n in enumerate(t.sizes) if i != index}
    return product(rest, t.out, sizes)


# Labels


def is_one_hot(term: Term) -> bool:
    """Whether a term is 1 where the column is the row's label, else 0."""
    if not called(term, "equal") or len(term.args) != 2:
        return False
    labels, columns = term.args
    return isinstance(columns, Constant) and _counts(columns.value) and labels.shape[-1:] == (1,)


def _counts(array: np.ndarray) -> bool:
    return array.ndim == 1 and bool((array == np.arange(len(array))).all())


def labels_of(term: Term) -> Term:
    """The labels of a one-hot matrix."""
    labels = term.args[0]
    if called(labels, "expand_dims") and labels.args[0].shape == labels.shape[:-1]:
        return labels.args[0]
    return labels


def one_hot(labels: Term, classes: int) -> Term:
    """1 where the column is the label; `labels` has an axis of size 1 for the columns."""
    from chainrule.ops.arithmetic import equal

    shape = (*labels.shape[:-1], classes)
    columns = constant(np.arange(classes))
    return applied(equal, [labels, columns], {}, shape, "b")


@rule("numbers put at the labels are a one-hot matrix times them")
def scatter_is_one_hot(t: Term) -> Term | None:
    """y[i, label i] = g[i], else 0: y = diag(g) onehot(labels)."""
    if not called(t, "add_at") or t.ndim != 2:
        return None
    labels = _labels_in_key(t, t.shape)
    g = t.args[0]
    if labels is None or g.shape != (t.shape[0], 1):
        return None
    factors = [(g, (0, 2)), (one_hot(labels, t.shape[1]), (0, 1))]
    return product(factors, (0, 1), {0: t.shape[0], 1: t.shape[1], 2: 1})


@rule("what is picked at the labels is a row times a one-hot row")
def picked_by_one_hot(t: Term) -> Term | None:
    """x[i, label i] = Σ_k onehot(labels)[i, k] x[i, k]."""
    if not called(t, "getitem") or t.args[0].ndim != 2:
        return None
    x = t.args[0]
    labels = _labels_in_key(t, x.shape)
    if labels is None or t.shape != (x.shape[0], 1):
        return None
    factors = [(x, (0, 1)), (one_hot(labels, x.shape[1]), (0, 1))]
    return product(factors, (0, 2), {0: x.shape[0], 1: x.shape[1], 2: 1})


def _labels_in_key(t: Term, shape: tuple[int, ...]) -> Term | None:
    """The labels where a key takes from each row the element at its label."""
    assert isinstance(t, Applied)
    if t.attrs["pattern"] != ("array", "array") or len(t.args) != 3:
        return None
    rows, labels = t.args[1:]
    n = shape[0]
    if not isinstance(rows, Constant) or rows.value.shape != (n, 1) or labels.shape != (n, 1):
        return None
    return labels if _counts(rows.value[:, 0]) else None


@rule("a one-hot row adds up to 1")
def one_hot_adds_up(t: Term) -> Term | None:
    if not isinstance(t, Product):
        return None
    for k, (term, given) in enumerate(t.factors):
        if is_one_hot(term):
            found = _without(t, k, given[-1])
            if found is not None:
                return found
    return None


@rule("a condition that all of these labels fulfil is 1")
def condition_on_labels(t: Term) -> Term | None:
    """Comparisons of whole numbers, such as "the label is not the one that is ignored"."""
    if not isinstance(t, Applied) or t.kind != "b" or not t.variables:
        return None
    if any(v.kind == "f" or v.value is None for v in t.variables):
        return None
    value = t.evaluate({})
    return constant(value) if value.all() else None


# The logistic function


@rule("σ(−z) = 1 − σ(z)", tentative=True, order=80)
def sigmoid_of_negative(t: Term) -> Term | None:
    """Where both σ(z) and σ(−z) stand in a sum."""
    if not isinstance(t, Sum):
        return None
    found = [p for p in topological(t) if called(p, "sigmoid")]
    changes = {}
    for p in found:
        c, inner = coefficient_of(p.args[0])
        opposite = p.over((scaled(-c, inner),))
        if c < 0 and opposite in found:
            changes[p] = total([(Fraction(1), ones(p.shape)), (Fraction(-1), opposite)], p.shape)
    return replaced(t, changes) if changes else None

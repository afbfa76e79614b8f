"""Rules for rows that are looked up."""

from __future__ import annotations

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.rules_softmax import called, one_hot
from chainrule.calculus.derive.terms import Applied, Term, applied, product
from chainrule.ops.structure import expand_dims


def rows_of_ones(rows: Term, count: int) -> Term:
    """onehot(k): in row n a 1 where the column is k[n]."""
    n = rows.shape[0]
    labels = applied(expand_dims, [rows], {"axis": -1}, (n, 1), rows.kind)
    return one_hot(labels, count)


@rule("rows that are looked up are a one-hot matrix times all rows: E[k] = onehot(k) E")
def rows_looked_up(t: Term) -> Term | None:
    if not isinstance(t, Applied) or not called(t, "getitem") or len(t.args) != 2:
        return None
    table, rows = t.args
    if t.attrs["pattern"] != ("array",) or rows.ndim != 1:
        return None
    rest = tuple(range(2, table.ndim + 1))
    factors = [(rows_of_ones(rows, table.shape[0]), (0, 1)), (table, (1, *rest))]
    sizes = {0: rows.shape[0], **{i + 1: size for i, size in enumerate(table.shape)}}
    return product(factors, (0, *rest), sizes)


@rule("what is added to the rows that were looked up: onehot(k)ᵀ times it")
def rows_added(t: Term) -> Term | None:
    """Zeros with g[n] added to row k[n]: Σ_n onehot(k)[n, r] g[n]."""
    if not isinstance(t, Applied) or not called(t, "add_at") or len(t.args) != 2:
        return None
    g, rows = t.args
    if t.attrs["pattern"] != ("array",) or rows.ndim != 1:
        return None
    rest = tuple(range(2, g.ndim + 1))
    sizes = {0: rows.shape[0], **{i + 1: size for i, size in enumerate(t.shape)}}
    factors = [(rows_of_ones(rows, t.shape[0]), (0, 1)), (g, (0, *rest))]
    return product(factors, (1, *rest), sizes)

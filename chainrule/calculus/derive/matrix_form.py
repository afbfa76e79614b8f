"""Terms in matrix notation.

A product with indices is a network: a matrix joins two indices, a vector stands at one
(`matrix_network`). Where three matrices meet at an index there is no matrix form, and index
notation stands in its place. Leading indices beyond two are those of a stack of matrices, which are
not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from chainrule.calculus.derive.matrix_network import Network, NoMatrixFormError
from chainrule.calculus.derive.matrix_tree import (
    Function,
    Inverse,
    Matrix,
    Plus,
    Power,
    Relation,
    Scaled,
    Symbol,
    Verbatim,
    children,
    power,
)
from chainrule.calculus.derive.matrix_writing import Latex, Plain, scalar_order
from chainrule.calculus.derive.rules_softmax import is_one_hot, labels_of
from chainrule.calculus.derive.slicing import key_text
from chainrule.calculus.derive.terms import (
    Applied,
    Constant,
    Number,
    Product,
    Sum,
    Term,
    Variable,
    is_ones,
    power_of,
)

FUNCTION_NAMES = {
    "sigmoid": "σ", "digamma": "ψ", "lgamma": "logΓ", "gammaln": "logΓ", "ndtr": "Φ",
    "maximum": "max", "minimum": "min",
}  # fmt: skip
RELATIONS = {
    "equal": "=", "not_equal": "≠", "less": "<", "greater": ">", "less_equal": "≤",
    "greater_equal": "≥",
}  # fmt: skip


def matrix(term: Term, names: Mapping[Term, str] | None = None) -> Matrix:
    """A term in matrix notation; `names` are terms that go by a name."""
    return _Reader(names or {}).read(term)


def written(term: Term, names: Mapping[Term, str] | None = None, latex: bool = False) -> str:
    """The same as text."""
    return (Latex() if latex else Plain()).write(matrix(term, names))


def has_matrix_form(term: Term, names: Mapping[Term, str] | None = None) -> bool:
    """Whether matrix notation can say all of it."""
    stack = [matrix(term, names)]
    while stack:
        part = stack.pop()
        if isinstance(part, Verbatim):
            return False
        stack.extend(children(part))
    return True


def rank_of(term: Term) -> int:
    return min(term.ndim, 2)


class _Reader:
    def __init__(self, names: Mapping[Term, str]) -> None:
        self.names = names
        self.known: dict[Term, Matrix] = {}

    def read(self, term: Term) -> Matrix:
        if term not in self.known:
            self.known[term] = self._read(term)
        return self.known[term]

    def _read(self, term: Term) -> Matrix:
        if term in self.names:
            return Symbol(rank_of(term), self.names[term])
        if isinstance(term, Variable):
            return Symbol(rank_of(term), term.name)
        if isinstance(term, Constant):
            return self.constant(term)
        if isinstance(term, Sum):
            return self.sum(term)
        if isinstance(term, Product):
            try:
                return self.product(term)
            except NoMatrixFormError:
                return self.indexed(term)
        assert isinstance(term, Applied)
        return self.applied(term)

    def constant(self, term: Constant) -> Matrix:
        if term.shape:
            first = [_figure(v) for v in term.value.flat[:4]]
            more = ["…"] if term.value.size > 4 else []
            return Symbol(rank_of(term), f"({', '.join(first + more)})")
        return Symbol(0, _figure(term.value.item()))

    def sum(self, term: Sum) -> Matrix:
        parts: list[tuple[Number, Matrix | None]] = []
        for c, a in term.summands:
            if is_ones(a) and (len(term.args) > 1 or not a.shape):
                parts.append((c, None))
                continue
            part = self.read(a)
            if isinstance(part, Power) and not part.rank and part.exponent < 0:  # 2/x, not 2 1/x
                part = Scaled(0, 1, (), None, (power(part.part, -part.exponent),))
            if isinstance(part, Scaled):
                c, part = c * part.number, _scaled(Fraction(1), part.top, part.body, part.bottom)
            parts.append((c, part))
        if len(parts) == 1:
            ((c, alone),) = parts
            if alone is None:
                return Plus(0, ((c, None),))
            if isinstance(alone, Scaled):
                return Scaled(alone.rank, c, alone.top, alone.body, alone.bottom)
            return Scaled(alone.rank, c, (), alone, ())
        return Plus(rank_of(term), tuple(parts))

    def applied(self, term: Applied) -> Matrix:
        name, rank = term.op.name, rank_of(term)
        exponent, base = power_of(term)
        if exponent != 1:
            return power(self.read(base), exponent)
        if is_one_hot(term):
            return Function(rank, "onehot", (self.read(labels_of(term)),), "", term)
        parts = tuple(self.read(a) for a in term.args)
        if name in RELATIONS:
            return Relation(rank, RELATIONS[name], *parts)
        if name == "inv":
            return Inverse(rank, *parts)
        if name == "relu":
            return Function(rank, "relu", parts, "", term)
        if name in ("softmax", "log_softmax"):
            last = int(term.attrs["axis"]) % term.ndim == term.ndim - 1
            settings = "" if last else f"; axis={term.attrs['axis']}"
            return Function(rank, name, parts, settings, term)
        if name in ("pow", "astype", "logsumexp"):
            return Function(rank, name, parts, "", term) if name != "astype" else parts[0]
        settings = "".join(
            f"; [{key_text(v)}]" if k == "pattern" else f"; {k}={v}"
            for k, v in term.attrs.items()
            if _telling(v)
        )
        return Function(rank, FUNCTION_NAMES.get(name, name), parts, settings, term)

    def indexed(self, term: Term) -> Matrix:
        """In index notation, between brackets."""
        from chainrule.calculus.derive.index_form import inline

        return Verbatim(rank_of(term), *inline(term, self.names))

    # Products

    def product(self, term: Product) -> Matrix:
        batch = term.out[: max(len(term.out) - 2, 0)]
        if set(batch) & set(term.out[len(batch) :]) or len(set(batch)) < len(batch):
            raise NoMatrixFormError
        single = {i for i in term.summed if term.sizes[i] == 1 and not _joins(term, i, batch)}
        network = Network(term.out[len(batch) :], term.sizes)
        top: list[Matrix] = []
        bottom: list[Matrix] = []
        for factor, given in term.factors:
            indices = tuple(i for i in given if i not in batch and i not in single)
            if len(indices) > 2 or set(given[: len(given) - len(indices)]) & set(indices):
                raise NoMatrixFormError
            if any(i in batch for i in given[len(given) - len(indices) :]):
                raise NoMatrixFormError  # a stack's indices come first
            exponent, base = power_of(factor)
            part = self.read(factor)
            if len(indices) < min(factor.ndim, 2):
                part = _as_rank(part, len(indices))
            if len(indices) == 0:
                if exponent < 0:
                    bottom.append(power(self.read(base), -exponent))
                else:
                    top.append(part)
            elif len(indices) == 1:
                network.weights.setdefault(indices[0], []).append(part)
            else:
                network.edges.append((part, indices[0], indices[1]))
        network.waiting = [i for i in term.summed if i not in single]
        body = network.result(top, bottom)
        top.sort(key=scalar_order)
        if isinstance(body, Scaled):
            return body
        return _scaled(Fraction(1), tuple(top), body, tuple(sorted(bottom, key=scalar_order)))


def _joins(term: Product, index: int, batch: tuple[int, ...]) -> bool:
    """Whether two matrices meet at an index, and nothing else does: δᵀ x is one of (n, d) and
    (n, e) for n = 1, too. What has a single element is a number."""
    met = [[term.sizes[i] for i in given if i not in batch]
           for _, given in term.factors if index in given]  # fmt: skip
    return len(met) == 2 and all(len(sizes) == 2 and max(sizes) > 1 for sizes in met)


def _scaled(
    number: Number, top: tuple[Matrix, ...], body: Matrix | None, bottom: tuple[Matrix, ...]
) -> Matrix:
    rank = 0 if body is None else body.rank
    if number == 1 and not bottom:
        if body is None and len(top) == 1:
            return top[0]
        if body is not None and not top:
            return body
    return Scaled(rank, number, top, body, bottom)


def _figure(value: Any) -> str:
    return f"{value:.6g}".replace("-", "−").replace("inf", "∞")


def _telling(value: Any) -> bool:
    return isinstance(value, (int, float, tuple)) and not isinstance(value, bool)


def _as_rank(part: Matrix, rank: int) -> Matrix:
    from dataclasses import replace

    return replace(part, rank=rank)

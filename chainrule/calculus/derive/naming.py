"""Names for the parts of a formula that it says more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from chainrule.calculus.derive.matrix_form import written
from chainrule.calculus.derive.matrix_writing import latex_name
from chainrule.calculus.derive.rules_softmax import called
from chainrule.calculus.derive.terms import (
    Applied,
    Constant,
    Product,
    Term,
    Variable,
    power_of,
    topological,
)

_LONG = 8
"""The cost from which a part that is used twice has a name."""
_BY_OPERATION = {"softmax": "p", "sigmoid": "p", "tanh": "h", "relu": "h", "log_softmax": "l"}
_OTHERS = "urtqghabd"


def named_parts(roots: Sequence[Term], taken: Iterable[str]) -> dict[Term, str]:
    """Names for what stands more than once in one of the roots, and is long; and for softmaxes.

    Simpler parts come first, so that each is made of those before it.
    """
    chosen: dict[Term, None] = {}
    for root in roots:
        order = topological(root)
        uses: Counter[Term] = Counter()
        for term in order:
            for a in term.args:
                uses[a] += 1
        for term in reversed(order):  # a power is written by what it is a power of
            uses[power_of(term)[1]] += uses[term] - 1 if power_of(term)[0] != 1 else 0
        for term in order:
            plain = isinstance(term, (Variable, Constant)) or term is root
            if not plain and (_is_repeated(term, uses[term]) or called(term, "softmax")):
                chosen[term] = None
    names: dict[Term, str] = {}
    used = set(taken)
    for term in chosen:
        name = _free(term, used)
        used.add(name)
        names[term] = name
    return names


def _is_repeated(term: Term, uses: int) -> bool:
    if uses < 2 or term.cost < _LONG or power_of(term)[0] != 1:
        return False
    short = called(term, "inv") and isinstance(term.args[0], Variable)
    if isinstance(term, Product) and not term.out and len(term.args) == 1:
        short = power_of(term.args[0])[0] == 2  # ‖x‖²
    return term.kind == "f" and not short


def _free(term: Term, used: set[str]) -> str:
    first = _BY_OPERATION.get(term.op.name, "") if isinstance(term, Applied) else ""
    pool = [first] if first else []
    pool += [c.upper() for c in _OTHERS] if term.ndim > 1 and not first else list(_OTHERS)
    for name in pool:
        if name not in used:
            return name
    base = pool[0]
    return next(n for k in range(2, 10**6) if (n := f"{base}{k}") not in used)


def written_with_parts(
    term: Term, names: Mapping[Term, str], taken: Iterable[str], latex: bool = False
) -> str:
    """A term in matrix notation; what stands more than once in it is said behind it, once."""
    every = {**named_parts([term], {*taken, *names.values()}), **names}
    text = written(term, every, latex)
    parts = []
    for name, part in used_in(term, every):
        if part not in names:
            inside = {t: n for t, n in every.items() if t is not part}
            shown = latex_name(name) if latex else name
            parts.append(f"{shown} = {written(part, inside, latex)}")
    where = r" \quad \text{where } " if latex else " where "
    return text + (where + ", ".join(parts) if parts else "")


def used_in(root: Term, names: Mapping[Term, str]) -> list[tuple[str, Term]]:
    """(name, term) of the named parts that are read where a root is written, each after what it is
    made of."""
    found: dict[Term, None] = {}

    def visit(term: Term, top: bool) -> None:
        stack = [(term, top)]
        while stack:
            current, is_top = stack.pop()
            if current in names and not is_top:
                if current not in found:
                    found[current] = None
                    stack.append((current, True))
                continue
            stack.extend((a, False) for a in current.args)

    visit(root, True)
    order = {t: k for k, t in enumerate(topological(root))}
    return [(names[t], t) for t in sorted(found, key=lambda t: order[t])]

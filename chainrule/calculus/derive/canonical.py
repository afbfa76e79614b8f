"""The order of a product's factors and the numbers of its indices, from nothing but themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.calculus.derive.terms import Indices, Term


def one_for_all(
    factors: list[tuple[Term, Indices]], out: Indices, sizes: Mapping[int, int]
) -> tuple[list[tuple[Term, Indices]], Mapping[int, int]]:
    """The same with one index for all summed axes of size 1."""
    single = [i for i, n in sizes.items() if n == 1 and i not in out]
    if len(single) < 2:
        return factors, sizes
    one = single[0]
    renamed = [(t, tuple(one if i in single else i for i in given)) for t, given in factors]
    return renamed, {i: n for i, n in sizes.items() if i == one or i not in single}


def canonical(
    factors: list[tuple[Term, Indices]], out: Indices, sizes: Mapping[int, int]
) -> tuple[list[tuple[Term, Indices]], dict[int, int]]:
    """(the factors in an order that depends on nothing but themselves, numbers for the indices).

    Indices are told apart by where they stand, then by what the factors there are (the refinement
    of Weisfeiler and Leman); of those that look alike still, either may come first.
    """
    every = list(dict.fromkeys((*out, *(i for _, given in factors for i in given))))
    for i in sizes:  # a sum over an index that no factor has counts its values
        if i not in every:
            every.append(i)
    colour = {i: f"{[k for k, o in enumerate(out) if o == i]} {sizes[i]}" for i in every}

    def refine() -> None:
        while True:
            marks: dict[int, list[str]] = {i: [] for i in every}
            for term, given in factors:
                look = f"{term.key} {[colour[i] for i in given]}"
                for place, i in enumerate(given):
                    marks[i].append(f"{place} {look}")
            fresh = {i: _short(f"{colour[i]} {sorted(marks[i])}") for i in every}
            if len(set(fresh.values())) == len(set(colour.values())):
                return
            colour.update(fresh)

    refine()
    while len(set(colour.values())) < len(every):
        seen: dict[str, int] = {}
        for i in every:
            if colour[i] in seen:
                colour[i] += " first"
                break
            seen[colour[i]] = i
        refine()
    number = {i: n for n, i in enumerate(dict.fromkeys(out))}
    for i in sorted((i for i in every if i not in number), key=lambda i: colour[i]):
        number[i] = len(number)
    factors = sorted(factors, key=lambda f: (f[0].key, tuple(number[i] for i in f[1])))
    return factors, number


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

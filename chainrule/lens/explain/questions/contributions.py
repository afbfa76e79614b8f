"""What each input adds to a number that is a weighted sum of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.lens.explain.derivation import Check, Element, Step, Words
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.remark import Remark, remarked
from chainrule.lens.explain.statement import Recomputed, stated
from chainrule.lens.explain.steps.forward import FormulaClaim, furthest
from chainrule.ops.notation import Instance
from chainrule.ops.notation.tree import Binary, Datum, Expression

SHOWN = 5
"""How many inputs are written out."""


@dataclass(frozen=True)
class Terms:
    """The products that a number is the sum of, and the arrays of which their factors are
    elements."""

    products: list[list[Datum]]
    sources: dict[str, tuple[str, np.ndarray]]


def terms(claim: FormulaClaim, index: tuple[int, ...]) -> Terms:
    """Every term of the sum that a formula is for one element."""
    view = claim.view(claim.value)
    short = claim.element(index)
    if view is None or short is None or not short.instance.count:
        return Terms([], {})
    inside = claim.behind.index(index, claim.value)
    every = claim.op.formula.instantiate(
        view[0], inside, terms=short.instance.count, places=claim.behind.places
    )
    part: Expression = every.written
    summands = []
    while isinstance(part, Binary) and part.operator == "+":
        summands.append(part.right)
        part = part.left
    return Terms([_factors(p) for p in (*summands, part)], dict(short.sources))


def _factors(part: Expression) -> list[Datum]:
    if isinstance(part, Binary):
        return [*_factors(part.left), *_factors(part.right)]
    assert isinstance(part, Datum)
    return [part]


@dataclass(frozen=True, eq=False)
class Weighted:
    """The products of weights and inputs, laid out as the weights are.

    Attributes:
        value: the products.
        terms: for each of them, in row-major order, the two factors.
        sources: the arrays of which they are elements.
        weight, input: what the two arrays are called in the formula.
    """

    value: np.ndarray
    terms: list[tuple[Datum, Datum]]
    sources: dict[str, tuple[str, np.ndarray]]
    weight: str
    input: str

    def factors(self, which: int) -> np.ndarray:
        """The weights (0) or the inputs (1), laid out as the products are."""
        return np.array([term[which].value for term in self.terms]).reshape(self.value.shape)

    def places(self, which: int) -> np.ndarray:
        """Where they stand in their arrays, −1 beyond the ends."""
        return np.array([term[which].position for term in self.terms])

    def pattern(self, which: int) -> str:
        """`0.weight[3, j]`: what the factors are, in letters for the axes of the products."""
        name, array = self.sources[(self.weight, self.input)[which]]
        places = self.places(which)
        inside = places >= 0
        letters = np.unravel_index(np.flatnonzero(inside), self.value.shape)
        found = []
        for along in np.unravel_index(places[inside], array.shape):
            text = str(int(along[0])) if (along == along[0]).all() else "…"
            for letter, by in zip(_LETTERS[self.value.ndim], letters, strict=True):
                offset = along - by
                if text == "…" and (offset == offset[0]).all():
                    text = letter + (f" + {offset[0]}" if offset[0] > 0 else "")
                    text += f" − {-offset[0]}" if offset[0] < 0 else ""
            found.append(text)
        return f"{name}[{', '.join(found)}]"


_LETTERS = {1: "j", 2: "ck", 3: "ckl", 4: "cklm"}


def weighted(recorded: Recorded, every: Terms) -> Weighted | None:
    """The products of a sum in which one factor is an element of a parameter; None if there are
    none."""
    pairs = []
    for product in every.products:
        if len(product) != 2 or any(f.name not in every.sources for f in product):
            continue
        known = [every.sources[f.name][0] in recorded.parameters for f in product]
        pairs.append((product[0], product[1]) if known[0] or not known[1] else product[::-1])
    if not pairs:
        return None
    weight, source = pairs[0][0].name, pairs[0][1].name
    pairs = [pair for pair in pairs if pair[0].name == weight and pair[1].name == source]
    pairs.sort(key=lambda pair: pair[0].position)
    shape = every.sources[weight][1].shape
    axes = np.unravel_index([pair[0].position for pair in pairs], shape)
    kept = tuple(
        n for n, along in zip(shape, axes, strict=True) if n == 1 or len(set(along.tolist())) == n
    )
    if len(kept) == len(shape) and shape[0] == 1:
        kept = kept[1:]
    if int(np.prod(kept)) != len(pairs) or len(kept) not in _LETTERS:
        kept = (len(pairs),)
    value = np.array([a.value * b.value + 0.0 for a, b in pairs]).reshape(kept)  # no −0
    return Weighted(value, [(a, b) for a, b in pairs], every.sources, weight, source)


@dataclass(frozen=True, eq=False)
class ProductsClaim:
    """That numbers are products of elements of two arrays."""

    weighted: Weighted

    def check(self, step: Step) -> Check:
        assert step.value is not None
        taken = []
        for which, name in enumerate((self.weighted.weight, self.weighted.input)):
            array, places = self.weighted.sources[name][1], self.weighted.places(which)
            flat = array.reshape(-1).astype(np.float64)
            taken.append(np.where(places >= 0, flat[places], 0.0))
        exact = (taken[0] * taken[1]).reshape(step.value.shape)
        return Check("elements of both, multiplied", furthest(step.value, exact), 0.0)


def contributions(of: Weighted, label: str, inputs: Sequence[str] | None) -> Step:
    """What each input adds, the largest first."""
    value = of.value
    sizes = np.where(np.isnan(value), np.inf, np.abs(value))  # what is broken comes first
    order = np.argsort(-sizes, axis=None, kind="stable")[:SHOWN]
    elements = []
    for flat in order:
        index = tuple(int(i) for i in np.unravel_index(flat, value.shape))
        written = Binary("·", *of.terms[flat])
        elements.append(
            Element(index, Instance(written, float(value[index])), of.sources)
        )  # fmt: skip
    letters = ", ".join(_LETTERS[value.ndim])
    named = () if inputs is None else [
        f"number {e.index[0]} is {inputs[e.index[0]]!r}" for e in elements
    ]  # fmt: skip
    return Step(
        name="contribution",
        title=f"What each input adds to {label}, the largest first",
        operands=tuple(of.sources[n][0] for n in (of.weight, of.input)),
        rule="a weighted sum, term by term",
        named=Words(f"contribution[{letters}] = {of.pattern(0)} · {of.pattern(1)}"),
        elements=tuple(elements),
        value=value,
        notes=tuple(named),
        claims=(ProductsClaim(of),),
    )


def shares(
    of: Weighted, alone: list[list[Datum]], label: str, value: np.ndarray, claim: FormulaClaim
) -> Step:
    """How much speaks for the neuron, and how much against."""
    positive = float(of.value[of.value > 0].sum())
    negative = float(of.value[of.value < 0].sum())
    counts = int((of.value > 0).sum()), int((of.value < 0).sum())
    step = stated(
        f"{label} in parts",
        f"What raises {label}, what lowers it, and the bias",
        "raising + lowering + bias",
        {"raising": positive, "lowering": negative, "bias": sum(t[0].value for t in alone)},
        rule="the terms by their sign",
        claims=(Recomputed("the sum of all terms", np.asarray(value, np.float64), claim.rounding),),
    )
    return remarked(
        step,
        Remark(
            "{} of the inputs raise it, {} lower it, {} add nothing",
            (*counts, of.value.size - sum(counts)),
            lambda _: _signs(of),
        ),
    )


def _signs(weighted: Weighted) -> tuple[float, float, float]:
    """How many products are positive, negative and 0, by the signs of their factors."""
    signs = np.sign(weighted.factors(0)) * np.sign(weighted.factors(1))
    return tuple(float((signs == s).sum()) for s in (1, -1, 0))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class TakenFrom:
    """That numbers are elements of an array; 0 beyond its ends."""

    array: np.ndarray
    places: np.ndarray

    def check(self, step: Step) -> Check:
        assert step.value is not None
        flat = self.array.reshape(-1).astype(np.float64)
        taken = np.where(self.places >= 0, flat[self.places], 0.0).reshape(step.value.shape)
        return Check("elements of the array", furthest(step.value, taken), 0.0)


def grids(of: Weighted, label: str) -> list[Step]:
    """The patch that a filter looks at, the filter, their products, drawn for the channel that adds
    most; and what each channel adds."""
    value = of.value
    sums = value.reshape(len(value), -1).sum(axis=1)
    channel = int(np.argmax(np.abs(sums)))
    which_channel = f", channel {channel} of {len(value)}" if len(value) > 1 else ""
    found = []
    for which, name in ((1, "patch"), (0, "filter")):
        called, array = of.sources[(of.weight, of.input)[which]]
        places = of.places(which).reshape(value.shape)[channel]
        found.append(
            Step(
                name=name,
                title=f"The {name}{which_channel}: {of.pattern(which)}",
                operands=(called,),
                rule="elements of the array" + (", 0 beyond its edges" if which else ""),
                value=of.factors(which)[channel],
                claims=(TakenFrom(array, places),),
            )
        )
    step = stated(
        "product",
        f"Patch times filter{which_channel}, pixel by pixel",
        "patch · filter",
        {"patch": found[0].value, "filter": found[1].value},
        value.shape[1:],
        rule="multiplied element by element",
    )
    found.append(step)
    if len(value) == 1:
        return found
    letters = "".join(_LETTERS[value.ndim][1:])
    indices = ", ".join(letters)
    found.append(
        stated(
            "channel",
            f"What each channel adds to {label}",
            f"y[c] = Σ_{{{indices}}} p[c, {indices}]" if len(letters) > 1 else "y[c] = Σ_k p[c, k]",
            {"p": value},
            (len(value),),
            names={"p": "contribution"},
            rule="the products of a channel added up",
        )
    )
    return found

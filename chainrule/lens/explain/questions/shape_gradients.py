"""Why a gradient has the shape of its parameter, and how sums and products come to give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.lens.explain.derivation import Element, Step, Words
from chainrule.lens.explain.names import cotangent
from chainrule.lens.explain.questions.reading import (
    Axis,
    Reading,
    ShapeIs,
    shape_of_array,
    user_of,
    written,
)
from chainrule.lens.explain.record import Recorded
from chainrule.ops.notation import Instance
from chainrule.ops.notation.evaluate import product, walk
from chainrule.ops.notation.render import Latex, Plain, latex_name
from chainrule.ops.notation.tree import Binary, Datum, Expression, Name, Reduce, Subscript


def gradients(recorded: Recorded, readings: Sequence[Reading]) -> list[Step]:
    """Why the gradient of a parameter has the parameter's shape, and how it comes to have it."""
    if recorded.result.shape != ():
        return []
    found = []
    for name, parameter in recorded.parameters.items():
        gradient = recorded.gradients.get(parameter._node)  # type: ignore[arg-type]
        used = user_of(readings, name)
        if gradient is None or used is None:
            continue
        found.append(_gradient(name, recorded.given[name], gradient, *used))
    return found


def _gradient(
    name: str, array: np.ndarray, gradient: np.ndarray, reading: Reading, own: str
) -> Step:
    z = cotangent(reading.name)
    named, matrix = None, None
    elements: list[Element] = []
    factors = _beside(reading, own)
    mine = [a for a in reading.axes if a.name == own]
    if factors is not None and all(a.letter for a in mine):
        kept = [a.letter for a in mine]
        delta = Subscript(z, tuple(_shown(reading.result)))
        beside = {p.name for f in factors for p in walk(f) if isinstance(p, Name)}
        letters = [*reading.result, *(x for x in reading.letters if x in beside)]
        summed = [x for x in dict.fromkeys(letters) if x and x not in kept]
        over = [*([None] if None in delta.indices else []), *(Name(x) for x in summed)]
        called = {f.name: reading.called(f.name) for f in factors}
        target = Subscript(cotangent(name, parameter=True), tuple(Name(x) for x in kept))
        named = _index_form(target, over, (delta, *factors), called)
        elements = _gradient_sizes(reading, mine, z, [f.name for f in factors])
        if len(kept) == 2 and len(factors) == 1:
            matrix = _matrix(reading, kept, z, factors[0].name, name)
    whole = cotangent(name, parameter=True)
    title = f"{whole} is {written(gradient.shape)}, as {name} is"
    return Step(
        name=f"shape of {whole}",
        title=title,
        operation=reading.claim.op.name,
        operands=(z, *(reading.called(f.name) for f in factors or ())),
        rule="L is one number, so that every element of a parameter has one derivative",
        named=named,
        matrix=matrix,
        elements=tuple(elements),
        value=shape_of_array(gradient),
        claims=(ShapeIs(gradient, title), ShapeIs(array, title)),
    )


def _index_form(
    target: Subscript,
    over: Sequence[Name | None],
    factors: Sequence[Subscript],
    called: Mapping[str, str],
) -> Words:
    """target = Σ over indices of the product of factors."""
    plain, latex = Plain(called), Latex(called)
    indices = ["…" if index is None else index.name for index in over]
    sums = f"Σ_{{{', '.join(indices)}}} " if over else ""
    below = ",".join(indices).replace("…", r"\dots")
    tex = rf"\sum_{{{below}}} " if over else ""
    return Words(
        f"{plain.write(target)} = {sums}{' · '.join(map(plain.write, factors))}",
        rf"{latex.write(target)} = {tex}" + r" \, ".join(map(latex.write, factors)),
    )


def _shown(letters: Sequence[str]) -> list[Expression | None]:
    """Letters as indices, with one None ("…") for the axes without."""
    return [Name(x) if x else None for x in dict.fromkeys(letters)]


def _beside(reading: Reading, own: str) -> list[Subscript] | None:
    """What a parameter is multiplied with, in the one term of a plain sum in which it stands; None
    where the formula is something else."""
    if reading.claim.op.display_only or len(reading.claim.op.formula.statements) != 1:
        return None
    for term in _summands(reading.claim.op.formula.statements[0].value):
        factors = [f for f in product(term) if isinstance(f, Subscript)]
        found = [f for f in factors if f.name != own]
        if len(found) == len(product(term)) - 1 and all(f.name in reading.operands for f in found):
            return found
    return None


def _summands(part: Expression) -> list[Expression]:
    if isinstance(part, Binary) and part.operator == "+":
        return [*_summands(part.left), *_summands(part.right)]
    if isinstance(part, Reduce) and part.word == "Σ" and part.condition is None:
        return _summands(part.body)
    return [part]


def _gradient_sizes(
    reading: Reading, mine: Sequence[Axis], z: str, factors: Sequence[str]
) -> list[Element]:
    """Each size of a gradient as that of an axis of δ or of the other factor."""
    shape = np.array(reading.node.shape)
    sources = {z: (f"shape of {z}", shape), **{f: reading.shape_of(f) for f in factors}}
    found = []
    for axis in mine:
        if axis.letter in reading.result:
            place = reading.result.index(axis.letter)
            written = Datum(int(shape[place]), z, place)
        else:
            others = [a for a in reading.having(axis.letter) if a.name in factors]
            if not others:
                continue
            written = Datum(others[0].size, others[0].name, others[0].axis)
        found.append(Element((axis.axis,), Instance(written, axis.size), sources))
    return found


def _matrix(
    reading: Reading, kept: Sequence[str], z: str, factor: str, name: str
) -> Words | None:  # fmt: skip
    """δᵀ X or Xᵀ δ, where the gradient is a product of two matrices; rows are all examples."""
    x = reading.called(factor)
    letters = [a.letter for a in reading.axes if a.name == factor]
    if len(_shown(letters)) != 2 or len(_shown(reading.result)) != 2:
        return None
    target = cotangent(name, parameter=True)
    if kept[0] in reading.result and kept[1] in letters:
        return _transposed(target, z, x)
    if kept[0] in letters and kept[1] in reading.result:
        return _transposed(target, x, z)
    return None


def _transposed(target: str, left: str, right: str) -> Words:
    tex = rf"{latex_name(target)} = {{{latex_name(left)}}}^{{\top}} \, {latex_name(right)}"
    return Words(f"{target} = {left}ᵀ {right}", tex)

"""Formulas, numbers and arrays as parts of the page: MathML whose symbols and numbers say of what
quantity they are, and the corner of a matrix.

A quantity is a step or something given; on the page it is the element with its identifier, such as
`s3` or `g0`. `data-of` is that identifier, `data-at` an element's position in row-major order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from itertools import pairwise

import numpy as np

from chainrule.lens.explain.derivation import Element, Symbols, Words, Writing, largest
from chainrule.ops.notation import Formula
from chainrule.ops.notation.render import MathML, Plain, number, tightness
from chainrule.ops.notation.tree import Binary, Datum, Expression

SHOWN = 3
"""How many of the first rows and columns of a large matrix are shown."""

# An operator at the end of a formula would be set without the space of one between two terms.
_PLUS, _EQUALS = "<mo form=infix>+</mo>", "<mo form=infix>=</mo>"


class _Flat(MathML):
    """MathML without the rows around sums and products, which a browser draws alike without."""

    def binary(self, part: Binary) -> str:
        text = super().binary(part)
        return text.removeprefix("<mrow>").removesuffix("</mrow>") if text[:6] == "<mrow>" else text

    def equation(self, left: str, right: str) -> str:
        return f"{left}<mo>=</mo>{right}"


class Marked(_Flat):
    """MathML in which the name of a quantity says which one it is; digits behind it stand low."""

    def __init__(self, names: Mapping[str, str], quantities: Mapping[str, str]) -> None:
        super().__init__(names)
        self.quantities = quantities

    def _symbol(self, name: str) -> str:
        shown = self.names.get(name, name)
        return symbol(shown, self.quantities.get(shown, "") if name in self.names else "")


def symbol(name: str, of: str = "") -> str:
    """A name: `z1′` as z with a low 1 and a prime, a derivative as a fraction.

    >>> symbol("z1", "s0")
    '<msub data-of=s0><mi>z</mi><mn>1</mn></msub>'
    >>> symbol("∂L/∂w")
    '<mfrac><mi>∂L</mi><mrow><mi>∂</mi><mi>w</mi></mrow></mfrac>'
    """
    mark = f" data-of={of}" if of else ""
    above, slash, below = name.partition("/∂")
    if slash and above.startswith("∂"):
        below = f"<mrow><mi>∂</mi>{symbol(below)}</mrow>"
        return f"<mfrac{mark}><mi>{escape(above)}</mi>{below}</mfrac>"
    parts = re.fullmatch(r"([^\W\d]+)(\d*)(′*|⁽.*⁾)", name)
    head, low, high = (escape(part) for part in parts.groups()) if parts else (escape(name), "", "")
    tag = {(0, 0): "mi", (1, 0): "msub", (0, 1): "msup", (1, 1): "msubsup"}[bool(low), bool(high)]
    if tag == "mi":
        return f"<mi{mark}>{head}</mi>"
    low = low and f"<mn>{low}</mn>"
    high = high and f"<mo>{high}</mo>"
    return f"<{tag}{mark}><mi>{head}</mi>{low}{high}</{tag}>"


def formula(writing: Writing, quantities: Mapping[str, str]) -> str:
    """A formula; what the notation has no form for as text that may break over lines."""
    if isinstance(writing, Symbols) and not writing.formula.display_only:
        return _statements(writing.formula, writing.names, quantities)
    if isinstance(writing, (Symbols, Words)):
        return f"<span class=words>{linked(writing.plain(), quantities)}</span>"
    return writing.mathml()


def _statements(given: Formula, names: Mapping[str, str], quantities: Mapping[str, str]) -> str:
    """Each statement as a formula of its own, so that a line may break between them."""
    writer, plain = Marked(names, quantities), Plain(names)
    return " ".join(_math(writer.statement(s), plain.statement(s)) for s in given.statements)


def _math(inside: str, alt: str = "") -> str:
    said = f' alttext="{escape(alt)}"' if alt else ""
    return f"<math{said}>{inside}</math>"


def element(
    given: Element, name: str, quantities: Mapping[str, str], values: Mapping[str, np.ndarray]
) -> str:
    """One element with its numbers, a formula for each term of a sum: lines break between them.

    Args:
        given: the element.
        name: of the step that it is an element of.
        quantities: the identifiers of quantities by name.
        values: their arrays.
    """
    sources = {
        key: (quantities[called], values[called])
        for key, (called, _) in given.sources.items()
        if called in quantities and called in values
    }
    writer = _Numbers(sources, given.instance.precision)
    position = _position(given.index, values.get(name))
    mark = f" data-of={quantities[name]} data-at={position}"
    label = f"<mrow{mark} class=own>{symbol(name)}{_brackets(given.index)}</mrow>"
    written = given.instance.written
    terms = _origin(given, sources) if isinstance(written, Datum) else _terms(written, writer)
    pieces = [_math(f"{label}{_EQUALS if terms else ''}"), *terms]
    result = f"<mn{mark}>{number(given.instance.value, given.instance.precision)}</mn>"
    pieces.append(_math(f"{_EQUALS}{result}"))
    return f"<div class=written data-at={position}>{' '.join(pieces)}</div>"


def _origin(given: Element, sources: Mapping[str, tuple[str, np.ndarray]]) -> list[str]:
    """The name of the element that was only moved here; nothing where it has none."""
    datum, (called, bracket, index) = given.instance.written, given.moved_from.partition("[")
    if not called:
        return []
    assert isinstance(datum, Datum)
    of = sources[datum.name][0] if datum.name in sources else ""
    mark = f" data-of={of} data-at={datum.position}" if of else ""
    return [_math(f"<mrow{mark}>{symbol(called)}<mtext>{bracket}{index}</mtext></mrow>")]


class _Numbers(_Flat):
    """Numbers that say which element of which quantity they are."""

    def __init__(self, sources: Mapping[str, tuple[str, np.ndarray]], digits: int) -> None:
        super().__init__(digits=digits)
        self.sources = sources

    def datum_alone(self, part: Datum) -> str:
        mark = ""
        if part.name in self.sources:
            of, array = self.sources[part.name]
            mark = f" data-of={of}"
            # A formula may see its operand rearranged: then positions are not the quantity's own.
            if 0 <= part.position < array.size:
                own = array.reshape(-1)[part.position]
                mark += f" data-at={part.position}" if abs(own) == abs(part.value) else ""
        return f"<mn{mark}>{number(part.value, self.digits)}</mn>"


def _terms(part: Expression, writer: MathML) -> list[str]:
    """The terms of a sum, from left to right."""
    terms: list[str] = []
    while isinstance(part, Binary) and part.operator == "+":
        terms.append(f"{_PLUS}{writer.inside(part.right, tightness(part) + 1)}")
        part = part.left
    terms.append(writer.write(part))
    return [_math(term) for term in reversed(terms)]


def _brackets(index: tuple[int, ...]) -> str:
    return f"<mtext>[{', '.join(map(str, index))}]</mtext>" if index else ""


def _position(index: tuple[int, ...], value: np.ndarray | None) -> int:
    if value is None or len(index) != value.ndim:
        return 0
    return int(np.ravel_multi_index(index, value.shape)) if index else 0


def linked(text: str, quantities: Mapping[str, str]) -> str:
    """Escaped text, in which the names of quantities say which ones they are.

    >>> linked("z1 = linear(x)", {"z1": "s0"})
    '<span data-of=s0>z1</span> = linear(x)'
    """
    if not quantities:
        return escape(text)
    names = "|".join(re.escape(name) for name in sorted(quantities, key=len, reverse=True))
    pieces = re.split(rf"(?<![\w.])({names})(?![\w.′⁽])", text)
    return "".join(
        f"<span data-of={quantities[piece]}>{escape(piece)}</span>" if i % 2 else escape(piece)
        for i, piece in enumerate(pieces)
    )


def array(value: np.ndarray, of: str, name: str, index: tuple[int, ...] | None = None) -> str:
    """A number; or the corner of a matrix, with the element at `index` in it, norm and range."""
    if not value.size:
        return f"<p class=soft>empty, {shape(value)}</p>"
    if value.size == 1:
        return f"<output class=number data-of={of} data-at=0>{_long(value.item())}</output>"
    at = index if index is not None and len(index) == value.ndim else largest(value)
    leading = at[:-2]
    plane = value[leading] if value.ndim > 1 else value[None]
    row, column = (at[-2] if value.ndim > 1 else 0), at[-1]
    start = int(np.ravel_multi_index(leading, value.shape[:-2])) * plane.size if leading else 0
    down, across = _some(plane.shape[0], row), _some(plane.shape[1], column, wide=len(plane) == 1)
    rows = []
    for i in down:
        cells = []
        for j in across:
            if i is None or j is None:
                cells.append(f"<td>{'⋱' if i is j else '⋮' if i is None else '⋯'}</td>")
                continue
            where = start + i * plane.shape[1] + j
            chosen = " class=own" if (i, j) == (row, column) and index is not None else ""
            cells.append(f"<td data-at={where}{chosen}>{_short(plane[i, j])}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    whole = ", ".join([*map(str, leading), ":", ":"]) if leading else ""
    part = f"<span class=soft>{escape(name)}[{whole}] =</span> " if whole else ""
    return (
        f'<div class=array>{part}<table role=table data-of={of} aria-label="{escape(name)}, '
        f'{shape(value)}">{"".join(rows)}</table></div><p class=soft>{measures(value)}</p>'
    )


def _some(count: int, wanted: int, *, wide: bool = False) -> list[int | None]:
    """The first indices, the wanted one and the last; None where some are left out.

    >>> _some(100, 50)
    [0, 1, 2, None, 50, None, 99]
    """
    first = SHOWN + 3 if wide else SHOWN
    if count <= first + 2:
        return list(range(count))
    shown = sorted({*range(first), wanted, count - 1})
    found: list[int | None] = [shown[0]]
    for before, here in pairwise(shown):
        found += [here] if here == before + 1 else [None, here]
    return found


def measures(value: np.ndarray) -> str:
    """Shape, norm and range, of floating-point numbers."""
    if value.dtype.kind != "f":
        return f"{shape(value)}, {value.dtype}"
    flat = value.astype(np.float64).reshape(-1)
    low, high = number(float(flat.min())), number(float(flat.max()))
    return f"{shape(value)}, norm {number(float(np.linalg.norm(flat)))}, from {low} to {high}"


def shape(value: np.ndarray) -> str:
    """
    >>> shape(np.zeros((3, 4)))
    '(3, 4)'
    """
    return str(value.shape) if value.shape else "one number"


def _short(value: np.generic) -> str:
    return number(float(value)) if value.dtype.kind == "f" else str(value)


def _long(value: object) -> str:
    return number(value, 6) if isinstance(value, float) else escape(str(value))

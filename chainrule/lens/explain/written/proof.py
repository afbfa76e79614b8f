"""The tear-out proof: a derivation as a script of plain arithmetic that anyone can run.

The script needs Python's standard library and nothing else. Every number in it is pinned: the
numbers of an array by their exact sum, which stands below them as a fraction; a constant by being
written twice. The elements that a derivation shows are recomputed from those that they were made
of, with every term of every sum, and so are, as far as there is room, those in turn.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np

from chainrule.lens.explain.derivation import Derivation, Element, Step
from chainrule.lens.explain.steps.forward import FormulaClaim
from chainrule.lens.explain.written.proof_code import (
    TIED,
    Code,
    NotCoveredError,
    Table,
    folded,
    functions,
    one_line,
)
from chainrule.ops.notation import Instance
from chainrule.ops.notation.tree import Datum

ROOM = 5_000
"""How many numbers are read at most to recompute what is not shown, but used."""


def script(derivation: Derivation) -> str:
    """The script."""
    return _Proof(derivation).text()


class _Proof:
    """Collects what each step needs, from the last to the first, then writes it in order."""

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self.variables = set(_reserved())
        self.tables: list[Table] = []
        self.known: dict[tuple[str, int], Table] = {}
        for name, array in derivation.given.items():
            self._open(name, np.asarray(array), None)
        self.of_step = {
            id(step): self._open(step.name, step.value, step)
            for step in derivation.steps
            if step.value is not None
        }
        self.room = ROOM
        self.not_covered: list[str] = []
        self.lines: dict[int, list[str]] = {}
        for step in reversed(derivation.steps):
            self.lines[id(step)] = self._proved(step)

    # Numbers

    def _open(
        self, label: str, array: np.ndarray, step: Step | None, *, known: bool = True
    ) -> Table:
        table = Table(label, self.variable(label), array, step, known)
        self.tables.append(table)
        self.known[label, id(array)] = table
        return table

    def variable(self, label: str) -> str:
        """A name of Python's for an array."""
        text = unicodedata.normalize("NFKC", label.replace("∂L/∂", "dL_d").replace("′", "_prime"))
        text = re.sub(r"\W", "_", text)
        text = text if text.isidentifier() else f"_{text}"
        number, found = 1, text
        while found in self.variables:
            number += 1
            found = f"{text}_{number}"
        self.variables.add(found)
        return found

    def table(self, label: str, array: np.ndarray) -> Table:
        """The table of an array: of equal arrays of one name there is one."""
        found = self.known.get((label, id(array)))
        if found is not None:
            return found
        for table in self.tables:
            if table.label == label and table.array.size == array.size:
                flat = table.array.reshape(-1)
                if np.array_equal(flat, array.reshape(-1), equal_nan=array.dtype.kind in "fc"):
                    self.known[label, id(array)] = table
                    return table
        return self._open(label, array, None, known=False)

    # Steps

    def _proved(self, step: Step) -> list[str]:
        """The lines that recompute a step's elements: those shown, and those that others use."""
        writer = Code(self.table, self.variable)
        lines: list[str] = []
        table = self.of_step.get(id(step))
        for element in step.elements:
            try:
                lines += writer.claim(*self._place(element, step), element)
            except NotCoveredError as missing:
                self.not_covered.append(f"{element.label(step.name)}: {missing}")
        if table is None:
            return lines
        shown = {p for t, p in writer.claimed if t is table}
        for position in sorted(table.stated - shown):
            made = _element_at(step, position)
            if self.room <= 0 or made is None:
                break
            try:
                lines += writer.claim(table, position, made, whole=True)
            except NotCoveredError:
                break
            self.room -= len(writer.reads)
        return lines

    def _place(self, element: Element, step: Step) -> tuple[Table, int]:
        """(the table that an element belongs into, where in it)."""
        table = self.of_step.get(id(step))
        if table is not None and table.array.ndim == len(element.index):
            return table, _position(element.index, table.array)
        own = self._open(element.label(step.name), np.asarray(element.instance.value), step)
        return own, 0

    # The script

    def text(self) -> str:
        dtype, exponent, smallest = _unit(self.derivation)
        lines = [_header(self.derivation), _ruler(), ""]
        lines += [
            f"# An operation, or a kernel, is off by at most four units in {dtype}'s last place.",
            f'UNIT = float.fromhex("0x1p{exponent}")',
            f'sure("the unit, which is written twice", UNIT == {2.0**exponent!r})',
            f"# {dtype}'s numbers below this one have fewer digits.",
            f'SMALLEST = float.fromhex("0x1p{smallest}")',
            f'sure("the smallest, which is written twice", SMALLEST == {2.0**smallest!r})',
            "",
            *_titled("What is given: the numbers as the network had them, to the last digit"),
        ]
        free = [table for table in self.tables if table.step is None and table.stated]
        for table in [table for table in free if table.known]:
            lines += table.lines()
        if taken := [table for table in free if not table.known]:
            lines += ["", *_titled("Intermediate values, which are taken as they are")]
        for table in taken:
            lines += table.lines()
        for step in self.derivation.steps:
            lines += self._step_lines(step)
        lines += ["", *_titled("What has been shown")]
        if self.not_covered:
            lines += ["# Not stated here, as plain arithmetic cannot recompute it:"]
            lines += [f"#   {one_line(entry)}" for entry in self.not_covered]
        results = [t.variable for t in self.tables if t.step is not None and t.stated]
        lines += [*folded(f"results{TIED}={TIED}[{', '.join(results)}]"), _END]
        return "\n".join(lines) + "\n"

    def _step_lines(self, step: Step) -> list[str]:
        tables = [table for table in self.tables if table.step is step and table.stated]
        if not tables:
            return []
        about = [step.title]
        about += [writing.plain() for writing in (step.named, step.matrix) if writing is not None]
        lines = ["", *(f"# {one_line(line)}" for line in dict.fromkeys(about))]
        for table in tables:
            lines += table.lines()
        return [*lines, *self.lines[id(step)]]


_END = """stated = sum(map(len, results))
proved = sum(len(table.proved) for table in results)
print(f"{len(asserted)} assertions hold; {proved} of the {stated} results listed are recomputed.")
open_ones = [table.name for table in results if len(table.proved) < len(table)]
if open_ones:
    print(f"The others, of {len(open_ones)} arrays, are taken as the network had them.")"""


def _element_at(step: Step, position: int) -> Element | None:
    """Another element of a step's value; None where the step cannot write it out."""
    assert step.value is not None
    index = tuple(int(i) for i in np.unravel_index(position, step.value.shape))
    for claim in step.claims:
        if isinstance(claim, FormulaClaim):
            origin = claim.origin(index)
            if origin is None:
                return claim.element(index)
            return Element(index, Instance(Datum(0.0), 0.0, origin=origin), claim.sources)
    for element in step.elements:
        origin = element.instance.origin
        if origin is not None and origin.index == element.index:
            moved = replace(element.instance, origin=replace(origin, index=index))
            return replace(element, index=index, instance=moved)
    return None


def _position(index: tuple[int, ...], array: np.ndarray) -> int:
    return int(np.ravel_multi_index(index, array.shape)) if index else 0


def _unit(derivation: Derivation) -> tuple[str, int, int]:
    """(the coarsest floating-point type of a derivation, the exponents of four of its units and of
    its smallest normal number)."""
    bits = {"float16": 10, "float32": 23, "float64": 52}
    names = {step.value.dtype.name for step in derivation.steps if step.value is not None}
    if "bfloat16" in names:
        return "bfloat16", 2 - 7, -126
    found = min((name for name in names if name in bits), key=bits.__getitem__, default="float64")
    return found, 2 - bits[found], {"float16": -14, "float32": -126, "float64": -1022}[found]


def _header(derivation: Derivation) -> str:
    about = f"""\
A tear-out proof, written by chainrule: {derivation.title}.

Run it with Python; it needs nothing but the standard library. It ends with a count of what holds,
or at the first thing that does not, with a status that is not zero.

It states the numbers of a network, and shows that they follow from one another by plain
arithmetic. The numbers of an array stand in a Table: each is written as the network had it, to the
last digit, under its indices, and the exact sum of all of them follows as a fraction, so that none
can be altered without being seen, not even one that is multiplied by nothing. A constant of a
formula is written twice. `follows` recomputes an element from the numbers that it was made of, and
compares, within what rounding in the network's arithmetic may explain; that, too, is computed, by
the class Real, along with each number."""
    lines = about.splitlines()
    return "\n".join(f"# {one_line(line)}".rstrip() for line in lines) + "\n"


@cache
def _ruler() -> str:
    """The text of ruler.py from its imports on."""
    text = (files(__package__) / "ruler.py").read_text(encoding="utf-8")
    return text[text.index("import functools") :].rstrip() + "\n\n"


def _reserved() -> set[str]:
    """Names that a table cannot have."""
    import builtins

    own = {"results", "stated", "proved", "open_ones"}
    return {*functions(), *keyword.kwlist, *vars(builtins), *own}


def _titled(title: str) -> list[str]:
    return [f"# {title}", ""]

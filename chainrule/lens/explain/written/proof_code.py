"""The code of a tear-out proof: tables of numbers, and what recomputes an element."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import Element, Step
from chainrule.ops.notation.evaluate import CONSTANTS
from chainrule.ops.notation.full import Full, InFull, Terms
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Datum,
    Expression,
    Name,
    Number,
    Rest,
    Taken,
    Unary,
)

MOST_READ = 1_000
"""Of how many numbers an element may be made that is recomputed from all of them; of another the
largest terms and the remainder are stated, as the derivation shows them."""
_WIDTH = 100
TIED = "\0"  # a space at which no line is folded
_FUNCTIONS = {
    "√": "sqrt", "abs": "fabs", "round": "nearest", "max": "larger", "min": "smaller",
    "Γ": "gamma", "logΓ": "lgamma", "gammaln": "lgamma", "ndtr": "Φ",
}  # fmt: skip
"""What the ruler calls a function of the notation, where it calls it something else."""
_REDUCTIONS = {
    "Σ": "total", "Π": "product", "max": "largest", "min": "least",
    "argmax": "where_largest", "argmin": "where_least",
}  # fmt: skip
_OPERATORS = {
    "+": "+", "-": "-", "·": "*", "/": "/", "^": "**", "=": "==", "≠": "!=", "<": "<", ">": ">",
    "≤": "<=", "≥": ">=",
}  # fmt: skip
_TIGHT = {"+": 2, "-": 2, "·": 3, "/": 3, "^": 5}  # comparisons 1; a sign 4
_ATOM = 9


class NotCoveredError(Exception):
    """Something that the ruler has no arithmetic for."""


@dataclass(eq=False)
class Table:
    """The numbers of one array that a proof states.

    Attributes:
        label: what the array is called.
        variable: what it is called in the script.
        array: the array.
        step: the step that it is the value of; None where it is given.
        known: whether it is given, or a step's value; another array is an intermediate value.
        stated: the positions of the elements that are stated.
    """

    label: str
    variable: str
    array: np.ndarray
    step: Step | None
    known: bool = True
    stated: set[int] = field(default_factory=set)

    def key(self, position: int) -> str:
        """What an element is called: its indices."""
        index = np.unravel_index(position, self.array.shape)
        return ",".join(str(int(i)) for i in index) or "value"

    @cached_property
    def flat(self) -> np.ndarray:
        """The elements in the order of their positions."""
        return self.array.reshape(-1)

    def lines(self) -> list[str]:
        numbers = {self.key(p): float(self.flat[p]) for p in sorted(self.stated)}
        exact = sum((Fraction(v) for v in numbers.values() if np.isfinite(v)), Fraction())
        entries = ", ".join(f'"{key}":{TIED}{value!r}' for key, value in numbers.items())
        rounding = "" if self.known else ", rounded"
        label = quoted(self.label)
        made = f'Table({label}, {{{entries}}}, "{exact}"{rounding})'
        return folded(f"{self.variable}{TIED}={TIED}{made}")


class Code:
    """Writes the expressions of one step.

    Args:
        table: gives the table of an array, by what it is called and the array.
        variable: gives a name of Python's that is not taken.
    """

    def __init__(
        self, table: Callable[[str, np.ndarray], Table], variable: Callable[[str], str]
    ) -> None:
        self.table, self.variable = table, variable
        self.defined: dict[tuple[str, int, int], str] = {}
        self.own: dict[tuple[str, int], str] = {}
        self.sources: Mapping[str, tuple[str, np.ndarray]] = {}
        self.reads: list[tuple[Table, int]] = []
        self.claimed: list[tuple[Table, int]] = []
        self.writers: dict[tuple[int, int], InFull] = {}

    def claim(
        self, table: Table, position: int, element: Element, *, whole: bool = False
    ) -> list[str]:
        """The lines that recompute one element, which is to be of all of its terms if `whole`."""
        if table.array.dtype.kind == "c":
            raise NotCoveredError("complex numbers")
        origin = element.instance.origin
        full = self._full(element, whole)
        lines, defined = [], dict(self.defined)
        self.sources, self.own, self.reads = element.sources, {}, []
        for made in full.definitions:
            key = (made.name, made.position, id(origin and origin.operands))
            if key not in defined:
                written = self.write(made.written)
                defined[key] = name = self.variable(f"{made.name}_{made.position}")
                lines += folded(f"{name}{TIED}={TIED}{written}")
            self.own[made.name, made.position] = defined[key]
        written = self.write(full.written)
        if isinstance(full.written, Datum) and not any(t.known for t, _ in self.reads):
            raise NotCoveredError("its formula is shown, and not written out")
        self.defined = defined
        for read, at in [*self.reads, (table, position)]:
            read.stated.add(at)
        self.claimed.append((table, position))
        return [*lines, *folded(f'{table.variable}.follows("{table.key(position)}", {written})')]

    def _full(self, element: Element, whole: bool) -> Full:
        """An element with every term; as it is shown, where that would be too many."""
        origin = element.instance.origin
        if origin is None:
            return Full(element.instance.written)
        key = (id(origin.operands), id(origin.statements))
        if key not in self.writers:
            self.writers[key] = InFull(origin)
        if self.writers[key].reads() > MOST_READ:
            if whole:
                raise NotCoveredError("too many terms")
            return Full(element.instance.written)
        return self.writers[key].element(origin.index)

    def write(self, part: Expression) -> str:
        writer: Callable[[Any], str] = getattr(self, f"_{type(part).__name__.lower()}")
        return writer(part)

    def _inside(self, part: Expression, least: int) -> str:
        text = self.write(part)
        return text if _tightness(part) >= least else f"({text})"

    def _number(self, part: Number) -> str:
        return _constant(float(part.text), part.text)

    def _name(self, part: Name) -> str:
        return _constant(CONSTANTS[part.name])

    def _datum(self, part: Datum) -> str:
        if isinstance(part.value, complex):
            raise NotCoveredError("complex numbers")
        if (part.name, part.position) in self.own:
            return self.own[part.name, part.position]
        source = self.sources.get(part.name)
        if source is None or part.position < 0:
            return _constant(float(part.value))
        table = self.table(source[0], source[1])
        if table.array.dtype.kind == "c":
            raise NotCoveredError("complex numbers")
        self.reads.append((table, part.position))
        text = f'{table.variable}["{table.key(part.position)}"]'
        # The first factor of a sum's term carries the sign of a difference.
        value = float(table.flat[part.position])
        return text if value == part.value or value != value else f"(-{text})"

    def _rest(self, part: Rest) -> str:
        return _constant(part.value)

    def _taken(self, part: Taken) -> str:
        condition = self.write(part.condition)
        if not part.holds:
            condition = f"opposite({condition})"
        return f"taken({self.write(part.value)}, {condition})"

    def _unary(self, part: Unary) -> str:
        if part.operator == "not":
            return f"opposite({self.write(part.operand)})"
        return f"-{self._inside(part.operand, 4)}"

    def _binary(self, part: Binary) -> str:
        if part.operator in ("and", "or"):
            name = "both" if part.operator == "and" else "either"
            return f"{name}({self.write(part.left)}, {self.write(part.right)})"
        tight = _tightness(part)
        left = self._inside(part.left, tight + (part.operator == "^" or tight == 1))
        right = self._inside(part.right, 4 if part.operator == "^" else tight + 1)
        return f"{left}{TIED}{_OPERATORS[part.operator]}{TIED}{right}"

    def _call(self, part: Call) -> str:
        name = _FUNCTIONS.get(part.function, part.function)
        if part.function in ("conj", "real"):
            return self.write(part.arguments[0])
        if name not in functions():
            raise NotCoveredError(f"the function {part.function}")
        (inside, *more) = part.arguments
        if name == "bitnot" and isinstance(inside, Datum) and isinstance(inside.value, bool):
            name = "opposite"
        if name == "log" and _is_sum_of_exponentials(inside):
            exponents = [term.arguments[0] for term in inside.terms]  # type: ignore[attr-defined]
            return f"log_sum_exp([{', '.join(map(self.write, exponents))}])"
        return f"{name}({', '.join(self.write(a) for a in (inside, *more))})"

    def _choice(self, part: Choice) -> str:
        # By a function, which has all of its arguments computed: the constants of the branch that
        # is not taken are asserted, too.
        parts = (part.then, part.condition, part.otherwise)
        return f"chosen({', '.join(map(self.write, parts))})"

    def _terms(self, part: Terms) -> str:
        return f"{_REDUCTIONS[part.word]}([{', '.join(self.write(t) for t in part.terms)}])"


def _is_sum_of_exponentials(part: Expression) -> bool:
    return (
        isinstance(part, Terms)
        and part.word == "Σ"
        and all(isinstance(term, Call) and term.function == "exp" for term in part.terms)
    )


def _tightness(part: Expression) -> int:
    """How tightly Python binds what a part is written as."""
    if isinstance(part, Unary) and part.operator == "-":
        return 4
    if isinstance(part, Binary) and part.operator in _OPERATORS:
        return _TIGHT.get(part.operator, 1)
    return _ATOM


def _constant(value: float, text: str = "") -> str:
    if not np.isfinite(value):
        return f"Real({value!r})"
    shown = int(value) if value == int(value) and abs(value) < 1e15 else value
    return f'number("{text or shown}",{TIED}{shown!r})'


@cache
def functions() -> frozenset[str]:
    """What the ruler computes."""
    from chainrule.lens.explain.written import ruler

    return frozenset(name for name in vars(ruler) if not name.startswith("_"))


def one_line(text: str) -> str:
    """Text that stays on its line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def quoted(text: str) -> str:
    return repr(one_line(text)).replace(" ", TIED)


def folded(line: str) -> list[str]:
    """A line of code folded behind the commas of its lists."""
    if len(line) <= _WIDTH:
        return [line.replace(TIED, " ")]
    lines = textwrap.wrap(
        line, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(TIED, " ") for line in lines]

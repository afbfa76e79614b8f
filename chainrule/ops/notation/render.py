"""Formulas as plain text, LaTeX and MathML: one walk, three ways to write each part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Datum,
    Expression,
    Flat,
    Name,
    Number,
    Reduce,
    Rest,
    Size,
    Statement,
    Subscript,
    Taken,
    Unary,
)

# How tightly an operator binds; what binds less tightly inside needs brackets.
_TIGHT = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "·": 6, "/": 6, "^": 9}
_COMPARE, _CONDITIONAL, _NEGATIVE, _REDUCTION, _ATOM = 4, 0, 7, 6, 10


def number(value: Any, digits: int = 4) -> str:
    """A number to so many digits, with a true minus sign; −0 is 0."""
    text = f"{value + 0.0:.{digits}g}" if isinstance(value, (float, np.floating)) else str(value)
    return text.replace("-", "−")


def tightness(part: Expression) -> int:
    """How tightly a part binds."""
    if isinstance(part, Binary):
        return _TIGHT.get(part.operator, _COMPARE)
    if isinstance(part, Unary):
        return _TIGHT["not"] if part.operator == "not" else _NEGATIVE
    if isinstance(part, (Choice, Taken)):
        return _CONDITIONAL
    return _REDUCTION if isinstance(part, Reduce) else _ATOM


def is_open(part: Expression) -> bool:
    """Whether a part ends in a reduction, which would reach over a factor written after it."""
    while isinstance(part, Binary) and part.operator == "·":
        part = part.right
    return isinstance(part, Reduce)


class Writer:
    """Writes expressions; a subclass says how each part looks."""

    def __init__(self, names: Mapping[str, str] | None = None, digits: int = 4) -> None:
        self.names = dict(names or {})
        self.digits = digits

    def write(self, part: Expression) -> str:
        return getattr(self, type(part).__name__.lower())(part)

    def inside(self, part: Expression, least: int) -> str:
        """A part in brackets if it binds less tightly than `least`."""
        text = self.write(part)
        tight = tightness(part)
        if isinstance(part, (Name, Subscript, Flat)) and "/" in self.names.get(part.name, ""):
            tight = _TIGHT["/"]  # ∂L/∂w
        return text if tight >= least else self.brackets(text)

    def brackets(self, text: str) -> str:
        return f"({text})"

    def left_of(self, part: Binary) -> str:
        """The left operand. Σ reaches over every factor to its right, unless brackets end it."""
        least = tightness(part)
        if part.operator in ("·", "/") and is_open(part.left):
            least = _ATOM
        elif least == _COMPARE:  # a < b < c is no comparison
            least += 1
        return self.inside(part.left, least)

    def statements(self, statements: tuple[Statement, ...]) -> str:
        return self.separator.join(self.statement(s) for s in statements)

    separator = "; "

    def statement(self, statement: Statement) -> str:
        return self.equation(self.write(statement.target), self.write(statement.value))

    def equation(self, left: str, right: str) -> str:
        return f"{left} = {right}"


class Plain(Writer):
    """One line of Unicode text, which the parser reads back."""

    _SIGNS: ClassVar = {"-": " − ", "+": " + ", "·": " · ", "/": " / ", "^": "^"}

    def number(self, part: Number) -> str:
        return part.text

    def name(self, part: Name) -> str:
        return self.names.get(part.name, part.name)

    def size(self, part: Size) -> str:
        return f"|{part.index}|"

    def subscript(self, part: Subscript) -> str:
        indices = ", ".join("…" if i is None else self.inside(i, _TIGHT["+"]) for i in part.indices)
        return f"{self.names.get(part.name, part.name)}[{indices}]"

    def flat(self, part: Flat) -> str:
        return f"{self.names.get(part.name, part.name)}⟨{part.index}⟩"

    def call(self, part: Call) -> str:
        return f"{part.function}({', '.join(self.alone(a) for a in part.arguments)})"

    def unary(self, part: Unary) -> str:
        sign = "not " if part.operator == "not" else "−"
        least = tightness(part) + (part.operator == "-")
        return sign + self.inside(part.operand, least)

    def binary(self, part: Binary) -> str:
        tight = tightness(part)
        if part.operator == "^":
            base = self.inside(part.left, tight + 1)
            if part.right in (Number("2"), Number("3")):
                return base + ("²" if part.right == Number("2") else "³")
            return f"{base}^{self.inside(part.right, _NEGATIVE)}"
        sign = self._SIGNS.get(part.operator, f" {part.operator} ")
        left = self.left_of(part)
        return (
            f"{left}{sign}{self.inside(part.right, tight + 1 if part.operator != '·' else tight)}"
        )

    def choice(self, part: Choice) -> str:
        parts = [self.inside(p, 1) for p in (part.then, part.condition)]
        return f"{parts[0]} if {parts[1]} else {self.write(part.otherwise)}"

    def reduce(self, part: Reduce) -> str:
        if part.condition is not None:
            below = f"{{{self.write(part.condition)}}}"
        else:
            below = part.indices[0] if len(part.indices) == 1 else f"{{{', '.join(part.indices)}}}"
        return f"{part.word}_{below} {self.inside(part.body, _REDUCTION)}"

    def datum(self, part: Datum) -> str:
        shown = self.datum_alone(part)
        return self.brackets(shown) if number(part.value, self.digits).startswith("−") else shown

    def datum_alone(self, part: Datum) -> str:
        """A number where it needs no brackets."""
        return number(part.value, self.digits)

    def alone(self, part: Expression) -> str:
        """A part that stands alone, as an argument of a function does."""
        return self.datum_alone(part) if isinstance(part, Datum) else self.write(part)

    def rest(self, part: Rest) -> str:
        return f"[{part.count:,} more terms: {number(part.value, self.digits)}]"

    def taken(self, part: Taken) -> str:
        """The branch that is taken, and why."""
        word = "as" if part.holds else "as not"
        return f"{self.alone(part.value)}, {word} {self.write(part.condition)}"


_GREEK = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",
    "η": r"\eta", "λ": r"\lambda", "μ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma",
    "τ": r"\tau", "φ": r"\varphi", "Φ": r"\Phi", "∞": r"\infty",
}  # fmt: skip

_SPECIAL = {
    **{c: rf"\{c}" for c in "_%#&${}"}, "\\": r"\ensuremath{\backslash}", "~": r"\ensuremath{\sim}",
    "^": r"\ensuremath{\wedge}",
}  # fmt: skip
_LOW_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def latex_name(name: str) -> str:
    """A name as LaTeX: digits at its end stand low, primes high; ∂L/∂w is a fraction.

    >>> latex_name("z1′"), latex_name("∂L/∂2.weight"), latex_name("δa1")
    ("z_{1}'", '\\\\frac{\\\\partial L}{\\\\partial \\\\mathrm{2.weight}}', '\\\\delta_{a_{1}}')
    """
    if name.startswith("∂L/∂"):
        return rf"\frac{{\partial L}}{{\partial {latex_name(name[4:])}}}"
    if name.startswith("δ") and len(name) > 1:
        return rf"\delta_{{{latex_name(name[1:])}}}"
    if of := re.fullmatch(r"(.+?)\((.+)\)", name):  # m̂(2.weight): the m̂ of a parameter
        return rf"{latex_name(of[1])}\left({latex_name(of[2])}\right)"
    if "\u0302" in name:
        return rf"\hat{{{latex_name(name.replace(chr(0x302), ''))}}}"
    name = name.translate(_LOW_DIGITS)
    found = re.fullmatch(r"(.*?)(\d*)(′*)(?:⁽([⁰¹²³⁴-⁹]+)⁾)?(²?)", name, re.DOTALL)
    assert found is not None
    head, tail, primes, times, square = found.groups()
    head = head.rstrip("_")
    letters = [_GREEK.get(c) or _SPECIAL.get(c, c) for c in head]
    text = "".join(letters)
    if " " in head:
        inside = (
            rf"\ensuremath{{{x}}}" if c in _GREEK else x for c, x in zip(head, letters, strict=True)
        )
        text = rf"\text{{{''.join(inside)}}}"
    elif len(head) > 1:
        text = rf"\mathrm{{{text}}}"
    text += f"_{{{tail}}}" if tail and head else tail
    power = "2" if square else f"({times.translate(_LOWERED)})" if times else ""
    return text + "'" * len(primes) + (f"^{{{power}}}" if power else "")


_LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def _starts_with_number(part: Expression) -> bool:
    """Whether a factor is, or begins with, a number: behind another, 2 3 would be read as 23."""
    if isinstance(part, Number):
        return True
    while isinstance(part, Binary):
        part = part.left
    return isinstance(part, Datum)


class Latex(Plain):
    """LaTeX source, for amsmath."""

    separator = r" \\ "
    _OPERATORS: ClassVar = {
        "+": " + ", "-": " - ", "·": r" \, ", "=": " = ", "≠": r" \ne ", "<": " < ", ">": " > ",
        "≤": r" \le ", "≥": r" \ge ", "and": r" \wedge ", "or": r" \vee ",
    }  # fmt: skip

    def brackets(self, text: str) -> str:
        return rf"\left({text}\right)"

    def _symbol(self, name: str) -> str:
        return latex_name(self.names.get(name, name))

    def name(self, part: Name) -> str:
        return self._symbol(part.name)

    def size(self, part: Size) -> str:
        return rf"\lvert {self._symbol(part.index)} \rvert"

    def subscript(self, part: Subscript) -> str:
        indices = ",".join(r"\dots" if i is None else self.write(i) for i in part.indices)
        return f"{{{self._symbol(part.name)}}}_{{{indices}}}"

    def flat(self, part: Flat) -> str:
        return rf"{self._symbol(part.name)}\langle {part.index} \rangle"

    def call(self, part: Call) -> str:
        inside = ", ".join(self.alone(a) for a in part.arguments)
        if part.function in ("√", "sqrt"):
            return rf"\sqrt{{{inside}}}"
        if part.function == "abs":
            return rf"\left\lvert {inside} \right\rvert"
        name = part.function.replace("_", r"\_")
        return rf"\operatorname{{{name}}}\left({inside}\right)"

    def unary(self, part: Unary) -> str:
        sign = r"\lnot " if part.operator == "not" else "-"
        return sign + self.inside(part.operand, tightness(part))

    def binary(self, part: Binary) -> str:
        tight = tightness(part)
        if part.operator == "/":
            return rf"\frac{{{self.write(part.left)}}}{{{self.write(part.right)}}}"
        if part.operator == "^":
            return f"{{{self.inside(part.left, _ATOM)}}}^{{{self.write(part.right)}}}"
        left = self.left_of(part)
        right = self.inside(part.right, tight + 1 if part.operator != "·" else tight)
        dotted = part.operator == "·" and _starts_with_number(part.right)
        return left + (r" \cdot " if dotted else self._OPERATORS[part.operator]) + right

    def choice(self, part: Choice) -> str:
        rows = rf"{self.write(part.then)} & {self.write(part.condition)} \\ "
        return rf"\begin{{cases}} {rows}{self.write(part.otherwise)} & \text{{else}} \end{{cases}}"

    def reduce(self, part: Reduce) -> str:
        sign = {"Σ": r"\sum", "Π": r"\prod"}.get(part.word, rf"\{part.word}")
        if part.word.startswith("arg"):
            sign = rf"\operatorname*{{arg\,{part.word[3:]}}}"
        below = ",".join(self._symbol(i) for i in part.indices)
        if part.condition is not None:
            below = self.write(part.condition)
        return f"{sign}_{{{below}}} {self.inside(part.body, _REDUCTION)}"

    def datum_alone(self, part: Datum) -> str:
        return number(part.value, self.digits).replace("−", "-")

    def rest(self, part: Rest) -> str:
        shown = number(part.value, self.digits).replace("−", "-")
        return rf"\underbrace{{{shown}}}_{{\text{{{part.count:,} more terms}}}}"

    def taken(self, part: Taken) -> str:
        word = "as" if part.holds else "as not"
        condition = self.write(part.condition)
        return rf"{self.write(part.value)} \quad\text{{{word} }} {condition}"


class MathML(Plain):
    """Presentation MathML, which browsers draw by themselves."""

    separator = '<mspace width="1.5em"/>'

    def brackets(self, text: str) -> str:
        return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"

    def equation(self, left: str, right: str) -> str:
        return f"<mrow>{left}<mo>=</mo>{right}</mrow>"

    def number(self, part: Number) -> str:
        return f"<mn>{part.text}</mn>"

    def _symbol(self, name: str) -> str:
        shown = self.names.get(name, name)
        if shown.endswith("²"):
            return f"<msup><mi>{escape(shown[:-1])}</mi><mn>2</mn></msup>"
        return f"<mi>{escape(shown)}</mi>"

    def name(self, part: Name) -> str:
        return self._symbol(part.name)

    def size(self, part: Size) -> str:
        return f"<mrow><mo>|</mo>{self._symbol(part.index)}<mo>|</mo></mrow>"

    def subscript(self, part: Subscript) -> str:
        indices = "<mo>,</mo>".join(
            "<mo>…</mo>" if i is None else self.write(i) for i in part.indices
        )
        return f"<msub>{self._symbol(part.name)}<mrow>{indices}</mrow></msub>"

    def flat(self, part: Flat) -> str:
        return f"<mrow>{self._symbol(part.name)}<mo>⟨</mo><mi>{part.index}</mi><mo>⟩</mo></mrow>"

    def call(self, part: Call) -> str:
        inside = "<mo>,</mo>".join(self.alone(a) for a in part.arguments)
        if part.function in ("√", "sqrt"):
            return f"<msqrt>{inside}</msqrt>"
        if part.function == "abs":
            return f"<mrow><mo>|</mo>{inside}<mo>|</mo></mrow>"
        return f"<mrow><mi>{part.function}</mi>{self.brackets(inside)}</mrow>"

    def unary(self, part: Unary) -> str:
        sign = "¬" if part.operator == "not" else "−"
        return f"<mrow><mo>{sign}</mo>{self.inside(part.operand, tightness(part))}</mrow>"

    def binary(self, part: Binary) -> str:
        tight = tightness(part)
        if part.operator == "/":
            above, below = self.write(part.left), self.write(part.right)
            return f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"
        if part.operator == "^":
            base = self.inside(part.left, _ATOM)
            return f"<msup><mrow>{base}</mrow><mrow>{self.write(part.right)}</mrow></msup>"
        left = self.left_of(part)
        right = self.inside(part.right, tight + 1 if part.operator != "·" else tight)
        sign = "−" if part.operator == "-" else escape(part.operator)
        return f"<mrow>{left}<mo>{sign}</mo>{right}</mrow>"

    def choice(self, part: Choice) -> str:
        def row(value: str, condition: str) -> str:
            return f"<mtr><mtd>{value}</mtd><mtd>{condition}</mtd></mtr>"

        first = row(self.write(part.then), f"<mtext>if&#160;</mtext>{self.write(part.condition)}")
        second = row(self.write(part.otherwise), "<mtext>else</mtext>")
        return f"<mrow><mo>{{</mo><mtable>{first}{second}</mtable></mrow>"

    def reduce(self, part: Reduce) -> str:
        below = "<mo>,</mo>".join(self._symbol(i) for i in part.indices)
        if part.condition is not None:
            below = self.write(part.condition)
        sign = part.word.replace("arg", "arg ")
        tag = "mo" if part.word in "ΣΠ" else "mi"
        body = self.inside(part.body, _REDUCTION)
        return f"<mrow><munder><{tag}>{sign}</{tag}><mrow>{below}</mrow></munder>{body}</mrow>"

    def datum_alone(self, part: Datum) -> str:
        shown = number(part.value, self.digits)
        if not part.name:
            return f"<mn>{shown}</mn>"
        name = quoteattr(self.names.get(part.name, part.name))
        return f'<mn data-of={name} data-at="{part.position}">{shown}</mn>'

    def rest(self, part: Rest) -> str:
        return (
            f"<mrow><mo>[</mo><mtext>{part.count:,} more terms:&#160;</mtext>"
            f"<mn>{number(part.value, self.digits)}</mn><mo>]</mo></mrow>"
        )

    def taken(self, part: Taken) -> str:
        word = "as" if part.holds else "as not"
        return (
            f"<mrow>{self.write(part.value)}<mtext>, {word}&#160;</mtext>"
            f"{self.write(part.condition)}</mrow>"
        )


_MATH = '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"><mrow>'


def mathml(statements: tuple[Statement, ...], names: Any) -> str:
    """A whole <math> element."""
    return f"{_MATH}{MathML(names).statements(statements)}</mrow></math>"

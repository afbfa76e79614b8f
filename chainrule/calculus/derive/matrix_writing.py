"""Matrix notation written as plain text and as LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from chainrule.calculus.derive.matrix_tree import (
    Diagonal,
    Function,
    Hadamard,
    Identity,
    Inverse,
    Matrix,
    Norm,
    Number,
    Ones,
    Plus,
    Power,
    Relation,
    Scaled,
    Symbol,
    Times,
    Trace,
    Transposed,
    Verbatim,
    children,
    power,
    size,
    transposes,
)
from chainrule.calculus.derive.terms import magnitude

_SUM, _PRODUCT, _JUXTAPOSED, _RAISED, _ATOM = 1, 2, 3, 4, 5
_TIGHTNESS = {
    Plus: _SUM, Scaled: _PRODUCT, Hadamard: _PRODUCT, Times: _JUXTAPOSED, Transposed: _RAISED,
    Power: _RAISED, Inverse: _RAISED,
}  # fmt: skip
_SUPERSCRIPT = str.maketrans("0123456789-−/.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻ᐟ·")


def number(value: Number) -> str:
    """A positive number as it is written: a whole one, a decimal, a fraction, a root."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        decimal = f"{float(value):.6g}"
        short = Fraction(decimal) == value and len(decimal) <= 6
        return decimal if short else f"{value.numerator}/{value.denominator}"
    above, below = closed(value)
    return f"{above}/{below}" if below else above


def closed(value: float) -> tuple[str, str]:
    """(above, below) of a number that is a root of a small fraction, perhaps times π or 1/π: 1/√3,
    √(2/π); of others (the decimal, "")."""
    for above, below in (("", ""), ("π", ""), ("", "π")):
        square = value * value / (math.pi if above else 1) * (math.pi if below else 1)
        found = Fraction(square).limit_denominator(12) if 0 < square < 1e6 else Fraction(0)
        if found and abs(float(found) - square) <= 1e-14 * square:
            under = _root(found.denominator, below)
            return _root(found.numerator, above), "" if under == "1" else under
    return f"{value:.6g}", ""


def _root(n: int, times: str) -> str:
    """√n, or √(nπ)."""
    whole = math.isqrt(n)
    if whole * whole == n:
        return f"{whole if whole > 1 else ''}√{times}" if times else str(whole)
    return f"√({n}{times})" if times or n > 9 else f"√{n}"


class Plain:
    """One line of Unicode text."""

    one_vector, minus, dot = "𝟏", "−", " ⊙ "

    def __init__(self, names: dict[str, str] | None = None) -> None:
        self.names = names or {}

    def write(self, part: Matrix) -> str:
        return getattr(self, type(part).__name__.lower())(part)

    def tightness(self, part: Matrix) -> int:
        return _TIGHTNESS.get(type(part), _ATOM)

    def inside(self, part: Matrix, least: int) -> str:
        text = self.write(part)
        return text if self.tightness(part) >= least else self.brackets(text)

    def brackets(self, text: str) -> str:
        return f"({text})"

    def number(self, value: Number) -> str:
        return number(value)

    def symbol(self, part: Symbol) -> str:
        return self.names.get(part.name, part.name)

    def verbatim(self, part: Verbatim) -> str:
        return part.plain

    def plus(self, part: Plus) -> str:
        if not part.parts:
            return "0"
        text = ""
        for c, term in sorted(part.parts, key=summand_order):
            if term is None:
                piece = self.number(magnitude(c))
            elif magnitude(c) == 1:
                piece = self.inside(term, _PRODUCT)
            else:
                piece = self.write(_with_number(magnitude(c), term))
            sign = f" {self.minus} " if c < 0 else " + "
            text += sign + piece if text else (self.minus if c < 0 else "") + piece
        return text

    def scaled(self, part: Scaled) -> str:
        sign = self.minus if part.number < 0 else ""
        figure, under = self.figures(magnitude(part.number), bool(part.bottom))
        pieces = [*part.top, *([] if part.body is None else [part.body])]
        alone = len(pieces) == 1 and not (figure or under or part.bottom)
        above = self.inside(pieces[0], _PRODUCT) if alone else self.joined(pieces)
        above = self.beside(figure, above) or "1"
        bottom = [*([under] if under else []), *([self.joined(part.bottom)] if part.bottom else [])]
        return sign + (
            self.fraction(above, self.beside(*bottom), pieces, part) if bottom else above
        )

    def figures(self, value: Number, divided: bool) -> tuple[str, str]:
        """(above, below) of a positive number in front; "" where there is none to write."""
        if not isinstance(value, (Fraction, int)):
            above, below = closed(value)
        else:
            above, below = str(value.numerator), str(value.denominator)
            decimal = number(Fraction(value))
            if not divided and "/" not in decimal and (above != "1" or value.denominator % 5 == 0):
                above, below = decimal, "1"
        return self.figure(above), self.figure(below)

    def figure(self, text: str) -> str:
        return "" if text == "1" else text

    def beside(self, *texts: str) -> str:
        return " ".join(t for t in texts if t)

    def fraction(self, above: str, below: str, pieces: Sequence[Matrix], part: Scaled) -> str:
        alone = len(part.bottom) == 1 and below == self.inside(part.bottom[0], _JUXTAPOSED)
        tight = alone and self.tightness(part.bottom[0]) != _JUXTAPOSED
        return f"{above}/{below}" if tight or not part.bottom else f"{above}/({below})"

    def joined(self, parts: Sequence[Matrix]) -> str:
        """Factors side by side; a space where they would run together."""
        text = ""
        for k, part in enumerate(parts):
            piece = self.inside(part, _JUXTAPOSED)
            if len(parts) > 1 and part.rank == 0 and isinstance(part, Times):
                piece = self.brackets(piece)
            if text and (_wordy(parts[k - 1]) or _wordy(part) or text[-1].isdigit()):
                text += " "
            text += piece
        return text

    def times(self, part: Times) -> str:
        return self.joined(part.parts)

    def hadamard(self, part: Hadamard) -> str:
        above = self.dot.join(self.inside(p, _JUXTAPOSED) for p in part.parts) or self.number(
            Fraction(1)
        )
        if not part.bottom:
            return above
        below = self.dot.join(self.inside(p, _JUXTAPOSED) for p in part.bottom)
        if len(part.bottom) > 1:
            below = self.brackets(below)
        if len(part.parts) > 1:
            above = self.brackets(above)
        return self.quotient(above, below)

    def quotient(self, above: str, below: str) -> str:
        return f"{above} / {below}"

    def transposed(self, part: Transposed) -> str:
        if isinstance(part.part, Inverse):
            return self.inside(part.part.part, _ATOM) + "⁻ᵀ"
        return self.inside(part.part, _ATOM) + "ᵀ"

    def inverse(self, part: Inverse) -> str:
        return self.inside(part.part, _ATOM) + "⁻¹"

    def power(self, part: Power) -> str:
        if part.exponent == Fraction(1, 2):
            return "√" + self.inside(part.part, _ATOM)
        if part.exponent < 0:
            return self.quotient(
                self.number(Fraction(1)), self.inside(power(part.part, -part.exponent), _RAISED)
            ).replace(" / ", "/")
        return self.inside(part.part, _ATOM) + self.raised(part.exponent)

    def ones(self, part: Ones) -> str:
        return self.one_vector

    def identity(self, part: Identity) -> str:
        return "I"

    def diagonal(self, part: Diagonal) -> str:
        return f"diag({self.write(part.part)})"

    def trace(self, part: Trace) -> str:
        return f"tr({self.write(part.part)})"

    def norm(self, part: Norm) -> str:
        if part.exponent < 0:
            return f"{self.number(1)}/{self.norm(Norm(0, part.part, -part.exponent))}"
        return f"‖{self.write(part.part)}‖" + self.raised(part.exponent)

    def raised(self, exponent: Number) -> str:
        if exponent == 1:
            return ""
        text = self.number(exponent)
        return text.translate(_SUPERSCRIPT) if text.isdigit() else f"^({text})"

    def function(self, part: Function) -> str:
        if part.name == "abs":
            return f"|{self.write(part.parts[0])}|"
        if part.name == "sqrt":
            return f"√{self.inside(part.parts[0], _ATOM)}"
        if part.name == "getitem" and len(part.parts) == 1:
            return self.inside(part.parts[0], _ATOM) + part.settings.removeprefix("; ")
        inside = ", ".join(self.write(p) for p in part.parts)
        return f"{part.name}({inside}{part.settings})"

    def relation(self, part: Relation) -> str:
        return f"[{self.write(part.left)} {part.sign} {self.write(part.right)}]"


def _with_number(size: Number, term: Matrix) -> Scaled:
    if isinstance(term, Scaled):
        return Scaled(term.rank, size * term.number, term.top, term.body, term.bottom)
    return Scaled(term.rank, size, (), term, ())


@lru_cache(maxsize=10_000)  # what is sorted at each level would be written again at each
def _plainly(part: Matrix) -> str:
    return Plain().write(part)


def scalar_order(part: Matrix) -> tuple:
    return (size(part), _plainly(part))


def summand_order(item: tuple[Number, Matrix | None]) -> tuple:
    """Positive summands first; of them whole numbers and I, then what is long: I + Wx + b + 0.5."""
    c, part = item
    if part is None:
        return (c < 0, 0 if Fraction(c).denominator == 1 else 2, 0, 0, "")
    first = isinstance(part, Identity)
    return (c < 0, int(not first), -bulk(part), transposes(part), _plainly(part))


def bulk(part: Matrix) -> int:
    """How many parts there are in it, but for transposing."""
    return int(not isinstance(part, (Transposed, Ones))) + sum(bulk(p) for p in children(part))


def _wordy(part: Matrix) -> bool:
    """Whether a factor needs a space beside it."""
    if isinstance(part, (Transposed, Inverse, Power)):
        return _wordy(part.part)
    if isinstance(part, Symbol):
        return len(part.name) > 1
    return isinstance(part, (Function, Diagonal, Trace, Relation, Verbatim, Scaled))


_GREEK = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",
    "η": r"\eta", "λ": r"\lambda", "μ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma",
    "τ": r"\tau", "φ": r"\varphi", "ψ": r"\psi", "Γ": r"\Gamma", "Φ": r"\Phi", "Σ": r"\Sigma",
    "Δ": r"\Delta", "θ": r"\theta", "ν": r"\nu", "ω": r"\omega", "κ": r"\kappa",
}  # fmt: skip
_FUNCTIONS = {"exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "max", "min", "det"}
_RELATIONS = {"=": "=", "≠": r"\ne", "<": "<", ">": ">", "≤": r"\le", "≥": r"\ge"}


def latex_name(name: str) -> str:
    """A name as LaTeX: Greek letters, words upright, digits at the end as an index."""
    head = name.rstrip("0123456789").rstrip("_")
    tail = name[len(head) :].lstrip("_")
    if not head:
        return tail
    text = _GREEK.get(head, head)
    if len(head) > 1 and text == head:
        text = r"\mathrm{" + head.replace("_", r"\_") + "}"
    return f"{text}_{{{tail}}}" if tail else text


class Latex(Plain):
    """LaTeX source, for amsmath."""

    one_vector, minus, dot = r"\mathbf{1}", "-", r" \odot "

    def brackets(self, text: str) -> str:
        return rf"\left({text}\right)"

    def number(self, value: Number) -> str:
        text = self.figure(number(value)) or "1"
        if "/" in text:
            above, below = text.split("/")
            return rf"\frac{{{above}}}{{{below}}}"
        if "e" in text:
            digits, exponent = text.split("e")
            return rf"{digits} \cdot 10^{{{int(exponent)}}}"
        return text

    def figure(self, text: str) -> str:
        rooted = re.sub(r"√(?:\(([^)]*)\)|(.))", r"\\sqrt{\1\2}", super().figure(text))
        return rooted.replace("π", r"\pi")

    def symbol(self, part: Symbol) -> str:
        return latex_name(super().symbol(part))

    def verbatim(self, part: Verbatim) -> str:
        return part.latex

    def joined(self, parts: Sequence[Matrix]) -> str:
        least = _JUXTAPOSED if len(parts) > 1 else _SUM
        pieces = [self.inside(p, least) for p in parts]
        lone = [len(parts) > 1 and p.rank == 0 and isinstance(p, Times) for p in parts]
        return r" \, ".join(self.brackets(t) if b else t for t, b in zip(pieces, lone, strict=True))

    def beside(self, *texts: str) -> str:
        return r" \, ".join(t for t in texts if t)

    def fraction(self, above: str, below: str, pieces: Sequence[Matrix], part: Scaled) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def quotient(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def transposed(self, part: Transposed) -> str:
        if isinstance(part.part, Inverse):
            return f"{{{self.inside(part.part.part, _ATOM)}}}^{{-\\top}}"
        return f"{{{self.inside(part.part, _ATOM)}}}^{{\\top}}"

    def inverse(self, part: Inverse) -> str:
        return f"{{{self.inside(part.part, _ATOM)}}}^{{-1}}"

    def power(self, part: Power) -> str:
        if part.exponent == Fraction(1, 2):
            return rf"\sqrt{{{self.write(part.part)}}}"
        if part.exponent < 0:
            return self.quotient("1", self.write(power(part.part, -part.exponent)))
        return f"{{{self.inside(part.part, _ATOM)}}}" + self.raised(part.exponent)

    def diagonal(self, part: Diagonal) -> str:
        return rf"\operatorname{{diag}}\left({self.write(part.part)}\right)"

    def trace(self, part: Trace) -> str:
        return rf"\operatorname{{tr}}\left({self.write(part.part)}\right)"

    def norm(self, part: Norm) -> str:
        if part.exponent < 0:
            return self.quotient("1", self.norm(Norm(0, part.part, -part.exponent)))
        return rf"\left\lVert {self.write(part.part)} \right\rVert" + self.raised(part.exponent)

    def raised(self, exponent: Number) -> str:
        return "" if exponent == 1 else f"^{{{self.number(exponent)}}}"

    def function(self, part: Function) -> str:
        if part.name == "abs":
            return rf"\left\lvert {self.write(part.parts[0])} \right\rvert"
        if part.name == "sqrt":
            return rf"\sqrt{{{self.write(part.parts[0])}}}"
        if part.name == "getitem" and len(part.parts) == 1:
            return self.inside(part.parts[0], _ATOM) + part.settings.removeprefix("; ")
        name = part.name
        if name in _FUNCTIONS:
            head = rf"\{name}"
        elif name in _GREEK:
            head = _GREEK[name]
        else:
            head = rf"\operatorname{{{name.replace('_', chr(92) + '_')}}}"
        inside = ", ".join(self.write(p) for p in part.parts)
        settings = part.settings.replace("_", r"\_")
        return rf"{head}\left({inside}{settings}\right)"

    def relation(self, part: Relation) -> str:
        sign = _RELATIONS.get(part.sign, part.sign)
        return rf"\left[{self.write(part.left)} {sign} {self.write(part.right)}\right]"

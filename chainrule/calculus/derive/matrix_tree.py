"""Matrix notation: its parts (`matrix_writing` writes them).

A vector is a column. `rank` is 0 for a number, 1 for a vector, 2 for a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Number = Fraction | float | int


@dataclass(frozen=True)
class Matrix:
    """A part of an expression in matrix notation."""

    rank: int


@dataclass(frozen=True)
class Symbol(Matrix):
    name: str


@dataclass(frozen=True)
class Ones(Matrix):
    """𝟏, a vector of ones; how many."""

    size: int


@dataclass(frozen=True)
class Identity(Matrix):
    """I, and its size."""

    size: int


@dataclass(frozen=True)
class Plus(Matrix):
    """Σ c · part; a part that is None stands for 1 in every place."""

    parts: tuple[tuple[Number, Matrix | None], ...]


@dataclass(frozen=True)
class Scaled(Matrix):
    """number · top · … · body / (bottom · …); the body may be missing."""

    number: Number
    top: tuple[Matrix, ...]
    body: Matrix | None
    bottom: tuple[Matrix, ...]


@dataclass(frozen=True)
class Times(Matrix):
    """The matrix product of the parts."""

    parts: tuple[Matrix, ...]


@dataclass(frozen=True)
class Hadamard(Matrix):
    """The product element by element, divided by `bottom` element by element."""

    parts: tuple[Matrix, ...]
    bottom: tuple[Matrix, ...] = ()


@dataclass(frozen=True)
class Transposed(Matrix):
    part: Matrix


@dataclass(frozen=True)
class Diagonal(Matrix):
    """The diagonal matrix of a vector, or the vector on the diagonal of a matrix."""

    part: Matrix


@dataclass(frozen=True)
class Trace(Matrix):
    part: Matrix


@dataclass(frozen=True)
class Norm(Matrix):
    """‖x‖ to a power, of a matrix that of Frobenius."""

    part: Matrix
    exponent: Number


@dataclass(frozen=True)
class Power(Matrix):
    part: Matrix
    exponent: Number


@dataclass(frozen=True)
class Inverse(Matrix):
    part: Matrix


@dataclass(frozen=True)
class Function(Matrix):
    name: str
    """A function by its name; `term` is the operation that it is."""

    parts: tuple[Matrix, ...]
    settings: str = ""
    term: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Relation(Matrix):
    """[a > b]: 1 where it holds, else 0."""

    sign: str
    left: Matrix
    right: Matrix


@dataclass(frozen=True)
class Verbatim(Matrix):
    """Something written in index notation, in plain text and in LaTeX."""

    plain: str
    latex: str


# Making


def transposed(part: Matrix) -> Matrix:
    """The transpose, written with as few ᵀ as can be."""
    if isinstance(part, Transposed):
        return part.part
    if part.rank == 0 or (isinstance(part, (Identity, Diagonal)) and part.rank == 2):
        return part
    if isinstance(part, Times):
        return Times(part.rank, tuple(transposed(p) for p in reversed(part.parts)))
    if isinstance(part, Inverse) and transposed(part.part) == part.part:
        return part
    if isinstance(part, Plus) and part.rank == 2:
        inside = [(c, None if p is None else transposed(p)) for c, p in part.parts]
        turned = Plus(part.rank, tuple(inside))
        return turned if transposes(turned) < transposes(part) + 1 else Transposed(part.rank, part)
    if isinstance(part, Scaled) and part.body is not None:
        return Scaled(part.rank, part.number, part.top, transposed(part.body), part.bottom)
    return Transposed(part.rank, part)


def times(rank: int, *parts: Matrix) -> Matrix:
    """The matrix product, of which products are one."""
    flat: list[Matrix] = []
    for part in parts:
        if isinstance(part, Identity):
            continue
        flat.extend(part.parts if isinstance(part, Times) else (part,))
    if not flat:
        return parts[0]
    return flat[0] if len(flat) == 1 else Times(rank, tuple(flat))


def power(part: Matrix, exponent: Number) -> Matrix:
    """A part to a power, element by element."""
    if isinstance(part, Norm):
        return Norm(0, part.part, part.exponent * exponent)
    return part if exponent == 1 else Power(part.rank, part, exponent)


def transposes(part: Matrix) -> int:
    """How many ᵀ of matrices are written in it."""
    own = int(isinstance(part, Transposed) and part.part.rank == 2)
    return own + sum(transposes(p) for p in children(part))


def size(part: Matrix) -> int:
    """How many parts there are in it, itself too."""
    return 1 + sum(size(p) for p in children(part))


def children(part: Matrix) -> list[Matrix]:
    """The parts of a part."""
    if isinstance(part, Plus):
        return [p for _, p in part.parts if p is not None]
    if isinstance(part, Scaled):
        body = [] if part.body is None else [part.body]
        return [*part.top, *body, *part.bottom]
    if isinstance(part, Hadamard):
        return [*part.parts, *part.bottom]
    if isinstance(part, (Times, Function)):
        return list(part.parts)
    if isinstance(part, (Transposed, Diagonal, Trace, Norm, Power, Inverse)):
        return [part.part]
    if isinstance(part, Relation):
        return [part.left, part.right]
    return []

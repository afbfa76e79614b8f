"""Matrix notation evaluated, by matrix algebra alone: what is written is what is meant.

Every part is a matrix here: a number has one row and one column, a vector is a column. No code is
shared with the evaluation of terms, but for the functions that a formula names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.calculus.derive.matrix_tree import (
    Diagonal,
    Function,
    Hadamard,
    Identity,
    Inverse,
    Matrix,
    Norm,
    Ones,
    Plus,
    Power,
    Relation,
    Scaled,
    Symbol,
    Times,
    Trace,
    Transposed,
)

_COMPARISONS: dict[str, Any] = {
    "=": np.equal, "≠": np.not_equal, "<": np.less, ">": np.greater, "≤": np.less_equal,
    "≥": np.greater_equal,
}  # fmt: skip


class NoMatrixValueError(Exception):
    """A part that stands for a stack of matrices, or is written in index notation."""


def value(part: Matrix, names: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """The value of an expression in the shape of the array that it stands for.

    Args:
        names: the values of its symbols.

    Raises:
        NoMatrixValueError: it is of stacks of matrices.
    """
    with np.errstate(all="ignore"):
        found = _value(part, names)
    rows = shape if len(shape) == 2 else (*shape, 1) if shape else (1, 1)
    return np.broadcast_to(found, rows).reshape(shape)


def _value(part: Matrix, names: Mapping[str, Any]) -> np.ndarray:
    def of(inside: Matrix) -> np.ndarray:
        return _value(inside, names)

    match part:
        case Symbol():
            return _symbol(part, names)
        case Ones():
            return np.ones((part.size, 1))
        case Identity():
            return np.eye(part.size)
        case Plus():
            parts = [float(c) * (1.0 if p is None else of(p)) for c, p in part.parts]
            return np.atleast_2d(sum(parts[1:], start=parts[0]) if parts else 0.0)
        case Scaled():
            found = float(part.number) * (np.ones((1, 1)) if part.body is None else of(part.body))
            for number in part.top:
                found = found * of(number)
            for number in part.bottom:
                found = found / of(number)
            return found
        case Times():
            first, *rest = (of(p) for p in part.parts)
            for factor in rest:
                first = first @ factor
            return first
        case Hadamard():
            found = np.ones((1, 1))
            for p in part.parts:
                found = found * of(p)
            for p in part.bottom:
                found = found / of(p)
            return found
        case Transposed():
            return of(part.part).T
        case Diagonal():
            inside = of(part.part)
            return np.diagflat(inside) if part.rank == 2 else np.diag(inside)[:, None]
        case Trace():
            return np.trace(of(part.part)).reshape(1, 1)
        case Norm():
            return (np.linalg.norm(of(part.part)) ** float(part.exponent)).reshape(1, 1)
        case Power():
            return of(part.part) ** float(part.exponent)
        case Inverse():
            return np.linalg.inv(of(part.part))
        case Relation():
            return _COMPARISONS[part.sign](of(part.left), of(part.right)).astype(np.float64)
        case Function(term=term) if term is not None:
            return _function(part, [of(p) for p in part.parts])
    raise NoMatrixValueError


def _symbol(part: Symbol, names: Mapping[str, Any]) -> np.ndarray:
    if part.name in names:
        found = np.asarray(names[part.name], np.float64)
    else:
        try:
            found = np.asarray(float(part.name.replace("−", "-").replace("∞", "inf")))
        except ValueError:
            raise NoMatrixValueError from None
    if found.ndim > 2:
        raise NoMatrixValueError
    return found if part.rank == 2 and found.ndim == 2 else found.reshape(-1, 1)


def _function(part: Function, inside: list[np.ndarray]) -> np.ndarray:
    """The operation that a function is, of what has been computed."""
    term = part.term
    if part.name == "onehot":
        return (inside[0] == np.arange(term.shape[-1])).astype(np.float64)
    if term.ndim > 2 or any(a.ndim > 2 for a in term.args):
        raise NoMatrixValueError
    kinds: dict[str, Any] = {"f": np.float64, "b": np.bool_, "i": np.int64, "u": np.int64}
    given = [
        _fitted(v, a.shape).astype(kinds[a.kind]) for v, a in zip(inside, term.args, strict=True)
    ]
    found = np.asarray(term.compute(given), np.float64)
    return found if found.ndim == 2 and part.rank == 2 else found.reshape(-1, 1)


def _fitted(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows = shape if len(shape) == 2 else (*shape, 1) if shape else (1, 1)
    return np.broadcast_to(found, rows).reshape(shape)

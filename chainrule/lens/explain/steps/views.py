"""Where the numbers that a formula reads stand in the arrays that the operation was given.

A formula looks at its operands through a view: an axis moved to the end, windows, a weight spread
over a batch. Looking at arrays that hold their own positions through the same view tells which
element of which operand each number is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.tensor.graph import OFF, recording
from chainrule.tensor.tensor import Tensor

RESULT = "="
"""What the result is called among the places."""


@dataclass(frozen=True, eq=False)
class Behind:
    """What stands behind a formula's arrays; of those that are computed, nothing does.

    Attributes:
        operand: for a formula's name, which operand its array is a view of.
        places: for a formula's name and for `RESULT`, the position of each element of its array in
            that operand, or in the value, unless it is that very array.
    """

    operand: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, np.ndarray] = field(default_factory=dict)

    def index(self, index: tuple[int, ...], value: np.ndarray) -> tuple[int, ...]:
        """Where the formula's result has what `value` has at an index."""
        places = self.places.get(RESULT)
        if places is None:
            return index
        flat = np.ravel_multi_index(index, value.shape) if index else 0
        (found,) = np.flatnonzero(places.reshape(-1) == flat)[:1]
        return tuple(int(i) for i in np.unravel_index(found, places.shape))


def behind(op: Any, operands: Sequence[Any], attrs: Mapping[str, Any], value: np.ndarray) -> Behind:
    """What stands behind the arrays of an operation's formula."""
    names = dict(zip(op.operand_names, range(len(operands)), strict=False))
    if op.formula_view is None:
        return Behind({k: i for k, i in names.items() if isinstance(operands[i], np.ndarray)})
    given = [*operands, value]
    actual, shaped = op.formula_view(*operands, y=value, **attrs)
    arrays = {k: v for k, v in {**actual, RESULT: shaped}.items() if isinstance(v, np.ndarray)}
    same = {name: i for i, v in enumerate(given) for name in arrays if arrays[name] is v}
    other = {name: array for name, array in arrays.items() if name not in same}
    found = _placed(op, given, attrs, other) if other else {}
    return Behind(
        {name: i for name, i in same.items() if name != RESULT}
        | {name: i for name, (i, _) in found.items() if name != RESULT},
        {name: places for name, (_, places) in found.items()},
    )


def _placed(
    op: Any, given: Sequence[Any], attrs: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[int, np.ndarray]]:
    """For the arrays of a formula that are views of given ones, (of which, the positions)."""
    starts = np.cumsum([0, *(np.size(v) if isinstance(v, np.ndarray) else 0 for v in given)])
    numbered = [
        np.arange(start, start + v.size, dtype=np.float64).reshape(v.shape)
        if isinstance(v, np.ndarray)
        else v
        for v, start in zip(given, starts[:-1], strict=True)
    ]
    with np.errstate(all="ignore"):
        seen, result = op.formula_view(*numbered[:-1], y=numbered[-1], **attrs)
    return {
        name: place
        for name, array in arrays.items()
        if (place := _place(array, {**seen, RESULT: result}[name], given, starts)) is not None
    }


def moved(
    op: Any, operands: Sequence[Any], attrs: Mapping[str, Any], value: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """(in which operand, at which position) each element of a value stands, too, of an operation
    that moves elements and computes nothing; None of another, or where there is more to it."""
    floats = [
        i for i, v in enumerate(operands) if isinstance(v, np.ndarray) and v.dtype.kind == "f"
    ]
    if not floats or not value.size or value.dtype.kind != "f":
        return None
    starts = np.cumsum([0, *(operands[i].size for i in floats)])
    numbered = list(operands)
    for i, start in zip(floats, starts[:-1], strict=True):
        size = operands[i].size
        numbered[i] = np.arange(start, start + size, dtype=np.float64).reshape(operands[i].shape)
    with recording(OFF), np.errstate(all="ignore"):
        given = [Tensor(v) if isinstance(v, np.ndarray) else v for v in numbered]
        try:
            seen = op.apply(given, dict(attrs)).numpy()
        except ChainruleError:  # it computes, and cannot with these: a matrix without an inverse
            return None
    whole = np.concatenate([operands[i].reshape(-1) for i in floats])
    inside = (seen >= 0) & (seen < len(whole)) & (seen == np.floor(seen))
    if seen.shape != value.shape or not inside.all():
        return None
    places = seen.astype(np.intp)
    if not np.array_equal(whole[places], value, equal_nan=True):
        return None
    which = np.searchsorted(starts, places, side="right") - 1
    return np.array(floats)[which], places - starts[which]


def _place(
    array: Any, seen: Any, given: Sequence[Any], starts: np.ndarray
) -> tuple[int, np.ndarray] | None:
    """(which of the given arrays an array is a view of, the positions); None where it is none."""
    if not isinstance(array, np.ndarray) or not array.size or np.shape(seen) != array.shape:
        return None
    at = int(np.searchsorted(starts, np.min(seen), side="right")) - 1
    if not 0 <= at < len(given) or not np.max(seen) < starts[at + 1]:
        return None
    places = seen - starts[at]
    behind = given[at].reshape(-1)[places.astype(np.intp)]
    return (
        (at, places) if np.array_equal(behind, array, equal_nan=array.dtype.kind in "fc") else None
    )

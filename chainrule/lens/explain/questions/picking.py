"""Which element of an array a person means."""

from __future__ import annotations

import difflib
import re
from typing import Any

from chainrule.errors import BoundsError, DataError, DTypeError
from chainrule.lens.explain.record import Recorded
from chainrule.tensor.shapes import is_whole


def units(unit: object) -> tuple[int, ...]:
    """One or several whole numbers as several."""
    units = unit if isinstance(unit, (tuple, list)) else (unit,)
    if not all(is_whole(u) for u in units):
        raise DTypeError(
            f"a unit is a whole number, or several, as (channel, row, column), not {unit!r}"
        )
    return tuple(int(u) for u in units)


def within(name: str, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
    """A place in an array, negative numbers counted from the end.

    Raises:
        BoundsError: it lies outside; the message says the range.
    """
    for axis, (i, size) in enumerate(zip(index, shape, strict=True)):
        if not -size <= i < size:
            what = f"example {i}" if axis == 0 and len(shape) > 1 else f"index {i} in axis {axis}"
            raise BoundsError(
                f"there is no {what}: {name} has the shape {shape}, and there are 0 … {size - 1}"
            )
    return tuple(i % size for i, size in zip(index, shape, strict=True))


def labels(inputs: Any, count: int, what: str) -> tuple[str, ...] | None:
    """What inputs are called, one name for each; None where no names were given.

    Raises:
        DTypeError: no sequence of names.
        DataError: as many are needed as there are inputs.
    """
    if inputs is None:
        return None
    try:
        names = tuple(str(name) for name in inputs)
    except TypeError:
        raise DTypeError(f"inputs are names, one for each input, not {inputs!r}") from None
    if len(names) != count:
        raise DataError(f"{len(names)} names were given for {what}, which has {count}")
    return names


def weight_named(recorded: Recorded, name: str) -> tuple[str, tuple[int, ...]]:
    """(the parameter, the place in it) that a name such as `2.weight[3, 17]` means.

    Raises:
        DataError: there is no such parameter, or the name has no place; it says which there are.
        BoundsError: the place is outside of the parameter.
        DTypeError: no text, or a complex parameter.
    """
    if not isinstance(name, str):
        raise DTypeError(f"a weight is named by text, such as '2.weight[3, 17]', not {name!r}")
    if not recorded.parameters:
        raise DataError(
            f"a {type(recorded.model).__name__} has no parameters, and so no weight {name!r}. "
            "Explain a module, whose parameters have names."
        )
    match = re.fullmatch(r"\s*([^\[\]]*?)\s*(?:\[([^\[\]]*)\])?\s*", name)
    parameter = match[1] if match else name
    if parameter not in recorded.parameters:
        known = list(recorded.parameters)
        near = difflib.get_close_matches(parameter, known, 3)
        listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
        raise DataError(
            f"there is no parameter {parameter!r}"
            + (f"; close are {', '.join(near)}" if near else "")
            + f". There are {listed}."
        )
    tensor = recorded.parameters[parameter]
    if tensor.dtype.kind == "c":
        raise DTypeError(f"{parameter} is {tensor.dtype}; one weight is explained of real numbers")
    assert match is not None
    texts = [t.strip() for t in (match[2] or "").split(",") if t.strip()]
    if len(texts) != tensor.ndim or not all(re.fullmatch(r"[+-]?\d+", t) for t in texts):
        last = ", ".join(str(n - 1) for n in tensor.shape)
        first = ", ".join("0" for _ in tensor.shape)
        raise DataError(
            f"{name!r} names no single weight: {parameter} has the shape {tensor.shape}, and its "
            f"weights are {parameter}[{first}] … {parameter}[{last}]"
        )
    index = []
    for axis, (text, size) in enumerate(zip(texts, tensor.shape, strict=True)):
        if not -size <= int(text) < size:
            raise BoundsError(
                f"{name!r} lies outside of {parameter}, which has the shape {tensor.shape}: the "
                f"index {text} of axis {axis} goes from 0 to {size - 1}"
            )
        index.append(int(text) % size)
    return parameter, tuple(index)

"""Writing values by name into parameters and buffers, all or nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import CheckpointError
from chainrule.tensor.cell import Cell
from chainrule.tensor.tensor import Tensor


class Incompatible(NamedTuple):
    """Names that the module has and the given values lack, and the other way round."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(
    target: str, cells: Mapping[str, Cell], values: Any, strict: bool = True
) -> Incompatible:
    """Write `values` into the cells of the same names. See `Module.load_state_dict`.

    Args:
        target: what is loaded into, for the message.
        cells: name → parameter or buffer.
        values: name → array, tensor, or PyTorch tensor.
    """
    if not isinstance(values, Mapping):
        raise CheckpointError(
            f"load_state_dict takes a dict from names to arrays, not {type(values).__name__}; "
            "of a module write module.state_dict(), of a file nn.read_arrays(path)"
        )
    missing = [name for name in cells if name not in values]
    unexpected = [name for name in values if name not in cells]
    arrays = {name: _array(name, values[name]) for name in cells if name in values}
    wrong = [_mismatch(name, cells[name], array) for name, array in arrays.items()]
    problems = [problem for problem in wrong if problem]
    if strict:
        problems += [f"{name!r} is missing{_close(name, unexpected)}" for name in missing]
        problems += [f"{name!r} is not expected{_close(name, missing)}" for name in unexpected]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise CheckpointError(
            f"the values do not fit {target}; nothing was loaded:{listed}"
            f"{_advice(cells, values, missing, unexpected)}"
        )
    for name, array in arrays.items():
        cells[name].assign(array)
    return Incompatible(missing, unexpected)


def _array(name: Any, value: Any) -> np.ndarray:
    if isinstance(value, Mapping):
        raise CheckpointError(
            f"{name!r} holds a dict and not an array; if that is the state dict, hand over "
            f"values[{name!r}]"
        )
    if not isinstance(value, Tensor) and hasattr(value, "detach"):
        value = value.detach()  # a PyTorch parameter
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{name!r} cannot be read as an array: {error}. A PyTorch tensor of bfloat16, or on "
            "another device, becomes one with value.cpu().float()."
        ) from None
    if array.dtype.kind not in "biufc" and array.dtype.name != "bfloat16":
        raise CheckpointError(f"{name!r} holds no numbers but {type(value).__name__}")
    return array


def _mismatch(name: str, cell: Cell, array: np.ndarray) -> str:
    if array.shape != cell.shape:
        turned = array.ndim == 2 and array.shape == cell.shape[::-1]
        hint = " (transposed? write value.T)" if turned else ""
        return f"{name!r} has the shape {array.shape}, and {cell.shape} is needed{hint}"
    if array.dtype.kind == "c" and cell.dtype.kind != "c":
        return f"{name!r} is {array.dtype}, which {cell.dtype} cannot hold"
    return ""


def _close(name: str, others: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), [str(other) for other in others], 1, 0.7)
    return f"; {near[0]!r} is close" if near else ""


def _advice(
    cells: Mapping[str, Cell], values: Mapping, missing: list[str], unexpected: list[str]
) -> str:
    """What to write, where the reason can be seen."""
    front = _prefix(values, cells)
    if front:
        cure = f"{{name.removeprefix({front!r}): a for name, a in values.items()}}"
        return f"\nThe values have {front!r} in front of each name. Write {cure}"
    front = _prefix(cells, values)
    if front:
        cure = f"{{{front!r} + name: a for name, a in values.items()}}"
        return f"\nThe module has {front!r} in front of each name. Write {cure}"
    if missing or unexpected:
        return (
            "\nThe values are of another architecture, or of another version of it. Build the "
            "same one, or take what fits with strict=False."
        )
    return "\nBuild the module with the sizes that it was saved with."


def _prefix(longer: Iterable[Any], shorter: Iterable[Any]) -> str:
    """What stands in front of each name in `longer`, where the rest is a name in `shorter`."""
    first = str(next(iter(longer), ""))
    for name in map(str, shorter):
        if first.endswith(f".{name}"):
            front = first.removesuffix(name)
            if {str(n) for n in longer} == {f"{front}{n}" for n in shorter}:
                return front
    return ""

"""Large operations run as machine code in eager, too: that of their own definition, compiled.

An operation that does enough work is handed to whoever can compile it, which is
`chainrule.compile.eager`. It is looked up by its name when the first such operation runs: the
operations do not depend on the compiler, and what is small never loads it. Which of the two serves
a call is decided by the operation, its attributes, shapes, dtypes and strides alone, so that equal
calls give equal bits. Machine code is made once for each kind of call, and kept on disk.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.tensor.graph import describe_only
from chainrule.tensor.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.ops.operation import Operation

PROVIDER = "chainrule.compile.eager"

SMALLEST = 1 << 13
"""Elements of all operands together, below which nothing is looked up."""
ENOUGH = 1 << 19
"""Operations from which on machine code pays: some tenths of a millisecond for NumPy."""
ENOUGH_PRODUCT = 1 << 24
"""The same for products, at which NumPy's library is as fast."""
KINDS = 64
"""Kinds of calls of one operation that are compiled; those that come later stay with NumPy, lest a
program whose shapes never repeat compiles for ever."""


class Native(Protocol):
    """An operation on operands of certain shapes, dtypes and strides, as machine code."""

    def run(self, values: Sequence[Any]) -> np.ndarray:
        """The output."""

    def pull(
        self, wanted: tuple[bool, ...], g: np.ndarray, values: Sequence[Any]
    ) -> list[np.ndarray | None]:
        """The cotangents of the wanted operands, None for the others."""


def native(op: Operation, values: Sequence[Any], attrs: dict[str, Any]) -> Native | None:
    """The machine code for a call, or None where NumPy is to do it."""
    size = 0
    for value in values:
        if isinstance(value, np.ndarray):
            size += value.size
    if size < SMALLEST:
        return None
    key = (*map(_kind, values), *attrs.items(), *map(type, attrs.values()))
    found = op.natives
    try:
        return found[key]
    except KeyError:
        pass
    except TypeError:  # an attribute that cannot be compared
        return None
    made = None
    room = sum(other is not None for other in found.values()) < KINDS
    if room and all(map(_taken, values)) and _enough(op, values, attrs):
        made = importlib.import_module(PROVIDER).native(op, values, attrs)
    return found.setdefault(key, made)


def _kind(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return type(value), value
    return value.shape, value.dtype.char, None if value.flags.c_contiguous else value.strides


def _taken(value: Any) -> bool:
    if not isinstance(value, np.ndarray):
        return True
    return value.dtype.kind in "biu" or value.dtype.char in "fd"


def _enough(op: Operation, values: Sequence[Any], attrs: dict[str, Any]) -> bool:
    operands = [
        Tensor(None, describe_only(v.shape, v.dtype)) if isinstance(v, np.ndarray) else v
        for v in values
    ]
    shape, dtype = op.shape(*operands, **attrs)
    if op._operations is None:
        work = math.prod(shape)
    else:
        work = op._operations(describe_only(shape, dtype), *operands, **attrs)
    return work >= (ENOUGH_PRODUCT if op.lower == "gemm" else ENOUGH)

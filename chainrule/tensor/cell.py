"""Cells: the only state that changes. Parameters, buffers and optimiser state are cells."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DTypeError, ShapeError
from chainrule.tensor.graph import state
from chainrule.tensor.tensor import Tensor


class Cell(Tensor):
    """A tensor with storage of its own, which never moves and is written in place.

    Writing raises `version`. A slice or reshape of the cell taken before keeps what it had, and a
    backward pass through a value that was saved at an older version is refused.

    Args:
        value: the first value; copied.
    """

    __slots__ = ("live_views", "version")

    def __init__(self, value: Any) -> None:
        if isinstance(value, Tensor):
            value = value._concrete("a cell")
        super().__init__(np.array(value, order="C"))
        self.version = 0
        self.live_views: list[weakref.ref[Tensor]] = []
        self._base = self

    def storage(self) -> np.ndarray:
        """The array to write into, after live views were given their own memory."""
        if state.tracer is not None:
            state.tracer.reads(self, "writing into the storage")
        self.part()
        assert self._value is not None
        return self._value

    def part(self) -> None:
        """Get ready for a write: live views are given their own memory, the version is raised."""
        for reference in self.live_views:
            view = reference()
            if view is not None and view._value is not None:
                view._value = view._value.copy()
                view._base = None
        self.live_views.clear()
        self.version += 1

    def assign(self, value: Any) -> None:
        """Write a new value of the same shape into the storage.

        Raises:
            ShapeError: the shapes differ.
            DTypeError: the value is not a number that the dtype can hold (complex into real).
        """
        if state.batches and isinstance(value, Tensor) and value._value is None:
            raise ChainruleError(
                f"a parameter or buffer of shape {self.shape} is written inside of a function "
                "under vmap, and each example would write another value. Layers that keep running "
                "statistics are used in eval() mode; or return the value from the function."
            )
        if state.tracer is not None:
            new = value if isinstance(value, Tensor) else Tensor(np.asarray(value))
            self._check(new)
            state.tracer.write(self, new)
            return
        if state.draws is not None and state.draws.again is not None:
            return  # a function that runs once more has written its state the first time
        array = value._concrete("assign") if isinstance(value, Tensor) else np.asarray(value)
        self._check(array)
        if np.may_share_memory(array, self._value):
            array = array.copy()
        np.copyto(self.storage(), array, casting="unsafe")

    def _check(self, value: Tensor | np.ndarray) -> None:
        if value.shape != self.shape:
            raise ShapeError(
                f"a value of shape {value.shape} cannot be assigned to a cell of {self.shape}"
            )
        if not np.can_cast(value.dtype, self.dtype, "same_kind") and value.dtype.kind not in "biuf":
            raise DTypeError(f"{value.dtype} cannot be assigned to a cell of {self.dtype}")

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write into a part of the storage; no derivative is recorded of this."""
        if state.tracer is not None:
            updated = state.tracer.lift(self).detach()
            updated[key] = value
            self.assign(updated)
            return
        if state.batches and isinstance(value, Tensor) and value._value is None:
            self.assign(value)  # which refuses it
        array = value._concrete("assign") if isinstance(value, Tensor) else np.asarray(value)
        whole = self._concrete("assign").copy()
        whole[key] = array
        self.assign(whole)

    def __deepcopy__(self, memo: dict) -> Cell:
        copied = self.__class__(self._value)
        copied.requires_grad = self.requires_grad
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> Any:
        return _rebuild, (self.__class__, self.numpy(copy=True), self.requires_grad)


def _rebuild(kind: type[Cell], value: np.ndarray, requires_grad: bool) -> Cell:
    cell = kind(value)
    cell.requires_grad = requires_grad
    return cell

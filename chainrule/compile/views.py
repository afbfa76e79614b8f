"""Where values lie in memory: buffers, and strided views of them, which cost nothing to make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(eq=False)
class Buffer:
    """A piece of memory.

    Attributes:
        kind: "arena" (between kernels), "input" (of this call), "storage" (a cell's or an
            optimiser's memory, which stays in place), "constant", "scalar" (numbers that the host
            computes before each call) or "output" (handed to the caller).
        nbytes: its size.
        source: what it is: the position of an input or scalar, the array of a storage or constant.
        offset: its place in the arena, once planned.
    """

    kind: str
    nbytes: int
    source: Any = None
    offset: int = -1


@dataclass(frozen=True)
class View:
    """A strided view of a buffer; `offset` and `strides` count elements of `dtype`."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    offset: int = 0

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie behind one another in row-major order."""
        return self.strides == packed(self.shape) or collapsed(self.shape, self.strides) == (1,)

    def lies(self, strides: tuple[int, ...]) -> bool:
        """Whether its elements lie as these strides say."""
        given = zip(self.strides, strides, self.shape, strict=True)
        return all(s == wanted for s, wanted, n in given if n != 1)

    def permute(self, axes: tuple[int, ...]) -> View:
        return replace(
            self,
            shape=tuple(self.shape[a] for a in axes),
            strides=tuple(self.strides[a] for a in axes),
        )

    def broadcast(self, shape: tuple[int, ...]) -> View:
        lead = len(shape) - len(self.shape)
        strides = tuple(
            0 if i < lead or self.shape[i - lead] == 1 != n else self.strides[i - lead]
            for i, n in enumerate(shape)
        )
        return replace(self, shape=shape, strides=strides)

    def reshape(self, shape: tuple[int, ...]) -> View | None:
        """The same elements in another shape; None where no strides describe that."""
        strides = _reshaped_strides(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)

    def flip(self, axes: tuple[int, ...]) -> View:
        offset, strides = self.offset, list(self.strides)
        for a in axes:
            offset += max(self.shape[a] - 1, 0) * strides[a]
            strides[a] = -strides[a]
        return replace(self, strides=tuple(strides), offset=offset)

    def index(self, pattern: tuple, shape: tuple[int, ...]) -> View:
        """What basic indexing with `pattern` (of `getitem`'s declaration) gives."""
        used = sum(p is not None and p is not Ellipsis for p in pattern)
        if Ellipsis not in pattern:
            pattern = (*pattern, Ellipsis)
        offset, strides, axis = self.offset, [], 0
        for p in pattern:
            if p is None:
                strides.append(0)
            elif p is Ellipsis:
                rest = len(self.shape) - used
                strides.extend(self.strides[axis : axis + rest])
                axis += rest
            elif isinstance(p, int):
                offset += (p % max(self.shape[axis], 1)) * self.strides[axis]
                axis += 1
            else:
                start, _, step = slice(*p).indices(self.shape[axis])
                offset += start * self.strides[axis]
                strides.append(step * self.strides[axis])
                axis += 1
        if 0 in shape:
            offset = self.offset
        return replace(self, shape=shape, strides=tuple(strides), offset=offset)


def packed(shape: tuple[int, ...], order: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Strides of elements without gaps, the axes from outermost to innermost in `order`."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(range(len(shape)) if order is None else order):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def collapsed(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides that remain where neighbouring axes that lie behind one another are made one."""
    found: list[int] = []
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if found and found[-1] == n * s:
            found[-1] = s
        else:
            found.append(s)
    return tuple(found) if found else (1,)


def axis_order(view: View) -> tuple[int, ...]:
    """Axes from outermost to innermost as they lie in memory; those of no stride stay in place."""
    axes = range(len(view.shape))
    if all(n == 1 or s == 0 for n, s in zip(view.shape, view.strides, strict=True)):
        return tuple(axes)
    keys = [
        -abs(s) if n != 1 and s else None for n, s in zip(view.shape, view.strides, strict=True)
    ]
    moving = sorted((a for a in axes if keys[a] is not None), key=lambda a: (keys[a], a))
    rest = iter(moving)
    return tuple(a if keys[a] is None else next(rest) for a in axes)


def _reshaped_strides(
    old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]
) -> tuple[int, ...] | None:
    if 0 in old:
        return packed(new)
    runs = [(n, s) for n, s in zip(old, strides, strict=True) if n != 1]
    result = [0] * len(new)
    i, j = 0, 0
    while j < len(new):
        if new[j] == 1:
            j += 1
            continue
        # A group of old axes and a group of new ones with equally many elements.
        have, want, first_old, first_new = 1, 1, i, j
        while True:
            if have == want and have != 1:
                break
            if have <= want:
                if i == len(runs):
                    return None
                have *= runs[i][0]
                i += 1
            else:
                want *= new[j]
                j += 1
        while j < len(new) and new[j] == 1:
            j += 1
        for (_, outer), (n, inner) in zip(
            runs[first_old : i - 1], runs[first_old + 1 : i], strict=True
        ):
            if outer != n * inner:
                return None
        step = runs[i - 1][1]
        for axis in reversed(range(first_new, j)):
            if new[axis] != 1:
                result[axis] = step
                step *= new[axis]
    return tuple(result)

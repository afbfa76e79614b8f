"""How reading and writing at a key run on many examples at once.

Where the index arrays are the same for all examples, the key begins with a slice of everything;
where each example has its own, with an index array that counts the examples. NumPy puts the axes
of index arrays in front if a slice stands between them, and else where the first one stands, so
some axes are moved to where an example has them.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from chainrule.ops.batching import spread, widened
from chainrule.ops.structure import moveaxis
from chainrule.tensor.tensor import Tensor

ARRAY = "array"  # stands in a key's pattern for the next index array
ALL = (None, None, None)  # the slice of everything


def get_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    """The rule of `getitem`."""
    (x, *arrays), pattern = operands, attrs["pattern"]
    if any(batched[1:]):
        x = x if batched[0] else spread(x, size)
        key, arrays, count = _each_key(arrays, batched[1:], pattern, size)
        place = _before_arrays(x.ndim - 1, pattern)
        return _move(op.apply((x, *arrays), {"pattern": key}), 1, 1 + place, count)
    found = op.apply((x, *arrays), {"pattern": (ALL, *pattern)})
    return _move(found, _in_front(pattern, arrays), 0, 1)


def add_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    """The rule of `add_at`."""
    (g, *arrays), pattern, shape = operands, attrs["pattern"], attrs["shape"]
    whole = {"shape": (size, *shape)}
    if any(batched[1:]):
        g = g if batched[0] else spread(g, size)
        key, arrays, count = _each_key(arrays, batched[1:], pattern, size)
        g = _move(g, 1 + _before_arrays(len(shape), pattern), 1, count)
        return op.apply((g, *arrays), {"pattern": key, **whole})
    g = _move(g, 0, _in_front(pattern, arrays), 1)
    return op.apply((g, *arrays), {"pattern": (ALL, *pattern), **whole})


def set_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    """The rule of `setitem`."""
    (x, v, *arrays), pattern = operands, attrs["pattern"]
    x = x if batched[0] else spread(x, size)
    v = v if batched[1] else spread(v, 1)
    used = builtins.sum(p is not None and p is not Ellipsis for p in pattern)
    kept = builtins.sum(p is None or isinstance(p, tuple) for p in pattern)
    count = max((a.ndim - b for a, b in zip(arrays, batched[2:], strict=True)), default=0)
    v = widened(v, x.ndim - 1 - used + kept + count + 1 - v.ndim)
    if any(batched[2:]):
        key, arrays, count = _each_key(arrays, batched[2:], pattern, size)
        v = _move(v, 1 + _before_arrays(x.ndim - 1, pattern), 1, count)
        return op.apply((x, v, *arrays), {"pattern": key})
    v = _move(v, 0, _in_front(pattern, arrays), 1)
    return op.apply((x, v, *arrays), {"pattern": (ALL, *pattern)})


def _each_key(
    arrays: Any, batched: Any, pattern: tuple, size: int
) -> tuple[tuple, list[Tensor], int]:
    """(pattern, index arrays, how many axes they have for one example) of the key that takes from
    each example what its own arrays say."""
    count = max(a.ndim - b for a, b in zip(arrays, batched, strict=True))
    counting = Tensor(np.arange(size).reshape(size, *(1,) * count))
    own = [widened(a, count + 1 - a.ndim) if b else a for a, b in zip(arrays, batched, strict=True)]
    return (ARRAY, *pattern), [counting, *own], count


def _before_arrays(ndim: int, pattern: tuple) -> int:
    """Behind how many axes of the result those of the index arrays stand."""
    if _apart(pattern):
        return 0
    first = next(i for i, p in enumerate(pattern) if p == ARRAY or isinstance(p, int))
    used = builtins.sum(p is not None and p is not Ellipsis for p in pattern)
    return builtins.sum(ndim - used if p is Ellipsis else 1 for p in pattern[:first])


def _in_front(pattern: tuple, arrays: Any) -> int:
    """How many axes of shared index arrays NumPy puts in front of the examples' axis."""
    return max(a.ndim for a in arrays) if arrays and _apart(pattern) else 0


def _apart(pattern: tuple) -> bool:
    """Whether something stands between the index arrays, of which whole numbers are some."""
    places = [i for i, p in enumerate(pattern) if p == ARRAY or isinstance(p, int)]
    return places[-1] - places[0] >= len(places)


def _move(x: Tensor, source: int, target: int, count: int) -> Tensor:
    """So many axes of x, moved to begin at `target`."""
    if source == target or not count:
        return x
    return moveaxis(x, range(source, source + count), range(target, target + count))

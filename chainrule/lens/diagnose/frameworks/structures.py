"""What a model gives back where it is more than one tensor: a tuple, a dictionary, a dataclass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from chainrule.errors import DTypeError


def leaves(thing: Any, kind: type) -> Iterator[Any]:
    """The tensors of a kind in nested tuples, lists, dictionaries, and dataclasses."""
    if isinstance(thing, kind):
        yield thing
    elif isinstance(thing, Mapping):
        for part in thing.values():
            yield from leaves(part, kind)
    elif isinstance(thing, (tuple, list)):
        for part in thing:
            yield from leaves(part, kind)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield from leaves(getattr(thing, field.name, None), kind)


def joined(parts: Sequence[Any], kind: type, join: Callable[[list[Any]], Any]) -> Any:
    """What a model gave for several batches, as it would have given it for all rows."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, kind):
        return join(list(parts))
    if isinstance(first, Mapping):
        whole: Any = copy.copy(first)
        for key in first:
            whole[key] = joined([p[key] for p in parts], kind, join)
        return whole
    if isinstance(first, (tuple, list)):
        each = [joined(list(p), kind, join) for p in zip(*parts, strict=True)]
        return type(first)(*each) if hasattr(first, "_fields") else type(first)(each)
    if is_dataclass(first) and not isinstance(first, type):
        names = [f.name for f in fields(first) if f.init]
        return replace(
            first, **{n: joined([getattr(p, n) for p in parts], kind, join) for n in names}
        )
    return first


def one_number(loss: Any, kind: type) -> Any:
    """What a loss gave, if it is a tensor.

    Raises:
        DTypeError: it is none.
    """
    if isinstance(loss, kind):
        return loss
    raise DTypeError(
        f"the loss gives {type(loss).__name__}, not a tensor of one number: a derivative goes back "
        "through tensors only; return it without .item(), float() or NumPy, and alone"
    )


def prediction_among(shapes: Sequence[tuple[int, ...]], y: np.ndarray) -> int:
    """Which of several outputs is the prediction of the targets: the one of their shape, or for
    labels with an axis of as many classes as occur; the first one where that leaves a choice.

    >>> prediction_among([(8, 16), (8, 3)], np.array([0, 1, 2, 0, 1, 2, 0, 1]))
    1
    """
    y = np.asarray(y)
    if y.dtype.kind in "iu" and y.size:
        classes = int(y.max()) + 1
        wanted = [{(*y.shape, classes), (len(y), classes, *y.shape[1:])}, {y.shape}]
    else:
        wanted = [{y.shape}]
    for fitting in wanted:
        for place, shape in enumerate(shapes):
            if shape in fitting:
                return place
    return 0

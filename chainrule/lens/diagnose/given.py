"""What a user hands over as data, as two arrays with a row for each example.

What cannot be used is a finding, too: `Unusable` carries it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.lens.diagnose.finding import Change, Finding, Measured

MOST_BYTES = 2**30
"""Of the rows of a loader or a data set, no more than this are taken."""
MOST_SECONDS = 10.0
"""Nor is read from them for longer; one that draws its rows never ends."""


class Unusable(Exception):  # noqa: N818 - it carries a finding, and is no error
    """Nothing can be trained on what was given; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.claim)
        self.finding = finding


def fault(rule: str, where: str, claim: str, cause: str, instead: str, *evidence: Measured
          ) -> Unusable:  # fmt: skip
    """A finding about what was given, which leaves nothing to train; `instead`: what to write."""
    remedy = Change(instead, lambda setup: setup, kind=f"write:{rule}")
    return Unusable(Finding(rule, where, claim, evidence, cause, "error", 1.0, (remedy,)))


def called(thing: Any) -> str:
    """What was given, in words: a class itself is often given for one of its objects."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__


def sensible(loss: Any, optimizer: Any) -> None:
    """Check that a loss can be called, and that an optimiser, if there is one, is one.

    Raises:
        DTypeError: one of them is something else.
    """
    if not callable(loss) or isinstance(loss, type):
        raise DTypeError(
            f"loss is {called(loss)}; it is a function of (outputs, targets), such as "
            "nn.cross_entropy"
        )
    groups = hasattr(optimizer, "step") and hasattr(optimizer, "param_groups")
    if optimizer is not None and (isinstance(optimizer, type) or not groups):
        raise DTypeError(
            f"optimizer is {called(optimizer)}; it is an optimiser over the model's "
            "parameters, such as optim.Adam(model.parameters(), lr=1e-3)"
        )


def rows_of(data: Any) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(inputs, targets, names of the inputs' columns where they are known).

    Args:
        data: (inputs, targets); or whatever gives (inputs, targets) batch by batch, such as a
            DataLoader; or example by example, such as a Dataset.

    Raises:
        Unusable: lengths that differ, no row, text among numbers, …
        DTypeError: it is nothing of these.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        inputs, targets = data
    elif hasattr(data, "__getitem__") or hasattr(data, "__iter__"):
        inputs, targets = _collected(data)
    else:
        raise DTypeError(
            f"diagnose takes data as (inputs, targets), or as what gives such pairs, not "
            f"{type(data).__name__}. Write diagnose(model, (X, y), loss=…)"
        )
    columns = tuple(map(str, getattr(inputs, "columns", ())))
    x, y = _inputs(inputs, columns), _targets(targets)
    if len(x) != len(y):
        raise fault(
            "data-error", "data",
            f"there are {len(x)} rows of inputs and {len(y)} targets",
            "row i of the inputs and target i are one example, so there are as many of either",
            "give a target for each row of the inputs",
            Measured("rows of the inputs", len(x), f"{len(y)}, as many as targets"),
        )  # fmt: skip
    if not len(x):
        raise fault(
            "data-error", "data", "the data have no rows",
            "a loss is a mean over examples, and there is none",
            "look at what reads or filters the data", Measured("rows", 0, "1 or more"),
        )  # fmt: skip
    return x, y, columns


def _collected(data: Any) -> tuple[Any, Any]:
    """Pairs of batches, or pairs of single examples, put together."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    size, batches = 0, hasattr(data, "batch_size") or not hasattr(data, "__getitem__")
    until = time.perf_counter() + MOST_SECONDS
    for pair in _each(data):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise DTypeError(
                f"diagnose takes data as (inputs, targets), or as what gives such pairs; this "
                f"{type(data).__name__} gives {type(pair).__name__}"
                + (f"s of {len(pair)}" if isinstance(pair, tuple | list) else "")
            )
        x, y = _array(pair[0]), _array(pair[1])
        pairs.append((x, y))
        size += x.nbytes + y.nbytes
        if size > MOST_BYTES or time.perf_counter() > until:
            break
    if not pairs:
        return np.zeros((0, 1)), np.zeros(0)
    join = np.concatenate if batches else np.stack
    try:
        return join([x for x, _ in pairs]), join([y for _, y in pairs])
    except ValueError as error:
        shapes = sorted({x.shape[batches:] for x, _ in pairs}, key=str)
        raise fault(
            "data-error", "data", f"the examples have different shapes: {_some(shapes)}",
            f"a batch is one array ({error})", "bring the examples to one shape (pad, crop)",
        ) from None  # fmt: skip


def _each(data: Any) -> Iterable[Any]:
    counted = hasattr(data, "__len__") and not hasattr(data, "__iter__")
    try:
        yield from ((data[i] for i in range(len(data))) if counted else data)
    except Exception as error:
        raise fault(
            "data-error", "data", f"reading the data fails: {type(error).__name__}: {error}",
            f"{type(data).__name__} raises it, before anything is trained",
            "read all rows once, outside of any training",
        ) from error  # fmt: skip


def _array(part: Any) -> np.ndarray:
    """Arrays and tensors of every library, frames, sparse matrices, lists."""
    for step in ("detach", "cpu"):  # PyTorch's way to NumPy
        if hasattr(part, step):
            part = getattr(part, step)()
    for whole in ("toarray", "to_numpy"):
        if hasattr(part, whole):
            part = getattr(part, whole)()
    return np.asarray(part)


def _made(part: Any, what: str) -> np.ndarray:
    try:
        array = _array(part)
        if array.dtype.kind == "O":  # numbers in a column of mixed kind, as frames have
            array = np.asarray(array.tolist())
    except (ValueError, TypeError) as error:
        raise fault(
            "data-error", what, f"the {what} are no array: {error}",
            "rows of different lengths, or a mixture of types",
            "give an array with a row for each example",
        ) from None  # fmt: skip
    if array.ndim == 0:
        raise fault(
            "data-error", what, f"the {what} are one {type(part).__name__}, not an array of rows",
            "the first axis counts the examples", "give an array with a row for each example",
        )  # fmt: skip
    return array


def _inputs(part: Any, columns: tuple[str, ...]) -> np.ndarray:
    array = _made(part, "inputs")
    if array.dtype.kind in "biufc":
        return array
    place, value = _first_word(array)
    where = columns[place[1]] if len(place) > 1 and place[1] < len(columns) else "inputs"
    at = f"row {place[0]}" + (f", column {where if where != 'inputs' else place[1]!r}"
                              if len(place) > 1 else "")  # fmt: skip
    raise fault(
        "data-error", where, f"the inputs hold {value!r} ({at}), which is no number",
        "a network adds and multiplies numbers; a category needs a column of 0 and 1 for each",
        "encode the columns: cr.Classifier and `chainrule fit` do; or one_hot by hand",
    )  # fmt: skip


def _targets(part: Any) -> np.ndarray:
    array = _made(part, "targets")
    if array.dtype.kind in "biufc":
        return array
    names = sorted({str(v) for v in array.reshape(-1)[:10_000]})
    raise fault(
        "target-encoding", "targets",
        f"the targets are words ({_some(names)}), and a loss takes numbers",
        "cross-entropy takes for each row the class's number, 0 … C − 1",
        "classes, y = np.unique(y, return_inverse=True)",
        Measured("different values", len(names), "numbers 0 … C − 1"),
    )  # fmt: skip


def _first_word(array: np.ndarray) -> tuple[tuple[int, ...], Any]:
    for place, value in np.ndenumerate(array):
        try:
            float(value)
        except (ValueError, TypeError):
            return place, value
    return (0,) * array.ndim, array.reshape(-1)[0]


def _some(values: list[Any], most: int = 4) -> str:
    shown = ", ".join(map(str, values[:most]))
    return f"{shown}, … ({len(values)} in all)" if len(values) > most else shown

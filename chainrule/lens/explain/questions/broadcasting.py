"""Broadcasting, drawn: shapes aligned at the right, and what is stretched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.lens.explain.derivation import Check, Derivation, Element, Section, Step
from chainrule.ops.notation import Instance
from chainrule.ops.notation.tree import Datum
from chainrule.tensor.locate import explained
from chainrule.tensor.shapes import normalise_shape
from chainrule.tensor.tensor import Tensor

Shapes = Mapping[str, tuple[int, ...]]
MOST_AXES = 64
"""NumPy's limit, since its version 2."""


@explained
def broadcast(*shapes: Any) -> Derivation:
    """How arrays of these shapes broadcast, or why they do not.

    Shapes are aligned at the right; along each axis the sizes are equal or 1, and what is 1 or
    missing is stretched (repeated, without a copy). The gradient of what was stretched is summed
    over the axes along which it was (NumPy's manual, Broadcasting; the transpose of repeating is
    adding up).

    Args:
        shapes: tuples of whole numbers, single ones, or arrays, whose shapes are meant.

    Returns:
        a `Derivation`: a drawing, the result's shape, and for each array what is stretched. Where
        the sizes do not fit, it says which, and what to write instead.

    Raises:
        DTypeError: no shapes, or something that is none.
        ShapeError: a negative size.

    >>> from chainrule.lens.explain import broadcast
    >>> derivation = broadcast((8, 1, 6, 1), (7, 1, 5))
    >>> derivation["shape of the result"].value
    array([8, 7, 6, 5])
    >>> for line in derivation["shape of the result"].notes:
    ...     print(line)
    array 1      8 × 1 × 6 × 1
    array 2      · × 7 × 1 × 5
    the result   8 × 7 × 6 × 5
    """
    if not shapes:
        raise DTypeError("broadcast takes shapes, such as broadcast((8, 1), (5,)), and got none")
    given = {f"array {i + 1}": _shape_of(shape) for i, shape in enumerate(shapes)}
    for shape in given.values():
        if len(shape) > MOST_AXES:
            raise ShapeError(
                f"an array has at most {MOST_AXES} axes, and one here has {len(shape)}"
            )
    largest = [max(sizes) for sizes in zip_longest(*map(reversed, given.values()), fillvalue=1)]
    if 0 not in largest and math.prod(largest) > np.iinfo(np.intp).max:
        raise ShapeError(f"an array of so many elements ({math.prod(largest):,}) cannot exist")
    title = " with ".join(str(shape) for shape in given.values())
    steps = broadcast_steps(given)
    return Derivation(
        f"Broadcasting {title}",
        (Section("Broadcasting", tuple(steps)),),
        {f"shape of {name}": np.array(shape, np.int64) for name, shape in given.items()},
    )


def _shape_of(value: Any) -> tuple[int, ...]:
    if isinstance(value, (Tensor, np.ndarray)):
        return tuple(value.shape)
    return normalise_shape(value)


def broadcast_steps(shapes: Shapes, start: str = "") -> list[Step]:
    """The steps of a broadcast: the result, then each array that is stretched.

    Args:
        shapes: by the arrays' names.
        start: what the steps' names begin with.
    """
    ndim = max(map(len, shapes.values()))
    columns = [_column(shapes, axis - ndim) for axis in range(ndim)]
    sizes = [{n for n in column.values() if n != 1} for column in columns]
    for axis, found in enumerate(sizes):
        if len(found) > 1:
            return [_refused(shapes, axis - ndim, columns[axis], start)]
    result = tuple(found.pop() if found else 1 for found in sizes)
    name = f"{start}shape of the result"
    steps = [
        Step(
            name=name,
            title=f"{start}{' and '.join(map(str, shapes.values()))} broadcast to {result}",
            operands=tuple(f"shape of {key}" for key in shapes),
            rule="sizes are aligned at the right, and are equal or 1",
            elements=tuple(_size(shapes, axis, n) for axis, n in enumerate(result)),
            value=np.array(result, np.int64),
            notes=drawing(shapes, result),
            claims=(Broadcasts(shapes),),
        )
    ]
    return [*steps, *(_stretched(shapes, key, result, start) for key in shapes)]


def _column(shapes: Shapes, axis: int) -> dict[str, int]:
    """The sizes along an axis, counted from the right, of the arrays that have it."""
    return {name: shape[axis] for name, shape in shapes.items() if len(shape) >= -axis}


def drawing(shapes: Shapes, result: tuple[int, ...] | None = None) -> tuple[str, ...]:
    """A line for each shape, aligned at the right."""
    rows = {**shapes, **({} if result is None else {"the result": result})}
    ndim = max(map(len, rows.values()))
    cells = {k: ["·"] * (ndim - len(v)) + [str(n) for n in v] for k, v in rows.items()}
    widths = [max(len(row[i]) for row in cells.values()) for i in range(ndim)]
    longest = max(map(len, rows))
    return tuple(
        f"{name:<{longest}}   "
        + " × ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for name, row in cells.items()
    )


def _size(shapes: Shapes, axis: int, size: int) -> Element:
    """A size of the result, as that of an array which has it."""
    ndim = max(map(len, shapes.values()))
    sources = {k: (f"shape of {k}", np.array(v, np.int64)) for k, v in shapes.items()}
    for name, found in _column(shapes, axis - ndim).items():
        if found == size:
            place = len(shapes[name]) + axis - ndim
            return Element((axis,), Instance(Datum(size, name, place), size), sources)
    raise AssertionError("some array has every size of the result")


def _stretched(shapes: Shapes, name: str, result: tuple[int, ...], start: str) -> Step:
    """Along which axes an array is stretched, and what that means for its gradient."""
    shape = shapes[name]
    missing = len(result) - len(shape)
    axes = [
        axis
        for axis, size in enumerate(result)
        if axis < missing or (shape[axis - missing] == 1 and size != 1)
    ]
    if axes:
        text = f"{name} is repeated along {_listed(axes)} of the result"
        note = f"the gradient of {name} is the result's, summed over {_listed(axes)}: each element "
        note += "was used once for every place that it was repeated to"
    else:
        text = f"{name} is used as it is"
        note = f"the gradient of {name} has the result's shape already, and nothing is summed"
    return Step(
        name=f"{start}axes along which {name} is stretched",
        title=f"{start}{text}",
        operands=(f"shape of {name}", f"{start}shape of the result"),
        rule="the transpose of repeating is adding up",
        value=np.array(axes, np.int64),
        notes=(note,),
        claims=(Stretches(shape, result, text, note),),
    )


def _listed(axes: list[int]) -> str:
    return ("axis " if len(axes) == 1 else "axes ") + ", ".join(map(str, axes))


def _refused(shapes: Shapes, axis: int, column: Mapping[str, int], start: str) -> Step:
    """Why shapes do not broadcast."""
    differing = [(name, size) for name, size in column.items() if size != 1]
    one, first = differing[0]
    other, second = next((name, size) for name, size in differing if size != first)
    title = (
        f"{start}{' and '.join(map(str, shapes.values()))} do not broadcast: {first} against "
        f"{second} in axis −{-axis}"
    )
    notes = (*drawing(shapes), *_advice(shapes, axis, one, other))
    return Step(
        name=f"{start}shapes that do not fit",
        title=title,
        operands=tuple(f"shape of {key}" for key in shapes),
        rule="sizes are aligned at the right, and are equal or 1",
        notes=notes,
        claims=(Refuses(shapes, title, notes),),
    )


def _advice(shapes: Shapes, axis: int, one: str, other: str) -> tuple[str, ...]:
    """What is usually meant."""
    found = [
        f"axis −{-axis} is {shapes[one][axis]} long in {one} and {shapes[other][axis]} in {other}, "
        "and neither is 1, so that nothing can be repeated"
    ]
    for short, long in ((one, other), (other, one)):
        size = shapes[short][axis]
        before = [i for i, n in enumerate(shapes[long]) if n == size]
        if len(shapes[short]) == 1 and before and len(shapes[long]) > 1:
            behind = len(shapes[long]) - 1 - before[-1]
            found.append(
                f"if the {size} of {short} belong to axis {before[-1]} of {long}, write "
                f"{short.replace(' ', '_')}[:{', None' * behind}]"
            )
            break
    else:
        found.append("add an axis of size 1 with x[:, None], transpose or reshape one of them")
    return tuple(found)


# What is recomputed


@dataclass(frozen=True, eq=False)
class Broadcasts:
    """That NumPy broadcasts the shapes to the same; and that the drawing shows them."""

    shapes: Shapes

    def check(self, step: Step) -> Check:
        assert step.value is not None
        by_numpy = np.broadcast_shapes(*self.shapes.values())
        right = tuple(step.value.tolist()) == by_numpy and step.notes == drawing(
            self.shapes, by_numpy
        )
        said = step.title.endswith(
            f"{' and '.join(map(str, self.shapes.values()))} broadcast to {by_numpy}"
        )
        return Check("NumPy's broadcast", 0.0 if right and said else float("inf"), 0.0)


@dataclass(frozen=True, eq=False)
class Stretches:
    """That NumPy repeats an array along these axes: it steps over them by 0 bytes."""

    shape: tuple[int, ...]
    result: tuple[int, ...]
    text: str
    note: str

    def check(self, step: Step) -> Check:
        assert step.value is not None
        one = np.lib.stride_tricks.as_strided(
            np.zeros(1), self.shape, [8] * len(self.shape), writeable=False
        )
        own = np.broadcast_to(one, self.result)  # of which no element is read
        missing = len(self.result) - len(self.shape)
        repeated = [
            axis
            for axis, stride in enumerate(own.strides)
            if stride == 0 and (axis < missing or self.result[axis] != 1)
        ]
        right = step.value.tolist() == repeated
        said = step.title.endswith(self.text) and step.notes == (self.note,)
        return Check("the strides of NumPy's view", 0.0 if right and said else float("inf"), 0.0)


@dataclass(frozen=True, eq=False)
class Refuses:
    """That NumPy does not broadcast the shapes either."""

    shapes: Shapes
    title: str
    notes: tuple[str, ...]

    def check(self, step: Step) -> Check:
        said = step.title == self.title and step.notes == self.notes
        try:
            np.broadcast_shapes(*self.shapes.values())
        except ValueError:
            return Check("NumPy's broadcast", 0.0 if said else float("inf"), 0.0)
        return Check("NumPy's broadcast", float("inf"), 0.0)

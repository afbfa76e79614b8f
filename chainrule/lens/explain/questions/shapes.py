"""Why every array has the shape that it has, read off the formulas of the operations.

The indices of a formula say it all: `y[…, i] = Σ_j weight[i, j] · x[…, j]` needs the last axis of x
to be as long as the second of the weight, adds up over it, and leaves … and i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import Check, Element, Section, Step, Symbols
from chainrule.lens.explain.questions.broadcasting import broadcast_steps
from chainrule.lens.explain.questions.reading import (
    Axis,
    Reading,
    ShapeIs,
    shape_of_array,
    user_of,
    written,
)
from chainrule.lens.explain.questions.shape_gradients import gradients
from chainrule.lens.explain.questions.shape_sizes import joined, sizes
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.remark import Remark, quoted, remarked
from chainrule.ops.notation import Instance
from chainrule.ops.notation.evaluate import walk
from chainrule.ops.notation.tree import Datum, Reduce
from chainrule.tensor.graph import OFF, Node, recording
from chainrule.tensor.tensor import Tensor


def shapes_section(recorded: Recorded) -> Section:
    """Why every parameter, every result and every gradient has its shape."""
    readings = [Reading(recorded, node) for node in recorded.nodes]
    parts = [
        Section("Parameters", tuple(_parameters(recorded, readings))),
        Section("Operations", tuple(part for r in readings for part in _operation(r))),
        Section("Gradients", tuple(gradients(recorded, readings))),
    ]
    return Section(
        "Shapes",
        tuple(part for part in parts if part.parts),
        summary="what each axis of each array is, and why the sizes fit together",
    )


# Parameters


@dataclass(frozen=True, eq=False)
class ShapeRule:
    """That an operation's rule of shapes gives what the step says."""

    node: Node

    def check(self, step: Step) -> Check:
        assert step.value is not None
        assert self.node.saved is not None
        given = self.node.saved[: len(self.node.inputs)]
        with recording(OFF):
            operands = [Tensor(v) if isinstance(v, np.ndarray) else v for v in given]
            shape, _ = self.node.op.shape(*operands, **self.node.attrs)
        same = tuple(step.value.tolist()) == tuple(shape)
        return Check("the operation's rule of shapes", 0.0 if same else float("inf"), 0.0)


def _first(readings: Sequence[Reading], parameter: str) -> Reading | None:
    """The first operation that has a parameter among its operands."""
    return next((reading for reading in readings if parameter in reading.claim.called), None)


def _beside_rows(step: Step, user: Reading, array: np.ndarray) -> Step:
    """What a parameter is for that the formula spreads out over the operand's rows."""
    step = replace(step, operation=user.claim.op.name, formula=Symbols(user.claim.op.formula))
    if not array.ndim or array.shape != user.node.shape[-array.ndim :]:
        return step
    sizes = tuple(float(n) for n in user.node.shape[-array.ndim :])
    axes = "axis" if array.ndim == 1 else f"{array.ndim} axes"
    text = f"{' × '.join(['{}'] * array.ndim)} as along the last {axes} of {quoted(user.name)}"
    return remarked(step, Remark(text, array.shape, lambda _: sizes, 0.0))


def _parameters(recorded: Recorded, readings: Sequence[Reading]) -> list[Section]:
    """What the axes of every parameter are, and how many numbers a module has."""
    modules: dict[str, list[str]] = {}
    for name in recorded.parameters:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    sections = []
    for module, names in modules.items():
        steps = [
            _parameter(recorded.given[name], name, user_of(readings, name), _first(readings, name))
            for name in names
        ]
        kind = _kind(recorded.model, module)
        count = _count(steps, module or kind, [recorded.given[name] for name in names])
        title = f"{module} ({kind})" if module else kind
        sections.append(Section(title, (*steps, count), "component"))
    return sections


def _kind(model: Any, path: str) -> str:
    found = dict(model.named_modules()).get(path)
    return type(model if found is None else found).__name__


def _parameter(
    array: np.ndarray, name: str, used: tuple[Reading, str] | None, user: Reading | None
) -> Step:
    """What each axis of a parameter is for, by the operation that uses it."""
    title = f"{name} is {written(array.shape)}"
    step = Step(
        name=f"shape of {name}",
        title=title,
        rule="an axis for every index of the parameter in the formula",
        value=shape_of_array(array),
        claims=(ShapeIs(array, title),),
    )
    if used is None:
        return step if user is None else _beside_rows(step, user, array)
    reading, own = used
    op = reading.claim.op
    step = replace(step, operation=op.name, formula=Symbols(op.formula))
    remarks = [_role(reading, axis, name) for axis in reading.axes if axis.name == own]
    return remarked(step, *remarks)


def _role(reading: Reading, axis: Axis, name: str) -> Remark:
    """What an axis of a parameter is for."""
    letter, z = axis.letter, quoted(reading.name)
    start = f"axis {axis.axis}{f', {letter}' if letter else ''}: "
    if letter and letter in reading.result:
        text = f"{{}} outputs, one for each {letter} of {z}"
        size = reading.node.shape[reading.result.index(letter)]
    elif letter:
        others = [a for a in reading.having(letter) if a.name != axis.name]
        along = f" of {quoted(reading.called(others[0].name))}" if others else ""
        text = f"{{}} inputs, one for each {letter}{along}, over which is summed"
        size = others[0].size if others else axis.size
    elif axis.index is None:
        text, size = f"{{}} along an axis of {z} itself", reading.node.shape[axis.from_right]
    else:
        text, size = "{} rows, one for each index that may be looked up", axis.size
    return Remark(start + text, (axis.size,), lambda _: (float(size),), 0.0)


def _count(steps: Sequence[Step], module: str, arrays: Sequence[np.ndarray]) -> Step:
    """How many numbers a module has: the products of the sizes, added up."""
    products, sources = [], {}
    for step in steps:
        assert step.value is not None
        sources[step.name] = (step.name, step.value)
        sizes = [Datum(int(n), step.name, i) for i, n in enumerate(step.value)] or [Datum(1)]
        products.append(joined("·", sizes))
    value = sum(array.size for array in arrays)
    return Step(
        name=f"numbers in {module}",
        title=f"How many numbers {module} has",
        operands=tuple(step.name for step in steps),
        rule="an array of the shape (a, b, …) has a · b · … numbers",
        elements=(Element((), Instance(joined("+", products), value), sources),),
        value=np.asarray(value),
        claims=(CountIs(tuple(arrays)),),
    )


@dataclass(frozen=True, eq=False)
class CountIs:
    """That arrays have so many numbers together, counted."""

    arrays: tuple[np.ndarray, ...]

    def check(self, step: Step) -> Check:
        assert step.value is not None
        counted = sum(len(array.reshape(-1)) for array in self.arrays)
        return Check("counted", abs(float(step.value) - counted), 0.0)


# Operations


def _operation(reading: Reading) -> list[Step]:
    """How the shape of a result follows from those of the operands."""
    node, op = reading.node, reading.claim.op
    assert node.value is not None
    shapes = [
        f"{called} {written(array.shape)}"
        for called, array in zip(reading.claim.called, reading.claim.operands, strict=False)
        if isinstance(array, np.ndarray)
    ]
    title = f"{reading.name} is {written(node.shape)}: {op.name} of {', '.join(shapes)}"
    step = Step(
        name=f"shape of {reading.name}",
        title=title,
        operation=op.name,
        operands=reading.step.operands,
        rule=_rule(reading),
        formula=Symbols(op.formula),
        named=reading.step.named,
        elements=tuple(sizes(reading)),
        value=shape_of_array(node.value),
        module=reading.step.module,
        place=reading.step.place,
        code=reading.step.code,
        claims=(ShapeIs(node.value, title), ShapeRule(node)),
    )
    steps = [remarked(step, *_remarks(reading))]
    plain = [a for a in reading.axes if a.index is None]
    names = list(dict.fromkeys(a.name for a in plain))
    fronts = {name: tuple(a.size for a in plain if a.name == name) for name in names}
    if len({shape for shape in fronts.values() if shape}) > 1:
        own = {reading.called(name): shape for name, shape in fronts.items()}
        steps += broadcast_steps(own, f"{reading.name}: ")
    return steps


def _rule(reading: Reading) -> str:
    if reading.letters:
        return "the indices that are left"
    if reading.flat:
        return "the same numbers in another shape"
    if reading.axes and all(axis.index is None for axis in reading.axes):
        return "element by element, after broadcasting"
    return "the operation's rule of shapes"


def _remarks(reading: Reading) -> list[Remark]:
    """What each index says."""
    if reading.flat:
        size = int(np.prod(reading.node.shape))
        (array,) = (v for v in reading.claim.operands if isinstance(v, np.ndarray))
        again = (float(np.prod(array.shape)),)
        return [Remark("{} numbers before and after, in the same order", (size,), lambda _: again)]
    return [*_front(reading), *(_index(reading, letter) for letter in reading.letters)]


def _front(reading: Reading) -> list[Remark]:
    """What "…" stands for, where other indices stand beside it."""
    sizes = [n for n, x in zip(reading.node.shape, reading.result, strict=False) if not x]
    axes = [a for a in reading.axes if a.index is None]
    if not sizes or not reading.letters or not axes:
        return []
    names = [reading.called(n) for n in dict.fromkeys(a.name for a in axes)]
    shapes = [
        tuple(a.size for a in axes if a.name == n) for n in dict.fromkeys(a.name for a in axes)
    ]
    again = tuple(float(n) for n in np.broadcast_shapes(*shapes))
    text = f"… is what is in front: {' × '.join(['{}'] * len(sizes))}, as in "
    return [Remark(text + quoted(" and ".join(names)), tuple(sizes), lambda _: again, 0.0)]


def _index(reading: Reading, letter: str) -> Remark:
    """Where an index runs, and what becomes of it."""
    axes = reading.having(letter)
    where = " and ".join(f"axis {a.axis} of {quoted(reading.called(a.name))}" for a in axes)
    must = ", which must agree" if len(axes) > 1 else ""
    text = f"{letter} takes {{}} values along {where}{must}; "
    z = quoted(reading.name)
    if letter in reading.result:
        place = reading.result.index(letter)
        sizes = (float(axes[-1].size), float(reading.node.shape[place]))
        text += f"it stays, as axis {place} of {z}: {{}}"
        return Remark(text, (axes[0].size, reading.node.shape[place]), lambda _: sizes, 0.0)
    words = {"Σ": "summed over", "max": "what the largest is taken over"}
    kinds = [
        words.get(part.word, "reduced over")
        for statement in reading.claim.op.formula.statements
        for part in walk(statement.value)
        if isinstance(part, Reduce) and letter in part.indices
    ]
    kind = kinds[0] if kinds else "looked up along"
    text += f"it is {kind}, so that {z} has no such axis"
    again = (float(axes[-1].size),)
    return Remark(text, (axes[0].size,), lambda _: again, 0.0)

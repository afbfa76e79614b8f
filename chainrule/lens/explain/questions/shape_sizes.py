"""The sizes of a result, each from the sizes of the operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import Element
from chainrule.lens.explain.questions.reading import Reading
from chainrule.ops.notation import Instance
from chainrule.ops.notation.evaluate import Evaluator, walk
from chainrule.ops.notation.tree import Binary, Call, Datum, Expression, Name, Subscript


def sizes(reading: Reading) -> list[Element]:
    """The sizes of the result, each as the size of an operand's axis, or by the arithmetic of
    windows."""
    if reading.claim.op.display_only:
        return _rearranged(reading)
    sources = {name: reading.shape_of(name) for name in reading.operands}
    if all(array.shape == reading.node.shape for array in reading.operands.values()):
        return []
    found = []
    for place, letter in enumerate(reading.result):
        size = reading.node.shape[place]
        if letter:
            axes = reading.having(letter)
        else:
            right = place - reading.result.count("") if "" in reading.result else 0
            axes = [a for a in reading.axes if a.index is None and a.from_right == right]
            axes = [a for a in axes if a.size == size]
        written: Expression | None = None
        if axes:
            written = Datum(size, axes[0].name, axes[0].axis)
        elif letter:
            written = _windows(reading, letter, size)
        if written is not None:
            found.append(Element((place,), Instance(written, size), sources))
    return found


def _rearranged(reading: Reading) -> list[Element]:
    """The sizes of what was permuted or joined; its formula has no indices to read them off."""
    node, arrays = reading.node, reading.claim.operands
    called = reading.claim.called
    sources = {
        str(i): (f"shape of {called[i]}", np.array(array.shape))
        for i, array in enumerate(arrays)
        if isinstance(array, np.ndarray)
    }
    sizes: list[list[Datum]]
    if node.op.name == "permute_dims":
        sizes = [[Datum(arrays[0].shape[a], "0", a)] for a in node.attrs["axes"]]
    elif node.op.name == "concat":
        sizes = [[Datum(n, "0", a)] for a, n in enumerate(arrays[0].shape)]
        axis = node.attrs["axis"] % node.ndim
        sizes[axis] = [Datum(x.shape[axis], str(i), axis) for i, x in enumerate(arrays)]
    else:
        return []
    return [
        Element((i,), Instance(joined("+", parts), node.shape[i]), sources)
        for i, parts in enumerate(sizes)
    ]


def _windows(reading: Reading, letter: str, size: int) -> Expression | None:
    """⌊(n + p + q − d·(k − 1) − 1) / s⌋ + 1: how many windows of k fit along an axis of n, with p
    and q of padding at its ends, a distance d inside of them and a stride s.

    The numbers are read off the index into the axis, such as s·i + d·k − p (Dumoulin and Visin
    2016, A guide to convolution arithmetic for deep learning, relationship 15).
    """
    view = reading.claim.view(reading.claim.value)
    assert view is not None
    for axis in reading.axes:
        if axis.letter or axis.index is None:
            continue
        inside = [p.name for p in walk(axis.index) if isinstance(p, Name)]
        within = [x for x in inside if x != letter and _range(view[0], reading, x)]
        if letter not in inside or len(within) > 1:
            continue
        kernel = _range(view[0], reading, within[0]) if within else 1
        at = _placed(axis.index, view[0], letter, within)
        before, stride = -at(0, 0), at(1, 0) - at(0, 0)
        distance = at(0, 1) - at(0, 0) if within else 1
        reach = distance * (kernel - 1) + 1
        for after in (before, reach - 1 - before):
            if stride and (axis.size + before + after - reach) // stride + 1 == size:
                known = Datum(axis.size, axis.name, axis.axis)
                span = Binary("·", Datum(distance), Binary("-", Datum(kernel), Datum(1)))
                padded = joined("+", [known, Datum(before), Datum(after)])
                left = Binary("-", Binary("-", padded, span), Datum(1))
                floor = Call("floor", (Binary("/", left, Datum(stride)),))
                return Binary("+", floor, Datum(1))
    return None


def _range(operands: Any, reading: Reading, letter: str) -> int:
    """How many values an index takes that stands alone in a subscript of the formula; 0 if none
    does."""
    for statement in reading.claim.op.formula.statements:
        for part in walk(statement.value):
            if isinstance(part, Subscript) and isinstance(operands.get(part.name), np.ndarray):
                array = operands[part.name]
                for axis, index in enumerate(reversed(part.indices)):
                    if isinstance(index, Name) and index.name == letter:
                        return int(array.shape[-1 - axis])
    return 0


def _placed(
    index: Expression, operands: Any, letter: str, within: Sequence[str]
) -> Callable[[int, int], int]:
    """An index such as s·i + d·k − p as a function of i and k."""
    numbers = {k: v for k, v in operands.items() if not isinstance(v, np.ndarray)}

    def at(i: int, k: int) -> int:
        known = {**numbers, letter: i, **dict.fromkeys(within, k)}
        return int(np.real(Evaluator(known, ()).value(index).array))

    return at


def joined(operator: str, parts: Sequence[Expression]) -> Expression:
    return reduce(lambda a, b: Binary(operator, a, b), parts)

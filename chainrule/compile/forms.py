"""How operations that are not elementwise by declaration are lowered, by name.

A form returns None where it does not know a way; then NumPy's forward is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compile.lower import CONSTANT, KERNEL, MAP, REDUCE, VIEW, Item, Lowering
from chainrule.compile.views import View
from chainrule.tensor.graph import Node

Form = Callable[[Lowering, Node, list[Item]], Item | None]
FORMS: dict[str, Form] = {}

Axes = tuple[int | None, ...]
"""For each axis of a value, the axis of a loop nest along which it runs; None where it does not."""


def form(*names: str) -> Callable[[Form], Form]:
    def put(function: Form) -> Form:
        for name in names:
            FORMS[name] = function
        return function

    return put


# Views


@dataclass(frozen=True)
class Move:
    """A view: `of` memory, and for what is not in memory the operand's axes from the result's."""

    of: Callable[[View], View | None]
    axes: Callable[[Axes], Axes] | None = None


def _view(lowering: Lowering, node: Node, arg: Item, move: Move) -> Item:
    if arg.kind == CONSTANT:
        return Item(CONSTANT, "number", node, data=arg.data)
    item = lowering.add(Item(VIEW, node.op.name, node, [arg], data=move))
    if move.axes is None:
        lowering.place(item)
    return item


@form("reshape")
def _reshape(lowering: Lowering, node: Node, args: list[Item]) -> Item:
    old, new = args[0].shape, node.shape
    moving = [a for a, n in enumerate(old) if n != 1], [a for a, n in enumerate(new) if n != 1]
    move = Move(lambda view: view.reshape(new))
    if [old[a] for a in moving[0]] == [new[a] for a in moving[1]]:
        to = dict(zip(*moving, strict=True))
        move = Move(
            move.of, lambda axes: tuple(axes[to[a]] if a in to else None for a in range(len(old)))
        )
    return _view(lowering, node, args[0], move)


@form("permute_dims")
def _permute(lowering: Lowering, node: Node, args: list[Item]) -> Item:
    order = node.attrs["axes"]
    back = [order.index(a) for a in range(len(order))]
    move = Move(lambda view: view.permute(order), lambda axes: tuple(axes[a] for a in back))
    return _view(lowering, node, args[0], move)


@form("broadcast_to")
def _broadcast(lowering: Lowering, node: Node, args: list[Item]) -> Item:
    old, new = args[0].shape, node.shape
    move = Move(lambda view: view.broadcast(new), lambda axes: aligned(old, axes))
    return _view(lowering, node, args[0], move)


@form("identity", "stop_gradient")
def _same(lowering: Lowering, node: Node, args: list[Item]) -> Item:
    return _view(lowering, node, args[0], Move(lambda view: view, lambda axes: axes))


@form("flip")
def _flip(lowering: Lowering, node: Node, args: list[Item]) -> Item:
    return _view(lowering, node, args[0], Move(lambda view: view.flip(node.attrs["axes"])))


def aligned(shape: tuple[int, ...], axes: Axes) -> Axes:
    """The axes of an operand of this shape that is broadcast against a result with these axes."""
    lead = len(axes) - len(shape)
    return tuple(axes[lead + i] if n != 1 else None for i, n in enumerate(shape))


# Element by element


@form("where")
def _where(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.kind == "c":
        return None
    return lowering.add(Item(MAP, "where", node, args, data=("where", node.dtype)))


@form("astype")
def _astype(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    (x,) = args
    if "c" in (x.dtype.kind, node.dtype.kind):
        return None
    if x.dtype == node.dtype:
        return _same(lowering, node, args)
    return lowering.add(Item(MAP, "astype", node, args))


def converted(lowering: Lowering, item: Item, dtype: np.dtype) -> Item:
    if item.dtype == dtype:
        return item
    if item.kind == CONSTANT:
        value = np.asarray(item.data).astype(dtype).item()
        return Item(CONSTANT, "number", item.node, shape=item.shape, dtype=dtype, data=value)
    return lowering.add(Item(MAP, "astype", item.node, [item], shape=item.shape, dtype=dtype))


@form("random_uniform", "random_normal", "random_keep")
def _random(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.name in ("float16", "bfloat16"):
        return None
    return lowering.add(Item(MAP, node.op.name, node))


@form("require_finite")
def _require_finite(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.kind != "f":
        return None
    return lowering.add(Item(MAP, "require_finite", node, args))


# Reductions: data is (the axes of the operand that go, for each axis of the result the operand's)


def _reduction(
    lowering: Lowering, node: Node, name: str, args: list[Item], axes: tuple[int, ...]
) -> Item:
    x = args[0]
    kept = [a for a in range(len(x.shape)) if a not in axes]
    if len(node.shape) == len(x.shape):
        outs: Axes = tuple(a if a in kept else None for a in range(len(x.shape)))
    else:
        outs = tuple(kept)
    return lowering.add(Item(REDUCE, name, node, args, data=(tuple(axes), outs)))


@form("sum", "prod")
def _sum(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.kind == "c":
        return None
    x = converted(lowering, args[0], node.dtype)
    name = "add" if node.op.name == "sum" else "multiply"
    return _reduction(lowering, node, name, [x], node.attrs["axes"])


@form("sum_to")
def _sum_to(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    (x,) = args
    if node.dtype.kind == "c":
        return None
    lead = len(x.shape) - len(node.shape)
    gone = [lead + i for i, n in enumerate(node.shape) if n == 1 and x.shape[lead + i] != 1]
    outs = tuple(None if lead + i in gone else lead + i for i in range(len(node.shape)))
    data = ((*range(lead), *gone), outs)
    return lowering.add(Item(REDUCE, "add", node, [x], data=data))


@form("max", "min")
def _extreme(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.kind == "c":
        return None
    name = "maximum" if node.op.name == "max" else "minimum"
    return _reduction(lowering, node, name, args, node.attrs["axes"])


@form("any", "all")
def _truth(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if args[0].dtype.kind == "c":
        return None
    x = converted(lowering, args[0], np.dtype(np.bool_))
    name = "logical_or" if node.op.name == "any" else "logical_and"
    return _reduction(lowering, node, name, [x], node.attrs["axes"])


# Reading and writing parts


@dataclass(frozen=True)
class Inside:
    """A value within a larger one: for each axis of the result the operand's axis (None for an
    axis that it lacks), where it starts, how far apart its elements are and how many there are."""

    places: tuple[tuple[int | None, int, int, int], ...]


def _inside(
    lowering: Lowering,
    node: Node,
    x: Item,
    places: Any,
    rest: Item | None,
    shape: tuple[int, ...] | None = None,
) -> Item:
    """An operand's elements at their places, and elsewhere `rest`, or 0."""
    if x.kind != CONSTANT:
        lowering.place(x)
    args = [x] if rest is None else [x, rest]
    return lowering.add(Item(MAP, "inside", node, args, shape=shape, data=Inside(tuple(places))))


@form("pad_zeros")
def _pad(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.kind == "c" or not node.shape:
        return None
    (x,) = args
    places = [
        (a, before, 1, n)
        for a, ((before, _), n) in enumerate(zip(node.attrs["widths"], x.shape, strict=True))
    ]
    return _inside(lowering, node, x, places, None)


@form("concat")
def _concat(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.kind == "c":
        return None
    axis, stop, found = node.attrs["axis"], node.shape[node.attrs["axis"]], None
    for x in reversed(args):
        n = x.shape[axis]
        stop -= n
        if n:
            places = [(a, stop if a == axis else 0, 1, m) for a, m in enumerate(x.shape)]
            found = _inside(lowering, node, converted(lowering, x, node.dtype), places, found)
    return found


def _basic(pattern: tuple, shape: tuple[int, ...]) -> list[tuple[int | None, int, int, int]]:
    """The places of what basic indexing reads, within what is read; see `Inside`."""
    used = sum(p is not None and p is not Ellipsis for p in pattern)
    if Ellipsis not in pattern:
        pattern = (*pattern, Ellipsis)
    places: list[tuple[int | None, int, int, int]] = []
    out = 0
    for p in pattern:
        if p is None:
            out += 1
        elif p is Ellipsis:
            for _ in range(len(shape) - used):
                places.append((out, 0, 1, shape[len(places)]))
                out += 1
        elif isinstance(p, int):
            places.append((None, p % max(shape[len(places)], 1), 1, 1))
        else:
            start, stop, step = slice(*p).indices(shape[len(places)])
            places.append((out, start, step, len(range(start, stop, step))))
            out += 1
    return places


@form("getitem")
def _getitem(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    pattern = node.attrs["pattern"]
    x, *arrays = args
    if not arrays:
        if x.kind == CONSTANT:
            return Item(CONSTANT, "number", node, data=x.data)
        return _view(lowering, node, x, Move(lambda view: view.index(pattern, node.shape)))
    along = _along_axis(pattern, arrays, x.shape)
    if along is not None and arrays[along].shape[along] == 1 and node.dtype.kind != "c":
        axes, outs = (along,), tuple(None if a == along else a for a in range(len(x.shape)))
        item = Item(REDUCE, "pick", node, [x, arrays[along]], data=(axes, outs))
        return lowering.add(item)
    places = _gathered(pattern, arrays, x.shape)
    if places is None or node.dtype.kind == "c" or x.kind == CONSTANT:
        return None
    lowering.place(x)
    return lowering.add(Item(MAP, "gather", node, args, data=places))


def _along_axis(pattern: tuple, arrays: list[Item], shape: tuple[int, ...]) -> int | None:
    """The axis of a `take_along_axis`: all other axes have 0, 1, 2, … as their index."""
    if pattern != ("array",) * len(shape) or any(len(a.shape) != len(shape) for a in arrays):
        return None
    found = None
    for axis, array in enumerate(arrays):
        sizes = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        value = array.node.value if array.node.op is None else None
        if array.kind == CONSTANT:
            value = np.full(array.shape, array.data)
        own = value is not None and array.shape == sizes and bool(
            (value.reshape(-1) == np.arange(shape[axis])).all()
        )  # fmt: skip
        if not own:
            if found is not None:
                return None
            found = axis
    return found


def _gathered(pattern: tuple, arrays: list[Item], shape: tuple[int, ...]) -> Any:
    """For each axis read: ("array", which, the result's first axis of the arrays) or
    ("slice", the result's axis, start, step) or ("int", index); None for a form that is not known.
    """
    used = sum(p is not None and p is not Ellipsis for p in pattern)
    if Ellipsis in pattern:
        at = pattern.index(Ellipsis)
        whole = ((None, None, None),) * (len(shape) - used)
        pattern = (*pattern[:at], *whole, *pattern[at + 1 :])
    else:
        pattern = (*pattern, *((None, None, None),) * (len(shape) - used))
    advanced = [i for i, p in enumerate(pattern) if p == "array" or isinstance(p, int)]
    if advanced != list(range(advanced[0], advanced[-1] + 1)):
        return None
    ndim = len(np.broadcast_shapes(*(a.shape for a in arrays)))
    places: list[Any] = []
    axis = out = 0
    which = 0
    start = None
    for p in pattern:
        if p is None:
            out += 1
            continue
        if p == "array" or isinstance(p, int):
            if start is None:
                start = out
                out += ndim
            places.append(("array", which, start, ndim) if p == "array" else ("int", p))
            which += p == "array"
        else:
            begin, _, step = slice(*p).indices(shape[axis])
            places.append(("slice", out, begin, step))
            out += 1
        axis += 1
    return tuple(places)


@form("add_at")
def _add_at(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    pattern, shape = node.attrs["pattern"], node.attrs["shape"]
    g, *arrays = args
    if node.dtype.kind == "c":
        return None
    if not arrays:
        return _inside(lowering, node, g, _basic(pattern, shape), None)
    along = _along_axis(pattern, arrays, shape)
    if along is not None and arrays[along].shape[along] == 1:
        return lowering.add(Item(MAP, "one_hot", node, [g, arrays[along]], data=along))
    from chainrule.compile.kernels import scatter_rows

    return scatter_rows(lowering, node, args)


@form("setitem")
def _setitem(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    x, value, *arrays = args
    pattern = node.attrs["pattern"]
    places = None if arrays else _basic(pattern, node.shape)
    if places is None or node.dtype.kind == "c" or any(step < 0 for _, _, step, _ in places):
        return None
    part = tuple(n for axis, _, _, n in places if axis is not None)
    if value.shape != part or any(p is None for p in pattern):
        return None
    return _inside(lowering, node, converted(lowering, value, node.dtype), places, x)


@form("windows")
def _windows(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    (x,) = args
    attrs = node.attrs
    if any(p for pair in attrs["padding"] for p in pair):
        if node.dtype.kind == "c":
            return None
        (top, bottom), (left, right) = attrs["padding"]
        *lead, height, width = x.shape
        shape = (*lead, height + top + bottom, width + left + right)
        starts = (*(0,) * len(lead), top, left)
        places = [(a, s, 1, n) for a, (s, n) in enumerate(zip(starts, x.shape, strict=True))]
        x = _inside(lowering, node, x, places, None, shape)
    (s, t), (d, e) = attrs["stride"], attrs["dilation"]

    def of(view: View) -> View:
        *lead, down, right = view.strides
        strides = (*lead, down * d, right * e, down * s, right * t)
        return View(view.buffer, node.shape, strides, view.dtype, view.offset)

    return _view(lowering, node, x, Move(of))


# Products


@form("matmul")
def _matmul(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    if node.dtype.name not in ("float32", "float64") or 0 in node.shape:
        return None
    a, b = (converted(lowering, x, node.dtype) for x in args)
    if math.prod(a.shape) == 0:
        return None
    for x in (a, b):
        lowering.place(x)
    item = lowering.add(Item(KERNEL, "matmul", node, [a, b]))
    from chainrule.compile.kernels import Matmul

    item.data = Matmul(item)
    return item

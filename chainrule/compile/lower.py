"""What each node becomes: a number, memory, a view, something computed element by element, a
reduction, a kernel of its own, or a call of NumPy.

Nothing is laid out in memory before somebody needs it there: elementwise items are computed inside
of the loops of whoever reads them, until `Lowering.place` says that one must be stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from chainrule.compile.rules import make, number
from chainrule.compile.views import Buffer, View, axis_order, packed
from chainrule.ops.elementwise import Elementwise
from chainrule.tensor.graph import Node

CONSTANT, MEMORY, VIEW, MAP, REDUCE, KERNEL, HOST = (
    "constant", "memory", "view", "map", "reduce", "kernel", "host",
)  # fmt: skip


class Item:
    """What a node became.

    Attributes:
        kind: one of the above.
        name: the operation's name, or that of a form of its own.
        node: the node; several items may come from one.
        args: the items it is computed from.
        shape, dtype: of the value.
        data: what the kind and the name need beside: a constant's number, attributes.
        view: where it lies in memory; None while it does not.
        order: the order of axes in memory that its kernel makes, where that is its own.
        weight: about how many instructions an element costs, with all that is computed inline.
        group: the roots that are computed together with it, where it is a root.
        number: its place among all that is computed; -1 for what is not.
        readers: how many items read it.
        loads: what is read from memory for it, of its size, with all that is computed inline.
    """

    __slots__ = (
        "args", "data", "dtype", "group", "kind", "loads", "name", "node", "number", "order",
        "readers", "shape", "view", "weight",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        name: str,
        node: Node,
        args: Sequence[Item] = (),
        *,
        shape: tuple[int, ...] | None = None,
        dtype: np.dtype | None = None,
        data: Any = None,
        view: View | None = None,
    ) -> None:
        self.kind, self.name, self.node, self.args = kind, name, node, tuple(args)
        self.shape = node.shape if shape is None else shape
        self.dtype = node.dtype if dtype is None else dtype
        self.data, self.view = data, view
        self.order: tuple[int, ...] | None = None
        self.group: Any = None
        self.number = -1
        self.readers = 0
        self.weight = 0
        self.loads: set[Item] = set()

    @property
    def root(self) -> bool:
        """Whether a kernel computes it, rather than those who read it."""
        return self.kind in (REDUCE, KERNEL, HOST) or (self.kind == MAP and self.view is not None)

    def __repr__(self) -> str:
        where = " stored" if self.view is not None else ""
        return f"<{self.kind} {self.name} {self.shape} {self.dtype}{where}>"


LONGEST = 100
"""Instructions for an element from which on a value is stored rather than computed again."""
SHARED = 40
"""The same for a value that several others read."""
FEW = 2
"""Arrays that such a value may be computed from: otherwise each of the others would read them all,
as all layers before its own in a residual network."""


class Lowering:
    """Items of all nodes of a graph, made oldest first.

    Attributes:
        items: by node.
        made: every item that is computed, in an order in which it can be.
    """

    def __init__(self) -> None:
        self.items: dict[Node, Item] = {}
        self.made: list[Item] = []

    def add(self, item: Item) -> Item:
        item.number = len(self.made)
        self.made.append(item)
        item.weight = _WEIGHTS.get(item.name, 2)
        for arg in item.args:
            arg.readers += 1
            if arg.kind in (MAP, VIEW) and arg.view is None:
                much = arg.weight > SHARED or len(arg.loads) > FEW
                if arg.weight > LONGEST or (arg.readers > 1 and much):
                    self.place(arg)
                else:
                    item.weight += arg.weight
                    item.loads |= arg.loads
                    continue
            if arg.kind != CONSTANT and math.prod(arg.shape) >= math.prod(item.shape):
                item.loads.add(arg)
        return item

    def lower(self, node: Node) -> Item:
        """The item of a node whose operands are lowered."""
        item = self.items[node] = self._of(node)
        return item

    def _of(self, node: Node) -> Item:
        value = number(node)
        if value is not None:
            return Item(CONSTANT, "number", node, data=value)
        if node.op is None:
            array = np.ascontiguousarray(node.value)
            buffer = Buffer("constant", array.nbytes, array)
            view = View(buffer, array.shape, packed(array.shape), array.dtype)
            return Item(MEMORY, "constant", node, view=view)
        args = [self.items[n] for n in node.inputs if n is not None]
        from chainrule.compile import heads, images, scans  # noqa: F401 - their forms
        from chainrule.compile.forms import FORMS

        form = FORMS.get(node.op.name)
        if form is not None:
            found = form(self, node, args)
            if found is not None:
                return found
        if isinstance(node.op, Elementwise):
            found = self._elementwise(node, args)
            if found is not None:
                return found
        return self.host(node)

    def _elementwise(self, node: Node, args: list[Item]) -> Item | None:
        saved = node.saved or []
        kinds = tuple(
            type(saved[i])
            if i < len(saved) and isinstance(saved[i], (bool, int, float, complex))
            else n.dtype  # type: ignore[union-attr]
            for i, n in enumerate(node.inputs)
        )
        dtype = node.op.plan(kinds) or next(k for k in kinds if isinstance(k, np.dtype))
        operation = node.op.lower if callable(node.op.lower) else node.op.name
        if not supported(operation, len(args), dtype):
            return None
        return self.add(Item(MAP, node.op.name, node, args, data=(operation, dtype)))

    def host(self, node: Node) -> Item:
        """NumPy's forward, called back from between the kernels."""
        args = [self.items[n] for n in node.inputs if n is not None]
        for arg in args:
            self.place(arg)
        item = self.add(Item(HOST, node.op.name, node, args))
        item.view = self.arena(node.shape, node.dtype)
        return item

    # Memory

    def arena(
        self, shape: tuple[int, ...], dtype: np.dtype, order: tuple[int, ...] | None = None
    ) -> View:
        """Memory for a value, its axes from outermost to innermost in `order`."""
        nbytes = math.prod(shape) * dtype.itemsize
        return View(Buffer("arena", nbytes), shape, packed(shape, order), dtype)

    def place(self, item: Item) -> View:
        """Where the item lies; from now on it is stored if it was not before."""
        if item.view is not None:
            return item.view
        if item.kind == VIEW:
            return self._place_view(item)
        if item.kind == CONSTANT:
            array = np.full((), item.data).astype(item.dtype)
            buffer = Buffer("constant", array.nbytes, array)
            item.view = View(buffer, (), (), item.dtype).broadcast(item.shape)
            return item.view
        order = self.order(item) if item.kind == MAP else item.order
        item.view = self.arena(item.shape, item.dtype, order)
        item.weight = 0
        return item.view

    def _place_view(self, item: Item) -> View:
        (source,) = item.args
        base = self.place(source)
        found = item.data.of(base)
        if found is None:
            # No strides tell it: the source is copied row after row first.
            item.args = (self.copied(source),)
            found = item.data.of(item.args[0].view)
        item.view = found
        return found

    def copied(self, item: Item) -> Item:
        """A row-major copy of what lies elsewhere."""
        return self.copy(item, self.arena(item.shape, item.dtype))

    def copy(self, item: Item, view: View) -> Item:
        """A copy that lies there; lanes have no complex numbers, of which NumPy makes it."""
        kind, node = MAP, item.node
        if item.dtype.kind == "c":
            self.place(item)
            kind, node = HOST, make("identity", [node], node)
        copy = self.add(Item(kind, "copy", node, [item], shape=item.shape, dtype=item.dtype))
        copy.view = view
        return copy

    def contiguous(self, item: Item) -> Item:
        """The item, or a copy of it, in row-major order without gaps."""
        view = self.place(item)
        return item if view.contiguous else self.copied(item)

    def order(self, item: Item) -> tuple[int, ...]:
        """The order of axes in memory of the operand that an elementwise result is most like."""
        best: tuple[int, ...] = tuple(range(len(item.shape)))
        if len(best) < 2:
            return best
        seen, stack = set(), [item]
        while stack:
            part = stack.pop()
            for arg in part.args:
                if id(arg) in seen or arg.shape != item.shape:
                    continue
                seen.add(id(arg))
                if arg.order is not None:
                    return arg.order
                if arg.view is not None:
                    found = axis_order(arg.view)
                    if 0 not in arg.view.strides and found != best:
                        return found
                elif arg.kind == MAP:
                    stack.append(arg)
        return best


_WEIGHTS = {
    "exp": 14, "log": 20, "tanh": 24, "erf": 28, "sin": 30, "cos": 30, "pow": 40, "sigmoid": 18,
    "silu": 20, "softplus": 40, "log_sigmoid": 40, "logaddexp": 40, "expm1": 24, "log1p": 24,
    "random_normal": 80, "random_uniform": 30, "random_keep": 30, "divide": 4, "sqrt": 4, "tan": 40,
}  # fmt: skip


@cache
def supported(operation: Any, operands: int, dtype: np.dtype) -> bool:
    """Whether lanes can do an operation: tried on a module that is thrown away."""
    from llvmlite import ir

    from chainrule.compile.emit.lanes import Lanes, Unsupported

    try:
        module = ir.Module()
        kind = Lanes(ir.IRBuilder(), 4).type(dtype)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [kind] * operands), "probe")
        lanes = Lanes(ir.IRBuilder(function.append_basic_block()), 4)
        lanes.elementwise(operation, list(function.args), dtype)
    except Unsupported:
        return False
    return True

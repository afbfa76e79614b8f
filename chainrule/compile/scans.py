"""`scan` natively: the kernels of its body are made once and run for each step on other memory.

The loop itself is unrolled in the list of what runs, where a step costs some nanoseconds, not in
the code. The carry goes from one place to another; what is stacked is written where it will lie.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.compile.forms import form
from chainrule.compile.fuse import Group
from chainrule.compile.kernels import Head, Kernel
from chainrule.compile.lower import KERNEL, MEMORY, Item, Lowering
from chainrule.compile.schedule import plan_memory
from chainrule.compile.views import Buffer, View, packed
from chainrule.tensor.graph import Node

Place = tuple[Buffer, int]
"""A buffer and an offset in bytes."""


@form("scan")
def _scan(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    kinds = node.attrs["kinds"]
    if node.attrs["length"] < 1 or any(d != node.dtype or 0 in shape for shape, d in kinds):
        return None
    given = iter(args)
    operands = [next(given) if n is not None else None for n in node.inputs]
    if any(o is None for o in operands):
        return None
    carried, walked = node.attrs["carried"], node.attrs["walked"]
    for i, operand in enumerate(operands):
        assert operand is not None
        view = lowering.place(operand)
        # What every step reads is laid out for it once: a weight that is read transposed.
        if i < carried or (i >= carried + walked and 0 not in view.strides):
            operands[i] = lowering.contiguous(operand)
    item = lowering.add(Item(KERNEL, "scan", node, [o for o in operands if o is not None]))
    item.data = Scan(item)
    return item


class Scan(Head):
    def __init__(self, item: Item) -> None:
        self.item, self.attrs = item, item.node.attrs

    def kernels(self, group: Group) -> list[Kernel]:
        attrs, body = self.attrs, self.attrs["body"]
        n, m = attrs["carried"], attrs["walked"]
        views: list[Any] = [arg.view for arg in self.item.args]
        inner, given, out = self._body(views)
        order = list(range(attrs["length"]))
        if attrs["reverse"]:
            order.reverse()
        places = self._places()
        carries = self._carries(views[:n], places, order)
        outside = {view.buffer for view in views}
        room = Buffer("arena", max(plan_memory(inner, outside), 1))
        own = {
            buffer: (room, buffer.offset)
            for kernel in inner
            for buffer in (*kernel.reads, *kernel.writes)
            if buffer.kind == "arena" and buffer not in outside
        }
        found = self._first_kept(views[:n], places, order) if attrs["kept"] else []
        for step, row in enumerate(order):
            at: dict[Buffer, Place] = dict(own)
            for k in range(n):
                at[given[k]] = carries[k][step]
                at[out[k]] = carries[k][step + 1]
            for k in range(m):
                view = views[n + k]
                offset = (view.offset + row * view.strides[0]) * view.dtype.itemsize
                at[given[n + k]] = (view.buffer, offset)
            for k in range(n, len(body.outputs)):
                buffer, offset = places[k]
                at[out[k]] = (buffer, offset + row * self._row_bytes(k))
            found.extend(_at(kernel, at) for kernel in inner)
        return found

    def _body(self, views: list[View]) -> tuple[list[Kernel], list[Buffer], list[Buffer]]:
        """The kernels of one step, and the buffers that stand for what it is given and gives."""
        from chainrule.compile.native import Section

        body, moving = self.attrs["body"], self.attrs["carried"] + self.attrs["walked"]
        leaves: dict[Node, Item] = {}
        given: list[Buffer] = []
        for i, leaf in enumerate(body.inputs):
            view = views[i]
            if i < moving:
                buffer = Buffer("step", math.prod(leaf.shape) * leaf.dtype.itemsize)
                given.append(buffer)
                strides = packed(leaf.shape) if i < self.attrs["carried"] else view.strides[1:]
                view = View(buffer, leaf.shape, strides, leaf.dtype)
            leaves[leaf] = Item(MEMORY, "step", leaf, view=view)
        out = [Buffer("step", math.prod(o.shape) * o.dtype.itemsize) for o in body.outputs]
        results = [
            (o, View(buffer, o.shape, packed(o.shape), o.dtype))
            for o, buffer in zip(body.outputs, out, strict=True)
        ]
        return Section(results, leaves).kernels(), given, out

    def _places(self) -> list[Place]:
        """Where each of the results lies, one behind the other."""
        view = self.item.view
        assert view is not None
        found, offset = [], view.offset
        for shape, _ in self.attrs["kinds"]:
            found.append((view.buffer, offset * view.dtype.itemsize))
            offset += math.prod(shape)
        return found

    def _row_bytes(self, number: int) -> int:
        shape, dtype = self.attrs["kinds"][number]
        return math.prod(shape[1:]) * dtype.itemsize

    def _kept(self, places: list[Place], carry: int, row: int) -> Place:
        number = len(self.attrs["body"].outputs) + carry
        buffer, offset = places[number]
        return buffer, offset + row * self._row_bytes(number)

    def _carries(
        self, starts: list[View], places: list[Place], order: list[int]
    ) -> list[list[Place]]:
        """Where each carried value lies before each step, and after the last."""
        found = []
        for k, start in enumerate(starts):
            if self.attrs["kept"]:
                between = [self._kept(places, k, row) for row in order[1:]]
            else:
                nbytes = math.prod(start.shape) * start.dtype.itemsize
                turns = [Buffer("arena", nbytes), Buffer("arena", nbytes)]
                between = [(turns[i % 2], 0) for i in range(len(order) - 1)]
            first = (start.buffer, start.offset * start.dtype.itemsize)
            found.append([first, *between, places[k]])
        return found

    def _first_kept(
        self, starts: list[View], places: list[Place], order: list[int]
    ) -> list[Kernel]:
        """What was carried before the first step is among the results, too."""
        from chainrule.compile.native import Section

        found = []
        for k, start in enumerate(starts):
            node = self.attrs["body"].inputs[k]
            target = Buffer("step", math.prod(node.shape) * node.dtype.itemsize)
            leaf = Item(MEMORY, "step", node, view=start)
            view = View(target, node.shape, packed(node.shape), node.dtype)
            for kernel in Section([(node, view)], {node: leaf}).kernels():
                found.append(_at(kernel, {target: self._kept(places, k, order[0])}))
        return found


def _at(kernel: Kernel, at: dict[Buffer, Place]) -> Kernel:
    """A kernel of the body on the memory of one step."""

    def place(buffer: Buffer) -> Place:
        return at.get(buffer, (buffer, 0))

    def moved(arg: Any) -> Any:
        if isinstance(arg, tuple) and isinstance(arg[0], Buffer):
            buffer, offset = place(arg[0])
            return buffer, offset + arg[1]
        return arg

    return Kernel(
        kernel.code,
        [moved(arg) for arg in kernel.args],
        [place(b)[0] for b in kernel.reads],
        [place(b)[0] for b in kernel.writes],
        kernel.items,
        kernel.label,
    )

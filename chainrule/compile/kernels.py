"""Kernels of their own: what an item computes that is neither inline nor a loop nest.

Each kind is a `Head`: it says whether elementwise roots may join it as its epilogue, and makes the
`Kernel`s of its group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chainrule.compile.emit.kernel import KernelCode
from chainrule.compile.fuse import Group
from chainrule.compile.lower import KERNEL, Item, Lowering
from chainrule.compile.machine import machine
from chainrule.compile.nests import Describe, Nest, place, reads
from chainrule.compile.space import Space, space_of, visits
from chainrule.compile.views import Buffer, View
from chainrule.tensor.graph import Node


@dataclass(eq=False)
class Kernel:
    """A kernel in a program: its code and what its arguments are.

    Attributes:
        args: (buffer, offset in bytes), "status", "streams" or ("code", item).
        reads, writes: buffers.
        items: what it computes, for those who want to see it.
    """

    code: KernelCode
    args: list[Any]
    reads: list[Buffer]
    writes: list[Buffer]
    items: list[Item]
    label: str = ""
    before: set[int] = field(default_factory=set)


def nest_kernels(group: Group) -> list[Kernel]:
    """The kernels of a loop nest: itself, and where tasks add up over rows, the sums of theirs."""
    nest = Nest(group, machine().lanes)

    def emit(module: Any, name: str) -> Any:
        from chainrule.compile.emit import nest as code

        return code.emit(module, name, nest)

    code = KernelCode(nest.key, emit, nest.tasks, 0, nest.flops, nest.bytes)
    args = list(nest.slots)
    parts = list(nest.partial.values())
    buffers = [key[0] for key in args if isinstance(key[0], Buffer)]
    written = [view.buffer for view in nest.stored()]
    later = [r for r in nest.partial if nest.tasks > 1]
    first = Kernel(
        code, args, [b for b in buffers if b not in parts], [*written, *parts], group.roots, "nest"
    )
    found = [first]
    for root in later:
        found.append(_combining(nest, root))
    return found


def _combining(nest: Nest, root: Item) -> Kernel:
    dtype, tasks, size = nest.accumulating[root], nest.tasks, math.prod(root.shape)
    width = machine().lanes

    def emit(module: Any, name: str) -> Any:
        from chainrule.compile.emit.reductions import combine

        return combine(module, name, root, dtype, tasks, width)

    key = f"combine {root.name} {dtype} {root.dtype} {tasks} {size} {width}"
    code = KernelCode(key, emit, 1, 0, tasks * size, tasks * size * dtype.itemsize)
    part = nest.partial[root]
    assert root.view is not None
    return Kernel(
        code, [(part, 0), place(root.view)], [part], [root.view.buffer], [root], "combine"
    )


# Epilogues


class Epilogue:
    """What happens to the results of a head while they are in registers.

    Args:
        first: the number of the kernel's first argument that belongs to the epilogue.
    """

    def __init__(self, group: Group, first: int) -> None:
        assert group.head is not None
        self.group, self.head, self.first = group, group.head, first
        self.space: Space = space_of(group)
        found: dict[Any, int] = {}
        for root in group.roots:
            if root.view is not None:
                found.setdefault(place(root.view), first + len(found))
        for item, _ in visits(group):
            for key in reads(item):
                found.setdefault(key, first + len(found))
        self.slots = found

    @property
    def plain(self) -> bool:
        """Whether the results are stored, and that is all."""
        return len(self.group.roots) == 1

    @property
    def key(self) -> str:
        described = Describe(self.group, self.space, self.slots)
        lines = []
        for root in self.group.roots:
            axes = self.group.axes[root]
            where = "" if root.view is None else described.view(root.view, axes)
            lines.append(f"{where} = {'' if root is self.head else described.root(root)}")
        sizes = [self.space.size(loop) for loop in self.space.loops]
        return "\n".join([f"epilogue {sizes}", *lines, *described.lines])

    def finish(self, outer: Any) -> Any:
        """The `finish` of a kernel maker; `outer(builder, batch, row)` gives the index of each
        outer loop."""
        from chainrule.compile.emit.values import Pointers, Values

        shared: dict[Any, Pointers] = {}

        def finish(
            builder: Any, args: Any, batch: Any, row: Any, column: Any, value: Any, mask: Any
        ) -> None:
            pointers = shared.setdefault(builder.function, Pointers(self.slots, args))
            indices = [*outer(builder, self.space, batch, row), column]
            width = value.type.count
            values = Values(builder, self.space, pointers, indices, width, mask)
            stores = []  # last: a root may replace the state that another one still reads here
            for root in self.group.roots:
                axes = self.group.axes[root]
                if root is not self.head:
                    result = values.compute(root, axes)
                else:
                    result = value if values.varies(axes) else values.first(value)
                values.keep(root, axes, result)
                if root.view is not None:
                    stores.append((result, root.view, axes))
            for store in stores:
                values.store(*store)

        return finish

    def buffers(self) -> tuple[list[Buffer], list[Buffer]]:
        """(what it reads, what it writes)."""
        written = [root.view.buffer for root in self.group.roots if root.view is not None]
        read = [key[0] for key in self.slots if isinstance(key[0], Buffer)]
        return [b for b in read if b not in written or self._also_read(b)], written

    def _also_read(self, buffer: Buffer) -> bool:
        return any(
            item.view is not None and item.view.buffer is buffer and item.group is not self.group
            for item, _ in visits(self.group)
        )


class Head:
    """How the kernels of an item are made.

    Attributes:
        joinable: whether elementwise roots may join as an epilogue.
        column: the axis of the result whose neighbours an epilogue gets in the lanes.
    """

    joinable = False
    column = -1

    def kernels(self, group: Group) -> list[Kernel]:
        raise NotImplementedError


class Matmul(Head):
    """A matrix product, whose rows may be those of several matrices one after another."""

    joinable = True

    def __init__(self, item: Item) -> None:
        self.item = item

    def _operands(self) -> tuple[View, View]:
        """Both operands as matrices."""
        a, b = (arg.view for arg in self.item.args)
        assert a is not None
        assert b is not None
        if len(b.shape) == 1:
            # y_i = Σ_k a_ik b_k is a row b times the matrix aᵀ.
            turned = (*range(len(a.shape) - 2), len(a.shape) - 1, len(a.shape) - 2)
            matrix = a.permute(turned) if len(a.shape) > 1 else _column(a)
            return _row(b), matrix
        return (a if len(a.shape) > 1 else _row(a)), b

    def kernels(self, group: Group) -> list[Kernel]:
        from chainrule.compile.emit import gemm

        item = self.item
        a, b = self._operands()
        batch = item.shape[: max(len(a.shape), len(b.shape)) - 2]
        a = a.broadcast((*batch, *a.shape[-2:]))
        b = b.broadcast((*batch, *b.shape[-2:]))
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        merged = _merged_rows(a, b)
        if merged is not None:
            m, row = merged
            batches: tuple[tuple[int, int, int], ...] = ()
        else:
            row = a.strides[-2]
            batches = tuple(zip(batch, a.strides[:-2], b.strides[:-2], strict=True))
        contraction = gemm.Contraction(
            item.dtype, batches, m, n, k, row, a.strides[-1], b.strides[-2], b.strides[-1]
        )
        chosen = gemm.plan(contraction, machine())
        epilogue = Epilogue(group, 2) if item.shape else None
        simple = epilogue is None or epilogue.plain
        if simple:
            assert item.view is not None
            strides = _result_strides(item, merged is not None, len(batch))
            finish = gemm.store_to(2, strides)
            args: list[Any] = [place(a), place(b), place(item.view)]
            ends, writes = repr(strides), [item.view.buffer]
            more: list[Buffer] = []
        else:
            assert epilogue is not None
            rows = self._rows(merged is not None, len(batch))
            finish = epilogue.finish(rows)
            args = [place(a), place(b), *epilogue.slots]
            ends = epilogue.key
            more, writes = epilogue.buffers()

        def emit(module: Any, name: str) -> Any:
            return gemm.emit(module, name, chosen, finish)

        code = KernelCode(
            f"{chosen!r}\n{ends}", emit, chosen.tasks, chosen.scratch, contraction.flops,
            contraction.bytes,
        )  # fmt: skip
        return [
            Kernel(code, args, [a.buffer, b.buffer, *more], writes, group.roots, chosen.choices)
        ]

    def _rows(self, merged: bool, batch: int) -> Any:
        """Indices of the outer loops from those of the product."""
        shape = self.item.shape
        row_axis = len(shape) - 2 if len(shape) - batch == 2 else None

        def outer(builder: Any, space: Space, indices: list[Any], row: Any) -> list[Any]:
            from llvmlite import ir

            i64 = ir.IntType(64)
            found: list[Any] = []
            if merged:
                for loop in reversed(space.outer[1:]):
                    n = i64(space.size(loop))
                    found.insert(0, builder.urem(row, n))
                    row = builder.udiv(row, n)
                return [row, *found] if space.outer else []
            for loop in space.outer:
                total = None
                for axis in loop:
                    part = row if axis == row_axis else indices[axis]
                    total = part if total is None else builder.add(
                        builder.mul(total, i64(shape[axis])), part
                    )  # fmt: skip
                found.append(total)
            return found

        return outer


def _row(vector: View) -> View:
    return View(vector.buffer, (1, vector.shape[0]), (0, vector.strides[0]), vector.dtype,
                vector.offset)  # fmt: skip


def _column(vector: View) -> View:
    return View(vector.buffer, (vector.shape[0], 1), (vector.strides[0], 0), vector.dtype,
                vector.offset)  # fmt: skip


def _merged_rows(a: View, b: View) -> tuple[int, int] | None:
    """(rows, their stride) of a stack of matrices times one matrix, as one matrix."""
    if len(a.shape) == 2:
        return a.shape[0], a.strides[0]
    if any(s for s, n in zip(b.strides[:-2], b.shape[:-2], strict=True) if n != 1):
        return None
    rows = View(a.buffer, a.shape[:-1], a.strides[:-1], a.dtype).reshape((math.prod(a.shape[:-1]),))
    return None if rows is None else (rows.shape[0], rows.strides[0])


def _result_strides(item: Item, merged: bool, batch: int) -> tuple[int, ...]:
    """Of batch dimensions, rows and columns of the result."""
    assert item.view is not None
    strides = item.view.strides
    if not strides:
        return (0, 0)
    rows = len(strides) - batch - 1  # 0 where a vector took the place of the rows
    if merged:
        view = View(item.view.buffer, item.shape[:-1], strides[:-1], item.dtype)
        flat = view.reshape((math.prod(item.shape[:-1]),))
        assert flat is not None
        return (flat.strides[0], strides[-1])
    return (*strides[:batch], *(strides[batch : batch + rows] or (0,)), strides[-1])


def scatter_rows(lowering: Lowering, node: Node, args: Sequence[Item]) -> Item | None:
    """`add_at` of rows: an embedding's gradient."""
    g, *arrays = args
    pattern = node.attrs["pattern"]
    if pattern != ("array",) or len(node.shape) != 2 or node.dtype.name not in (
        "float32", "float64",
    ):  # fmt: skip
        return None
    (index,) = arrays
    if index.dtype.name not in ("int64", "int32") or 0 in node.shape or 0 in g.shape:
        return None
    args = [lowering.contiguous(g), lowering.contiguous(index)]
    item = lowering.add(Item(KERNEL, "add_rows", node, args))
    item.data = ScatterRows(item)
    return item


class ScatterRows(Head):
    """y[index[i], :] += g[i, :] from zeros, rows in their order, a task for a range of columns."""

    def __init__(self, item: Item) -> None:
        self.item = item

    def kernels(self, group: Group) -> list[Kernel]:
        item = self.item
        g, index = (arg.view for arg in item.args)
        assert item.view is not None
        assert g is not None
        assert index is not None
        rows, columns = item.shape
        count = math.prod(index.shape)
        lanes = machine().lanes
        wanted = max(1, min(-(-columns // lanes), count * columns // 50_000, 16))
        width = -(-columns // wanted // lanes) * lanes if wanted > 1 else columns
        tasks = -(-columns // width)
        dtype, kind = item.dtype, index.dtype

        def emit(module: Any, name: str) -> Any:
            from chainrule.compile.emit import scatter

            return scatter.emit(module, name, dtype, kind, rows, columns, count, width, lanes)

        key = f"scatter {dtype} {kind} {rows} {columns} {count} {width} {lanes}"
        code = KernelCode(
            key, emit, tasks, 0, count * columns, (count + rows) * columns * dtype.itemsize
        )
        args = [place(g), place(index), place(item.view), "status", ("code", item)]
        return [Kernel(code, args, [g.buffer, index.buffer], [item.view.buffer], [item], "scatter")]

"""The kernel of a loop nest: rows of elements, in phases, with the reductions along the way.

A row is gone through once for each phase: what depends on a reduction over the row comes in a later
phase than the reduction, and finds the row's operands in the cache. A task is a range of rows (of a
single long row, a range of elements).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import kernel
from chainrule.compile.emit.lanes import I64, Lanes
from chainrule.compile.emit.loops import at, repeat, smaller
from chainrule.compile.emit.reductions import Accumulator, identity
from chainrule.compile.emit.values import Pointers, Values
from chainrule.compile.forms import Axes
from chainrule.compile.fuse import inline, len_of, operands, result_axes
from chainrule.compile.lower import CONSTANT, REDUCE, Item
from chainrule.compile.nests import Nest
from chainrule.compile.space import spread
from chainrule.compile.views import View, packed


def emit(module: ir.Module, name: str, nest: Nest) -> ir.Function:
    """The kernel void name(i8** args, i64 task, i8* scratch) of a nest."""
    function, builder = kernel(module, name)
    _Nest(builder, nest, *function.args[:2]).emit()
    builder.ret_void()
    return function


class _Nest:
    def __init__(self, builder: ir.IRBuilder, nest: Nest, args: ir.Value, task: ir.Value) -> None:
        self.builder, self.nest, self.task = builder, nest, task
        self.space, self.group, self.width = nest.space, nest.group, nest.width
        self.pointers = Pointers(nest.slots, args)
        self.lanes, self.single = Lanes(builder, self.width), Lanes(builder, 1)
        self.accumulators: dict[Item, Accumulator] = {}
        self.known: dict[Any, ir.Value] = {}
        self.bases: dict[Item, ir.Value] = {}

    def emit(self) -> None:
        # The entry block holds what is read and reserved once; the work begins in the next.
        body = self.builder.append_basic_block("work")
        self.builder.branch(body)
        self.builder.position_at_end(body)
        nest, loops = self.nest, len(self.space.loops)
        whole = self._values([None] * loops, 1)
        for item, axes in self._lower_than(self.group.roots, outer=True):
            whole.one(item, axes)
        self.known = whole.known
        for root, way in self.group.way.items():
            if way == "outer":
                self._fill(root)
            else:
                lanes = self.single if way == "scalar" else self.lanes
                copies = 1 if way == "scalar" else nest.copies
                self.accumulators[root] = found = Accumulator(
                    root, nest.accumulating[root], lanes, copies
                )
                if way != "row":
                    found.clear()
        if nest.flat:
            start = self.builder.mul(self.task, I64(nest.chunk))
            stop = smaller(self.builder, self.builder.add(start, I64(nest.chunk)), self.space.row)
            self._row([], start, stop)
        elif not self.space.outer:
            self._row([], None, None)
        else:
            start = self.builder.mul(self.task, I64(nest.chunk))
            stop = smaller(self.builder, self.builder.add(start, I64(nest.chunk)), self.space.rows)
            repeat(self.builder, start, stop, self._outer_loop)
        self._finish()

    def _outer_loop(self, number: ir.Value) -> None:
        indices: list[ir.Value] = []
        for loop in reversed(self.space.outer[1:]):
            n = I64(self.space.size(loop))
            indices.insert(0, self.builder.urem(number, n))
            number = self.builder.udiv(number, n)
        self._row([number, *indices], None, None)

    def _values(self, indices: list[Any], width: int, **options: Any) -> Values:
        return Values(
            self.builder, self.space, self.pointers, indices, width, known=self.known, **options
        )

    # A row

    def _row(self, outer: list[ir.Value], start: ir.Value | None, stop: ir.Value | None) -> None:
        indices: list[Any] = [*outer, *[None] * len(self.space.inner)]
        row = self._values(indices, 1)
        for phase in range(self.nest.phases):
            single, many = self.nest.work(phase)
            self._single(single, row)
            if not many:
                continue
            splats = {
                (item, axes): self.lanes.splat(row.one(item, axes))
                for item, axes in self._lower_than(many, outer=False)
            }
            for root in many:
                if self.group.way.get(root) == "row":
                    self.accumulators[root].clear()
            self._along(many, row, splats, indices, start, stop)
            for root in many:
                if self.group.way.get(root) == "row":
                    value = self.accumulators[root].total()
                    self._reduced(root, value, row)

    def _single(self, roots: list[Item], row: Values) -> None:
        """Roots with one value a row; stored when all are computed, see `_element`."""
        computed = [root for root in roots if root.kind != REDUCE]
        for root in roots:
            if root.kind != REDUCE:
                axes = self.group.axes[root]
                row.known[root, axes] = row.compute(root, axes)
            else:
                self._accumulate(self.accumulators[root], 0, root, row, None)
        for root in computed:
            assert root.view is not None
            axes = self.group.axes[root]
            row.store(row.known[root, axes], root.view, axes)

    def _reduced(self, root: Item, value: ir.Value, row: Values) -> None:
        """A row's reduction is done."""
        axes = result_axes(self.group, root)
        value = self.single.cast(value, self.nest.accumulating[root], root.dtype)
        row.known[root, axes] = value
        if root.view is not None:
            row.store(value, root.view, axes)

    def _along(
        self,
        roots: list[Item],
        row: Values,
        splats: dict[Any, ir.Value],
        indices: list[Any],
        start: ir.Value | None,
        stop: ir.Value | None,
    ) -> None:
        """The inner loops."""
        *around, last = self.space.inner
        depth = len(self.space.outer)

        def turn(index: ir.Value, copy: int, mask: ir.Value | None) -> None:
            places = list(indices)
            places[-1] = index
            values = self._values(places, self.width, mask=mask, whole=True)
            values.known = dict(row.known)
            values.wide = dict(splats)
            self._element(roots, values, copy)

        def nested(level: int) -> None:
            if level == len(around):
                self._last_loop(self.space.size(last), turn, start, stop)
                return

            def body(index: ir.Value) -> None:
                indices[depth + level] = index
                nested(level + 1)

            repeat(self.builder, 0, self.space.size(around[level]), body)
            indices[depth + level] = None

        nested(0)

    def _last_loop(
        self,
        n: int,
        turn: Callable[[ir.Value, int, ir.Value | None], None],
        start: ir.Value | None,
        stop: ir.Value | None,
    ) -> None:
        b, w, copies = self.builder, self.width, self.nest.copies

        def several(index: ir.Value) -> None:
            for copy in range(copies):
                turn(b.add(index, I64(copy * w)) if copy else index, copy, None)

        if start is None or stop is None:
            full, whole = n // w * w, n // (w * copies) * w * copies
            if copies > 1 and whole:
                repeat(b, 0, whole, several, step=w * copies)
            else:
                whole = 0
            repeat(b, whole, full, lambda i: turn(i, 0, None), step=w)
            if n % w:
                some = [1] * (n % w) + [0] * (w - n % w)
                turn(I64(full), 0, ir.Constant(ir.VectorType(ir.IntType(1), w), some))
            return
        length = b.sub(stop, start)
        if copies > 1:
            whole = b.add(start, b.mul(b.udiv(length, I64(w * copies)), I64(w * copies)))
            repeat(b, start, whole, several, step=w * copies)
        else:
            whole = start
        full = b.add(start, b.and_(length, I64(-w)))
        repeat(b, whole, full, lambda i: turn(i, 0, None), step=w)
        if n % w:
            with b.if_then(b.icmp_signed("<", full, stop)):
                turn(full, 0, self.lanes.mask_first(b.sub(stop, full)))

    def _element(self, roots: list[Item], values: Values, copy: int) -> None:
        """What happens to one vector of elements. Stores come last: a root may replace the state
        that another one still reads here."""
        stores = []
        for root in roots:
            axes = self.group.axes[root]
            if root.kind != REDUCE:
                value = values.wide[root, axes] = values.compute(root, axes)
                if root.view is not None:
                    stores.append((value, root.view, axes))
            elif self.group.way[root] == "outer":
                self._add_to_memory(root, values)
            else:
                self._accumulate(self.accumulators[root], copy, root, values, values.mask)
        for value, view, axes in stores:
            values.store(value, view, axes)

    def _accumulate(
        self, into: Accumulator, copy: int, root: Item, values: Values, mask: ir.Value | None
    ) -> None:
        lanes, place = into.lanes, into.places[copy]
        before = self.builder.load(place, typ=lanes.type(into.dtype))
        after = self._combined(root, before, into.dtype, values, lanes)
        if mask is not None:
            after = lanes.select(mask, after, before)
        self.builder.store(after, place)

    def _combined(
        self, root: Item, before: ir.Value, dtype: np.dtype, values: Values, lanes: Lanes
    ) -> ir.Value:
        axes = self.group.axes[root]
        if root.name == "pick":
            hit, value = values.pick(root, axes, root.data[0][0], lanes)
            return lanes.select(hit, lanes.cast(value, root.args[0].dtype, dtype), before)
        ((arg, at_),) = operands(root, axes)
        value = values.one(arg, at_) if lanes.width == 1 else values.get(arg, at_)
        value = lanes.cast(value, arg.dtype, dtype)
        return lanes.elementwise(root.name, [before, value], dtype)

    # Results over the rows

    def _partial(self, root: Item) -> ir.Value:
        """Where this task's part of a reduction over the rows lies."""
        dtype = self.nest.accumulating[root]
        element = self.single.memory_type(dtype)
        base = self.pointers.to(self.builder, (self.nest.partial[root], 0))
        return at(self.builder, base, element, self.builder.mul(self.task, I64(len_of(root))))

    def _fill(self, root: Item) -> None:
        dtype, base = self.nest.accumulating[root], self._partial(root)
        self.bases[root] = base
        start, element = identity(root, dtype), self.single.memory_type(dtype)
        n, w = len_of(root), self.width

        def clear(lanes: Lanes) -> Callable[[ir.Value], None]:
            return lambda i: lanes.store(
                lanes.constant(start, dtype), at(self.builder, base, element, i), dtype
            )

        repeat(self.builder, 0, n // w * w, clear(self.lanes), step=w)
        repeat(self.builder, n // w * w, n, clear(self.single))

    def _add_to_memory(self, root: Item, values: Values) -> None:
        dtype = self.nest.accumulating[root]
        axes = result_axes(self.group, root)
        view = View(self.nest.partial[root], root.shape, packed(root.shape), dtype)
        form = spread(view.strides, axes, len(self.space.domain))
        lanes, stride = (values.lanes, values.stride(form))
        place = at(self.builder, self.bases[root], lanes.memory_type(dtype), values.offset(form))
        before = values._load(place, dtype, stride, lanes, values.mask)
        after = self._combined(root, before, dtype, values, lanes)
        if stride == 1:
            lanes.store(after, place, dtype, values.mask)
        else:
            lanes.store_strided(after, place, I64(stride), dtype, values.mask)

    def _finish(self) -> None:
        """Hands on what was added up over the rows."""
        for root, way in self.group.way.items():
            if way == "row":
                continue
            dtype = self.nest.accumulating[root]
            if way != "outer":
                value = self.accumulators[root].total()
                if self.nest.tasks > 1:
                    self.single.store(value, self._partial(root), dtype)
                else:
                    self._store(root, I64(0), value, self.single)
            elif self.nest.tasks == 1:
                base = self.bases[root]
                self._each(
                    root,
                    lambda i, lanes, base=base, root=root, dtype=dtype: self._store(  # type: ignore[misc]
                        root,
                        i,
                        lanes.load(at(self.builder, base, lanes.memory_type(dtype), i), dtype),
                        lanes,
                    ),
                )

    def _each(self, root: Item, body: Callable[[ir.Value, Lanes], None]) -> None:
        n, w = len_of(root), self.width
        repeat(self.builder, 0, n // w * w, lambda i: body(i, self.lanes), step=w)
        repeat(self.builder, n // w * w, n, lambda i: body(i, self.single))

    def _store(self, root: Item, index: ir.Value, value: ir.Value, lanes: Lanes) -> None:
        assert root.view is not None
        base = self.pointers.to(
            self.builder, (root.view.buffer, root.view.offset * root.dtype.itemsize)
        )
        value = lanes.cast(value, self.nest.accumulating[root], root.dtype)
        place = at(self.builder, base, lanes.memory_type(root.dtype), index)
        lanes.store(value, place, root.dtype)

    # What is computed once for many

    def _lower_than(self, roots: list[Item], *, outer: bool) -> list[tuple[Item, Axes]]:
        """Inline values, and what is read, that do not change along the inner loops (with `outer`:
        along any loop), as large as they can be, that the roots need."""
        loops = self.space.loops if outer else self.space.inner
        running = {a for loop in loops for a in loop}
        found: dict[Any, tuple[Item, Axes]] = {}
        seen: set[Any] = set()
        stack = [reference for root in roots for reference in operands(root, self.group.axes[root])]
        while stack:
            item, axes = stack.pop()
            key = (item, axes)
            if key in seen or item.kind == CONSTANT:
                continue
            seen.add(key)
            still = not running.intersection(a for a in axes if a is not None)
            if still and not (outer and self.nest.depends(item)):
                found[key] = key
                continue
            if inline(item):
                stack.extend(operands(item, axes))
        return list(found.values())

"""Matrix products: the choice of a form for a contraction, and the kernel that follows from it.

    C[…, i, j] = Σ_k A[…, i, k] · B[…, k, j]

A task computes a block of C: strips of columns of B, packed where that pays, and for each of them
one tile of rows after another by an inner loop (`cores`), or by inner products where the result is
thin (`dots`). What becomes of the results is said by `finish`. The last tile of rows is moved up so
that it is whole, and only its new rows are finished. Blocks are cut by shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.cores import Core, core
from chainrule.compile.emit.dots import Dots, dots
from chainrule.compile.emit.kernel import argument, kernel
from chainrule.compile.emit.lanes import I1, I8, I64, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller
from chainrule.compile.emit.packing import pack
from chainrule.compile.emit.tiling import Contraction, Plan, plan

__all__ = ["Contraction", "Plan", "emit", "plan", "store_to"]

# finish(builder, args, batch indices, row, column, value, mask or None)
Finish = Callable[..., None]


@dataclass(frozen=True)
class Store:
    """Stores results at args[argument] + Σ batch·strides + row·strides[-2] + column·strides[-1]."""

    argument: int
    strides: tuple[int, ...]

    def row(
        self,
        builder: ir.IRBuilder,
        args: ir.Value,
        batch: list[ir.Value],
        row: ir.Value,
        element: ir.Type,
    ) -> ir.Value:
        """Where a row of C starts."""
        place = argument(builder, args, self.argument)
        for index, stride in zip((*batch, row), self.strides[:-1], strict=True):
            place = at(builder, place, element, scaled(builder, index, stride))
        return place

    def __call__(
        self,
        builder: ir.IRBuilder,
        args: ir.Value,
        batch: list[ir.Value],
        row: ir.Value,
        column: ir.Value,
        value: ir.Value,
        mask: ir.Value | None,
    ) -> None:
        lanes, element = Lanes(builder, value.type.count), value.type.element
        dtype = np.dtype(np.float32 if isinstance(element, ir.FloatType) else np.float64)
        start = self.row(builder, args, batch, row, element)
        place = at(builder, start, element, scaled(builder, column, self.strides[-1]))
        if self.strides[-1] == 1:
            lanes.store(value, place, dtype, mask)
        else:
            lanes.store_strided(value, place, I64(self.strides[-1]), dtype, mask)


def store_to(argument: int, strides: tuple[int, ...]) -> Store:
    """The plain finish: results are stored in the operand number `argument`.

    Args:
        argument: its number among the kernel's arguments.
        strides: in elements, of the batch dimensions, the rows and the columns.
    """
    return Store(argument, strides)


def emit(module: ir.Module, name: str, chosen: Plan, finish: Finish) -> ir.Function:
    """The kernel void name(i8** args, i64 task, i8* scratch); args[0] is A, args[1] is B.

    Args:
        finish: called as finish(builder, args, batch_indices, row, column, value, mask) to emit
            what happens to a vector of neighbouring results of one row; mask says which lanes are
            results (None: all). It may leave the builder in a later block. Code is emitted for it
            once where the columns are a multiple of the lanes or fewer than them, else twice.
    """
    function, builder = kernel(module, name)
    _Kernel(module, builder, chosen, finish, *function.args).emit()
    builder.ret_void()
    return function


class _Kernel:
    """Emits the body of one kernel."""

    def __init__(
        self,
        module: ir.Module,
        builder: ir.IRBuilder,
        chosen: Plan,
        finish: Finish,
        args: ir.Value,
        task: ir.Value,
        scratch: ir.Value,
    ) -> None:
        self.module, self.builder, self.plan, self.finish = module, builder, chosen, finish
        self.args, self.task, self.scratch = args, task, scratch
        self.lanes = Lanes(builder, chosen.lanes)
        self.dtype = chosen.contraction.dtype
        self.element = memory_type(self.dtype)
        # A result that goes to rows in memory as it is needs no tile in between.
        self.direct = isinstance(finish, Store) and finish.strides[-1] == 1 and chosen.k_blocks == 1

    def emit(self) -> None:
        builder, p = self.builder, self.plan
        c = p.contraction
        self.a, self.b = argument(builder, self.args, 0), argument(builder, self.args, 1)
        self.tile = self.scratch
        self.a_panels = at(builder, self.scratch, I8, p.tile_bytes)
        self.b_panel = at(builder, self.a_panels, I8, p.a_bytes)
        # task = (group of batch items · row blocks + row block) · column blocks + column block
        block = builder.udiv(self.task, I64(p.column_blocks))
        j = builder.mul(builder.urem(self.task, I64(p.column_blocks)), I64(p.nc))
        i = builder.mul(builder.urem(block, I64(p.row_blocks)), I64(p.mc))
        group = builder.mul(builder.udiv(block, I64(p.row_blocks)), I64(p.items))
        last_i = smaller(builder, builder.add(i, I64(p.mc)), c.m)
        last_j = smaller(builder, builder.add(j, I64(p.nc)), c.n)
        last = smaller(builder, builder.add(group, I64(p.items)), c.batches)
        work = self._thin if p.form == "dots" else self._blocked

        def item(number: ir.Value) -> None:
            self.batch = self._batch_indices(number)
            a, b = self.a, self.b
            for index, (_, a_stride, b_stride) in zip(self.batch, c.batch, strict=True):
                a = at(builder, a, self.element, scaled(builder, index, a_stride))
                b = at(builder, b, self.element, scaled(builder, index, b_stride))
            work(a, b, i, last_i, j, last_j)

        repeat(builder, group, last, item)

    def _batch_indices(self, number: ir.Value) -> list[ir.Value]:
        indices: list[ir.Value] = []
        for size, _, _ in reversed(self.plan.contraction.batch):
            indices.insert(0, self.builder.urem(number, I64(size)))
            number = self.builder.udiv(number, I64(size))
        return indices

    def _blocked(
        self,
        a: ir.Value,
        b: ir.Value,
        i0: ir.Value,
        i1: ir.Value,
        j0: ir.Value,
        j1: ir.Value,
    ) -> None:
        """One block of C by strips of columns and tiles of rows."""
        builder, p = self.builder, self.plan
        c = p.contraction
        if p.k_blocks > 1:
            zero = self.lanes.constant(0, self.dtype)

            def clear(index: ir.Value) -> None:
                self.lanes.store(zero, at(builder, self.tile, self.element, index), self.dtype)

            repeat(builder, 0, p.tile_elements, clear, step=p.lanes)

        def over_k(k0: ir.Value) -> None:
            length = smaller(builder, builder.sub(I64(c.k), k0), p.kc)
            of_a = at(builder, a, self.element, scaled(builder, k0, c.a_k))
            of_b = at(builder, b, self.element, scaled(builder, k0, c.b_k))
            if p.pack_a:
                self._pack_a(of_a, length, i0, i1)

            def tile(i: ir.Value, j: ir.Value, panel: ir.Value) -> None:
                columns, whole = self._width(j)
                start = smaller(builder, i, c.m - p.rows)
                if p.pack_a:
                    left = self._panel_of_a(i, i0)
                else:
                    left = at(builder, of_a, self.element, scaled(builder, start, c.a_row))
                place, ldc = self._place_of_c(start, j, i0, j0, i)

                def product(n: int) -> None:
                    function = core(self.module, self._core(n))
                    builder.call(function, [left, panel, place, ldc, length])

                self._by_width(whole, product)
                if p.k_blocks == 1 and not self.direct:
                    self._finish(place, p.columns_room, start, i, j, columns)

            def strip(j: ir.Value) -> None:
                panel = at(builder, of_b, self.element, scaled(builder, j, c.b_col))
                if p.pack_b:
                    _, whole = self._width(j)
                    self._by_width(whole, lambda n: self._pack_b(panel, length, n))
                    panel = self.b_panel
                repeat(builder, i0, i1, lambda i: tile(i, j, panel), step=p.rows)

            def line(i: ir.Value) -> None:
                def along(j: ir.Value) -> None:
                    tile(i, j, at(builder, of_b, self.element, scaled(builder, j, c.b_col)))

                repeat(builder, j0, j1, along, step=p.columns)

            if p.along_rows:
                repeat(builder, i0, i1, line, step=p.rows)
            else:
                repeat(builder, j0, j1, strip, step=p.columns)

        repeat(builder, 0, max(c.k, 1), over_k, step=max(p.kc, 1))
        if p.k_blocks > 1:

            def finish_strip(j: ir.Value) -> None:
                columns, _ = self._width(j)

                def finish_tile(i: ir.Value) -> None:
                    start = smaller(builder, i, c.m - p.rows)
                    place, _ = self._place_of_c(start, j, i0, j0, i)
                    self._finish(place, p.columns_room, start, i, j, columns)

                repeat(builder, i0, i1, finish_tile, step=p.rows)

            repeat(builder, j0, j1, finish_strip, step=p.columns)

    def _core(self, columns: int) -> Core:
        p = self.plan
        return Core(
            self.dtype,
            p.lanes,
            p.rows,
            columns,
            a_row=1 if p.pack_a else p.contraction.a_row,
            a_k=p.a_pack.width if p.pack_a else p.contraction.a_k,
            b_k=p.b_pack(columns).width if p.pack_b else p.contraction.b_k,
            accumulate=p.k_blocks > 1,
        )

    def _width(self, j: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The columns of the strip from j on, and whether they are all that a strip has."""
        columns = smaller(
            self.builder, self.builder.sub(I64(self.plan.contraction.n), j), self.plan.columns
        )
        return columns, self.builder.icmp_signed("==", columns, I64(self.plan.columns))

    def _by_width(self, whole: ir.Value, emit_for: Callable[[int], None]) -> None:
        """Code for a strip of all its columns, and for the last where that has fewer."""
        p, rest = self.plan, self.plan.contraction.n % self.plan.columns
        if rest == 0:
            emit_for(p.columns)
        elif p.contraction.n < p.columns:
            emit_for(rest)
        else:
            with self.builder.if_else(whole) as (then, otherwise):
                with then:
                    emit_for(p.columns)
                with otherwise:
                    emit_for(rest)

    def _place_of_c(
        self, start: ir.Value, j: ir.Value, i0: ir.Value, j0: ir.Value, i: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Where a tile's results go, and how far its rows lie apart there."""
        builder, p = self.builder, self.plan
        if self.direct:
            assert isinstance(self.finish, Store)
            row = self.finish.row(builder, self.args, self.batch, start, self.element)
            return at(builder, row, self.element, j), I64(self.finish.strides[-2])
        if p.k_blocks == 1:
            return self.tile, I64(p.columns_room)
        down = builder.udiv(builder.sub(i, i0), I64(p.rows))
        right = builder.udiv(builder.sub(j, j0), I64(p.columns))
        number = builder.add(builder.mul(right, I64(p.mc // p.rows)), down)
        place = at(
            builder, self.tile, self.element, scaled(builder, number, p.rows * p.columns_room)
        )
        return place, I64(p.columns_room)

    def _pack_a(self, a: ir.Value, length: ir.Value, i0: ir.Value, i1: ir.Value) -> None:
        builder, p = self.builder, self.plan

        def tile(i: ir.Value) -> None:
            start = smaller(builder, i, p.contraction.m - p.rows)
            source = at(builder, a, self.element, scaled(builder, start, p.contraction.a_row))
            pack(builder, p.a_pack, source, self._panel_of_a(i, i0), length)

        repeat(builder, i0, i1, tile, step=p.rows)

    def _panel_of_a(self, i: ir.Value, i0: ir.Value) -> ir.Value:
        builder, p = self.builder, self.plan
        number = builder.udiv(builder.sub(i, i0), I64(p.rows))
        return at(
            builder, self.a_panels, self.element, scaled(builder, number, p.a_pack.size(p.kc))
        )

    def _pack_b(self, b: ir.Value, length: ir.Value, columns: int) -> None:
        pack(self.builder, self.plan.b_pack(columns), b, self.b_panel, length)

    def _finish(
        self,
        place: ir.Value,
        ld: int,
        start: ir.Value,
        i: ir.Value,
        j: ir.Value,
        columns: ir.Value,
    ) -> None:
        """Finishes the rows from i on of a tile whose first row is `start`."""
        builder, p = self.builder, self.plan
        rest = p.contraction.n % p.lanes
        mask = ir.Constant(ir.VectorType(I1, p.lanes), [1] * rest + [0] * (p.lanes - rest))

        def row(r: ir.Value) -> None:
            number = builder.add(start, r)
            line = at(builder, place, self.element, scaled(builder, r, ld))

            def vector(v: ir.Value, ones: ir.Value | None) -> None:
                value = self.lanes.load(at(builder, line, self.element, v), self.dtype)
                column = builder.add(j, v)
                self.finish(builder, self.args, self.batch, number, column, value, ones)

            whole = builder.and_(columns, I64(-p.lanes))
            if p.contraction.n >= p.lanes:
                repeat(builder, 0, whole, lambda v: vector(v, None), step=p.lanes)
            if rest:
                with builder.if_then(builder.icmp_signed("<", whole, columns)):
                    vector(whole, mask)

        repeat(builder, builder.sub(i, start), p.rows, row)

    def _thin(
        self,
        a: ir.Value,
        b: ir.Value,
        i0: ir.Value,
        i1: ir.Value,
        j0: ir.Value,
        j1: ir.Value,
    ) -> None:
        """One block of C by inner products, a vector of columns at a time."""
        builder, p = self.builder, self.plan
        c = p.contraction
        function = dots(self.module, Dots(self.dtype, p.lanes, p.rows, p.columns, c.a_row, c.b_col))

        def strip(j: ir.Value) -> None:
            columns = smaller(builder, builder.sub(I64(c.n), j), p.lanes)

            def tile(i: ir.Value) -> None:
                start = smaller(builder, i, c.m - p.rows)
                left = at(builder, a, self.element, scaled(builder, start, c.a_row))

                def group(g: ir.Value) -> None:
                    column = builder.add(j, g)
                    right = at(builder, b, self.element, scaled(builder, column, c.b_col))
                    place = at(builder, self.tile, self.element, g)
                    valid = builder.sub(columns, g)
                    builder.call(function, [left, right, place, I64(c.k), valid])

                repeat(builder, 0, columns, group, step=p.columns)
                self._finish(self.tile, p.lanes, start, i, j, columns)

            repeat(builder, i0, i1, tile, step=p.rows)

        repeat(builder, j0, j1, strip, step=p.lanes)

"""Attention forward, and what its gradient shares with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.attention_form import Form, Operand
from chainrule.compile.emit.cores import Core, core
from chainrule.compile.emit.kernel import argument, kernel
from chainrule.compile.emit.lanes import I32, I64, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller
from chainrule.compile.emit.packing import Pack, pack

_INT32 = np.dtype(np.int32)


class Kernel:
    """Emits at `self.builder` what both kernels do."""

    parts: tuple[str, ...]  # of the scratch memory
    arguments: tuple[str, ...]

    def __init__(self, module: ir.Module, name: str, form: Form) -> None:
        self.module, self.form, self.of = module, form, form.of
        self.operands = [n for n in self.arguments if getattr(form.of, n) is not None]
        self.function, self.builder = kernel(module, name)
        self.lanes = Lanes(self.builder, form.lanes)
        self.dtype, self.element = form.dtype, memory_type(form.dtype)
        self.args, self.task, scratch = self.function.args
        self.scratch: dict[str, ir.Value] = {}
        for part in self.parts:
            self.scratch[part] = scratch
            scratch = at(
                self.builder, scratch, self.element, form.bytes_of(part) // form.dtype.itemsize
            )
        self.emit()
        self.builder.ret_void()

    def emit(self) -> None:
        raise NotImplementedError

    def at(self, pointer: ir.Value, *terms: tuple[ir.Value, int]) -> ir.Value:
        """The address after `pointer` by the sum of index · stride, in elements of the dtype."""
        for index, stride in terms:
            pointer = at(self.builder, pointer, self.element, scaled(self.builder, index, stride))
        return pointer

    def of_head(self, head: ir.Value) -> dict[str, ir.Value]:
        """Where the operands of one head begin."""
        b = self.builder
        indices: list[ir.Value] = []
        for size in reversed(self.of.batch):
            indices.insert(0, b.urem(head, I64(size)))
            head = b.udiv(head, I64(size))
        found = {}
        for position, name in enumerate(self.operands):
            operand: Operand = getattr(self.of, name)
            pointer = argument(b, self.args, position)
            for index, stride in zip(indices, operand.batch, strict=True):
                step = scaled(b, index, stride)
                pointer = at(b, pointer, memory_type(operand.dtype), step)
            found[name] = pointer
        return found

    # Operands of products

    def pack_columns(self, source: ir.Value, operand: Operand, size: int, part: str) -> ir.Value:
        """The transpose of an operand with a row for each key, in panels."""
        form, target = self.form, self.scratch[part]
        shape = Pack(self.dtype, form.lanes, form.columns, operand.column, operand.row)

        def one(p: ir.Value) -> None:
            here = self.at(source, (self.first_key(p), operand.row))
            pack(self.builder, shape, here, self.panel_at(target, p, size), I64(size))

        repeat(self.builder, 0, form.panels, one)
        return target

    def first_key(self, p: ir.Value) -> ir.Value:
        """Of a panel."""
        first = self.builder.mul(p, I64(self.form.panel))
        return smaller(self.builder, first, self.of.keys - self.form.columns)

    def panel_at(self, packed: ir.Value, panel: ir.Value, size: int) -> ir.Value:
        return self.at(packed, (panel, self.form.panel * self.form.padded(size)))

    def side_by_side(
        self, source: ir.Value, operand: Operand, rows: ir.Value, size: int, part: str
    ) -> tuple[ir.Value, int]:
        """(an operand whose columns lie side by side, its stride from row to row)."""
        if operand.column == 1:
            return source, operand.row
        width = self.form.padded(size)
        shape = Pack(self.dtype, self.form.lanes, size, operand.row, operand.column)
        target = self.scratch[part]
        pack(self.builder, shape, source, target, rows)
        return target, width

    def product(
        self,
        a: ir.Value,
        strides: tuple[int, int],
        b: tuple[ir.Value, int],
        c: tuple[ir.Value, int],
        rows: int,
        columns: int,
        depth: ir.Value,
        *,
        accumulate: bool = False,
    ) -> None:
        """c (+)= a b of a tile of rows; b and c with their strides from row to row."""
        most = 2 * self.form.lanes
        for start in range(0, columns, most):
            few = min(most, columns - start)
            shape = Core(
                self.dtype, self.form.lanes, rows, few, *strides, b[1], accumulate=accumulate
            )
            moved = [at(self.builder, p, self.element, start) for p in (b[0], c[0])]
            self.builder.call(core(self.module, shape), [a, *moved, I64(c[1]), depth])

    def scores(
        self,
        a: ir.Value,
        operand: Operand,
        columns: ir.Value,
        size: int,
        strip: ir.Value,
        p: ir.Value,
    ) -> None:
        """A tile of rows of an operand times a panel of columns, into its place in a strip."""
        form = self.form
        b = (self.panel_at(columns, p, size), form.panel)
        c = (self.at(strip, (self.first_key(p), 1)), form.strip)
        self.product(a, (operand.row, operand.column), b, c, form.rows, form.panel, I64(size))

    # Softmax

    def needed(self, row: ir.Value) -> ir.Value:
        """How many panels of keys the tile of queries from `row` on looks at."""
        form, b = self.form, self.builder
        if not self.of.is_causal:
            return I64(form.panels)
        last = b.add(row, I64(form.rows + form.panel - 1))
        return smaller(b, b.udiv(last, I64(form.panel)), form.panels)

    def keys_of(self, end: ir.Value) -> ir.Value:
        """How many keys the queries before `end` look at."""
        return smaller(self.builder, end, self.of.keys) if self.of.is_causal else I64(self.of.keys)

    def each(self, end: ir.Value, body: Callable, carried: list[ir.Value]) -> list[ir.Value]:
        """body(j, *carried) for every vector of a row of a strip, up to element `end`."""
        width = self.form.lanes

        def panel(j: ir.Value, *values: ir.Value) -> list[ir.Value]:
            for v in range(0, self.form.panel, width):
                values = body(self.builder.add(j, I64(v)), *values)
            return list(values)

        return repeat(self.builder, 0, end, panel, step=self.form.panel, carried=carried)

    def spread(self, number: float) -> ir.Constant:
        return self.lanes.constant(number, self.dtype)

    def beside(
        self, name: str, start: ir.Value, row: ir.Value, j: ir.Value, valid: ir.Value
    ) -> ir.Value:
        """A vector of the mask or of what dropout keeps."""
        operand: Operand = getattr(self.of, name)
        b, kind = self.builder, memory_type(operand.dtype)
        place = at(b, start, kind, scaled(b, row, operand.row))
        place = at(b, place, kind, scaled(b, j, operand.column))
        if operand.column == 1:
            return self.lanes.load(place, operand.dtype, valid)
        return self.lanes.load_strided(place, I64(operand.column), operand.dtype, valid)

    def valid(self, row: ir.Value, j: ir.Value) -> ir.Value:
        """Which of the keys from j on exist and are looked at by a query, the mask left aside."""
        b = self.builder
        last = I64(self.of.keys - 1)
        if self.of.is_causal:
            last = smaller(b, row, last)
        left = self.lanes.splat(b.trunc(b.sub(last, j), I32))
        return b.icmp_signed("<=", self.lanes.iota(_INT32), left)

    def softmax(
        self,
        starts: dict[str, ir.Value],
        strip: ir.Value,
        row: ir.Value,
        end: ir.Value,
        weighed: Callable[[ir.Value], ir.Value] | None = None,
    ) -> tuple[ir.Value, ir.Value]:
        """Scores of one query become weights exp(score − maximum), not yet divided by their sum.

        Gives 1 / that sum, 0 where there is no key, and the mean by these weights of what
        `weighed` has for a vector of keys.

        A key that is not looked at has the score −∞. A NaN is passed over by the maximum and comes
        out of the sum.
        """
        lanes, b, dtype = self.lanes, self.builder, self.dtype
        lowest, scale = self.spread(-math.inf), self.spread(self.of.scale)
        boolean = self.of.mask is not None and self.of.mask.dtype.kind == "b"

        def scores(j: ir.Value, peak: ir.Value) -> list[ir.Value]:
            place, valid = self.at(strip, (j, 1)), self.valid(row, j)
            score = b.fmul(lanes.load(place, dtype), scale)
            if self.of.mask is not None:
                mask = self.beside("mask", starts["mask"], row, j, valid)
                if boolean:
                    valid = b.and_(valid, mask)
                else:
                    score = b.fadd(score, lanes.cast(mask, self.of.mask.dtype, dtype))
            score = b.select(valid, score, lowest)
            lanes.store(score, place, dtype)
            return [self.larger(score, peak)]

        (peak,) = self.each(end, scores, [lowest])
        peak = lanes.splat(self.across(peak, self.larger))
        if boolean:  # where a query may look at no key, −∞ − 0 gives weights of 0
            peak = b.select(b.fcmp_ordered("==", peak, lowest), self.spread(0), peak)

        def weights(j: ir.Value, total: ir.Value, mean: ir.Value) -> list[ir.Value]:
            place = self.at(strip, (j, 1))
            weight = lanes.elementwise("exp", [b.fsub(lanes.load(place, dtype), peak)], dtype)
            lanes.store(weight, place, dtype)
            if weighed is not None:
                mean = lanes.fma(weight, weighed(j), mean)
            return [b.fadd(total, weight), mean]

        total, mean = self.each(end, weights, [self.spread(0)] * 2)
        total, mean = (lanes.splat(self.across(x, b.fadd)) for x in (total, mean))
        inverse = b.fdiv(self.spread(1), total)
        if boolean:
            none = b.fcmp_ordered("==", total, self.spread(0))
            inverse = b.select(none, self.spread(0), inverse)
        return inverse, b.fmul(mean, inverse)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def across(self, value: ir.Value, join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """All lanes joined, half by half: a scalar."""
        width = self.form.lanes
        while width > 1:
            width //= 2
            low, high = (
                self.builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(I32, width), list(range(i, i + width)))
                )
                for i in (0, width)
            )
            value = join(low, high)
        return self.builder.extract_element(value, I32(0))

    def write_row(
        self, source: ir.Value, size: int, factor: ir.Value, target: ir.Value, stride: int
    ) -> None:
        """target[c · stride] = source[c] · factor, a row of `size` numbers."""
        lanes = self.lanes
        for c in range(0, size, self.form.lanes):
            few = size - c
            mask = lanes.mask_first(I64(few)) if few < self.form.lanes else None
            value = lanes.load(at(self.builder, source, self.element, c), self.dtype, mask)
            value = self.builder.fmul(value, factor)
            place = at(self.builder, target, self.element, c * stride)
            if stride == 1:
                lanes.store(value, place, self.dtype, mask)
            else:
                lanes.store_strided(value, place, I64(stride), self.dtype, mask)


class Forward(Kernel):
    parts = ("k", "v rows", "strip", "tile", "sums")
    arguments = ("q", "k", "v", "mask", "keep", "y")

    def emit(self) -> None:
        form, of, b = self.form, self.of, self.builder
        head, part = b.udiv(self.task, I64(form.parts)), b.urem(self.task, I64(form.parts))
        starts = self.of_head(head)
        self.pack_columns(starts["k"], of.k, of.size, "k")
        v = self.side_by_side(starts["v"], of.v, I64(of.keys), of.value_size, "v rows")
        tiles = -(-of.queries // form.rows)
        first, end = (
            b.udiv(b.mul(p, I64(tiles)), I64(form.parts)) for p in (part, b.add(part, I64(1)))
        )
        repeat(b, first, end, lambda t: self.tile(starts, v, t))

    def tile(self, starts: dict[str, ir.Value], v: tuple[ir.Value, int], t: ir.Value) -> None:
        """A tile of queries; the last is moved back to end with them, and repeats a few."""
        form, of, b = self.form, self.of, self.builder
        row = smaller(b, b.mul(t, I64(form.rows)), of.queries - form.rows)
        panels = self.needed(row)
        q, strip, tile = (
            self.at(starts["q"], (row, of.q.row)),
            self.scratch["strip"],
            self.scratch["tile"],
        )
        columns = self.scratch["k"]
        repeat(b, 0, panels, lambda p: self.scores(q, of.q, columns, of.size, strip, p))
        end = b.mul(panels, I64(form.panel))

        def weights(i: ir.Value) -> None:
            place = self.at(strip, (i, form.strip))
            query = b.add(row, i)
            inverse, _ = self.softmax(starts, place, query, end)
            if of.keep is not None:
                self.drop(starts["keep"], place, query, end)
                inverse = b.fmul(inverse, self.spread(1 / (1 - of.p)))
            first = b.extract_element(inverse, I32(0))
            b.store(first, self.at(self.scratch["sums"], (i, 1)))

        repeat(b, 0, form.rows, weights)
        width = form.padded(of.value_size)
        depth = self.keys_of(b.add(row, I64(form.rows)))
        self.product(strip, (form.strip, 1), v, (tile, width), form.rows, of.value_size, depth)

        def write(i: ir.Value) -> None:
            factor = b.load(self.at(self.scratch["sums"], (i, 1)), typ=self.element)
            target = self.at(starts["y"], (b.add(row, i), of.y.row))
            source = self.at(tile, (i, width))
            self.write_row(source, of.value_size, self.lanes.splat(factor), target, of.y.column)

        repeat(b, 0, form.rows, write)

    def drop(self, keep: ir.Value, strip: ir.Value, row: ir.Value, end: ir.Value) -> None:
        def one(j: ir.Value) -> list[ir.Value]:
            place = self.at(strip, (j, 1))
            kept = self.beside("keep", keep, row, j, self.valid(row, j))
            weight = self.builder.select(kept, self.lanes.load(place, self.dtype), self.spread(0))
            self.lanes.store(weight, place, self.dtype)
            return []

        self.each(end, one, [])

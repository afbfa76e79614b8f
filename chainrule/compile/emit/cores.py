"""The inner loops of matrix products: a tile of C stays in registers while k runs.

    C[i, j] (+)= Σ_{t < segments} Σ_{k < length} A(i, t, k) · B[t·length + k, j]

for the elements of one tile, by outer products: each step of k loads a few vectors of a row of B
and multiplies them by one element of A after another, which is spread over all lanes (K. Goto and
R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008). Every element of C is one
chain of fused multiplications in the order of k: its bits depend neither on the tile it lies in nor
on its place there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import POINTER, internal
from chainrule.compile.emit.lanes import I1, I64, Lanes, memory_type
from chainrule.compile.emit.loops import Body, at, repeat, scaled


@dataclass(frozen=True)
class Core:
    """One shape of tile and the layout of its operands; strides count elements.

    Args:
        dtype: float32 or float64.
        lanes: how many numbers a vector has.
        rows: of the tile.
        columns: of the tile; where they fill no whole number of vectors, the last is masked.
        a_row: A(i, t, k) lies at a + offsets[t] + i·a_row + k·a_k. None: `a` points to as many
            pointers as there are rows, and A(i, t, k) lies at a[i] + offsets[t] + k·a_k.
        a_k: see there.
        b_k: the stride between the rows of B, whose columns lie side by side.
        segmented: whether there are segments; a plain product has one, at offset 0.
        accumulate: whether the sums are added to what C holds.
    """

    dtype: np.dtype
    lanes: int
    rows: int
    columns: int
    a_row: int | None
    a_k: int
    b_k: int
    segmented: bool = False
    accumulate: bool = False

    @property
    def vectors(self) -> int:
        return -(-self.columns // self.lanes)

    @property
    def name(self) -> str:
        kinds = "s" * self.segmented + "a" * self.accumulate
        row = "p" if self.a_row is None else self.a_row
        tile = f"{self.dtype}x{self.lanes}_{self.rows}x{self.columns}"
        return f"core_{tile}_{row}_{self.a_k}_{self.b_k}_{kinds}"

    @property
    def unrolled(self) -> int:
        """Steps of k in one turn of the loop: about as much work in each, to hide its own cost."""
        return max(4 if self.a_row is None else 1, min(8, 28 // (self.rows * self.vectors)))


def core(module: ir.Module, shape: Core) -> ir.Function:
    """The function of a core, emitted into the module where it is not there yet.

    void core(T* a, T* b, T* c, i64 ldc, i64 length), and where it is segmented two more arguments:
    (…, i64* offsets, i64 segments). C has ldc elements from row to row.
    """
    kinds = [POINTER, POINTER, POINTER, I64, I64] + [POINTER, I64] * shape.segmented
    function, builder = internal(module, shape.name, kinds)
    if builder is not None:
        _Body(builder, shape).emit(function.args)
    return function


class _Body:
    def __init__(self, builder: ir.IRBuilder, shape: Core) -> None:
        self.builder, self.shape = builder, shape
        self.lanes = Lanes(builder, shape.lanes)
        self.element = memory_type(shape.dtype)
        rest = shape.columns % shape.lanes
        last = [1] * rest + [0] * (shape.lanes - rest)
        whole: list[ir.Constant | None] = [None] * (shape.columns // shape.lanes)
        mask = ir.Constant(ir.VectorType(I1, shape.lanes), last)
        self.masks = whole + [mask] * (rest > 0)

    def emit(self, arguments: tuple[ir.Value, ...]) -> None:
        shape, builder = self.shape, self.builder
        a, b, c, ldc, length = arguments[:5]
        if shape.a_row is None:
            bases = [
                builder.load(at(builder, a, POINTER, i), typ=POINTER) for i in range(shape.rows)
            ]
        else:
            bases = [a]
        sums = self._initial(c, ldc)
        if shape.segmented:
            offsets, segments = arguments[5:]

            def segment(t: ir.Value, b: ir.Value, *sums: ir.Value) -> list[ir.Value]:
                offset = builder.load(at(builder, offsets, I64, t), typ=I64)
                moved = [at(builder, base, self.element, offset) for base in bases]
                following = at(builder, b, self.element, scaled(builder, length, shape.b_k))
                return [following, *self._segment(moved, b, length, list(sums))]

            sums = repeat(builder, 0, segments, segment, carried=[b, *sums])[1:]
        else:
            sums = self._segment(bases, b, length, sums)
        for (i, v), value in zip(self._places(), sums, strict=True):
            self.lanes.store(value, self._of_c(c, ldc, i, v), shape.dtype, self.masks[v])
        builder.ret_void()

    def _places(self) -> list[tuple[int, int]]:
        return [(i, v) for i in range(self.shape.rows) for v in range(self.shape.vectors)]

    def _of_c(self, c: ir.Value, ldc: ir.Value, i: int, v: int) -> ir.Value:
        row = at(self.builder, c, self.element, self.builder.mul(ldc, I64(i)))
        return at(self.builder, row, self.element, v * self.shape.lanes)

    def _initial(self, c: ir.Value, ldc: ir.Value) -> list[ir.Value]:
        if not self.shape.accumulate:
            return [self.lanes.constant(0, self.shape.dtype)] * len(self._places())
        return [
            self.lanes.load(self._of_c(c, ldc, i, v), self.shape.dtype, self.masks[v])
            for i, v in self._places()
        ]

    def _segment(
        self, bases: list[ir.Value], b: ir.Value, length: ir.Value, sums: list[ir.Value]
    ) -> list[ir.Value]:
        """The sums, and to them those over one segment of k."""
        builder, turns = self.builder, self.shape.unrolled

        def steps(count: int) -> Body:
            def body(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
                moved = scaled(builder, k, self.shape.a_k)
                places = [at(builder, base, self.element, moved) for base in bases]
                row = at(builder, b, self.element, scaled(builder, k, self.shape.b_k))
                values = list(sums)
                for step in range(count):
                    values = self._step(places, row, step, values)
                return values

            return body

        if turns == 1:
            return repeat(builder, 0, length, steps(1), carried=sums)
        whole = builder.sub(length, builder.urem(length, I64(turns)))
        sums = repeat(builder, 0, whole, steps(turns), step=turns, carried=sums)
        return repeat(builder, whole, length, steps(1), carried=sums)

    def _step(
        self, places: list[ir.Value], row: ir.Value, step: int, sums: list[ir.Value]
    ) -> list[ir.Value]:
        """One outer product: `step` steps of k after `places` and `row`."""
        shape, builder = self.shape, self.builder
        right = [
            self.lanes.load(
                at(builder, row, self.element, step * shape.b_k + v * shape.lanes),
                shape.dtype,
                mask,
            )
            for v, mask in enumerate(self.masks)
        ]
        results = []
        for i in range(shape.rows):
            if shape.a_row is None:
                place = at(builder, places[i], self.element, step * shape.a_k)
            else:
                place = at(builder, places[0], self.element, i * shape.a_row + step * shape.a_k)
            left = self.lanes.splat(builder.load(place, typ=self.element))
            results += [
                self.lanes.fma(left, value, sums[i * shape.vectors + v])
                for v, value in enumerate(right)
            ]
        return results

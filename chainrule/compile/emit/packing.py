"""Packing: copying a strip of a matrix to where the inner loops read it in one stream.

A panel holds a few columns of a matrix, row after row: k in turn, whatever the matrix's own layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import POINTER, internal
from chainrule.compile.emit.lanes import I1, I32, I64, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller

_UNIT = 4  # what x86 shuffles cheaply: units of 128 bits, four float32


@dataclass(frozen=True)
class Pack:
    """panel[k·width + c] = source[k·k_stride + c·column_stride], for c < columns.

    The width is `columns` rounded up to whole vectors; what lies beyond the columns means nothing.
    """

    dtype: np.dtype
    lanes: int
    columns: int
    k_stride: int
    column_stride: int

    @property
    def width(self) -> int:
        return -(-self.columns // self.lanes) * self.lanes

    def size(self, length: int) -> int:
        """The elements that a panel of so many rows needs room for."""
        return -(-length // self.lanes) * self.lanes * self.width


def pack(
    builder: ir.IRBuilder, shape: Pack, source: ir.Value, panel: ir.Value, length: ir.Value
) -> None:
    """Emits the packing of `length` rows."""
    if shape.column_stride == 1:
        _copy(builder, shape, source, panel, length)
    elif shape.k_stride == 1:
        sizes = (shape.column_stride, shape.columns, shape.width)
        function = _transposition(builder.module, shape.dtype, shape.lanes)
        builder.call(function, [source, panel, length, *map(I64, sizes)])
    else:
        _one_by_one(builder, shape, source, panel, length)


def _copy(
    builder: ir.IRBuilder, shape: Pack, source: ir.Value, panel: ir.Value, length: ir.Value
) -> None:
    lanes, element = Lanes(builder, shape.lanes), memory_type(shape.dtype)

    def row(k: ir.Value) -> None:
        start = at(builder, source, element, scaled(builder, k, shape.k_stride))
        target = at(builder, panel, element, scaled(builder, k, shape.width))
        for c in range(0, shape.columns, shape.lanes):
            mask = _first(shape.lanes, shape.columns - c)
            value = lanes.load(at(builder, start, element, c), shape.dtype, mask)
            lanes.store(value, at(builder, target, element, c), shape.dtype)

    repeat(builder, 0, length, row)


def _one_by_one(
    builder: ir.IRBuilder, shape: Pack, source: ir.Value, panel: ir.Value, length: ir.Value
) -> None:
    element = memory_type(shape.dtype)

    def row(k: ir.Value) -> None:
        start = at(builder, source, element, scaled(builder, k, shape.k_stride))
        target = at(builder, panel, element, scaled(builder, k, shape.width))

        def one(c: ir.Value) -> None:
            place = at(builder, start, element, scaled(builder, c, shape.column_stride))
            builder.store(builder.load(place, typ=element), at(builder, target, element, c))

        repeat(builder, 0, shape.columns, one)

    repeat(builder, 0, length, row)


def _transposition(module: ir.Module, dtype: np.dtype, side: int) -> ir.Function:
    """void (T* source, T* panel, i64 length, i64 stride, i64 columns, i64 width), for any matrix.

    Squares of side × side elements go through registers: four columns of the source at a time are
    interleaved, and the units of four elements that this gives are then sorted into rows. They are
    in memory in between, so that either is a loop: a third of the code to compile, for 2 % of time.
    """
    name = f"transposition_{dtype}x{side}"
    function, builder = internal(module, name, [POINTER, POINTER, I64, I64, I64, I64])
    if builder is None:
        return function
    source, panel, length, stride, columns, width = function.args
    lanes, element = Lanes(builder, side), memory_type(dtype)
    last = builder.sub(columns, I64(1))
    between = builder.alloca(element, I64(side * side))
    between.align = 64
    quarter = side * side // _UNIT

    def strip(c: ir.Value) -> None:
        target = at(builder, panel, element, c)

        def square(k: ir.Value) -> None:
            mask = lanes.mask_first(builder.sub(length, k))

            def interleave(i: ir.Value) -> None:
                rows = []
                for r in range(_UNIT):
                    # Beyond the last column, it is read again.
                    column = smaller(builder, builder.add(builder.add(c, i), I64(r)), last)
                    start = at(builder, source, element, builder.mul(column, stride))
                    rows.append(lanes.load(at(builder, start, element, k), dtype, mask))
                group = at(builder, between, element, scaled(builder, i, side // _UNIT))
                for q, value in enumerate(_interleaved(builder, rows)):
                    lanes.store(value, at(builder, group, element, q * quarter), dtype)

            def sort(q: ir.Value) -> None:
                start = at(builder, between, element, scaled(builder, q, quarter))
                units = [
                    lanes.load(at(builder, start, element, g * side), dtype)
                    for g in range(side // _UNIT)
                ]
                first = builder.add(k, q)
                for u, value in enumerate(_sorted(builder, units)):
                    row = builder.mul(builder.add(first, I64(_UNIT * u)), width)
                    lanes.store(value, at(builder, target, element, row), dtype)

            repeat(builder, 0, side, interleave, step=_UNIT)
            repeat(builder, 0, _UNIT, sort)

        repeat(builder, 0, length, square, step=side)

    repeat(builder, 0, columns, strip, step=side)
    builder.ret_void()
    return function


def _first(lanes: int, count: int) -> ir.Constant | None:
    """True in the first `count` lanes; None where that is all of them."""
    if count >= lanes:
        return None
    return ir.Constant(ir.VectorType(I1, lanes), [1] * count + [0] * (lanes - count))


def _interleaved(builder: ir.IRBuilder, rows: Sequence[ir.Value]) -> list[ir.Value]:
    """Of four rows, result number q has in unit u their elements number 4u + q, in two rounds."""
    side = rows[0].type.count
    units = range(0, side, _UNIT)
    r0, r1, r2, r3 = rows
    results = []
    for half in (0, 2):
        both = [u + i + side * of for u in units for i in (half, half + 1) for of in (0, 1)]
        first, second = _shuffle(builder, r0, r1, both), _shuffle(builder, r2, r3, both)
        for i in (0, 2):
            pairs = [u + i + j + side * of for u in units for of in (0, 1) for j in (0, 1)]
            results.append(_shuffle(builder, first, second, pairs))
    return results


def _sorted(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> list[ir.Value]:
    """Of as many vectors as each has units, result number u has unit u of each, in their order."""
    if len(vectors) == 1:
        return list(vectors)
    side = vectors[0].type.count
    even, odd = ([i for i in range(2 * side) if i // _UNIT % 2 == parity] for parity in (0, 1))
    pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
    evens = _sorted(builder, [_shuffle(builder, a, b, even) for a, b in pairs])
    odds = _sorted(builder, [_shuffle(builder, a, b, odd) for a, b in pairs])
    return [value for both in zip(evens, odds, strict=True) for value in both]


def _shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, places: list[int]) -> ir.Value:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(places)), places))

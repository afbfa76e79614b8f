"""Matrix products by inner products: where both operands have k side by side, and one is thin.

A few rows of A times a few columns of B: each has a vector of partial sums, over the k that fall to
its lanes. Nothing is packed, and B is read once, in `columns` streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import POINTER, internal
from chainrule.compile.emit.lanes import I32, I64, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller


@dataclass(frozen=True)
class Dots:
    """c[i·lanes + j] = Σ_k a[i·a_row + k] · b[j·b_col + k], for i < rows and j < columns."""

    dtype: np.dtype
    lanes: int
    rows: int
    columns: int
    a_row: int
    b_col: int

    @property
    def name(self) -> str:
        tile = f"{self.dtype}x{self.lanes}_{self.rows}x{self.columns}"
        return f"dots_{tile}_{self.a_row}_{self.b_col}"


def dots(module: ir.Module, shape: Dots) -> ir.Function:
    """void dots(T* a, T* b, T* c, i64 length, i64 valid), emitted where the module has it not yet.

    Of the columns only `valid` ≥ 1 are read; what the others give means nothing.
    """
    function, builder = internal(module, shape.name, [POINTER, POINTER, POINTER, I64, I64])
    if builder is None:
        return function
    lanes, element = Lanes(builder, shape.lanes), memory_type(shape.dtype)
    a, b, c, length, valid = function.args
    last = builder.sub(valid, I64(1))
    streams = [
        at(builder, b, element, scaled(builder, smaller(builder, I64(j), last), shape.b_col))
        for j in range(shape.columns)
    ]

    def products(k: ir.Value, mask: ir.Value | None, sums: Sequence[ir.Value]) -> list[ir.Value]:
        right = [lanes.load(at(builder, s, element, k), shape.dtype, mask) for s in streams]
        results = []
        for i in range(shape.rows):
            place = at(builder, at(builder, a, element, i * shape.a_row), element, k)
            left = lanes.load(place, shape.dtype, mask)
            of_row = sums[i * shape.columns :]
            results += [lanes.fma(left, r, s) for r, s in zip(right, of_row, strict=False)]
        return results

    zeros = [lanes.constant(0, shape.dtype)] * (shape.rows * shape.columns)
    rest = builder.urem(length, I64(shape.lanes))
    whole = builder.sub(length, rest)
    sums = repeat(
        builder,
        0,
        whole,
        lambda k, *sums: products(k, None, sums),
        step=shape.lanes,
        carried=zeros,
    )
    # The last turn, of fewer lanes, is taken once or not at all.
    sums = repeat(
        builder,
        whole,
        length,
        lambda k, *sums: products(k, lanes.mask_first(rest), sums),
        step=shape.lanes,
        carried=sums,
    )
    for i in range(shape.rows):
        totals = summed(builder, sums[i * shape.columns : (i + 1) * shape.columns])
        place = at(builder, c, element, i * shape.lanes)
        builder.store(totals, place, align=shape.dtype.itemsize)
    builder.ret_void()
    return function


def summed(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> ir.Value:
    """One vector that has in each lane the sum over the lanes of one of `vectors`.

    They are as many as a power of two, at most the lanes. Halves are added to halves, of two
    vectors at once as long as there are two: a vector then has `groups` sums, each spread over
    some lanes still.
    """
    remaining, groups = list(vectors), 1
    while len(remaining) > 1 or remaining[0].type.count > groups:
        width = remaining[0].type.count
        half = width // groups // 2
        first = [g * 2 * half + i for g in range(groups) for i in range(half)]
        if len(remaining) > 1:
            first += [width + place for place in first]
            pairs = list(zip(remaining[::2], remaining[1::2], strict=True))
            groups *= 2
        else:
            pairs = [(remaining[0], ir.Constant(remaining[0].type, ir.Undefined))]
        mask = ir.VectorType(I32, len(first))
        low, high = ir.Constant(mask, first), ir.Constant(mask, [place + half for place in first])
        remaining = [
            builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))
            for a, b in pairs
        ]
    return remaining[0]

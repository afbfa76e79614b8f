"""Rows added up at the places that indices name."""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import argument, kernel
from chainrule.compile.emit.lanes import I64, Lanes
from chainrule.compile.emit.loops import at, repeat, scaled, smaller


def emit(
    module: ir.Module,
    name: str,
    dtype: np.dtype,
    kind: np.dtype,
    rows: int,
    columns: int,
    count: int,
    width: int,
    lanes: int,
) -> ir.Function:
    """y[index[i], :] += g[i, :] from zeros; args are g, index, y, the status word and its code.

    A task does `width` of the columns. An index out of bounds is told to the status word.
    """
    function, b = kernel(module, name)
    args, task, _ = function.args
    g, index, y, status, code = (argument(b, args, i) for i in range(5))
    many, one = Lanes(b, lanes), Lanes(b, 1)
    element = one.memory_type(dtype)
    start = b.mul(task, I64(width))
    length = b.sub(smaller(b, b.add(start, I64(width)), columns), start)
    whole = b.and_(length, I64(-lanes))
    g, y = (at(b, p, element, start) for p in (g, y))
    rest = many.mask_first(b.sub(length, whole))
    some = b.icmp_signed("<", whole, length)

    def clear(row: ir.Value) -> None:
        line = at(b, y, element, scaled(b, row, columns))
        zero = many.constant(0, dtype)
        repeat(b, 0, whole, lambda c: many.store(zero, at(b, line, element, c), dtype), step=lanes)
        with b.if_then(some):
            many.store(zero, at(b, line, element, whole), dtype, rest)

    repeat(b, 0, rows, clear)

    def add(i: ir.Value) -> None:
        row = one.cast(one.load(at(b, index, one.memory_type(kind), i), kind), kind, _INT64)
        row = b.select(b.icmp_signed("<", row, I64(0)), b.add(row, I64(rows)), row)
        wrong = b.icmp_unsigned(">=", row, I64(rows))
        with b.if_then(wrong, likely=False):
            b.store(b.ptrtoint(code, I64), status)
        row = b.select(wrong, I64(0), row)
        source = at(b, g, element, scaled(b, i, columns))
        line = at(b, y, element, b.mul(row, I64(columns)))

        def vector(c: ir.Value, mask: ir.Value | None) -> None:
            place = at(b, line, element, c)
            value = many.load(at(b, source, element, c), dtype, mask)
            many.store(b.fadd(many.load(place, dtype, mask), value), place, dtype, mask)

        repeat(b, 0, whole, lambda c: vector(c, None), step=lanes)
        with b.if_then(some):
            vector(whole, rest)

    repeat(b, 0, count, add)
    b.ret_void()
    return function


_INT64 = np.dtype(np.int64)

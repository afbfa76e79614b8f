"""Loops over i64 indices, with the values that they carry from turn to turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

I64 = ir.IntType(64)

Body = Callable[..., Sequence[ir.Value] | None]


def repeat(
    builder: ir.IRBuilder,
    start: ir.Value | int,
    stop: ir.Value | int,
    body: Body,
    *,
    step: int = 1,
    carried: Sequence[ir.Value] = (),
) -> list[ir.Value]:
    """for i in range(start, stop, step): carried = body(i, *carried). Gives what is carried out."""
    known = isinstance(start, int) and isinstance(stop, int)
    start, stop = (I64(n) if isinstance(n, int) else n for n in (start, stop))
    if known and start.constant >= stop.constant:
        return list(carried)
    before, turn, after = (
        builder.block,
        builder.append_basic_block("loop"),
        builder.append_basic_block("done"),
    )
    if known:  # at least one turn, so that nothing needs to be asked before the first
        builder.branch(turn)
    else:
        builder.cbranch(builder.icmp_signed("<", start, stop), turn, after)
    builder.position_at_end(turn)
    index = builder.phi(I64)
    phis = [builder.phi(value.type) for value in carried]
    results = list(body(index, *phis) or ())
    following = builder.add(index, I64(step))
    last = builder.block
    builder.cbranch(builder.icmp_signed("<", following, stop), turn, after)
    builder.position_at_end(after)
    for phi, first, result in zip(
        (index, *phis), (start, *carried), (following, *results), strict=True
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(result, last)
    if known:
        return results
    merged = []
    for first, result in zip(carried, results, strict=True):
        phi = builder.phi(first.type)
        phi.add_incoming(first, before)
        phi.add_incoming(result, last)
        merged.append(phi)
    return merged


def at(
    builder: ir.IRBuilder, pointer: ir.Value, element: ir.Type, index: ir.Value | int
) -> ir.Value:
    """The address of the element number `index` after `pointer`."""
    if isinstance(index, int):
        if index == 0:
            return pointer
        index = I64(index)
    return builder.gep(pointer, [index], inbounds=True, source_etype=element)


def scaled(builder: ir.IRBuilder, index: ir.Value, factor: int) -> ir.Value:
    """index · factor."""
    return index if factor == 1 else builder.mul(index, I64(factor))


def smaller(builder: ir.IRBuilder, a: ir.Value, b: ir.Value | int) -> ir.Value:
    """min(a, b)."""
    b = I64(b) if isinstance(b, int) else b
    return builder.select(builder.icmp_signed("<", a, b), a, b)

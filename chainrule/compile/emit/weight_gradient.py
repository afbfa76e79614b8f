"""The gradient of a convolution's weight: a matrix product whose sum runs over all pixels.

    dw[tap, f] = Σ_{n, i, j} x[n, s·i + …, t·j + …, tap's channel] · g[n, i, j, f]

Here the taps (a pixel of the window and a channel) are the rows of the product, the outputs its
columns, and each row of places is a segment of the sum. A task adds up a share of the images for
one strip of outputs, in memory of its own; a second kernel adds the shares in their order, so that
the bits do not depend on threads, and writes them as the weight is stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.cores import Core, core
from chainrule.compile.emit.frame import fill, zeros
from chainrule.compile.emit.kernel import (
    I64,
    POINTER,
    KernelCode,
    Routine,
    Step,
    aligned,
    argument,
    constants,
    kernel,
)  # fmt: skip
from chainrule.compile.emit.lanes import I8, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller
from chainrule.compile.emit.slide import (
    MOST_ROWS,
    Convolution,
    Slide,
    accumulators,
    cycles,
    forward_slide,
    up,
)  # fmt: skip
from chainrule.compile.machine import Machine

_TASKS = 16
_LONGEST = 256  # steps of a sum: its start is forgotten, and what it reads is in the first cache
_SHARES = 4 << 20  # bytes of all shares together, so that adding them is cheap
_WORK = 1_000_000  # flops that are worth a share


@dataclass(frozen=True)
class _Plan:
    """How the product is cut.

    Attributes:
        vectors: of outputs in a strip.
        rows: taps of a tile.
        block: rows of places that are framed at a time.
        together: where that is a whole image, so many images are.
        shares: into how many parts the frames of all images are cut.
    """

    slide: Slide
    lanes: int
    vectors: int
    rows: int
    block: int
    together: int
    shares: int

    @property
    def outputs(self) -> int:
        """Of a group."""
        return self.slide.outputs // self.slide.of.groups

    @property
    def strip(self) -> int:
        return self.vectors * self.lanes

    @property
    def strips(self) -> int:
        """In a group."""
        return up(self.outputs, self.strip)

    @property
    def room(self) -> int:
        """Elements of one row of a share: all strips of a group."""
        return self.strips * self.strip

    @property
    def share(self) -> int:
        """Elements of a share: group, tap, output."""
        return self.slide.of.groups * self.slide.of.taps * self.room

    @property
    def blocks(self) -> int:
        return up(self.slide.places[0], self.block)

    @property
    def units(self) -> int:
        """What is framed at a time, of all images."""
        return up(self.slide.of.images, self.together) * self.blocks

    @property
    def frame_bytes(self) -> int:
        if self.slide.is_direct:
            return 0
        size = self.together * self.slide.image_size(self.block)
        return aligned(size * self.slide.of.dtype.itemsize)

    def segments(self) -> tuple[int, ...]:
        """Where each row of places starts, image after image."""
        slide = self.slide
        row = slide.stride[0] * slide.columns(self.block) * slide.channels
        return tuple(
            n * self.slide.image_size(self.block) + i * row
            for n in range(self.together)
            for i in range(self.block)
        )

    def tiles(self) -> dict[tuple[int, ...], list[tuple[int, int]]]:
        """Tiles by the places of their taps after the first: (first tap, its place) of each."""
        return _tiles(_tap_places(self.slide, self.block), self.rows)


def _tap_places(slide: Slide, block: int) -> np.ndarray:
    """Where each tap lies, counted from the window's first pixel and channel."""
    length, offsets = slide.segments(slide.columns(block))
    return (np.array(offsets)[:, None] + np.arange(length)).ravel()


def _tiles(places: np.ndarray, rows: int) -> dict[tuple[int, ...], list[tuple[int, int]]]:
    found: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for tap in range(0, len(places), rows):
        part = places[tap : tap + rows]
        found.setdefault(tuple((part - part[0]).tolist()), []).append((tap, int(part[0])))
    return found


def _plan(of: Convolution, machine: Machine) -> _Plan:
    slide, registers = forward_slide(of), accumulators(of.dtype, machine)
    height = slide.places[0]
    row_bytes = slide.stride[0] * slide.framed(1)[1] * slide.channels * of.dtype.itemsize
    fits = max(1, machine.l2 // 2 // max(1, row_bytes))
    block = up(height, up(height, fits))
    needed = max(1, up(of.outputs // of.groups, machine.lanes))
    places = _tap_places(slide, block)
    best: Any = (math.inf,)
    for vectors in range(1, min(needed, 4) + 1):
        for rows in range(1, min(MOST_ROWS, registers // vectors, max(1, len(places))) + 1):
            whole, rest = divmod(len(places), rows)
            starts = places[: whole * rows].reshape(whole, rows)
            # Tiles of one pattern have one number (others too, seldom, which only costs time).
            numbers = (starts - starts[:, :1]) @ 3 ** np.arange(rows)
            patterns = len(np.unique(numbers)) + (rest > 0)
            if patterns > 2:
                continue
            step = whole * cycles(rows, vectors) + cycles(rest, vectors)
            cost = up(needed, vectors) * step
            best = min(best, (cost, patterns, -rows, vectors))
    _, _, rows, vectors = best
    together = max(1, min(of.images, fits // block, _LONGEST // max(1, math.prod(slide.places))))
    together = together if block == height else 1
    plan = _Plan(slide, machine.lanes, vectors, -rows, block, together, 1)
    strips = max(1, of.groups * plan.strips)
    most = max(1, _SHARES // max(1, plan.share * of.dtype.itemsize))
    shares = max(1, min(up(_TASKS, strips), most, plan.units, of.flops // _WORK))
    return replace(plan, shares=shares if plan.units else 0)


def weight_gradient(of: Convolution, machine: Machine) -> Routine:
    """∂weight: step "share" has args (x, g, shares), step "sum" (shares, dw)."""
    plan = _plan(of, machine)
    size = of.dtype.itemsize
    share = KernelCode(
        f"weight gradient {plan}",
        lambda module, name: _emit_shares(module, name, plan),
        plan.shares * of.groups * plan.strips,
        plan.frame_bytes + 8 * plan.rows,
        of.flops,
        of.bytes,
    )
    add = KernelCode(
        f"weight gradient sum {plan}",
        lambda module, name: _emit_sum(module, name, plan),
        of.groups * plan.strips * plan.vectors,
        plan.lanes * plan.lanes * size,
        plan.shares * plan.share,
        (plan.shares + 1) * plan.share * size,
    )
    steps = Step(share, ("x", "g", "shares")), Step(add, ("shares", "dw"))
    return Routine(steps, {"shares": max(1, plan.shares) * plan.share * size})


def _emit_shares(module: ir.Module, name: str, plan: _Plan) -> ir.Function:
    """task = (share · groups + group) · strips + strip."""
    function, b = kernel(module, name)
    args, task, scratch = function.args
    slide, of, element = plan.slide, plan.slide.of, memory_type(plan.slide.of.dtype)
    (height, width), strip = slide.places, b.urem(task, I64(plan.strips))
    number = b.udiv(task, I64(plan.strips))
    group, share = b.urem(number, I64(of.groups)), b.udiv(number, I64(of.groups))
    x, g, result = (argument(b, args, i) for i in range(3))
    g = at(b, g, element, scaled(b, group, plan.outputs))
    first_output = b.mul(strip, I64(plan.strip))
    g = at(b, g, element, first_output)
    result = at(b, result, element, scaled(b, number, of.taps * plan.room))
    result = at(b, result, element, first_output)
    repeat(b, 0, of.taps, lambda tap: zeros(
        b, of.dtype, plan.lanes, at(b, result, element, scaled(b, tap, plan.room)), plan.strip
    ))  # fmt: skip
    pointers = at(b, scratch, I8, plan.frame_bytes)
    segments = constants(module, f"{name}_rows", plan.segments())

    def unit(n: ir.Value) -> None:
        image = scaled(b, b.udiv(n, I64(plan.blocks)), plan.together)
        first = b.mul(b.urem(n, I64(plan.blocks)), I64(plan.block))
        images = smaller(b, b.sub(I64(of.images), image), plan.together)
        rows = b.mul(images, smaller(b, b.sub(I64(height), first), plan.block))
        top = scaled(b, first, slide.stride[0])
        left = at(b, x, element, scaled(b, image, math.prod(slide.source) * slide.channels))
        if slide.is_direct:
            left = at(b, left, element, scaled(b, top, slide.source[1] * slide.channels))
        else:
            filled = fill(module, slide.frame(plan.lanes, plan.block))

            def one(i: ir.Value) -> None:
                pixels = scaled(b, i, math.prod(slide.source) * slide.channels)
                frame = at(b, scratch, element, scaled(b, i, slide.image_size(plan.block)))
                b.call(filled, [at(b, left, element, pixels), frame, top])

            repeat(b, 0, images, one)
            left = scratch
        left = at(b, left, element, scaled(b, group, slide.each))
        place = b.add(scaled(b, image, height), first)
        right = at(b, g, element, scaled(b, place, width * slide.outputs))
        for count, (pattern, starts) in enumerate(plan.tiles().items()):
            table = constants(module, f"{name}_tiles{count}", tuple(sum(starts, ())))
            _tile_loop(b, module, plan, pattern, table, len(starts), left, right, result,
                       first_output, pointers, segments, rows)  # fmt: skip

    units = I64(plan.units)
    begin = b.udiv(b.mul(share, units), I64(max(1, plan.shares)))
    end = b.udiv(b.mul(b.add(share, I64(1)), units), I64(max(1, plan.shares)))
    repeat(b, begin, end, unit)
    b.ret_void()
    return function


def _tile_loop(
    b: ir.IRBuilder, module: ir.Module, plan: _Plan, pattern: tuple[int, ...], table: ir.Value,
    count: int, left: ir.Value, right: ir.Value, result: ir.Value, first_output: ir.Value,
    pointers: ir.Value, segments: ir.Value, rows: ir.Value,
) -> None:  # fmt: skip
    """The tiles of one pattern, for a strip that is whole or the last of its group."""
    slide, of, element = plan.slide, plan.slide.of, memory_type(plan.slide.of.dtype)
    is_run = pattern == tuple(range(len(pattern)))

    def product(columns: int) -> ir.Function:
        return core(module, Core(
            of.dtype, plan.lanes, len(pattern), columns, a_row=1 if is_run else None,
            a_k=slide.stride[1] * slide.channels, b_k=slide.outputs, segmented=True,
            accumulate=True,
        ))  # fmt: skip

    def tile(i: ir.Value) -> None:
        tap, start = (
            b.load(at(b, table, I64, b.add(b.mul(i, I64(2)), I64(n))), typ=I64) for n in (0, 1)
        )
        place = at(b, left, element, start)
        if not is_run:
            for r, offset in enumerate(pattern):
                b.store(at(b, place, element, offset), at(b, pointers, POINTER, r))
            place = pointers
        target = at(b, result, element, scaled(b, tap, plan.room))
        given = [place, right, target, I64(plan.room), I64(slide.places[1]), segments, rows]
        rest = plan.outputs % plan.strip
        if rest == 0 or plan.strips == 1:
            b.call(product(rest or plan.strip), given)
            return
        last = b.icmp_signed(">", first_output, I64(plan.outputs - plan.strip))
        with b.if_else(last) as (then, otherwise):
            with then:
                b.call(product(rest), given)
            with otherwise:
                b.call(product(plan.strip), given)

    repeat(b, 0, count, tile)


def _emit_sum(module: ir.Module, name: str, plan: _Plan) -> ir.Function:
    """A vector of outputs of one group is a task: squares of outputs × as many taps, in the order
    of the weight, are added up and turned."""
    function, b = kernel(module, name)
    args, task, scratch = function.args
    slide, of, lanes = plan.slide, plan.slide.of, Lanes(b, plan.lanes)
    dtype, element, area = of.dtype, memory_type(of.dtype), math.prod(of.kernel)
    vectors = plan.strips * plan.vectors
    group, vector = b.udiv(task, I64(vectors)), b.urem(task, I64(vectors))
    output = b.mul(vector, I64(plan.lanes))
    shares = at(b, argument(b, args, 0), element, scaled(b, group, of.taps * plan.room))
    shares = at(b, shares, element, output)
    row = b.add(scaled(b, group, plan.outputs), output)
    target = at(b, argument(b, args, 1), element, scaled(b, row, of.taps))

    def square(q: ir.Value) -> None:
        def tap(i: ir.Value) -> None:
            number = b.add(q, i)
            channel, pixel = b.udiv(number, I64(area)), b.urem(number, I64(area))
            tap = b.add(scaled(b, pixel, slide.each), channel)
            place = at(b, shares, element, scaled(b, tap, plan.room))

            def add(n: ir.Value, total: ir.Value) -> list[ir.Value]:
                value = lanes.load(at(b, place, element, scaled(b, n, plan.share)), dtype)
                return [b.fadd(total, value)]

            (total,) = repeat(b, 0, plan.shares, add, carried=[lanes.constant(0, dtype)])
            lanes.store_strided(total, at(b, scratch, element, i), I64(plan.lanes), dtype)

        def one(f: ir.Value) -> None:
            value = lanes.load(at(b, scratch, element, scaled(b, f, plan.lanes)), dtype)
            into = at(b, target, element, b.add(scaled(b, f, of.taps), q))
            lanes.store(value, into, dtype, lanes.mask_first(count))

        count = smaller(b, b.sub(I64(of.taps), q), plan.lanes)
        repeat(b, 0, count, tap)
        repeat(b, 0, smaller(b, b.sub(I64(plan.outputs), output), plan.lanes), one)

    repeat(b, 0, of.taps, square, step=plan.lanes)
    b.ret_void()
    return function

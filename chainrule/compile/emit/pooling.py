"""Max pooling, channels last: `pool_places` with `pool_pick`, and its transpose `pool_spread`.

Windows are taken one after another, a vector of channels at a time. A window's pixels in the image
are a range of its rows and one of its columns, so that padding is never read. A task takes one
image, or where there are few, some of the channels of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import I64, KernelCode, Routine, Step, argument, kernel
from chainrule.compile.emit.lanes import I32, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller
from chainrule.compile.machine import Machine

Pair = tuple[int, int]

_TASKS = 16
_UNROLLED = 9  # pixels of a window for which code is written out
_INT32 = np.dtype(np.int32)


@dataclass(frozen=True)
class Pooling:
    """The sizes and attributes of max pooling.

    Images are (n, height, width, channels) in row-major order, the winners' numbers, of dtype
    `which`, likewise; dtype is a floating-point one of 32 or 64 bits.
    """

    dtype: np.dtype
    which: np.dtype
    images: int
    size: Pair
    channels: int
    kernel: Pair
    stride: Pair
    dilation: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))

    @property
    def places(self) -> Pair:
        """The height and width of y."""
        found = [
            (n + sum(p) - r) // s + 1
            for n, p, r, s in zip(self.size, self.padding, self.reach, self.stride, strict=True)
        ]
        return found[0], found[1]

    @property
    def reach(self) -> Pair:
        """The height and width of a window, gaps included."""
        (k, m), (d, e) = self.kernel, self.dilation
        return d * (k - 1) + 1, e * (m - 1) + 1

    @property
    def is_inside(self) -> bool:
        """Whether all windows lie in the image."""
        sides = zip(self.size, self.padding, self.reach, self.stride, self.places, strict=True)
        return all(p[0] == 0 and s * (i - 1) + r <= n for n, p, r, s, i in sides)

    @property
    def is_apart(self) -> bool:
        """Whether no pixel is in two windows."""
        return all(s >= r for s, r in zip(self.stride, self.reach, strict=True))

    @property
    def is_tiling(self) -> bool:
        """Whether every pixel is in one window."""
        sides = zip(self.size, self.places, self.kernel, self.stride, strict=True)
        return self.is_inside and self.dilation == (1, 1) and all(
            s == k and i * s == n for n, i, k, s in sides
        )  # fmt: skip

    @property
    def bytes(self) -> int:
        """Of x, y and which."""
        pixels, places = math.prod(self.size), math.prod(self.places)
        each = pixels * self.dtype.itemsize + places * (self.dtype.itemsize + self.which.itemsize)
        return self.images * self.channels * each


def max_pool(of: Pooling, machine: Machine) -> Routine:
    """y and the winners: args (x, which, y)."""
    return _routine("max pool", of, machine, _emit_max, ("x", "which", "y"))


def pick(of: Pooling, machine: Machine) -> Routine:
    """The winners' numbers of another image: args (x, which, y)."""
    return _routine("pool pick", of, machine, _emit_pick, ("x", "which", "y"))


def spread(of: Pooling, machine: Machine) -> Routine:
    """An image from its windows' numbers: args (g, which, dx)."""
    return _routine("pool spread", of, machine, _emit_spread, ("g", "which", "dx"))


def _routine(
    name: str, of: Pooling, machine: Machine, emit: Callable[..., None], args: tuple[str, ...]
) -> Routine:
    lanes = machine.lanes
    vectors = -(-of.channels // lanes)
    parts = max(1, min(vectors, -(-_TASKS // max(1, of.images))))
    part = -(-vectors // parts) * lanes
    parts = max(1, -(-of.channels // max(part, 1)))

    def whole(module: ir.Module, title: str) -> ir.Function:
        function, b = kernel(module, title)
        emit(_Windows(b, of, lanes, part, parts, function.args))
        b.ret_void()
        return function

    flops = of.images * math.prod(of.places) * of.channels * math.prod(of.kernel)
    code = KernelCode(f"{name} {of} {lanes}", whole, of.images * parts, 0, flops, of.bytes)
    return Routine((Step(code, args),))


class _Windows:
    """What the three kernels share: the walk over windows, and over the pixels of one."""

    def __init__(
        self, b: ir.IRBuilder, of: Pooling, lanes: int, part: int, parts: int, given: tuple
    ) -> None:
        args, task, _ = given
        self.b, self.of, self.lanes = b, of, Lanes(b, lanes)
        self.element, self.number = memory_type(of.dtype), memory_type(of.which)
        image, start = b.udiv(task, I64(parts)), b.mul(b.urem(task, I64(parts)), I64(part))
        self.start, self.end = start, smaller(b, b.add(start, I64(part)), of.channels)
        small = scaled(b, image, math.prod(of.places) * of.channels)
        large = scaled(b, image, math.prod(of.size) * of.channels)
        self._args, self._small, self._large = args, small, large

    def image(self, argument_number: int) -> ir.Value:
        """This task's image in an operand of the size of x."""
        return at(self.b, argument(self.b, self._args, argument_number), self.element, self._large)

    def pooled(self, argument_number: int, kind: ir.Type | None = None) -> ir.Value:
        """This task's image in an operand of the size of y."""
        pointer = argument(self.b, self._args, argument_number)
        return at(self.b, pointer, kind or self.element, self._small)

    def each(self, body: Callable[..., None]) -> None:
        """body(i, j) for every window."""
        height, width = self.of.places
        repeat(self.b, 0, height, lambda i: repeat(self.b, 0, width, lambda j: body(i, j)) and None)

    def vectors(self, body: Callable[..., None]) -> None:
        """body(channel, mask) for the vectors of this task's channels."""

        def vector(c: ir.Value) -> None:
            ragged = self.of.channels % self.lanes.width
            body(c, self.lanes.mask_first(self.b.sub(self.end, c)) if ragged else None)

        repeat(self.b, self.start, self.end, vector, step=self.lanes.width)

    def offset(self, row: ir.Value, column: ir.Value, width: int) -> ir.Value:
        """Elements before a pixel of an image."""
        b = self.b
        return scaled(b, b.add(scaled(b, row, width), column), self.of.channels)

    def ranges(self, i: ir.Value, j: ir.Value) -> list[tuple[ir.Value | int, ir.Value | int]]:
        """The rows and the columns of a window that lie in the image."""
        of = self.of
        if of.is_inside:
            return [(0, of.kernel[0]), (0, of.kernel[1])]
        return [self._range(i, axis) for axis, i in enumerate((i, j))]

    def _range(self, i: ir.Value, axis: int) -> tuple[ir.Value, ir.Value]:
        b, of = self.b, self.of
        dilation, before = of.dilation[axis], of.padding[axis][0]
        corner = b.sub(scaled(b, i, of.stride[axis]), I64(before))

        def above(bound: int) -> ir.Value:
            """The first place of the window at or after a bound."""
            room = b.sub(I64(bound + dilation - 1), corner)
            room = b.select(b.icmp_signed(">", room, I64(0)), room, I64(0))
            return smaller(b, b.udiv(room, I64(dilation)), of.kernel[axis])

        return above(0), above(of.size[axis])

    def pixels(
        self, i: ir.Value, j: ir.Value, body: Callable[..., list[ir.Value] | None],
        ranges: list, carried: list[ir.Value],
    ) -> list[ir.Value]:  # fmt: skip
        """carried = body(offset of a pixel, its number in the window, *carried) for all of them."""
        b, of = self.b, self.of
        (s, t), (d, e), (k, m) = of.stride, of.dilation, of.kernel
        top = b.sub(scaled(b, i, s), I64(of.padding[0][0]))
        left = b.sub(scaled(b, j, t), I64(of.padding[1][0]))

        def pixel(r: ir.Value, c: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            row, column = b.add(top, scaled(b, r, d)), b.add(left, scaled(b, c, e))
            number = b.trunc(b.add(scaled(b, r, m), c), I32)
            return list(body(self.offset(row, column, of.size[1]), number, *carried) or ())

        if of.is_inside and k * m <= _UNROLLED:
            for r in range(k):
                for c in range(m):
                    carried = pixel(I64(r), I64(c), *carried)
            return carried
        (r0, r1), (c0, c1) = ranges
        return repeat(b, r0, r1, lambda r, *carried: repeat(
            b, c0, c1, lambda c, *carried: pixel(r, c, *carried), carried=carried
        ), carried=carried)  # fmt: skip


def _emit_max(w: _Windows) -> None:
    b, of, lanes = w.b, w.of, w.lanes
    x, which, y = w.image(0), w.pooled(1, w.number), w.pooled(2)

    def window(i: ir.Value, j: ir.Value) -> None:
        ranges = w.ranges(i, j)
        (r0, _), (c0, _) = ([I64(n) if isinstance(n, int) else n for n in r] for r in ranges)
        first = b.trunc(b.add(scaled(b, r0, of.kernel[1]), c0), I32)
        place = w.offset(i, j, of.places[1])

        def vector(channel: ir.Value, mask: ir.Value | None) -> None:
            def better(
                offset: ir.Value, number: ir.Value, best: ir.Value, winner: ir.Value
            ) -> list:
                start = at(b, x, w.element, b.add(offset, channel))
                value = lanes.load(start, of.dtype, mask)
                # NaN is larger than any number, as in PyTorch, and the first of equals wins.
                wins = b.or_(
                    b.fcmp_ordered(">", value, best), b.fcmp_unordered("uno", value, value)
                )
                return [b.select(wins, value, best), b.select(wins, lanes.splat(number), winner)]

            start = [lanes.constant(-math.inf, of.dtype), lanes.splat(first)]
            best, winner = w.pixels(i, j, better, ranges, start)
            here = b.add(place, channel)
            lanes.store(best, at(b, y, w.element, here), of.dtype, mask)
            winner = lanes.cast(winner, _INT32, of.which)
            lanes.store(winner, at(b, which, w.number, here), of.which, mask)

        w.vectors(vector)

    w.each(window)


def _winner(w: _Windows, which: ir.Value, here: ir.Value, mask: ir.Value | None) -> ir.Value:
    """The winners' numbers of a vector of channels, as int32."""
    number = w.lanes.load(at(w.b, which, w.number, here), w.of.which, mask)
    return w.lanes.cast(number, w.of.which, _INT32)


def _emit_pick(w: _Windows) -> None:
    b, of, lanes = w.b, w.of, w.lanes
    x, which, y = w.image(0), w.pooled(1, w.number), w.pooled(2)

    def window(i: ir.Value, j: ir.Value) -> None:
        ranges, place = w.ranges(i, j), w.offset(i, j, of.places[1])

        def vector(channel: ir.Value, mask: ir.Value | None) -> None:
            here = b.add(place, channel)
            winner = _winner(w, which, here, mask)

            def one(offset: ir.Value, number: ir.Value, value: ir.Value) -> list[ir.Value]:
                start = at(b, x, w.element, b.add(offset, channel))
                wins = b.icmp_signed("==", winner, lanes.splat(number))
                return [b.select(wins, lanes.load(start, of.dtype, mask), value)]

            (value,) = w.pixels(i, j, one, ranges, [lanes.constant(0, of.dtype)])
            lanes.store(value, at(b, y, w.element, here), of.dtype, mask)

        w.vectors(vector)

    w.each(window)


def _emit_spread(w: _Windows) -> None:
    b, of, lanes = w.b, w.of, w.lanes
    g, which, dx = w.pooled(0), w.pooled(1, w.number), w.image(2)
    zero = lanes.constant(0, of.dtype)
    if not of.is_tiling:

        def clear(pixel: ir.Value) -> None:
            place = scaled(b, pixel, of.channels)
            w.vectors(lambda channel, mask: lanes.store(
                zero, at(b, dx, w.element, b.add(place, channel)), of.dtype, mask
            ))  # fmt: skip

        repeat(b, 0, math.prod(of.size), clear)

    def window(i: ir.Value, j: ir.Value) -> None:
        ranges, place = w.ranges(i, j), w.offset(i, j, of.places[1])

        def vector(channel: ir.Value, mask: ir.Value | None) -> None:
            here = b.add(place, channel)
            winner = _winner(w, which, here, mask)
            value = lanes.load(at(b, g, w.element, here), of.dtype, mask)

            def one(offset: ir.Value, number: ir.Value) -> None:
                pixel = at(b, dx, w.element, b.add(offset, channel))
                wins = b.icmp_signed("==", winner, lanes.splat(number))
                given = b.select(wins, value, zero)
                if not of.is_apart:
                    given = b.fadd(lanes.load(pixel, of.dtype, mask), given)
                lanes.store(given, pixel, of.dtype, mask)

            w.pixels(i, j, one, ranges, [])

        w.vectors(vector)

    w.each(window)

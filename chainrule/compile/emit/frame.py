"""Frames: rows of an image, channels last, copied with zeros around and between its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import I64, POINTER, internal
from chainrule.compile.emit.lanes import Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled

Pair = tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """Rows of a frame around an image of (height, width, channels), all in row-major order.

    Pixel (u, v) of the image comes to row u·spacing + before and the column likewise; what falls
    outside of the frame is left out (`before` may be negative), and the rest of it is zeros.

    Args:
        rows, columns: how much of the frame is filled at a time.
    """

    dtype: np.dtype
    lanes: int
    image: Pair
    channels: int
    before: Pair
    spacing: Pair
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """In elements."""
        return self.rows * self.columns * self.channels

    @property
    def name(self) -> str:
        numbers = (*self.image, self.channels, *self.before, *self.spacing, self.rows, self.columns)
        text = "_".join(str(n).replace("-", "m") for n in numbers)
        return f"frame_{self.dtype}x{self.lanes}_{text}"


def fill(module: ir.Module, frame: Frame) -> ir.Function:
    """void fill(T* image, T* frame, i64 first): the frame's rows from number `first` on."""
    function, b = internal(module, frame.name, [POINTER, POINTER, I64])
    if b is None:
        return function
    image, target, first = function.args
    element, channels = memory_type(frame.dtype), frame.channels
    (height, width), top, (down, across) = frame.image, frame.before[0], frame.spacing

    def row(r: ir.Value) -> None:
        start = at(b, target, element, scaled(b, r, frame.columns * channels))
        q = b.sub(b.add(first, r), I64(top))
        u = b.sdiv(q, I64(down)) if down > 1 else q
        inside = b.and_(b.icmp_signed(">=", q, I64(0)), b.icmp_signed("<", u, I64(height)))
        if down > 1:
            inside = b.and_(inside, b.icmp_signed("==", b.mul(u, I64(down)), q))
        with b.if_else(inside) as (yes, no):
            with yes:
                source = at(b, image, element, scaled(b, u, width * channels))
                (_copy_row if across == 1 else _spread_row)(b, frame, source, start)
            with no:
                zeros(b, frame.dtype, frame.lanes, start, frame.columns * channels)

    repeat(b, 0, frame.rows, row)
    b.ret_void()
    return function


def _copy_row(b: ir.IRBuilder, frame: Frame, source: ir.Value, start: ir.Value) -> None:
    element, channels = memory_type(frame.dtype), frame.channels
    left = min(max(frame.before[1], 0), frame.columns)
    skipped = max(-frame.before[1], 0)
    taken = max(0, min(frame.image[1] - skipped, frame.columns - left))
    right = frame.columns - left - taken
    zeros(b, frame.dtype, frame.lanes, start, left * channels)
    inside = at(b, start, element, left * channels)
    copy(b, frame.dtype, frame.lanes, at(b, source, element, skipped * channels), inside,
         taken * channels)  # fmt: skip
    zeros(b, frame.dtype, frame.lanes, at(b, inside, element, taken * channels), right * channels)


def _spread_row(b: ir.IRBuilder, frame: Frame, source: ir.Value, start: ir.Value) -> None:
    element, channels = memory_type(frame.dtype), frame.channels
    left, across = frame.before[1], frame.spacing[1]
    first = max(0, -(left // across))
    last = min(frame.image[1], -((left - frame.columns) // across))
    zeros(b, frame.dtype, frame.lanes, start, frame.columns * channels)

    def pixel(v: ir.Value) -> None:
        column = b.add(b.mul(v, I64(across)), I64(left))
        copy(b, frame.dtype, frame.lanes, at(b, source, element, scaled(b, v, channels)),
             at(b, start, element, scaled(b, column, channels)), channels)  # fmt: skip

    repeat(b, first, last, pixel)


def copy(
    b: ir.IRBuilder, dtype: np.dtype, width: int, source: ir.Value, target: ir.Value, count: int
) -> None:
    """`count` elements that lie side by side."""
    lanes, element = Lanes(b, width), memory_type(dtype)

    def some(i: ir.Value | int, mask: ir.Value | None) -> None:
        value = lanes.load(at(b, source, element, i), dtype, mask)
        lanes.store(value, at(b, target, element, i), dtype, mask)

    _over(b, lanes, count, some)


def zeros(b: ir.IRBuilder, dtype: np.dtype, width: int, target: ir.Value, count: int) -> None:
    """`count` zeros side by side."""
    lanes, element = Lanes(b, width), memory_type(dtype)
    zero = lanes.constant(0, dtype)

    def some(i: ir.Value | int, mask: ir.Value | None) -> None:
        lanes.store(zero, at(b, target, element, i), dtype, mask)

    _over(b, lanes, count, some)


def _over(b: ir.IRBuilder, lanes: Lanes, count: int, body: Callable[..., None]) -> None:
    """body(i, mask) for whole vectors of elements, and once for what remains of them."""
    rest = count % lanes.width
    repeat(b, 0, count - rest, lambda i: body(i, None), step=lanes.width)
    if rest:
        body(count - rest, lanes.mask_first(I64(rest)))

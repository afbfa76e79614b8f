"""Convolution, channels last: the kernels of `convolve` and `convolve_input`.

They are matrix products whose left operand is never formed: its rows are pixels, where a
patch lies in the image (Chellapilla et al. 2006, but without the copy). One pixel's channels, and
where the window has no gaps those of its neighbours in a row of the window, lie side by side, and
so are a segment of the sum in `cores`. Borders and the gaps of a strided gradient are zeros in a
`Frame` that a task fills in its own memory, a block of rows at a time, so that it is read from the
cache. The weight's gradient is in `weight_gradient`.

Images are (n, height, width, channels) in row-major order, and weights (out, in / groups, height,
width), as PyTorch stores them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from chainrule.compile.emit.cores import Core, core
from chainrule.compile.emit.frame import fill
from chainrule.compile.emit.gemm import Finish
from chainrule.compile.emit.kernel import (
    I64,
    POINTER,
    KernelCode,
    Routine,
    Step,
    aligned,
    argument,
    constants,
    internal,
    kernel,
)  # fmt: skip
from chainrule.compile.emit.lanes import I8, Lanes, memory_type
from chainrule.compile.emit.loops import at, repeat, scaled, smaller
from chainrule.compile.emit.slide import (
    MOST_ROWS,
    Convolution,
    Slide,
    accumulators,
    backward_slide,
    cycles,
    forward_slide,
    up,
)
from chainrule.compile.machine import Machine

_TASKS = 16  # enough for the threads of a desktop, and to share them evenly
_WORK = 2_000_000  # flops that are worth a task of their own
_PLACES = 100  # of a task, so that it reads the weight not too often


@dataclass(frozen=True)
class _Plan:
    """How a slide is cut.

    Attributes:
        vectors: of outputs in a tile.
        rows, columns: the places of a tile.
        block: rows of places of a task.
        together: where that is a whole image, so many images are.
    """

    slide: Slide
    lanes: int
    vectors: int
    rows: int
    columns: int
    block: int
    together: int

    @property
    def lines(self) -> int:
        """The rows of places of a task, over all of its images."""
        return self.block * self.together

    @property
    def strip(self) -> int:
        """The outputs of a tile."""
        return self.vectors * self.lanes

    @property
    def panels(self) -> int:
        """Strips in a group."""
        return up(self.slide.outputs // self.slide.of.groups, self.strip)

    @property
    def blocks(self) -> int:
        return up(self.slide.places[0], self.block)

    @property
    def packed(self) -> int:
        """Elements of the packed weight: group, panel, tap, output within the panel."""
        return self.slide.of.groups * self.panels * self.slide.taps * self.strip

    @property
    def units(self) -> int:
        return up(self.slide.of.images, self.together)

    @property
    def frame_bytes(self) -> int:
        if self.slide.is_direct:
            return 0
        size = self.together * self.slide.image_size(self.block)
        return aligned(size * self.slide.of.dtype.itemsize)

    @property
    def tile_bytes(self) -> int:
        return self.rows * self.columns * self.strip * self.slide.of.dtype.itemsize


def _plan(slide: Slide, machine: Machine) -> _Plan:
    of, (height, width) = slide.of, slide.places
    registers = accumulators(of.dtype, machine)
    needed = max(1, up(slide.outputs // of.groups, machine.lanes))
    row_bytes = slide.stride[0] * slide.framed(1)[1] * slide.channels * of.dtype.itemsize
    fits = max(1, machine.l2 // 4 // max(1, row_bytes))
    together = min(max(1, of.images // _TASKS), fits // height, up(_PLACES, height * width))
    lines = height * max(1, together)
    best: Any = (math.inf,)
    for vectors in range(1, min(needed, 4) + 1):
        most = max(1, min(MOST_ROWS, registers // vectors))
        # A panel that is no longer in the second cache comes at a fifth of a line in a cycle.
        step_bytes = vectors * machine.lanes * of.dtype.itemsize
        arrives = step_bytes / (12 if 2 * step_bytes * slide.taps > machine.l2 else 64)
        across = up(width, up(width, most))
        down = max(1, min(lines, most // across)) if across == width else 1
        tiles = up(lines, down) * up(width, across) * up(needed, vectors)
        step = max(cycles(down * across, vectors), arrives)
        cost = tiles * (step + 2 * down * across * vectors / slide.taps)
        best = min(best, (cost, -down * across, vectors, down, across))
    _, _, vectors, down, across = best
    if together > 1:
        return _Plan(slide, machine.lanes, vectors, down, across, height, together)
    wanted = max(1, min(up(_TASKS, max(1, of.images)), of.flops // max(1, of.images) // _WORK))
    block = max(down, min(up(height, wanted), fits) // down * down)
    block = min(height, up(up(height, up(height, block)), down) * down)
    return _Plan(slide, machine.lanes, vectors, down, across, block, 1)


def forward(of: Convolution, machine: Machine, finish: Finish, finish_key: str) -> Routine:
    """y: step "pack" has args (weight, packed), step "convolve" (x, packed, *those of `finish`).

    `finish` is called as finish(builder, args, [n], i · width + j, channel, value, mask) with the
    values of neighbouring channels of one pixel of y; `finish_key` tells all that it depends on.
    """
    return _slide(forward_slide(of), machine, finish, finish_key, "x")


def input_gradient(of: Convolution, machine: Machine, finish: Finish, finish_key: str) -> Routine:
    """∂x from g: as `forward`, with g in the place of x and the pixels of x in that of y's.

    With a stride, the zeros between g's pixels are multiplied too: stride² times the work.
    """
    return _slide(backward_slide(of), machine, finish, finish_key, "g")


def _slide(
    slide: Slide, machine: Machine, finish: Finish, finish_key: str, operand: str
) -> Routine:
    plan, of = _plan(slide, machine), slide.of
    key, size = f"{plan}", of.dtype.itemsize
    pack = KernelCode(
        f"convolution pack {key}",
        lambda module, name: _emit_pack(module, name, plan),
        of.groups * plan.panels * of.kernel[0],
        0,
        0,
        2 * plan.packed * size,
    )
    run = KernelCode(
        f"convolution {key} {finish_key}",
        lambda module, name: _emit_slide(module, name, plan, finish),
        plan.units * plan.blocks,
        plan.frame_bytes + aligned(plan.tile_bytes) + 8 * plan.rows * plan.columns,
        of.flops * math.prod(slide.spacing),
        of.bytes,
    )
    steps = Step(pack, ("weight", "packed")), Step(run, (operand, "packed"))
    return Routine(steps, {"packed": plan.packed * size})


def _emit_pack(module: ir.Module, name: str, plan: _Plan) -> ir.Function:
    """One row of the window in one panel of one group is a task."""
    function, b = kernel(module, name)
    args, task, _ = function.args
    slide, of, lanes = plan.slide, plan.slide.of, Lanes(b, plan.lanes)
    dtype, element = of.dtype, memory_type(of.dtype)
    (k, m), outputs = of.kernel, slide.outputs // of.groups
    of_group, of_output, of_channel, of_row, of_column, start = slide.weight
    row, panel = b.urem(task, I64(k)), b.udiv(task, I64(k))
    group, panel = b.udiv(panel, I64(plan.panels)), b.urem(panel, I64(plan.panels))
    target = at(b, argument(b, args, 1), element, scaled(b, task, m * slide.each * plan.strip))
    source = at(b, argument(b, args, 0), element, start)
    source = at(b, source, element, scaled(b, group, of_group))
    source = at(b, source, element, scaled(b, row, of_row))
    first = b.mul(panel, I64(plan.strip))
    for v in range(plan.vectors):
        output = b.add(first, I64(v * plan.lanes))
        mask = lanes.mask_first(b.sub(I64(outputs), output))
        column = at(b, source, element, scaled(b, output, of_output))
        places = ir.Constant(ir.VectorType(I64, plan.lanes),
                             [i * of_output for i in range(plan.lanes)])  # fmt: skip

        def tap(j: ir.Value, column: ir.Value = column, mask: Any = mask, v: int = v,
                places: Any = places) -> None:  # fmt: skip
            def channel(c: ir.Value) -> None:
                place = at(b, column, element, scaled(b, j, of_column))
                place = at(b, place, element, scaled(b, c, of_channel))
                number = b.add(scaled(b, j, slide.each), c)
                value = lanes.gather(place, places, dtype, mask)
                into = at(b, target, element, scaled(b, number, plan.strip))
                lanes.store(value, at(b, into, element, v * plan.lanes), dtype)

            repeat(b, 0, slide.each, channel)

        repeat(b, 0, m, tap)
    b.ret_void()
    return function


def _emit_slide(module: ir.Module, name: str, plan: _Plan, finish: Finish) -> ir.Function:
    """One block of rows of one image, or some small images, are a task. The last one, and the last
    tiles of a task and of a row, are moved back so that they are whole; only what is new in them is
    finished."""
    function, b = kernel(module, name)
    args, task, scratch = function.args
    slide, of = plan.slide, plan.slide.of
    element, channels = memory_type(of.dtype), slide.channels
    (height, width), (s, t) = slide.places, slide.stride
    unit, number = b.udiv(task, I64(plan.blocks)), b.urem(task, I64(plan.blocks))
    unit, number = scaled(b, unit, plan.together), scaled(b, number, plan.block)
    image = smaller(b, unit, of.images - plan.together)
    row = smaller(b, number, height - plan.block)
    # Lines are the rows of all images. Those of the task start at `first`, and are new from `new`.
    first, new = (b.add(scaled(b, n, height), i) for n, i in ((image, row), (unit, number)))
    top, pixels = scaled(b, row, s), math.prod(slide.source) * channels
    source = at(b, argument(b, args, 0), element, scaled(b, image, pixels))
    if slide.is_direct:
        source = at(b, source, element, scaled(b, top, slide.source[1] * channels))
    else:
        filled = fill(module, slide.frame(plan.lanes, plan.block))

        def one(n: ir.Value) -> None:
            frame = at(b, scratch, element, scaled(b, n, slide.image_size(plan.block)))
            b.call(filled, [at(b, source, element, scaled(b, n, pixels)), frame, top])

        repeat(b, 0, plan.together, one)
        source = scratch
    columns = slide.columns(plan.block)
    length, offsets = slide.segments(columns)
    table = constants(module, f"{name}_segments", offsets)
    tile = at(b, scratch, I8, plan.frame_bytes)
    pointers = at(b, tile, I8, aligned(plan.tile_bytes))
    shape = Core(of.dtype, plan.lanes, plan.rows * plan.columns, plan.strip,
                 a_row=t * channels if plan.rows == 1 else None, a_k=1, b_k=plan.strip,
                 segmented=True)  # fmt: skip
    product, done = core(module, shape), _finish_tile(module, f"{name}_finish", plan, finish)

    def in_panel(p: ir.Value) -> None:
        group = b.udiv(p, I64(plan.panels))
        left = at(b, source, element, scaled(b, group, slide.each))
        right = at(b, argument(b, args, 1), element, scaled(b, p, slide.taps * plan.strip))

        def line(i: ir.Value) -> ir.Value:
            """Where the windows of a line start."""
            if plan.together == 1:
                return at(b, left, element, scaled(b, i, s * columns * channels))
            start = scaled(b, b.udiv(i, I64(height)), slide.image_size(plan.block))
            start = b.add(start, scaled(b, b.urem(i, I64(height)), s * columns * channels))
            return at(b, left, element, start)

        def in_row(i: ir.Value) -> None:
            row = smaller(b, i, plan.lines - plan.rows)
            lines = [line(b.add(row, I64(r))) for r in range(plan.rows)]

            def in_column(j: ir.Value) -> None:
                column = smaller(b, j, width - plan.columns)
                shift = scaled(b, column, t * channels)
                place = at(b, lines[0], element, shift)
                if plan.rows > 1:
                    for number in range(plan.rows * plan.columns):
                        r, c = divmod(number, plan.columns)
                        pixel = at(b, at(b, lines[r], element, shift), element, c * t * channels)
                        b.store(pixel, at(b, pointers, POINTER, number))
                    place = pointers
                b.call(product, [place, right, tile, I64(plan.strip), I64(length), table,
                                 I64(len(offsets))])  # fmt: skip
                fresh = b.add(first, i)
                fresh = b.select(b.icmp_signed(">", new, fresh), new, fresh)
                b.call(done, [args, tile, p, b.add(first, row), column, fresh, j])

            repeat(b, 0, width, in_column, step=plan.columns)

        repeat(b, 0, plan.lines, in_row, step=plan.rows)

    repeat(b, 0, of.groups * plan.panels, in_panel)
    b.ret_void()
    return function


def _finish_tile(module: ir.Module, name: str, plan: _Plan, finish: Finish) -> ir.Function:
    """void (args, tile, panel, line, column, new line, new column): `finish` for a tile's new
    places, of which the first in the tile is at (line, column)."""
    function, b = internal(module, name, [POINTER, POINTER, *[I64] * 5])
    assert b is not None
    args, tile, p, line, column, new_line, new_column = function.args
    slide, of, lanes = plan.slide, plan.slide.of, Lanes(b, plan.lanes)
    element, outputs = memory_type(of.dtype), slide.outputs // of.groups
    group, panel = b.udiv(p, I64(plan.panels)), b.urem(p, I64(plan.panels))
    start, (height, width) = b.mul(panel, I64(plan.strip)), slide.places

    def in_row(r: ir.Value) -> None:
        number = b.add(line, r)
        image, row = b.udiv(number, I64(height)), b.urem(number, I64(height))

        def in_column(c: ir.Value) -> None:
            place = b.add(scaled(b, row, width), b.add(column, c))
            number = b.add(scaled(b, r, plan.columns), c)
            values = at(b, tile, element, scaled(b, number, plan.strip))

            def vector(v: ir.Value) -> None:
                output = b.add(start, v)
                mask = None
                if outputs % plan.strip:
                    mask = lanes.mask_first(b.sub(I64(outputs), output))
                channel = b.add(scaled(b, group, outputs), output)
                value = lanes.load(at(b, values, element, v), of.dtype)
                finish(b, args, [image], place, channel, value, mask)

            repeat(b, 0, plan.strip, vector, step=plan.lanes)

        repeat(b, b.sub(new_column, column), plan.columns, in_column)

    repeat(b, b.sub(new_line, line), plan.rows, in_row)
    b.ret_void()
    return function

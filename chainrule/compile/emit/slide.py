"""What a convolution's kernels have in common: sizes, and a filter that slides over an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chainrule.compile.emit.frame import Frame
from chainrule.compile.machine import Machine

Pair = tuple[int, int]

MOST_ROWS = 14  # of a tile: more would only be more code


@dataclass(frozen=True)
class Convolution:
    """The sizes and attributes of a `convolve`; dtype is float32 or float64."""

    dtype: np.dtype
    images: int
    size: Pair
    channels: int
    outputs: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def places(self) -> Pair:
        """The height and width of y."""
        found = [
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self.size, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        ]
        return found[0], found[1]

    @property
    def taps(self) -> int:
        """The length of the sum that makes one element of y."""
        return math.prod(self.kernel) * self.channels // self.groups

    @property
    def flops(self) -> int:
        return 2 * self.images * math.prod(self.places) * self.outputs * self.taps

    @property
    def bytes(self) -> int:
        """Of x, y and the weight."""
        pixels = math.prod(self.size) * self.channels + math.prod(self.places) * self.outputs
        return self.dtype.itemsize * (self.images * pixels + self.outputs * self.taps)


@dataclass(frozen=True)
class Slide:
    """A filter that slides over a framed image: what y and the image's gradient are.

    Attributes:
        of: the convolution, of which this is the forward pass or, turned round, the gradient.
        source, channels: the image that is read; `before` and `spacing` frame it.
        outputs, places: of the image that is made.
        weight: the strides of its group, output, channel, row and column, and where it starts.
    """

    of: Convolution
    source: Pair
    channels: int
    outputs: int
    places: Pair
    stride: Pair
    before: Pair
    spacing: Pair
    weight: tuple[int, ...]

    @property
    def each(self) -> int:
        return self.channels // self.of.groups

    @property
    def taps(self) -> int:
        return math.prod(self.of.kernel) * self.each

    @property
    def reach(self) -> Pair:
        """The height and width of a window, gaps included."""
        (k, m), (d, e) = self.of.kernel, self.of.dilation
        return d * (k - 1) + 1, e * (m - 1) + 1

    def framed(self, rows: int) -> Pair:
        """The rows and columns of the frame that so many rows of places look at."""
        (s, t), (k, m) = self.stride, self.reach
        return s * (rows - 1) + k, t * (self.places[1] - 1) + m

    @property
    def is_direct(self) -> bool:
        """Whether the image needs no frame."""
        height, width = self.framed(self.places[0])
        plain = self.before == (0, 0) and self.spacing == (1, 1)
        return plain and height <= self.source[0] and width <= self.source[1]

    def frame(self, lanes: int, rows: int) -> Frame:
        return Frame(
            self.of.dtype, lanes, self.source, self.channels, self.before, self.spacing,
            *self.framed(rows),
        )  # fmt: skip

    def image_size(self, rows: int) -> int:
        """Elements from image to image in what the inner loops read."""
        if self.is_direct:
            return math.prod(self.source) * self.channels
        return math.prod(self.framed(rows)) * self.channels

    def columns(self, rows: int) -> int:
        """How many pixels lie from row to row in what the inner loops read."""
        return self.source[1] if self.is_direct else self.framed(rows)[1]

    def segments(self, columns: int) -> tuple[int, tuple[int, ...]]:
        """(the length of one, where each starts after the window's first pixel)."""
        (k, m), (d, e), c = self.of.kernel, self.of.dilation, self.channels
        down = [i * d * columns * c for i in range(k)]
        if e == 1 and self.of.groups == 1:
            return m * c, tuple(down)
        return self.each, tuple(i + j * e * c for i in down for j in range(m))


def forward_slide(of: Convolution) -> Slide:
    (k, m), each = of.kernel, of.channels // of.groups
    of_group = of.outputs // of.groups * each * k * m
    return Slide(
        of, of.size, of.channels, of.outputs, of.places, of.stride,
        (of.padding[0][0], of.padding[1][0]), (1, 1), (of_group, each * k * m, k * m, m, 1, 0),
    )  # fmt: skip


def backward_slide(of: Convolution) -> Slide:
    """∂x: the filters, turned round, slide over g, between whose pixels a stride left gaps."""
    (k, m), each = of.kernel, of.channels // of.groups
    of_group = of.outputs // of.groups * each * k * m
    (d, e), ((top, _), (left, _)) = of.dilation, of.padding
    return Slide(
        of, of.places, of.outputs, of.channels, of.size, (1, 1),
        (d * (k - 1) - top, e * (m - 1) - left), of.stride,
        (of_group, k * m, each * k * m, -m, -1, k * m - 1),
    )  # fmt: skip


def accumulators(dtype: np.dtype, machine: Machine) -> int:
    """How many vectors of sums fit into the registers, beside what is loaded."""
    parts = max(1, machine.lanes * dtype.itemsize * 8 // machine.vector_bits)
    return (machine.vector_registers - 4) // parts


def cycles(rows: int, vectors: int) -> float:
    """Of one step of k: two multiplications or two loads in each, and a latency of four."""
    return max(rows * vectors / 2, (rows + vectors) * 0.55, 4) if rows else 0


def up(size: int, unit: int) -> int:
    return -(-size // unit)

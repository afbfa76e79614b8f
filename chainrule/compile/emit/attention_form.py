"""What an attention is to the compiler, and how its work is cut into tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainrule.compile.emit.kernel import aligned
from chainrule.compile.emit.lanes import Unsupported
from chainrule.compile.machine import Machine

_ENOUGH_TASKS = 16  # with fewer heads than this, a task is less than a head
_STRIPS = 256 << 10  # bytes for the gradient's two strips, which should stay in the second cache


@dataclass(frozen=True)
class Operand:
    """Strides in elements: of the batch dimensions (0 where it is broadcast), of rows, columns."""

    batch: tuple[int, ...]
    row: int
    column: int
    dtype: np.dtype


@dataclass(frozen=True)
class Attention:
    """One attention: its sizes, and where its operands lie.

    Attributes:
        batch: the sizes of the dimensions in front, which all operands have (by strides of 0).
        queries, keys: L and S.
        size: E, of queries and keys.
        value_size: Ev, of values and outputs.
        q, k, v, y: (…, L, E), (…, S, E), (…, S, Ev), (…, L, Ev), of the dtype of q.
        g: the gradient of y, where that is wanted.
        mask, keep: (…, L, S) or None, as the operation takes them.
    """

    batch: tuple[int, ...]
    queries: int
    keys: int
    size: int
    value_size: int
    q: Operand
    k: Operand
    v: Operand
    y: Operand
    g: Operand | None = None
    mask: Operand | None = None
    keep: Operand | None = None
    is_causal: bool = False
    scale: float = 1.0
    p: float = 0.0

    @property
    def heads(self) -> int:
        return math.prod(self.batch)

    @property
    def pairs(self) -> int:
        """How many queries look at how many keys, over all heads."""
        n, m = self.queries, self.keys
        first = min(n, m)
        seen = first * (first + 1) // 2 + (n - first) * m if self.is_causal else n * m
        return self.heads * seen


@dataclass(frozen=True)
class Form:
    """How the work is cut, by sizes and machine alone."""

    of: Attention
    machine: Machine

    def __post_init__(self) -> None:
        if self.dtype.kind != "f" or self.dtype.itemsize not in (4, 8):
            raise Unsupported(f"attention of {self.dtype}")
        if 0 in (*self.of.batch, self.of.queries, self.of.keys, self.of.size, self.of.value_size):
            raise Unsupported("attention without elements")

    @property
    def dtype(self) -> np.dtype:
        return self.of.q.dtype

    @cached_property
    def lanes(self) -> int:
        # At least the four that `packing` transposes at once.
        return max(4, self.machine.vector_bits // (8 * self.dtype.itemsize))

    @cached_property
    def rows(self) -> int:
        """Queries a tile."""
        return self._tile(self.of.queries)

    @cached_property
    def key_rows(self) -> int:
        """Keys a tile, where keys are rows."""
        return self._tile(self.of.keys)

    def _tile(self, length: int) -> int:
        """The rows of a tile of two vectors for the registers, which wastes least at the end."""
        bits = 8 * self.dtype.itemsize * self.lanes
        vectors = self.machine.vector_registers * self.machine.vector_bits // bits
        most = (vectors - 3) // 2
        few = range(max(1, most - most // 2), most + 1)
        return min(length, min(few, key=lambda r: (-(-length // r) * r * (1 + 1 / r), -r)))

    @cached_property
    def columns(self) -> int:
        """Keys in a panel of packed columns; the last panel is moved back to end with them."""
        return min(2 * self.lanes, self.of.keys)

    @cached_property
    def panel(self) -> int:
        """Elements from row to row of a panel."""
        return self.padded(self.columns)

    @cached_property
    def panels(self) -> int:
        return -(-self.of.keys // self.panel)

    @cached_property
    def margin(self) -> int:
        """Panels past the last one of a tile of queries that a tile of keys may reach into."""
        return -(-self.key_rows // self.panel)

    @cached_property
    def strip(self) -> int:
        """Elements from row to row of a strip: an odd number of vectors, to use all cache sets."""
        vectors = (self.panels + self.margin) * self.panel // self.lanes
        return (vectors | 1) * self.lanes

    @cached_property
    def parts(self) -> int:
        """Into how many tasks the queries of a head fall (forward)."""
        wanted = -(-_ENOUGH_TASKS // max(self.of.heads, 1))
        return max(1, min(wanted, self.of.queries // max(4 * self.rows, 1)))

    @cached_property
    def blocks(self) -> int:
        """Into how many blocks, worked on after one another, they fall (gradient)."""
        row = 2 * self.strip * self.dtype.itemsize
        return -(-self.of.queries // max(_STRIPS // row, 2 * self.rows, 1))

    def padded(self, columns: int) -> int:
        return -(-columns // self.lanes) * self.lanes

    @cached_property
    def elements(self) -> dict[str, int]:
        """Of each part of the scratch memory."""
        of = self.of
        block = -(-of.queries // self.blocks)
        tiles = -(-of.keys // self.key_rows) * self.key_rows
        size, value_size = self.padded(of.size), self.padded(of.value_size)
        return {
            "k": self.panels * self.panel * size,
            "v": self.panels * self.panel * value_size,
            "strip": self.rows * self.strip,
            "strips": block * self.strip,
            "cotangents": block * self.strip,
            "sums": self.rows,
            "tile": self.rows * max(size, value_size),
            "dk": tiles * size,
            "dv": tiles * value_size,
            # Copies of operands whose columns do not lie side by side.
            "k rows": self.padded(of.keys) * size,
            "v rows": self.padded(of.keys) * value_size,
            "q rows": self.padded(block) * size,
            "g rows": self.padded(block) * value_size,
        }

    def bytes_of(self, part: str) -> int:
        return aligned(self.elements[part] * self.dtype.itemsize)

    def scratch(self, *parts: str) -> int:
        return sum(map(self.bytes_of, parts))

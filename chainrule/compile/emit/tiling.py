"""Tiling: which form a matrix product takes, and how it is cut into tiles, blocks and tasks.

All of it is a pure function of shapes, strides and the machine. `benchmarks/products.py` measures
what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from chainrule.compile.emit.packing import Pack
from chainrule.compile.machine import Machine

_WORK = 2_000_000  # flops that are worth a task of their own: some 10 µs
_BYTES = 512 << 10  # bytes of operands that are
_TASKS = 32  # enough for 16 threads, few enough that none is short
_FEWEST = 16  # tiles of rows that share a packed strip at least
_THIN = 4  # rows of C, at most, that do not pay for packing B
_CANDIDATES = 8  # tiles for which the whole plan is made
_PAGE = 4096  # bytes of memory whose place the machine remembers at a time …
_REMEMBERED = 12 << 20  # … and of all that it remembers; beyond, columns are apart
_WAYS = 16  # of a level 2 cache, as most processors have it
_LONGEST = 4096  # elements of k in one strip, whose panel then still fits into a level 2 cache


@dataclass(frozen=True)
class Contraction:
    """C[…, i, j] = Σ_k A[…, i, k] · B[…, k, j]; strides count elements.

    Args:
        dtype: float32 or float64.
        batch: (size, stride in A, stride in B) of each batch dimension; stride 0 broadcasts.
        m, n, k: the rows and columns of C, and the length of the sum.
        a_row, a_k, b_k, b_col: the strides of A and B.
    """

    dtype: np.dtype
    batch: tuple[tuple[int, int, int], ...]
    m: int
    n: int
    k: int
    a_row: int
    a_k: int
    b_k: int
    b_col: int

    @property
    def batches(self) -> int:
        return math.prod(size for size, _, _ in self.batch)

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batches * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        """What is read and written, each element once."""
        a = math.prod(s for s, stride, _ in self.batch if stride) * self.m * self.k
        b = math.prod(s for s, _, stride in self.batch if stride) * self.k * self.n
        return self.dtype.itemsize * (a + b + self.batches * self.m * self.n)


@dataclass(frozen=True)
class Plan:
    """How a contraction is computed; equal plans have equal kernels.

    Args:
        form: "tiles" or "dots".
        rows, columns: of a tile (of one group of inner products).
        pack_a, pack_b: whether the operand is copied into panels.
        along_rows: whether a task goes along one row of tiles after another, not along the strips.
        mc, nc, kc: the block of a task, and the length of k in one strip.
        items: batch items of a task.
    """

    contraction: Contraction
    lanes: int
    form: str
    rows: int
    columns: int
    pack_a: bool
    pack_b: bool
    along_rows: bool
    mc: int
    nc: int
    kc: int
    items: int

    @property
    def row_blocks(self) -> int:
        return _blocks(self.contraction.m, self.mc)

    @property
    def column_blocks(self) -> int:
        return _blocks(self.contraction.n, self.nc)

    @property
    def k_blocks(self) -> int:
        return max(1, _blocks(self.contraction.k, self.kc))

    @property
    def tasks(self) -> int:
        """How many tasks there are; none where C has no element."""
        if min(self.contraction.m, self.contraction.n, self.contraction.batches) == 0:
            return 0
        groups = _blocks(self.contraction.batches, self.items)
        return groups * self.row_blocks * self.column_blocks

    @property
    def columns_room(self) -> int:
        """The columns of a tile in scratch memory: whole vectors."""
        return _up(self.columns, self.lanes)

    @property
    def tile_elements(self) -> int:
        """The tiles that are kept: one, or where k is cut into blocks, all of the task."""
        if self.k_blocks == 1:
            return self.rows * self.columns_room
        tiles = (self.mc // self.rows) * _blocks(self.nc, self.columns)
        return tiles * self.rows * self.columns_room

    @property
    def tile_bytes(self) -> int:
        return _up(self.tile_elements * self.contraction.dtype.itemsize, 64)

    @cached_property
    def a_pack(self) -> Pack:
        c = self.contraction
        return Pack(c.dtype, self.lanes, self.rows, c.a_k, c.a_row)

    def b_pack(self, columns: int) -> Pack:
        c = self.contraction
        return Pack(c.dtype, self.lanes, columns, c.b_k, c.b_col)

    @property
    def a_bytes(self) -> int:
        if not self.pack_a:
            return 0
        elements = (self.mc // self.rows) * self.a_pack.size(self.kc)
        return _up(elements * self.contraction.dtype.itemsize, 64)

    @property
    def scratch(self) -> int:
        """Bytes of memory of its own that a thread needs."""
        panel = self.b_pack(self.columns).size(self.kc) if self.pack_b else 0
        return self.tile_bytes + self.a_bytes + _up(panel * self.contraction.dtype.itemsize, 64)

    @property
    def choices(self) -> str:
        """Form, tiles, packing, and the block of a task."""
        if self.form == "dots":
            how = f"inner products, {self.rows} rows × {self.columns} columns (thin result)"
        else:
            packed = " and ".join(x for x, on in (("A", self.pack_a), ("B", self.pack_b)) if on)
            how = f"tiles of {self.rows}×{self.columns}, {packed or 'nothing'} packed"
        return f"{how}, blocks of {self.mc}×{self.nc}×{self.kc}"

    def describe(self) -> str:
        """One line: what is multiplied, the choices, and how many tasks there are."""
        c = self.contraction
        sizes = "×".join(str(size) for size in (*(s for s, _, _ in c.batch), c.m, c.n, c.k))
        return f"{c.dtype} {sizes}: {self.choices}, {self.tasks} tasks"


def plan(contraction: Contraction, machine: Machine) -> Plan:
    """The form for a contraction on a machine."""
    c, lanes = _normalised(contraction), machine.lanes
    parts = max(1, lanes * c.dtype.itemsize * 8 // machine.vector_bits)
    registers = machine.vector_registers // parts
    if c.b_k == 1 and c.a_k == 1 and (c.m <= _THIN or c.n <= 2) and c.k >= lanes:
        return _inner(c, lanes, registers)
    ranked = sorted(_tiles(c, machine, registers))[:_CANDIDATES]
    plans = [(cycles, _tiled(c, machine, rows, columns)) for cycles, rows, columns in ranked]
    return min(plans, key=lambda pair: pair[0] * _idle(pair[1].tasks))[1]


def _normalised(c: Contraction) -> Contraction:
    """The same product: strides along which nothing moves are 1."""
    return replace(
        c,
        a_row=1 if c.m == 1 else c.a_row,
        a_k=1 if c.k == 1 else c.a_k,
        b_k=1 if c.k == 1 else c.b_k,
        b_col=1 if c.n == 1 else c.b_col,
    )


def _idle(tasks: int) -> float:
    """By how much two or four threads take longer than if the tasks could be cut."""
    return 1 if tasks <= 1 else _up(tasks, 4) / tasks


def _tiled(c: Contraction, machine: Machine, rows: int, columns: int) -> Plan:
    """The plan for tiles of a size."""
    row_tiles, column_tiles = _blocks(c.m, rows), _blocks(c.n, columns)
    # Where neither stride is 1, a panel spares reading a cache line for every element once more.
    scattered = min(c.a_row, c.a_k) != 1 and column_tiles > 2
    # Columns of A far apart come from memory one by one, and the caches forget them between two
    # strips, or have no room for them. Then a task takes few rows, whose columns it packs once for
    # all strips.
    apart = c.a_row == 1 and c.a_k * c.dtype.itemsize >= _PAGE and column_tiles > 8
    apart = apart and c.k * c.a_k * c.dtype.itemsize > _REMEMBERED
    apart = apart or (c.a_row == 1 and column_tiles > 2 and _clash(c, c.a_k, machine))
    pack_a = scattered or apart
    # Rows of B far apart are each on a page of their own; more of them than the machine remembers
    # the pages of, or than the cache has room for, are read once, into a panel.
    span = c.k * c.b_k * c.dtype.itemsize
    far = span > 2 * machine.l2 or _clash(c, c.b_k, machine)
    pack_b = c.b_col != 1 or (row_tiles > 4 and column_tiles > 1 and far)
    # Where B stays in a near cache anyhow, C is best written row after row.
    along_rows = not pack_b and c.k * c.n * c.dtype.itemsize <= machine.l2
    # A large B for a few rows of A is waited for: it is best read in long pieces of a few rows.
    once = c.m <= _THIN and row_tiles == 1 and c.b_col == 1 and span > machine.l2
    longest, width = (16, 512) if once else (_LONGEST, 1)
    kc = min(c.k, _up(_blocks(c.k, _blocks(c.k, longest) or 1), machine.lanes))
    fewest = _FEWEST if pack_b else 1
    mc, nc, items = _block(c, rows, columns, along_rows or apart, fewest, _blocks(width, columns))
    nc = column_tiles * columns if apart else nc
    return Plan(
        c, machine.lanes, "tiles", rows, columns, pack_a, pack_b, along_rows, mc, nc, kc, items
    )


def _clash(c: Contraction, stride: int, machine: Machine) -> bool:
    """Whether k cache lines so far apart put one another out of the level 2 cache: a stride that
    shares a power of two with the size of a way leads to a few of its sets alone."""
    return c.k * math.gcd(stride * c.dtype.itemsize, machine.l2 // _WAYS) >= machine.l2


def _inner(c: Contraction, lanes: int, registers: int) -> Plan:
    """Inner products: as many streams of columns as registers allow, up to eight."""
    rows = min(c.m, 8 if c.n <= 2 else _THIN)
    columns = 1
    while columns < min(8, c.n) and rows * 2 * columns + 2 * columns + 1 <= registers:
        columns *= 2
    tasks = _wanted(c)
    items = _blocks(c.batches, tasks) or 1
    per_item = max(1, tasks // max(1, _blocks(c.batches, items)))
    if c.m <= c.n:
        mc, nc = max(c.m, rows), _up(_up(c.n, per_item) // per_item, lanes)
    else:
        mc, nc = _up(_up(c.m, per_item) // per_item, rows), _up(c.n, lanes)
    return Plan(c, lanes, "dots", rows, columns, False, False, False, mc, nc, c.k, items)


def _tiles(c: Contraction, machine: Machine, registers: int) -> Iterator[tuple[float, int, int]]:
    """The tiles that fit into the registers: cycles that they take for all of C, rows, columns."""
    vectors_of_n = max(1, _blocks(c.n, machine.lanes))
    for vectors in range(1, min(16, vectors_of_n) + 1):
        for rows in range(1, min(14, max(1, c.m)) + 1):
            # One row alone takes the vectors of B from memory as it multiplies.
            if (rows + (rows > 1)) * vectors + 1 > registers:
                break
            strips, rest = divmod(vectors_of_n, vectors)
            cycles = strips * _cycles(c, machine, rows, vectors)
            cycles += rest and _cycles(c, machine, rows, rest)
            yield _blocks(c.m, rows) * cycles, rows, vectors * machine.lanes


def _cycles(c: Contraction, machine: Machine, rows: int, vectors: int) -> float:
    """Of one tile, as measured.

    Two multiplications a cycle, or four loads of a scalar, or two of a vector; a multiplication
    takes four cycles. Where rows of B lie apart, and the strip is read for one tile after another
    but stays in no level 1 cache, it comes at some 26 bytes a cycle. A packed strip costs less, but
    something, as do an A that stays in no level 2 cache, columns of A that lie apart, and each row
    of C, however short.
    """
    size = c.dtype.itemsize
    strip = c.k * vectors * machine.lanes * size
    apart = c.b_col == 1 and c.m > rows and strip > machine.l1
    step = max(rows * vectors / 2, (rows + 2 * vectors) / 2, 4, 2.4 * vectors if apart else 0)
    far = c.a_k == 1 and c.m * c.k * size > machine.l2
    step += vectors / 8 + (rows / 10 if far else 0) + (0.5 if c.a_k > 16 else 0)
    return c.k * step + 2 * rows * vectors + 4 * rows + 20


def _wanted(c: Contraction) -> int:
    """How many tasks: a power of two, which falls evenly to most numbers of threads."""
    tasks = max(1, min(_TASKS, max(c.flops // _WORK, c.bytes // _BYTES)))
    return 1 << (tasks - 1).bit_length()


def _block(
    c: Contraction, rows: int, columns: int, along_rows: bool, fewest: int, together: int
) -> tuple[int, int, int]:
    """The rows, columns and batch items of a task.

    Strips are cut from one another first, since a task packs, or fetches, the strips it works on;
    rows only so far as at least `fewest` tiles share a strip, and `together` strips stay together.
    """
    tasks = _wanted(c)
    items = max(1, _blocks(c.batches, tasks))
    per_item = _blocks(tasks, _blocks(c.batches, items) or 1)
    row_tiles, column_tiles = max(1, _blocks(c.m, rows)), max(1, _blocks(c.n, columns))
    if along_rows:
        down = _blocks(row_tiles, min(per_item, row_tiles))
        across = _blocks(column_tiles, _blocks(per_item, _blocks(row_tiles, down)))
    else:
        across = max(_blocks(column_tiles, min(per_item, column_tiles)), together)
        wanted = max(1, per_item // _blocks(column_tiles, across))
        down = _blocks(row_tiles, min(wanted, _blocks(row_tiles, fewest)))
    return down * rows, across * columns, items


def _blocks(size: int, block: int) -> int:
    return -(-size // block) if size else 0


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit if unit else size

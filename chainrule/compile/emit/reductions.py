"""What a reduction adds up in, and the sum of what the tasks of one have added up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import kernel
from chainrule.compile.emit.lanes import I64, Lanes
from chainrule.compile.emit.loops import at, repeat
from chainrule.compile.fuse import len_of
from chainrule.compile.lower import Item


class Accumulator:
    """Where a reduction adds up: as many vectors as bodies of a loop are unrolled."""

    def __init__(self, root: Item, dtype: np.dtype, lanes: Lanes, copies: int) -> None:
        self.root, self.dtype, self.lanes = root, dtype, lanes
        builder = lanes.builder
        with builder.goto_entry_block():
            self.places = [builder.alloca(lanes.type(dtype)) for _ in range(copies)]

    def clear(self) -> None:
        for place in self.places:
            self.lanes.builder.store(
                self.lanes.constant(identity(self.root, self.dtype), self.dtype), place
            )

    def total(self) -> ir.Value:
        """All copies and lanes together, as a single number."""
        builder = self.lanes.builder
        kind = self.lanes.type(self.dtype)
        values = [builder.load(place, typ=kind) for place in self.places]
        name = combining(self.root)
        while len(values) > 1:
            half = len(values) // 2
            values = [
                self.lanes.elementwise(name, [a, b], self.dtype)
                for a, b in zip(values[:half], values[half:], strict=True)
            ]
        return values[0] if self.lanes.width == 1 else self.lanes.reduce(
            name, values[0], self.dtype
        )  # fmt: skip


def combining(root: Item) -> str:
    """The operation of two partial results."""
    return "add" if root.name == "pick" and root.dtype.kind != "b" else (
        "logical_or" if root.name == "pick" else root.name
    )  # fmt: skip


def identity(root: Item, dtype: np.dtype) -> Any:
    """The number that changes nothing."""
    name = combining(root)
    if name in ("add", "logical_or"):
        return 0
    if name in ("multiply", "logical_and"):
        return 1
    if dtype.kind == "b":
        return name == "minimum"
    if dtype.kind in "fV":  # V: bfloat16
        return -np.inf if name == "maximum" else np.inf
    info = np.iinfo(dtype)
    return info.min if name == "maximum" else info.max


def combine(module: ir.Module, name: str, root: Item, dtype: np.dtype, tasks: int,
            width: int) -> ir.Function:  # fmt: skip
    """The kernel that adds up the tasks' parts of a reduction: args are parts and result."""
    function, builder = kernel(module, name)
    parts, result = (
        builder.load(at(builder, function.args[0], ir.PointerType(), i), typ=ir.PointerType())
        for i in range(2)
    )
    n = len_of(root)

    def add_up(lanes: Lanes) -> Callable[[ir.Value], None]:
        def body(index: ir.Value) -> None:
            start = lanes.constant(identity(root, dtype), dtype)

            def add(task: ir.Value, before: ir.Value) -> list[ir.Value]:
                place = builder.add(builder.mul(task, I64(n)), index)
                value = lanes.load(at(builder, parts, lanes.memory_type(dtype), place), dtype)
                return [lanes.elementwise(combining(root), [before, value], dtype)]

            (total,) = repeat(builder, 0, tasks, add, carried=[start])
            lanes.store(
                lanes.cast(total, dtype, root.dtype),
                at(builder, result, lanes.memory_type(root.dtype), index),
                root.dtype,
            )

        return body

    repeat(builder, 0, n // width * width, add_up(Lanes(builder, width)), step=width)
    repeat(builder, n // width * width, n, add_up(Lanes(builder, 1)))
    builder.ret_void()
    return function

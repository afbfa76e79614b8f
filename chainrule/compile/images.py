"""Convolution and max pooling: kernels on images whose channels come last in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule.compile.emit import convolution, pooling, weight_gradient
from chainrule.compile.emit.kernel import Routine
from chainrule.compile.emit.slide import Convolution
from chainrule.compile.forms import Move, form
from chainrule.compile.fuse import Group
from chainrule.compile.kernels import Epilogue, Head, Kernel
from chainrule.compile.lower import KERNEL, MAP, VIEW, Item, Lowering
from chainrule.compile.machine import machine
from chainrule.compile.nests import place
from chainrule.compile.space import Space
from chainrule.compile.views import Buffer, View, packed
from chainrule.tensor.graph import Node


def channels_last(ndim: int) -> tuple[int, ...]:
    """The order of axes of (…, channels, height, width) with the channels innermost."""
    return (*range(ndim - 3), ndim - 2, ndim - 1, ndim - 3)


def _ordered(lowering: Lowering, item: Item) -> Item:
    """The item, or a copy of it, with its channels last and no gaps."""
    order = channels_last(len(item.shape))
    if item.kind == MAP and item.view is None:
        item.view = lowering.arena(item.shape, item.dtype, order)
        return item
    if lowering.place(item).lies(packed(item.shape, order)):
        return item
    return lowering.copy(item, lowering.arena(item.shape, item.dtype, order))


def steps(routine: Routine, named: dict[str, Any], items: list[Item], label: str) -> list[Kernel]:
    """The kernels of a routine; `named` says what its arguments are: (buffer, offset)."""
    buffers = {name: Buffer("arena", size) for name, size in routine.buffers.items()}
    found = []
    for number, step in enumerate(routine.steps):
        args = [(buffers[name], 0) if name in buffers else named[name] for name in step.args]
        used = [arg[0] for arg in args]
        # A step reads what was handed over and what an earlier step left; the rest it writes.
        earlier = {name for s in routine.steps[:number] for name in s.args}
        writes = [
            arg[0]
            for name, arg in zip(step.args, args, strict=True)
            if name in _RESULTS or (name in buffers and name not in earlier)
        ]
        found.append(Kernel(step.code, args, used, writes, items, label))
    return found


_RESULTS = ("y", "which", "dx", "dw")


class _Convolution(Head):
    """`convolve`, or with `turned` its transpose in the image."""

    joinable = True

    def __init__(self, item: Item, of: Convolution, turned: bool) -> None:
        self.item, self.of, self.turned = item, of, turned
        self.column = len(item.shape) - 3

    def kernels(self, group: Group) -> list[Kernel]:
        epilogue = Epilogue(group, 2)
        finish = epilogue.finish(self._outer)
        make = convolution.input_gradient if self.turned else convolution.forward
        routine = make(self.of, machine(), finish, epilogue.key)
        x, weight = (arg.view for arg in self.item.args)
        assert x is not None
        assert weight is not None
        named = {"g" if self.turned else "x": place(x), "weight": place(weight)}
        found = steps(routine, named, group.roots, "convolution")
        reads, writes = epilogue.buffers()
        last = found[-1]
        last.args.extend(epilogue.slots)
        last.reads.extend(reads)
        last.writes.extend(writes)
        return found

    def _outer(self, builder: Any, space: Space, batch: Sequence[Any], pixel: Any) -> list[Any]:
        """Indices of the outer loops, from the image's and the pixel's."""
        from llvmlite import ir

        i64 = ir.IntType(64)
        lead = len(self.item.shape) - 3
        height, width = self.item.shape[-2:]

        def index(axis: int) -> Any:
            if axis < lead:
                return batch[0]
            if axis == lead + 1:
                return builder.udiv(pixel, i64(width))
            return pixel if height == 1 else builder.urem(pixel, i64(width))

        found = []
        for loop in space.outer:
            axes, total = list(loop), None
            if axes[-2:] == [lead + 1, lead + 2]:
                axes, total = axes[:-2], pixel
                if axes:
                    total = builder.add(builder.mul(batch[0], i64(height * width)), pixel)
                    axes = []
            for axis in axes:
                part = index(axis)
                total = part if total is None else builder.add(
                    builder.mul(total, i64(self.item.shape[axis])), part
                )  # fmt: skip
            found.append(total)
        return found


class _WeightGradient(Head):
    def __init__(self, item: Item, of: Convolution) -> None:
        self.item, self.of = item, of

    def kernels(self, group: Group) -> list[Kernel]:
        x, g = (arg.view for arg in self.item.args)
        assert x is not None
        assert g is not None
        assert self.item.view is not None
        named = {"x": place(x), "g": place(g), "dw": place(self.item.view)}
        routine = weight_gradient.weight_gradient(self.of, machine())
        return steps(routine, named, [self.item], "convolution's weight gradient")


def _settings(
    node: Node, shape: tuple[int, ...], outputs: int, kernel: Sequence[int]
) -> Convolution | None:
    attrs = node.attrs
    if node.dtype.name not in ("float32", "float64") or 0 in (*shape, *node.shape):
        return None
    return Convolution(
        node.dtype, math.prod(shape[:-3]), (shape[-2], shape[-1]), shape[-3], outputs,
        (kernel[0], kernel[1]), attrs["stride"], attrs["padding"], attrs["dilation"],
        attrs["groups"],
    )  # fmt: skip


@form("convolve", "convolve_input")
def _convolve(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    image, weight = args
    turned = node.op.name == "convolve_input"
    shape = node.shape if turned else image.shape
    of = _settings(node, shape, weight.shape[0], weight.shape[2:])
    if of is None or 0 in image.shape:
        return None
    image, weight = _ordered(lowering, image), lowering.contiguous(weight)
    item = lowering.add(Item(KERNEL, node.op.name, node, [image, weight]))
    item.data, item.order = _Convolution(item, of, turned), channels_last(len(node.shape))
    return item


@form("convolve_weight")
def _convolve_weight(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    x, g = args
    of = _settings(node, x.shape, g.shape[-3], node.attrs["kernel"])
    if of is None or 0 in g.shape:
        return None
    x, g = _ordered(lowering, x), _ordered(lowering, g)
    item = lowering.add(Item(KERNEL, node.op.name, node, [x, g]))
    item.data = _WeightGradient(item, of)
    return item


# Pooling


class _Pool(Head):
    """A pooling kernel. `pool_places` computes the largest elements too, in `largest`."""

    def __init__(self, item: Item, routine: Routine, names: Sequence[str]) -> None:
        self.item, self.routine, self.names = item, routine, names
        self.largest: View | None = None

    def kernels(self, group: Group) -> list[Kernel]:
        views = [arg.view for arg in self.item.args]
        views += [self.item.view] if self.largest is None else [self.item.view, self.largest]
        named = {
            name: place(view)
            for name, view in zip(self.names, views, strict=True)
            if view is not None
        }
        return steps(self.routine, named, [self.item], self.item.name)


def _pooling(node: Node, shape: tuple[int, ...], dtype: Any, which: Any) -> Any:
    attrs = node.attrs
    if dtype.name not in ("float32", "float64") or 0 in shape or 0 in node.shape or len(shape) < 3:
        return None
    return pooling.Pooling(
        dtype, which, math.prod(shape[:-3]), (shape[-2], shape[-1]), shape[-3], attrs["kernel"],
        attrs["stride"], attrs["dilation"], attrs["padding"],
    )  # fmt: skip


@form("pool_places")
def _places(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    of = _pooling(node, args[0].shape, args[0].dtype, node.dtype)
    if of is None:
        return None
    x = _ordered(lowering, args[0])
    item = lowering.add(Item(KERNEL, "max_pool", node, [x]))
    head = _Pool(item, pooling.max_pool(of, machine()), ("x", "which", "y"))
    item.data, item.order = head, channels_last(len(node.shape))
    head.largest = lowering.arena(node.shape, x.dtype, item.order)
    return item


@form("pool_pick")
def _pick(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    x, which = args
    of = _pooling(node, x.shape, x.dtype, which.dtype)
    if of is None:
        return None
    source = which.node
    if which.name == "max_pool" and source.inputs[0] is node.inputs[0] and (
        source.attrs == node.attrs
    ):  # fmt: skip
        # Of the image whose places these are, the largest elements: there already.
        largest = which.data.largest
        return lowering.add(
            Item(VIEW, "pool_pick", node, [which], data=Move(lambda _: largest), view=largest)
        )
    x, which = _ordered(lowering, x), _ordered(lowering, which)
    item = lowering.add(Item(KERNEL, "pool_pick", node, [x, which]))
    item.data = _Pool(item, pooling.pick(of, machine()), ("x", "which", "y"))
    item.order = channels_last(len(node.shape))
    return item


@form("pool_spread")
def _spread(lowering: Lowering, node: Node, args: list[Item]) -> Item | None:
    g, which = args
    of = _pooling(node, node.shape, g.dtype, which.dtype)
    if of is None or 0 in g.shape:
        return None
    g, which = _ordered(lowering, g), _ordered(lowering, which)
    item = lowering.add(Item(KERNEL, "pool_spread", node, [g, which]))
    item.data = _Pool(item, pooling.spread(of, machine()), ("g", "which", "dx"))
    item.order = channels_last(len(node.shape))
    return item

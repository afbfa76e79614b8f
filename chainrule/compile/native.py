"""From a traced program to native code: simplify, lower, fuse, schedule, place, emit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.compile.forms import converted
from chainrule.compile.fuse import Fusion, Group, references
from chainrule.compile.kernels import Kernel, nest_kernels
from chainrule.compile.lower import HOST, KERNEL, MAP, MEMORY, REDUCE, VIEW, Item, Lowering
from chainrule.compile.machine import processors
from chainrule.compile.nests import TELLING
from chainrule.compile.plan import Plan, Step, storages
from chainrule.compile.program import Argument, Program, Scalar, Storage
from chainrule.compile.schedule import order, plan_memory
from chainrule.compile.simplify import simplify
from chainrule.compile.space import spread, visits
from chainrule.compile.views import Buffer, View, packed
from chainrule.tensor.graph import Node


@dataclass
class Compiled:
    """What a program became.

    Attributes:
        nodes: the graph, simplified.
        results: what stands for the program's outputs, and then for what it writes.
        kernels: in the order in which they run.
        names: of the kernels' functions, by the key of their code.
        codes: the items that kernels may have something to say about, by their numbers less one.
        plan: what running the kernels needs.
    """

    nodes: list[Node]
    results: list[Node]
    kernels: list[Kernel]
    names: dict[str, str]
    codes: list[Item]
    plan: Plan

    def modules(self) -> list[str]:
        """The code of all kernels: as many modules as are compiled at a time, about as long."""
        from llvmlite import ir

        codes = {k.code.key: k.code for k in self.kernels if k.code.key in self.names}
        found = [ir.Module(f"chainrule{i}") for i in range(min(processors(), len(codes)))]
        room = [0] * len(found)
        for code in sorted(codes.values(), key=lambda code: -len(code.key)):
            i = room.index(min(room))
            code.emit(found[i], self.names[code.key])
            room[i] += len(code.key)
        return [str(module) for module in found]


def compile(program: Program) -> Compiled:
    """The kernels of a program, and the plan for them."""
    leaves: dict[Node, Item] = {}
    buffers = _Buffers()
    for node, source in program.inputs:
        leaves[node] = buffers.leaf(node, source)
    outputs = [
        _packed(Buffer("output", _nbytes(node), position), node)
        for position, node in enumerate(program.outputs)
    ]
    writes = [_packed(buffers.storage(storage), node) for storage, node in program.writes]
    results = [*program.outputs, *(node for _, node in program.writes)]
    section = Section(list(zip(results, [*outputs, *writes], strict=True)), leaves)
    kernels = section.kernels()
    names: dict[str, str] = {}
    for kernel in kernels:
        if kernel.code.key != "host":
            names.setdefault(kernel.code.key, f"k{len(names)}")
    codes: list[Item] = []
    plan = _plan(program, kernels, plan_memory(kernels), names, codes)
    return Compiled(section.nodes, section.results, kernels, names, codes, plan)


def _plan(
    program: Program,
    kernels: Sequence[Kernel],
    arena: int,
    names: dict[str, str],
    codes: list[Item],
) -> Plan:
    stored = {key: number for number, key in enumerate(storages(program))}
    constants: dict[int, bytes] = {}

    def told(arg: Any) -> tuple[str, int, int]:
        if isinstance(arg, str):
            return arg, 0, 0
        if arg[0] == "code":
            codes.append(arg[1])
            return "code", len(codes), 0
        buffer, offset = arg
        match buffer.kind:
            case "arena":
                return "arena", 0, buffer.offset + offset
            case "storage":
                return "storage", stored[id(buffer.source)], offset
            case "constant":
                constants.setdefault(id(buffer.source), buffer.source.tobytes())
                return "constant", list(constants).index(id(buffer.source)), offset
            case _:
                return buffer.kind, buffer.source, offset

    steps = [
        Step(
            names.get(kernel.code.key),
            kernel.code.tasks,
            any(buffer.kind == "storage" for buffer in kernel.writes),
            [told(arg) for arg in kernel.args],
        )
        for kernel in kernels
    ]
    key = hashlib.sha256("\n\n".join(names).encode()).hexdigest()
    scratch = max((kernel.code.scratch for kernel in kernels), default=0)
    return Plan(key, list(names.values()), arena, scratch, steps, list(constants.values()))


class _Buffers:
    """The memory that a program's leaves stand for."""

    def __init__(self) -> None:
        self.inputs = 0
        self._storages: dict[int, Buffer] = {}

    def leaf(self, node: Node, source: Any) -> Item:
        if isinstance(source, Storage):
            name, buffer = source.name, self.storage(source)
        elif isinstance(source, Scalar):
            name, buffer = "scalar", Buffer("scalar", _nbytes(node), source.index)
        else:
            name, buffer = "input", Buffer("input", _nbytes(node), self.inputs)
            self.inputs += 1
            if isinstance(source, Argument) and source.strides is not None:
                view = View(buffer, node.shape, source.strides, node.dtype)
                return Item(MEMORY, name, node, view=view)
        return Item(MEMORY, name, node, view=_packed(buffer, node))

    def storage(self, storage: Storage) -> Buffer:
        key = id(storage.array)
        if key not in self._storages:
            self._storages[key] = Buffer("storage", storage.array.nbytes, storage.array)
        return self._storages[key]


def _packed(buffer: Buffer, node: Node) -> View:
    return View(buffer, node.shape, packed(node.shape), node.dtype)


class Section:
    """A piece of a graph as kernels.

    Args:
        results: nodes, and where their values are wanted.
        leaves: items of the nodes whose values are there before.

    Attributes:
        nodes: what is computed, simplified.
        results: what stands for the results.
    """

    def __init__(self, results: list[tuple[Node, View]], leaves: dict[Node, Item]) -> None:
        self.nodes, stands = simplify([node for node, _ in results])
        self.results = [stands[node] for node, _ in results]
        self.lowering = Lowering()
        self.lowering.items.update(leaves)
        for node in self.nodes:
            if node not in leaves:
                self.lowering.lower(node)
        self.targets = {view.buffer for _, view in results}
        self.roots = [self._send(self.lowering.items[stands[n]], view, n) for n, view in results]
        self.groups = self._fuse()

    def _send(self, item: Item, view: View, node: Node) -> Item:
        """Have an item's value in a place: where it is computed, if it need not be elsewhere."""
        free = item.kind in (MAP, REDUCE, KERNEL) and item.view is None
        if free and item.order is not None and not item.data.joinable:
            free = view.lies(packed(item.shape, item.order))  # it writes in no other order
        if free and item.dtype == node.dtype and item.shape == node.shape:
            item.view = view
            return item
        if item.kind == VIEW and item.view is None and item.data.axes is None:
            self.lowering.place(item)
        return self.lowering.copy(converted(self.lowering, item, node.dtype), view)

    # Groups

    def _fuse(self) -> list[Group]:
        wanted = self._wanted()
        roots = [item for item in self.lowering.made if item.root and item in wanted]
        fusion = Fusion(sorted(roots, key=lambda item: item.number))
        for group in fusion.groups:
            for root in group.roots:
                for item, _, _ in references(root):
                    if item.group is not group and item.view is None:
                        self.lowering.place(item)
            for root, way in group.way.items():
                if way != "row" and root.view is None:
                    self.lowering.place(root)
            if group.head is not None and group.head.view is None and len(group.roots) == 1:
                self.lowering.place(group.head)
        self._keep_state(fusion)
        return fusion.groups

    def _wanted(self) -> set[Item]:
        """Every item that a result or a write is made from."""
        found: set[Item] = set()
        stack = [
            item
            for item in self.lowering.made
            if item.kind != VIEW and item.view is not None and item.view.buffer in self.targets
        ]
        while stack:
            item = stack.pop()
            if item not in found:
                found.add(item)
                stack.extend(item.args)
        return found

    def _keep_state(self, fusion: Fusion) -> None:
        """Nobody may read a storage's old value after the new one is there.

        Whoever reads the old value runs before, and whoever may find that something is wrong (then
        nothing is written); where that cannot be, the new value is kept elsewhere and copied at the
        end.
        """
        tellers = [group for group in fusion.groups if _tells(group)]
        old: dict[Buffer, dict[Group, None]] = {}  # who reads it
        for group in fusion.groups:
            for item in group.reads:
                if item.kind == MEMORY and item.view is not None:
                    old.setdefault(item.view.buffer, {})[group] = None
        for root in self.roots:
            assert root.view is not None
            buffer, group = root.view.buffer, root.group
            if buffer.kind != "storage":
                continue
            assert group is not None
            readers = old.get(buffer, {})
            bit = 1 << group.number
            late = any(g is not group and g.ancestors & bit for g in (*readers, *tellers))
            aside = group in tellers or (
                group in readers and not self._in_place(group, root, buffer)
            )
            if late or aside:
                copy = self._copied_at_the_end(fusion, root)
                group = copy.group
                assert group is not None
            for earlier in (*readers, *tellers):
                if earlier is not group:
                    fusion.follow(group, earlier)

    def _in_place(self, group: Group, root: Item, buffer: Buffer) -> bool:
        """Whether the group reads the old value only where and when it writes the new one."""
        assert root.view is not None
        if root.kind != MAP:
            return False
        ndim = len(group.domain)
        own = spread(root.view.strides, group.axes[root], ndim)
        for other in group.roots:
            for item, axes, same in references(other):
                if item.view is None or item.kind != MEMORY or item.view.buffer is not buffer:
                    continue
                there = tuple(None if a is None else group.axes[other][a] for a in axes)
                if not same or spread(item.view.strides, there, ndim) != own:
                    return False
                if group.way and other is not root:
                    return False  # perhaps in a later phase
        return True

    def _copied_at_the_end(self, fusion: Fusion, root: Item) -> Item:
        view = root.view
        assert view is not None
        root.view = self.lowering.arena(root.shape, root.dtype)
        copy = self.lowering.copy(root, view)
        fusion.alone(copy)
        return copy

    # Kernels

    def kernels(self) -> list[Kernel]:
        """The kernels of all groups, in an order in which they can run."""
        made = [(group, _kernels(group)) for group in self.groups]
        kernels: list[Kernel] = []
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for group, found in made:
            first[group.number] = len(kernels)
            for kernel in found:
                if len(kernels) > first[group.number]:
                    kernel.before.add(len(kernels) - 1)
                kernels.append(kernel)
            last[group.number] = len(kernels) - 1
        for group, _ in made:
            number, bits = 0, group.direct
            while bits:
                if bits & 1:
                    kernels[first[group.number]].before.add(last[number])
                bits >>= 1
                number += 1
        return order(kernels)


def _tells(group: Group) -> bool:
    """Whether the group may find an index out of bounds, or a number that is not finite."""
    if group.head is not None and group.head.name == "add_rows":
        return True
    items = (*group.roots, *(item for item, _ in visits(group)))
    return any(item.name in TELLING for item in items)


def _kernels(group: Group) -> list[Kernel]:
    if group.head is None:
        return nest_kernels(group)
    if group.head.kind == HOST:
        from chainrule.compile.host import host_kernel

        return [host_kernel(group.head)]
    return group.head.data.kernels(group)


def _nbytes(node: Node) -> int:
    return math.prod(node.shape) * node.dtype.itemsize

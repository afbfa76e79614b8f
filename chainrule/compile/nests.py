"""A loop nest, ready to be emitted: its loops, its phases, its tasks and its arguments."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.compile.forms import Axes
from chainrule.compile.fuse import Group, elsewhere, inline, operands, result_axes
from chainrule.compile.lower import CONSTANT, MAP, REDUCE, VIEW, Item
from chainrule.compile.space import Space, index_forms, space_of, spread, visits
from chainrule.compile.views import Buffer, View

TELLING = ("one_hot", "pick", "gather", "require_finite")
"""Items that may find something wrong, and then tell it to the status word."""

_PROCESS = uuid.uuid4().hex
"""What a user's function emits cannot be told in a text, so its code is another process's never."""

WORTH_SHARING = 15_000
"""Instructions of a vector that are worth a task of their own: about 4 µs."""
WORTH_FETCHING = 128 << 10
"""Bytes that are, where a task does little but wait for them."""
MOST_TASKS = 32
_LONG = 8192  # numbers added up one after another, from which on a wider type adds them
_DEEP = 128  # the same for rows


class Nest:
    """A group that is a loop nest.

    Attributes:
        space: its loops.
        flat: whether a task is a range of elements of the single row rather than of rows.
        tasks, chunk: how many tasks there are, and how many rows (or elements) each has.
        phases: how often a row is gone through.
        copies: how many vectors are worked on side by side.
        accumulating: the dtype that each reduction adds up in.
        partial: for reductions over the rows, the buffer with each task's part.
        slots: the kernel's arguments.
    """

    def __init__(self, group: Group, width: int) -> None:
        self.group, self.width = group, width
        self.space: Space = space_of(group)
        if not self.space.loops:
            self.space = Space((), ((),), group.domain)
        self._phase: dict[Item, int] = {}
        self.phases = 1 + max(self._work_phase(root) for root in group.roots)
        self._split()
        self.copies = self._side_by_side()
        self.accumulating = {root: self._accumulating(root) for root in group.way}
        self.partial = {
            root: Buffer(
                "arena", self.tasks * math.prod(root.shape) * self.accumulating[root].itemsize
            )
            for root, way in group.way.items()
            if way == "outer" or (way != "row" and self.tasks > 1)
        }

    # Phases

    def phase(self, item: Item) -> int:
        """The phase from which on a value can be had."""
        if item.kind == CONSTANT or (not inline(item) and item.group is not self.group):
            return 0
        found = self._phase.get(item)
        if found is None:
            found = self._work_phase(item)
            if item.kind == REDUCE:
                found += 1
            self._phase[item] = found
        return found

    def _work_phase(self, item: Item) -> int:
        if item.kind == VIEW:
            return self.phase(item.args[0])
        first = 1 if elsewhere(item) is not None else 0
        return max((self.phase(arg) for arg in item.args[first:]), default=0)

    def depends(self, item: Item) -> bool:
        """Whether an item is a root of this group, or reads one inline."""
        stack, seen = [item], set()
        while stack:
            part = stack.pop()
            if part in seen:
                continue
            seen.add(part)
            if part.group is self.group and part.root:
                return True
            if inline(part):
                stack.extend(part.args[1 if elsewhere(part) is not None else 0 :])
        return False

    def work(self, phase: int) -> tuple[list[Item], list[Item]]:
        """(roots with one value a row, roots with one for each element) of a phase."""
        running = {a for loop in self.space.inner for a in loop}
        single: list[Item] = []
        many: list[Item] = []
        for root in self.group.roots:
            if self._work_phase(root) == phase:
                along = running.intersection(a for a in self.group.axes[root] if a is not None)
                scalar = self.group.way.get(root) == "scalar"
                (many if (along or root.kind == REDUCE) and not scalar else single).append(root)
        return single, many

    # Tasks

    @property
    def elements(self) -> int:
        return self.space.rows * self.space.row

    @cached_property
    def weight(self) -> int:
        """About how many instructions a vector of elements costs."""
        return sum(max(root.weight, _weight(root)) for root in self.group.roots)

    def _split(self) -> None:
        space = self.space
        vectors = max(1, -(-space.row // self.width)) * space.rows
        worth = max(vectors * (self.weight + 4) // WORTH_SHARING, self.bytes // WORTH_FETCHING)
        wanted = min(MOST_TASKS, worth)
        rows = any(way == "row" for way in self.group.way.values())
        self.flat = not space.outer and len(space.inner) == 1 and not rows and wanted > 1
        if self.flat:
            self.chunk = max(1, -(-space.row // (wanted * self.width))) * self.width
            self.tasks = max(1, -(-space.row // self.chunk))
        else:
            wanted = max(1, min(wanted, space.rows))
            self.chunk = max(1, -(-space.rows // wanted))
            self.tasks = max(1, -(-space.rows // self.chunk))

    def _side_by_side(self) -> int:
        last = self.space.size(self.space.inner[-1]) // self.width
        adding = any(way in ("row", "total") for way in self.group.way.values())
        return 4 if adding and last >= 8 and self.weight < 100 else 1

    def _accumulating(self, root: Item) -> np.dtype:
        dtype = root.dtype
        if dtype.kind not in "fV" or root.name not in ("add", "multiply"):
            return dtype
        if dtype.itemsize == 2:
            dtype = np.dtype(np.float32)
        rows = self.chunk if not self.flat else 1
        inner = self.chunk if self.flat else self.space.row
        terms = {
            "row": inner, "outer": rows * _LONG // _DEEP, "scalar": rows * _LONG // _DEEP,
            "total": rows * inner,
        }[self.group.way[root]]  # fmt: skip
        return np.dtype(np.float64) if terms > _LONG else dtype

    # Arguments

    @cached_property
    def slots(self) -> dict[Any, int]:
        """What each argument of the kernel is: (buffer, offset in bytes), or a name."""
        found: dict[Any, int] = {}

        def need(key: Any) -> None:
            found.setdefault(key, len(found))

        for root in self.group.roots:
            if root.view is not None:
                need(place(root.view))
            if root in self.partial:
                need((self.partial[root], 0))
        for item, _ in [*visits(self.group), *((r, ()) for r in self.group.roots)]:
            for key in reads(item):
                need(key)
        return found

    def stored(self) -> list[View]:
        """The memory that the nest writes to."""
        return [root.view for root in self.group.roots if root.view is not None]

    @property
    def bytes(self) -> int:
        """About how much memory is read and written."""
        total = 0
        for item, _ in visits(self.group):
            if item.view is not None and not inline(item):
                total += math.prod(item.shape) * item.dtype.itemsize
        for view in self.stored():
            total += math.prod(view.shape) * view.dtype.itemsize
        return total

    @property
    def flops(self) -> int:
        return self.elements * self.weight // 2

    @cached_property
    def key(self) -> str:
        """Tells all that the kernel's code depends on."""
        steps = [self.space.size(loop) for loop in self.space.loops]
        lines = [f"nest {self.width} {len(self.space.outer)} {steps} {self.flat} {self.chunk} "
                 f"{self.tasks} {self.copies}"]  # fmt: skip
        described = Describe(self.group, self.space, self.slots)
        for root in self.group.roots:
            view = "" if root.view is None else described.view(
                root.view, result_axes(self.group, root)
            )  # fmt: skip
            text = described.root(root)
            lines.append(
                f"{self.group.way.get(root)} {self.accumulating.get(root)} {view} = {text}"
            )
        return "\n".join([*lines, *described.lines])


def _weight(root: Item) -> int:
    return 2 if root.kind == REDUCE else root.weight


def place(view: View) -> tuple[Buffer, int]:
    return view.buffer, view.offset * view.dtype.itemsize


def reads(item: Item) -> Iterator[Any]:
    """The kernel's arguments that computing or loading an item needs."""
    if item.kind != CONSTANT and not inline(item) and item.view is not None:
        yield place(item.view)
    other = elsewhere(item) if item.kind == MAP else None
    if other is not None and other.view is not None and other.kind != CONSTANT:
        yield place(other.view)
    drawn = item.kind == MAP and item.name.startswith("random_")
    if drawn and not isinstance(item.node.attrs["key"], tuple):
        yield "streams"
    if item.name in TELLING:
        yield "status"
        yield ("code", item)


class Describe:
    """Text for the expressions of a group: equal texts are equal code."""

    def __init__(self, group: Group, space: Space, slots: dict[Any, int]) -> None:
        self.group, self.space, self.slots = group, space, slots
        self.lines: list[str] = []
        self._known: dict[tuple[Item, Axes], str] = {}

    def view(self, view: View, axes: Axes) -> str:
        form = spread(view.strides, axes, len(self.space.domain))
        return f"[{self.slots[place(view)]}] {view.dtype} {self.space.steps(form)}"

    def root(self, root: Item) -> str:
        axes = self.group.axes[root]
        args = [self.item(arg, at) for arg, at in operands(root, axes)]
        return f"{root.kind} {root.name} {self._data(root, axes)} {args}"

    def item(self, item: Item, axes: Axes) -> str:
        if item.kind == CONSTANT:
            return f"{item.data!r}:{item.dtype}"
        key = (item, axes)
        if key in self._known:
            return self._known[key]
        if item.group is self.group and item in self.group.roots:
            text = f"root {self.group.roots.index(item)} {axes}"
            if item.view is not None and not inline(item):
                text += self.view(item.view, axes)
        elif inline(item):
            args = [self.item(arg, at) for arg, at in operands(item, axes)]
            text = f"{item.name} {item.dtype} {self._data(item, axes)} {args}"
        else:
            assert item.view is not None
            text = self.view(item.view, axes)
        name = self._known[key] = f"%{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def _data(self, item: Item, axes: Axes) -> str:
        parts: list[Any] = []
        for form in index_forms(item, axes, len(self.space.domain)):
            parts.append(self.space.steps(form))
        if item.kind == REDUCE:
            parts.append([axes[a] for a in item.data[0]] if item.name == "pick" else "")
            if item.name == "pick":
                parts.append(self.slots["code", item])
        elif item.kind == MAP and item.data is not None:
            data = item.data
            if isinstance(data, tuple) and data and callable(data[0]):
                data = (_PROCESS, id(data[0]), data[1])
            parts += [data, item.shape]
            parts.append([self.space.domain[a] if a is not None else 1 for a in axes])
        if item.kind == MAP and item.name.startswith("random_"):
            attrs = item.node.attrs
            parts += [attrs["key"], attrs["counter"], attrs.get("p"), item.shape]
        other = elsewhere(item) if item.kind == MAP else None
        if other is not None:
            if other.kind == CONSTANT:
                parts.append(repr(other.data))
            else:
                assert other.view is not None
                parts += [self.slots[place(other.view)], other.view.strides, other.shape]
            parts.append(axes)
        if ("code", item) in self.slots:
            parts.append(self.slots["code", item])
        return repr(parts)

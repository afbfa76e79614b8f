"""Which values one kernel computes together: roots that run over the same elements in one pass.

A root is what a kernel leaves: a stored elementwise value, a reduction, or the result of a kernel
of its own (a matrix product), which elementwise roots may join as its epilogue. Elementwise values
that are not stored are computed inline by whoever reads them.

Of reductions there are four ways, by what they add up over. A loop nest has outer axes, one row for
each of their indices, and inner axes, along which a row lies:
    row      over the inner axes: done when the row is, and may be read in the same nest
    outer    over the outer axes, one result for each place in a row
    scalar   of one number a row, over the outer axes
    total    over all axes
What the last three give is known only when all rows are done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

from chainrule.compile.forms import Axes, aligned
from chainrule.compile.lower import CONSTANT, HOST, KERNEL, MAP, REDUCE, VIEW, Item
from chainrule.compile.machine import machine
from chainrule.compile.views import axis_order

Reference = tuple[Item, Axes, bool]
"""(what is read, the axes along which its axes run, whether it is read element by element)."""


class Group:
    """Roots that one kernel computes.

    Attributes:
        head: the item whose own kernel this is; None for a loop nest.
        roots: in the order of computation, the head first.
        domain: the sizes that the kernel runs over.
        axes: for each root, the axes of the domain along which its axes run; of a reduction, those
            of its operand.
        inner: the inner axes, where a reduction has decided them.
        way: of each reduction, its way.
        direct, ancestors: bits of the groups that must run before, at once or at some time.
    """

    def __init__(self, number: int, domain: tuple[int, ...], head: Item | None = None) -> None:
        self.number, self.domain, self.head = number, domain, head
        self.roots: list[Item] = []
        self.axes: dict[Item, Axes] = {}
        self.inner: frozenset[int] | None = None
        self.way: dict[Item, str] = {}
        self.direct = self.ancestors = 0
        self.reads: set[Item] = set()

    @property
    def wide(self) -> frozenset[int]:
        """The axes along which there is more than one element."""
        return frozenset(a for a, n in enumerate(self.domain) if n != 1)

    @property
    def outer(self) -> frozenset[int]:
        return self.wide - (self.inner or frozenset())


def operands(item: Item, axes: Axes) -> Iterator[tuple[Item, Axes]]:
    """The operands of an inline item that are read element by element, with their axes."""
    if item.kind == VIEW:
        yield item.args[0], item.data.axes(axes)
    elif item.kind == MAP and item.name == "inside":
        for rest in item.args[1:]:
            yield rest, aligned(rest.shape, axes)
    elif item.kind == MAP and item.name == "gather":
        for place in item.data:
            if place[0] == "array":
                _, which, start, ndim = place
                index = item.args[1 + which]
                yield index, aligned(index.shape, axes[start : start + ndim])
    else:
        for arg in item.args:
            yield arg, aligned(arg.shape, axes)


def elsewhere(item: Item) -> Item | None:
    """The operand that an inline item reads at other places than its own."""
    return item.args[0] if item.kind == MAP and item.name in ("inside", "gather") else None


def inline(item: Item) -> bool:
    """Whether readers compute the item themselves."""
    if item.kind == VIEW:
        return item.data.axes is not None
    return item.kind == MAP and item.view is None


def base(item: Item) -> Item:
    """The item whose memory a view looks into."""
    while item.kind == VIEW:
        item = item.args[0]
    return item


def extent(root: Item) -> tuple[int, ...]:
    """The sizes that computing a root runs over: of a reduction, its operand's."""
    return root.args[0].shape if root.kind == REDUCE else root.shape


def own_axes(root: Item) -> Axes:
    """The axes of a root in a domain of its own."""
    return tuple(a if n != 1 else None for a, n in enumerate(extent(root)))


def result_axes(group: Group, root: Item) -> Axes:
    """The axes of the domain along which a root's result runs."""
    axes = group.axes[root]
    if root.kind != REDUCE:
        return axes
    return tuple(None if a is None else axes[a] for a in root.data[1])


def references(root: Item) -> list[Reference]:
    """What a root reads that is not inline; axes are the root's, of a reduction its operand's."""
    found: dict[tuple[int, Axes, bool], Reference] = {}
    seen: set[tuple[int, Axes]] = set()
    if root.kind in (KERNEL, HOST):
        return [(base(arg), (), False) for arg in root.args if arg.kind != CONSTANT]
    stack: list[tuple[Item, Axes]] = list(operands(root, own_axes(root)))
    other = elsewhere(root)
    if other is not None and other.kind != CONSTANT:
        found[id(base(other)), (), False] = (base(other), (), False)
    while stack:
        item, axes = stack.pop()
        if item.kind == CONSTANT or (id(item), axes) in seen:
            continue
        seen.add((id(item), axes))
        if inline(item):
            stack.extend(operands(item, axes))
            other = elsewhere(item)
            if other is not None and other.kind != CONSTANT:
                found[id(base(other)), (), False] = (base(other), (), False)
        elif item.kind == VIEW:
            found[id(base(item)), (), False] = (base(item), (), False)
        else:
            found[id(item), axes, True] = (item, axes, True)
    return list(found.values())


class Fusion:
    """Groups of all roots."""

    def __init__(self, roots: list[Item]) -> None:
        self.groups: list[Group] = []
        self._readers: dict[Item, list[Group]] = {}
        for root in roots:
            self._place(root)

    def alone(self, root: Item) -> None:
        """A group for one root."""
        head = root if root.kind in (KERNEL, HOST) else None
        self._enter(self._open(root.shape, head), root, own_axes(root), references(root))

    def follow(self, group: Group, earlier: Group) -> None:
        """Have a group run after another one."""
        group.direct |= 1 << earlier.number
        self._after(group, earlier.ancestors | 1 << earlier.number)

    def _place(self, root: Item) -> None:
        refs = references(root)
        if root.kind in (KERNEL, HOST):
            self._enter(self._open(root.shape, root), root, own_axes(root), refs)
            return
        for group in self._candidates(refs):
            axes = None if self._circular(group, refs) else self._fits(group, root, refs)
            if axes is not None:
                self._enter(group, root, axes, refs)
                return
        group = self._open(extent(root), None)
        axes = own_axes(root)
        if root.kind == REDUCE:
            self._choose_inner(group, root, axes)
        self._enter(group, root, axes, refs)

    def _open(self, domain: tuple[int, ...], head: Item | None) -> Group:
        group = Group(len(self.groups), domain, head)
        self.groups.append(group)
        return group

    def _enter(self, group: Group, root: Item, axes: Axes, refs: list[Reference]) -> None:
        group.roots.append(root)
        group.axes[root] = axes
        root.group = group
        before = 0
        for item, _, _ in refs:
            group.reads.add(item)
            if item.group is not None and item.group is not group:
                group.direct |= 1 << item.group.number
                before |= item.group.ancestors | 1 << item.group.number
            self._readers.setdefault(item, []).append(group)
        self._after(group, before)

    def _after(self, group: Group, before: int) -> None:
        if before & ~group.ancestors:
            group.ancestors |= before
            bit = 1 << group.number
            for other in self.groups:
                if other.ancestors & bit:
                    other.ancestors |= group.ancestors

    def _candidates(self, refs: list[Reference]) -> Iterator[Group]:
        """Groups of what is read, the latest first, then those that read one of the same large
        things, or all of the same small ones."""
        found: dict[int, Group] = {}
        for item, _, same in refs:
            if same and item.group is not None and item.group.number not in found:
                found[item.group.number] = item.group
        yield from (found[n] for n in sorted(found, reverse=True))
        read = [item for item, _, same in refs if same and len_of(item) > 1]
        size = max(map(len_of, read), default=0)
        large = [self._readers.get(item, ()) for item in read if len_of(item) == size]
        small = [set(self._readers.get(item, ())) for item in read if len_of(item) < size]
        if small:
            common = set.intersection(*small)
            large.append(sorted(common, key=lambda group: group.number))
        for group in chain.from_iterable(large):
            if group.number not in found:
                found[group.number] = group
                yield group

    def _circular(self, group: Group, refs: list[Reference]) -> bool:
        bit = 1 << group.number
        return any(
            item.group is not None and item.group is not group and item.group.ancestors & bit
            for item, _, _ in refs
        )

    def _may_join(self, head: Item, root: Item) -> bool:
        """Whether a root may be part of a kernel's epilogue.

        An update of state that is larger than the cache walks through memory faster in a loop of
        its own, tile after tile being far from row after row: measured on `wide`, 44.7 ms and 40.6.
        """
        if head.kind == HOST or not head.data.joinable:
            return False
        if not head.shape or head.shape[head.data.column] == 1:
            return False
        state = root.view is not None and root.view.buffer.kind == "storage"
        return not state or 4 * root.view.buffer.nbytes <= machine().l2  # type: ignore[union-attr]

    def _fits(self, group: Group, root: Item, refs: list[Reference]) -> Axes | None:
        """The root's axes in the group's domain, if the group can compute it."""
        if group.head is not None and not self._may_join(group.head, root):
            return None
        shape = extent(root)
        to: dict[int, int] = {}
        for item, axes, same in refs:
            if item.group is not group:
                continue
            if not same or group.way.get(item, "row") != "row":
                return None
            own = result_axes(group, item)
            for at, there in zip(axes, own, strict=True):
                if (at is None) != (there is None):
                    return None
                if at is not None and to.setdefault(at, there) != there:  # type: ignore[arg-type]
                    return None
        used = set(to.values())
        if len(used) != len(to):
            return None
        free = [a for a in sorted(group.wide, reverse=True) if a not in used]
        for a in reversed(range(len(shape))):
            if shape[a] == 1 or a in to:
                continue
            match = next((f for f in free if group.domain[f] == shape[a]), None)
            if match is None:
                return None
            free = free[free.index(match) + 1 :]
            to[a] = match
        result: Axes = tuple(to.get(a) for a in range(len(shape)))
        if any(group.domain[d] != shape[a] for a, d in to.items()):
            return None
        covered = frozenset(to.values())
        if group.head is not None:
            return result if root.kind == MAP and covered == group.wide else None
        if root.kind == REDUCE:
            return result if self._way(group, root, result) is not None else None
        if covered != group.wide and not (group.inner and covered == group.outer):
            return None
        return result

    def _way(self, group: Group, root: Item, axes: Axes) -> str | None:
        """How the group would do a reduction; settled at once where it can."""
        gone = frozenset(a for a in (axes[i] for i in root.data[0]) if a is not None)
        covered = frozenset(a for a in axes if a is not None)
        if group.inner is None:
            if covered != group.wide:
                return None
            if gone == covered:
                way = "total"
            else:
                self._choose_inner(group, root, axes)
                return group.way[root]
        elif gone == group.inner and gone:
            way = "row"
        elif covered == group.wide and gone == group.wide:
            way = "total"
        elif covered == group.wide and gone == group.outer:
            way = "outer"
        elif covered == group.outer == gone:
            way = "scalar"
        else:
            return None
        group.way[root] = way
        return way

    def _choose_inner(self, group: Group, root: Item, axes: Axes) -> None:
        """Rows along what is reduced where that is innermost in memory, else along what stays."""
        gone = frozenset(a for a in (axes[i] for i in root.data[0]) if a is not None)
        if gone == group.wide:
            group.way[root] = "total"
            return
        last = max(group.wide)
        for item, at, same in references(root):
            view = item.view
            if same and view is not None and sum(a is not None for a in at) == len(group.wide):
                order = [a for a in axis_order(view) if at[a] is not None]
                last = axes[at[order[-1]]]  # type: ignore[assignment,index]
                break
        if last in gone:
            group.inner, group.way[root] = gone, "row"
        else:
            group.inner, group.way[root] = group.wide - gone, "outer"


def len_of(item: Item) -> int:
    return math.prod(item.shape)


def order_of(group: Group) -> list[int]:
    """The domain's axes from outermost to innermost, as most of what is read or written lies."""
    best: tuple[int, list[int]] = (-1, list(range(len(group.domain))))
    for root in group.roots:
        candidates: list[tuple[Any, Axes]] = []
        if root.kind != REDUCE and root.view is not None:
            candidates.append((root.view, group.axes[root]))
        for item, axes, same in references(root):
            if same and item.view is not None:
                there = tuple(None if a is None else group.axes[root][a] for a in axes)
                candidates.append((item.view, there))
        for view, axes in candidates:
            covered = [a for a in axes if a is not None]
            moving = sum(1 for a, s in zip(axes, view.strides, strict=True) if a is not None and s)
            if moving > best[0] and len(covered) == len(group.wide):
                inside = [axes[a] for a in axis_order(view) if axes[a] is not None]
                rest = [a for a in range(len(group.domain)) if a not in inside]
                best = (moving, [*rest, *inside])  # type: ignore[list-item]
    return best[1]

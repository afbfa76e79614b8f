"""The loops of a kernel: which axes of a domain run together, and how memory is walked in them.

Every way in which an index enters a kernel is a linear form of the domain's axes: the address of an
operand, and an index itself where a value depends on it. Neighbouring axes are made one loop where
all forms allow it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from chainrule.compile.forms import Axes
from chainrule.compile.fuse import Group, elsewhere, inline, operands, order_of
from chainrule.compile.lower import CONSTANT, MAP, REDUCE, Item
from chainrule.compile.views import View, packed

Strides = tuple[int, ...]
"""A linear form: for each axis of the domain, what one step along it adds."""


def spread(strides: tuple[int, ...], axes: Axes, ndim: int) -> Strides:
    """The form of something with these strides, whose axes run along those of the domain."""
    form = [0] * ndim
    for s, a in zip(strides, axes, strict=True):
        if a is not None:
            form[a] += s
    return tuple(form)


def along(axis: int | None, ndim: int) -> Strides:
    """The form that is the index along one axis."""
    return tuple(int(a == axis) for a in range(ndim))


def visits(group: Group) -> Iterator[tuple[Item, Axes]]:
    """Each item that the group computes inline or reads element by element, with its axes in the
    domain, once."""
    seen: set[tuple[int, Axes]] = set()
    for root in group.roots:
        if root is group.head:
            continue
        axes = group.axes[root]
        stack = list(operands(root, axes))
        if root.kind == MAP:
            yield root, axes
        while stack:
            item, at = stack.pop()
            if (id(item), at) in seen:
                continue
            seen.add((id(item), at))
            yield item, at
            if inline(item):
                stack.extend(operands(item, at))


def index_forms(item: Item, axes: Axes, ndim: int) -> list[Strides]:
    """The forms by which an inline item uses indices, or reads at other places than its own."""
    if item.kind != MAP:
        if item.kind == REDUCE and item.name == "pick":
            return [along(axes[item.data[0][0]], ndim)]
        return []
    if item.name == "one_hot":
        return [along(axes[item.data], ndim)]
    if item.name.startswith("random_"):
        return [spread(packed(item.shape), axes, ndim)]
    other = elsewhere(item)
    if other is None:
        return []
    forms = []
    if item.name == "inside":
        for a, (at, start, step, count) in enumerate(item.data.places):
            if start or step != 1 or count != item.shape[a]:
                forms.append(along(axes[a], ndim))
            elif other.view is not None and at is not None:
                forms.append(spread((other.view.strides[at],), (axes[a],), ndim))
    else:
        assert other.view is not None
        for stride, place in zip(other.view.strides, item.data, strict=True):
            if place[0] == "slice":
                forms.append(spread((stride * place[3],), (axes[place[1]],), ndim))
    return forms


@dataclass(frozen=True)
class Space:
    """The loops of a kernel.

    Attributes:
        outer, inner: for each loop the axes of the domain that it runs over, outermost first.
        domain: the domain's sizes.
    """

    outer: tuple[tuple[int, ...], ...]
    inner: tuple[tuple[int, ...], ...]
    domain: tuple[int, ...]

    @property
    def loops(self) -> tuple[tuple[int, ...], ...]:
        return self.outer + self.inner

    def size(self, loop: tuple[int, ...]) -> int:
        return math.prod(self.domain[a] for a in loop)

    @property
    def rows(self) -> int:
        return math.prod(self.size(loop) for loop in self.outer)

    @property
    def row(self) -> int:
        """How many elements a row has."""
        return math.prod(self.size(loop) for loop in self.inner)

    def steps(self, form: Strides) -> tuple[int, ...]:
        """What a form adds for one step of each loop."""
        return tuple(form[loop[-1]] if loop else 0 for loop in self.loops)


def space_of(group: Group) -> Space:
    """The loops of a group, as few as its forms allow."""
    ndim = len(group.domain)
    forms: set[Strides] = set()
    for item, axes in visits(group):
        view: View | None = item.view
        if view is not None and item.kind != CONSTANT:
            forms.add(spread(view.strides, axes, ndim))
        if inline(item) or item.kind == MAP:
            forms.update(index_forms(item, axes, ndim))
    for root in group.roots:
        if root.kind == REDUCE:
            forms.update(index_forms(root, group.axes[root], ndim))
            # A row's results, and those of a column, lie as they will be written.
            outs = tuple(None if a is None else group.axes[root][a] for a in root.data[1])
            if root.view is not None:
                forms.add(spread(root.view.strides, outs, ndim))
            elif group.way.get(root) == "outer":
                forms.add(spread(packed(root.shape), outs, ndim))
    order = [a for a in order_of(group) if group.domain[a] != 1]
    if group.head is not None:
        if group.head.view is not None:
            forms.add(spread(group.head.view.strides, group.axes[group.head], ndim))
        last = group.head.data.column % ndim
        outer = [a for a in range(ndim) if group.domain[a] != 1 and a != last]
        return Space(_merged(outer, group.domain, forms), ((last,),), group.domain)
    if group.inner is None:
        loops = _merged(order, group.domain, forms)
        return Space(loops[:-1], loops[-1:], group.domain)
    outer = [a for a in order if a not in group.inner]
    inner = [a for a in order if a in group.inner]
    return Space(
        _merged(outer, group.domain, forms), _merged(inner, group.domain, forms), group.domain
    )


def _merged(
    order: list[int], domain: tuple[int, ...], forms: set[Strides]
) -> tuple[tuple[int, ...], ...]:
    loops: list[tuple[int, ...]] = []
    for axis in reversed(order):
        if loops:
            first = loops[0][0]
            if all(f[axis] == f[first] * domain[first] for f in forms):
                loops[0] = (axis, *loops[0])
                continue
        loops.insert(0, (axis,))
    return tuple(loops)

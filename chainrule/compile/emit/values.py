"""The value of an item at a place of a kernel's loops: what is inline computed, the rest loaded.

A place is an index for each loop; along the last of them there are as many neighbours as there are
lanes. Values that do not change along it are computed as single numbers, once for all lanes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit import philox
from chainrule.compile.emit.lanes import I8, I32, I64, Lanes, memory_type
from chainrule.compile.emit.loops import at
from chainrule.compile.forms import Axes
from chainrule.compile.fuse import elsewhere, inline, operands
from chainrule.compile.lower import CONSTANT, VIEW, Item
from chainrule.compile.space import Space, Strides, along, spread
from chainrule.compile.views import View, packed

_INT64 = np.dtype(np.int64)


class Pointers:
    """What the arguments of a kernel point at, each read once, where the kernel begins.

    Args:
        slots: the number of the argument that points at a buffer (and an offset in bytes), or that
            is what a name says.
        args: the kernel's array of arguments.
    """

    def __init__(self, slots: dict[Any, int], args: ir.Value) -> None:
        self.slots, self.args = slots, args
        self._read: dict[Any, ir.Value] = {}

    def to(self, builder: ir.IRBuilder, key: Any) -> ir.Value:
        if key not in self._read:
            with builder.goto_entry_block():
                place = at(builder, self.args, ir.PointerType(), self.slots[key])
                self._read[key] = builder.load(place, typ=ir.PointerType())
        return self._read[key]


class Values:
    """Emits values at one place.

    Args:
        builder: where to emit.
        space: the kernel's loops.
        pointers: what the kernel's arguments point at: buffers and offsets, or names.
        indices: the index of each loop, None for one that does not run at this level.
        width: how many neighbours along the last loop; 1 for a single number.
        mask: which of them there are, where not all.
        known: values that are there already, by item and axes; those of outer levels are single
            numbers.
        whole: whether the last loop's index is a multiple of the lanes.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        space: Space,
        pointers: Pointers,
        indices: list[ir.Value | None],
        width: int,
        mask: ir.Value | None = None,
        known: dict[Any, ir.Value] | None = None,
        whole: bool = False,
    ) -> None:
        self.builder, self.space, self.pointers = builder, space, pointers
        self.indices, self.mask, self.whole = indices, mask, whole
        self.lanes, self.single = Lanes(builder, width), Lanes(builder, 1)
        self.width = width
        self.known: dict[Any, ir.Value] = {} if known is None else dict(known)
        self.wide: dict[Any, ir.Value] = {}

    # Places

    def varies(self, axes: Axes) -> bool:
        """Whether something with these axes differs between the lanes."""
        return self.width > 1 and any(a is not None and a in self.space.loops[-1] for a in axes)

    def offset(self, form: Strides) -> ir.Value:
        """The form at the place of the first lane."""
        total: ir.Value | None = None
        for index, step in zip(self.indices, self.space.steps(form), strict=True):
            if step == 0 or index is None:
                continue
            part = index if step == 1 else self.builder.mul(index, I64(step))
            total = part if total is None else self.builder.add(total, part)
        return I64(0) if total is None else total

    def stride(self, form: Strides) -> int:
        """What the form adds from lane to lane."""
        return self.space.steps(form)[-1] if self.width > 1 else 0

    def index(self, axis: int | None) -> tuple[ir.Value, bool]:
        """The index along an axis as int64, and whether it differs between the lanes."""
        form = along(axis, len(self.space.domain))
        first, step = self.offset(form), self.stride(form)
        if not step:
            return first, False
        counting = self.lanes.iota(_INT64)
        if step != 1:
            counting = self.builder.mul(counting, self.lanes.constant(step, _INT64))
        return self.builder.add(self.lanes.splat(first), counting), True

    def base(self, view: View) -> ir.Value:
        return self.pointers.to(self.builder, (view.buffer, view.offset * view.dtype.itemsize))

    # Values

    def get(self, item: Item, axes: Axes) -> ir.Value:
        """The value in all lanes."""
        if not self.varies(axes):
            return self.lanes.splat(self.one(item, axes))
        key = (item, axes)
        if key not in self.wide:
            self.wide[key] = self._emit(item, axes, self.lanes)
        return self.wide[key]

    def one(self, item: Item, axes: Axes) -> ir.Value:
        """The value as a single number, where it is the same in all lanes."""
        key = (item, axes)
        if key not in self.known:
            self.known[key] = self._emit(item, axes, self.single)
        return self.known[key]

    def keep(self, item: Item, axes: Axes, value: ir.Value) -> None:
        """Have a value that was computed: in all lanes where it varies, else a single number."""
        (self.wide if self.varies(axes) else self.known)[item, axes] = value

    def first(self, value: ir.Value) -> ir.Value:
        """What the first lane holds."""
        return self.builder.extract_element(value, I64(0)) if self.width > 1 else value

    def _value(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        return self.one(item, axes) if lanes is self.single else self.get(item, axes)

    def _emit(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        if item.kind == CONSTANT:
            return lanes.constant(item.data, item.dtype)
        if inline(item):
            return self._inline(item, axes, lanes)
        assert item.view is not None, item
        return self.load(item.view, axes, lanes)

    def compute(self, item: Item, axes: Axes) -> ir.Value:
        """A root's value from its operands, whether it is stored or not; in all lanes."""
        lanes = self.lanes if self.varies(axes) else self.single
        return self._inline(item, axes, lanes)

    def load(self, view: View, axes: Axes, lanes: Lanes) -> ir.Value:
        form = spread(view.strides, axes, len(self.space.domain))
        place = self._address(view, self.offset(form))
        return self._load(place, view.dtype, self.stride(form), lanes, self.mask)

    def _address(self, view: View, offset: ir.Value) -> ir.Value:
        return at(self.builder, self.base(view), memory_type(view.dtype), offset)

    def _load(
        self, place: ir.Value, dtype: np.dtype, stride: int, lanes: Lanes, mask: ir.Value | None
    ) -> ir.Value:
        if lanes is self.single:
            if mask is not None and mask is not self.mask:
                return lanes.load(place, dtype, mask)
            return lanes.load(place, dtype)
        if stride == 1:
            return lanes.load(place, dtype, mask)
        return lanes.load_strided(place, I64(stride), dtype, mask)

    def store(self, value: ir.Value, view: View, axes: Axes) -> None:
        """Writes a value to its place in memory."""
        form = spread(view.strides, axes, len(self.space.domain))
        place, stride = self._address(view, self.offset(form)), self.stride(form)
        if not self.varies(axes):
            self.single.store(value, place, view.dtype)
        elif stride == 1:
            self.lanes.store(value, place, view.dtype, self.mask)
        else:
            self.lanes.store_strided(value, place, I64(stride), view.dtype, self.mask)

    def _inline(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        if item.kind == VIEW:
            ((arg, at_),) = operands(item, axes)
            return self._value(arg, at_, lanes)
        special = getattr(self, f"_{item.name}", None)
        if special is not None:
            return special(item, axes, lanes)
        operation, dtype = item.data
        args = []
        for i, (arg, at_) in enumerate(operands(item, axes)):
            if operation == "where" and i == 0:
                args.append(self._value(arg, at_, lanes))
            elif arg.kind == CONSTANT:
                args.append(lanes.constant(arg.data, dtype))
            else:
                args.append(lanes.cast(self._value(arg, at_, lanes), arg.dtype, dtype))
        return lanes.elementwise(operation, args, dtype)

    def _copy(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        ((arg, at_),) = operands(item, axes)
        return self._value(arg, at_, lanes)

    def _astype(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        (arg,) = item.args
        return lanes.cast(self._value(arg, axes, lanes), arg.dtype, item.dtype)

    def _require_finite(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        """The operand; one that is not finite is told to the status word."""
        value = self._value(item.args[0], axes, lanes)
        finite = lanes.elementwise("isfinite", [value], item.dtype)
        wrong = self.builder.not_(finite)
        if self.mask is not None and lanes is self.lanes:
            wrong = self.builder.and_(wrong, self.mask)
        self._tell(wrong, lanes, item)
        return value

    def _tell(self, wrong: ir.Value, lanes: Lanes, item: Item) -> None:
        """Put the item's number into the status word where something is wrong, once."""
        b = self.builder
        with lanes.rarely(wrong):
            code = b.ptrtoint(self.pointers.to(b, ("code", item)), I64)
            place = self.pointers.to(b, "status")
            before = b.load(place, typ=I64)
            b.store(b.select(b.icmp_signed("==", before, I64(0)), code, before), place)

    # Values that depend on where they are

    def _selected(self, item: Item, axes: Axes, axis: int) -> tuple[ir.Value, bool]:
        """Whether the index along an axis is the one that the second operand names."""
        label_axes = tuple(None if i == axis else a for i, a in enumerate(axes))
        domain_axis = axes[axis]
        label, index = item.args[1], self.index(domain_axis)
        n = 1 if domain_axis is None else self.space.domain[domain_axis]
        wide = index[1] or self.varies(label_axes)
        lanes = self.lanes if wide else self.single
        chosen = lanes.cast(self._value(label, label_axes, lanes), label.dtype, _INT64)
        chosen = self._checked(chosen, n, lanes, item)
        there = index[0] if index[1] or not wide else lanes.splat(index[0])
        return self.builder.icmp_signed("==", there, chosen), wide

    def _checked(self, index: ir.Value, n: int, lanes: Lanes, item: Item) -> ir.Value:
        """An index from 0 on; one out of bounds is told to the status word, and 0 taken."""
        b = self.builder
        zero, size = lanes.constant(0, _INT64), lanes.constant(n, _INT64)
        index = b.select(b.icmp_signed("<", index, zero), b.add(index, size), index)
        wrong = b.icmp_unsigned(">=", index, size)
        if self.mask is not None and lanes is self.lanes:
            wrong = b.and_(wrong, self.mask)
        self._tell(wrong, lanes, item)
        return b.select(wrong, zero, index)

    def _one_hot(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        axis = item.data
        at_ = tuple(None if i == axis else a for i, a in enumerate(axes))
        hit, wide = self._selected(item, axes, axis)
        if lanes is self.lanes and not wide:
            hit = lanes.splat(hit)
        value = self._value(item.args[0], at_, lanes)
        return lanes.select(hit, value, lanes.constant(0, item.dtype))

    def pick(self, item: Item, axes: Axes, axis: int, lanes: Lanes) -> tuple[ir.Value, ir.Value]:
        """(whether this is the element that is picked, the element), in these lanes."""
        hit, wide = self._selected(item, axes, axis)
        if lanes.width == 1:
            return hit, self.one(item.args[0], axes)
        return hit if wide else lanes.splat(hit), self.get(item.args[0], axes)

    def _inside(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        b, x = self.builder, item.args[0]
        rest = [self._value(arg, at_, lanes) for arg, at_ in operands(item, axes)]
        otherwise = rest[0] if rest else lanes.constant(0, item.dtype)
        view = None if x.kind == CONSTANT else x.view
        wide = lanes is self.lanes and self.width > 1
        within = self.mask if wide else None
        offset, stride = I64(0), 0
        places = I64(0) if not wide else lanes.constant(0, _INT64)
        gathered = False
        for a, (own, start, step, count) in enumerate(item.data.places):
            memory = 0 if view is None or own is None else view.strides[own]
            if not (start or step != 1 or count != item.shape[a]):
                form = spread((memory,), (axes[a],), len(self.space.domain))
                offset = b.add(offset, self.offset(form))
                stride += self.stride(form)
                continue
            index, varied = self.index(axes[a])
            lane = lanes if varied else self.single
            k = b.sub(index, lane.constant(start, _INT64))
            found = b.icmp_signed
            if step != 1:
                q = b.sdiv(k, lane.constant(step, _INT64))
                exact = found("==", b.mul(q, lane.constant(step, _INT64)), k)
                k = q
            ok = b.and_(
                found(">=", k, lane.constant(0, _INT64)),
                found("<", k, lane.constant(count, _INT64)),
            )
            ok = b.and_(ok, exact) if step != 1 else ok
            move = b.mul(k, lane.constant(memory, _INT64))
            if varied and step == 1:
                # The first lane's place and the step between lanes: still a run of neighbours.
                first, _ = self._first(axes[a])
                offset = b.add(offset, b.mul(b.sub(first, I64(start)), I64(memory)))
                stride += memory * self.stride(along(axes[a], len(self.space.domain)))
            elif varied:
                places, gathered = b.add(places, move), True
            else:
                offset = b.add(offset, move)
                ok = lanes.splat(ok) if wide else ok
            within = ok if within is None else b.and_(within, ok)
        if view is None:
            value = lanes.constant(x.data, item.dtype)
        elif gathered:
            counting = b.mul(lanes.iota(_INT64), lanes.constant(stride, _INT64))
            index = b.add(b.add(lanes.splat(offset), counting), places)
            value = lanes.gather(self.base(view), index, view.dtype, within)
        elif wide and stride == 0:
            value = lanes.gather(self.base(view), lanes.splat(offset), view.dtype, within)
        else:
            place = self._address(view, offset)
            if wide and stride != 1:
                value = lanes.load_strided(place, I64(stride), view.dtype, within)
            else:
                value = lanes.load(place, view.dtype, within)
        return value if within is None else lanes.select(within, value, otherwise)

    def _first(self, axis: int | None) -> tuple[ir.Value, int]:
        form = along(axis, len(self.space.domain))
        return self.offset(form), self.stride(form)

    def _gather(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        b, x = self.builder, elsewhere(item)
        assert x is not None
        assert x.view is not None
        wide = lanes is self.lanes and self.width > 1
        indices = iter(operands(item, axes))
        offset, stride, vector = I64(0), 0, None
        for a, (memory, place) in enumerate(zip(x.view.strides, item.data, strict=True)):
            n = x.shape[a]
            if place[0] == "slice":
                _, out, start, step = place
                form = spread((memory * step,), (axes[out],), len(self.space.domain))
                offset = b.add(offset, b.add(self.offset(form), I64(start * memory)))
                stride += self.stride(form)
            elif place[0] == "int":
                offset = b.add(offset, I64((place[1] % max(n, 1)) * memory))
            else:
                index, at_ = next(indices)
                varied = wide and self.varies(at_)
                lane = lanes if varied else self.single
                number = lane.cast(self._value(index, at_, lane), index.dtype, _INT64)
                number = self._checked(number, n, lane, item)
                move = b.mul(number, lane.constant(memory, _INT64))
                if varied:
                    vector = move if vector is None else b.add(vector, move)
                else:
                    offset = b.add(offset, move)
        if vector is None:
            place_ = self._address(x.view, offset)
            return self._load(place_, item.dtype, stride, lanes, self.mask if wide else None)
        steps = b.mul(lanes.iota(_INT64), lanes.constant(stride, _INT64))
        index = b.add(b.add(vector, steps), lanes.splat(offset))
        return lanes.gather(self.base(x.view), index, item.dtype, self.mask)

    # Random numbers

    def _draw(self, item: Item, axes: Axes, lanes: Lanes, kind: str) -> ir.Value:

        b, attrs = self.builder, item.node.attrs
        counter: ir.Value = I64(attrs["counter"])
        if isinstance(attrs["key"], tuple):
            key = tuple(I32(word) for word in attrs["key"])
        else:
            stream = at(b, self.pointers.to(b, "streams"), I8, 16 * attrs["key"].index)
            both = b.load(stream, typ=I64)
            key = b.trunc(both, I32), b.trunc(b.lshr(both, I64(32)), I32)
            counter = b.add(b.load(at(b, stream, I64, 1), typ=I64), counter)
        form = spread(packed(item.shape), axes, len(self.space.domain))
        first, step = self.offset(form), self.stride(form)
        half = I64(-(-math.prod(item.shape) // 2))
        # Rows that begin at a multiple of 4 words begin with a whole block of them.
        whole = self.whole and all(s % 4 == 0 for s in self.space.steps(form)[:-1])

        def draw(some: Lanes, index: ir.Value) -> ir.Value:
            aligned = whole and some is not self.single
            if kind == "keep":
                return philox.keep(some, key, counter, index, attrs["p"], aligned)
            if kind == "normal":
                return philox.normal(some, key, counter, index, half, item.dtype)
            return philox.uniform(some, key, counter, index, item.dtype, aligned)

        if lanes is self.single or step == 1:
            return draw(lanes, first)
        result = ir.Constant(lanes.type(item.dtype), ir.Undefined)
        for i in range(self.width):
            value = draw(self.single, b.add(first, I64(i * step)))
            result = b.insert_element(result, value, I32(i))
        return result

    def _random_uniform(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        return self._draw(item, axes, lanes, "uniform")

    def _random_normal(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        return self._draw(item, axes, lanes, "normal")

    def _random_keep(self, item: Item, axes: Axes, lanes: Lanes) -> ir.Value:
        return self._draw(item, axes, lanes, "keep")

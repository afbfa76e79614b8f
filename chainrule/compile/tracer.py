"""The tracer: what stands for the world while a function is traced.

Operations, cells, optimisers and generators ask `graph.state.tracer` when one is set. It gives them
tensors without values in place of those that exist, and keeps account of what was read, written,
drawn and counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compile.guards import frozen
from chainrule.errors import CompileError
from chainrule.ops.structure import identity, stop_gradient
from chainrule.places import show, user_place
from chainrule.tensor import dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.generator import Generator, Stream
from chainrule.tensor.graph import OFF, Node, recording
from chainrule.tensor.tensor import Tensor, node_of

Effect = Callable[[list[float]], None]


@dataclass(eq=False)
class Entry:
    """Something from outside, and the traced tensor that stands for it now.

    Attributes:
        reference: to the tensor; to nothing for an optimiser's running value.
        node: the leaf.
        current: the value now, later than `node`'s where it was written to.
        array: the value when it was met.
        gradient: the tensor's gradient when it was met.
        handle: what stands for that gradient.
        outside: the tensor's own node.
    """

    reference: Callable[[], Any]
    node: Node
    current: Tensor
    array: np.ndarray
    gradient: Tensor | None = None
    handle: Tensor | None = None
    gradient_node: Node | None = None
    outside: Node | None = None


@dataclass
class _Draws:
    """A generator that is drawn from, its key and counter when it was met, and blocks drawn."""

    reference: weakref.ref[Generator]
    key: tuple[int, int]
    counter: int
    blocks: int = 0


class Tracer:
    """What operations and cells ask while a function is traced (`graph.state.tracer`)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[int, Entry] = {}
        self.variables: dict[int, tuple[Entry, Cell, str]] = {}
        self.effects: list[Effect] = []
        self.reverts: list[Callable[[], None]] = []
        self.draws: list[_Draws] = []
        self.modules: dict[int, Any] = {}
        self.guards: list[Callable[[], bool]] = []
        self.undo: list[Callable[[], None]] = []
        self.scalars: dict[tuple[int, np.dtype], Tensor] = {}
        self.count = 0
        self.read: list[tuple[weakref.ref[Tensor], np.ndarray]] = []
        self.remembered: dict[tuple[int, str], tuple[Any, Any]] = {}

    # Values from outside

    def lift(self, tensor: Tensor) -> Tensor:
        """What stands for a tensor now: itself if it is traced."""
        if tensor._value is None:
            return tensor
        entry = self.entries.get(id(tensor))
        if entry is None or entry.reference() is not tensor:
            entry = self._enter(tensor)
        return entry.current

    def _enter(self, tensor: Tensor) -> Entry:
        array = tensor._value
        assert array is not None
        gone = self.entries.get(id(tensor))
        if gone is not None:  # it was made inside, and another tensor lies where it lay
            gone.node.value = np.array(gone.array)
        needs = tensor.requires_grad
        node = Node(None, (), {}, array.shape, array.dtype, needs)
        reference: Callable[[], Any] = weakref.ref(tensor)
        if isinstance(tensor, Cell):  # a cell stays until the trace is over: it may be written to
            reference = lambda: tensor  # noqa: E731
        if needs:
            node.owner = weakref.ref(tensor)
        entry = self.entries[id(tensor)] = Entry(reference, node, Tensor(None, node), array)
        entry.outside = tensor._node
        gradient = tensor._grad
        if gradient is not None and gradient._value is not None:
            shape, dtype = gradient._value.shape, gradient._value.dtype
            entry.gradient = gradient
            entry.gradient_node = Node(None, (), {}, shape, dtype, False)
            entry.handle = tensor._grad = Tensor(None, entry.gradient_node)
        return entry

    def touch(self, tensor: Tensor) -> None:
        """Note a tensor whose gradient is read or written."""
        if tensor._value is not None:
            self.lift(tensor)

    def keeps(self, op: Any) -> bool:
        """Whether a composite operation is compiled as a whole, and not by its definition."""
        return bool(op.whole)

    def write(self, cell: Cell, value: Tensor) -> None:
        """Give a cell a new value of the same shape; no derivative flows through."""
        with recording(OFF):
            new = self.lift(value)
            new = new if new.dtype == cell.dtype else new.astype(cell.dtype)
            new = stop_gradient(new) if new.requires_grad else new
        if cell._value is None:  # stands in for a cell of a module, and goes when the call is over
            cell._node = new._node
            return
        self.lift(cell)
        entry = self.entries[id(cell)]
        assert new._node is not None
        if cell.requires_grad:
            new = Tensor(None, _origin(new._node, cell))
        entry.current = new

    def variable(self, array: np.ndarray, cell: Cell, name: str) -> Tensor:
        """What stands for memory that is no tensor's: an optimiser's running value of a cell."""
        found = self.variables.get(id(array))
        if found is None:
            node = Node(None, (), {}, array.shape, array.dtype, False)
            entry = Entry(lambda: None, node, Tensor(None, node), array)
            found = self.variables[id(array)] = (entry, cell, name)
        return found[0].current

    def set_variable(self, array: np.ndarray, value: Tensor) -> None:
        self.variables[id(array)][0].current = value

    def sets_requires_grad(self, tensor: Tensor, wanted: bool) -> bool:
        """Set it on a traced tensor; False for a tensor that exists, which does it itself."""
        if wanted == tensor.requires_grad:
            return True
        if tensor._value is not None:
            if isinstance(tensor, Cell):
                raise CompileError(
                    f"requires_grad of a parameter of shape {tensor.shape} is changed while "
                    f"`{self.name}` is compiled{_here()}, and would not be at its later calls. "
                    "Change it before the call; the function is then compiled anew."
                )
            self.entries.pop(id(tensor), None)
            return False
        node = tensor._node
        assert node is not None
        if wanted and not node.needs_grad and dtypes.is_float(tensor.dtype):
            tensor._node = _origin(node, tensor)
            return True
        if not wanted and (node.op is None or node.owner is not None):
            tensor._node = stop_gradient(tensor)._node
            return True
        return False

    # What Python looks at

    def reads(self, tensor: Tensor, purpose: str) -> None:
        """Python looks at a value. It can only at one that does not change from call to call."""
        value = tensor._value
        if value is not None and not isinstance(tensor, Cell):
            self.read.append((weakref.ref(tensor), value))
            return
        made = "of a parameter or buffer"
        if value is None:
            node = tensor._node
            made = (
                "of an argument" if node is None or node.op is None else f"made by `{node.op.name}`"
            )
            where = show(node.place) if node is not None else ""
            made += f" ({where})" if where else ""
        raise CompileError(
            f"`{self.name}`{_here()}: {purpose} needs the value of a tensor {made}, of shape "
            f"{tensor.shape} and dtype {tensor.dtype}. While a function is compiled there are no "
            "values, so Python can neither branch on them nor print or store them. Write cr.where "
            "or cr.cond for an `if`, cr.scan for a loop, or return the tensor from the function "
            "and look at it outside."
        )

    def saw(self, module: Any) -> None:
        """A module is called: its attributes may decide what happens."""
        self.modules[id(module)] = module

    def sets_attribute(self, module: Any, name: str, value: Any) -> None:
        """An attribute of a module is set, which later calls would not do."""
        before = vars(module).get(name, module)
        new = before is not module and frozen(value) != frozen(before)
        traced = isinstance(value, Tensor) and value._value is None
        if traced or (new and name != "training"):
            raise CompileError(
                f"`{self.name}`{_here()}: {type(module).__name__}.{name} is set while the function "
                "is compiled, and would not be at its later calls. Keep what changes from call to "
                "call in a Buffer, and write it with buffer.assign(value); or return it."
            )

    def remember(self, holder: Any, name: str) -> None:
        """An attribute of a host object takes part: a guard now, and set again at each call."""
        self.remembered.setdefault((id(holder), name), (holder, getattr(holder, name)))

    # Numbers from the host

    def numbers(
        self, compute: Callable[[], Sequence[float]], revert: Callable[[], None], count: int
    ) -> range:
        """Which scalars hold the numbers that `compute` gives before each call."""
        self.effect(lambda out: out.extend(compute()), revert)
        self.count += count
        return range(self.count - count, self.count)

    def effect(self, effect: Effect, revert: Callable[[], None]) -> None:
        """Something that the host does before each call, and reverts after one that failed."""
        self.effects.append(effect)
        self.reverts.append(revert)

    def scalar(self, index: int, dtype: np.dtype) -> Tensor:
        """A scalar, as a number of the dtype that it is used with."""
        found = self.scalars.get((index, dtype))
        if found is None:
            found = Tensor(None, Node(None, (), {}, (), dtype, False))
            self.scalars[index, dtype] = found
        return found

    def take(self, generator: Generator, words: int) -> tuple[Stream, int]:
        """(stream, blocks after its counter) of the next `words` words of bits."""
        known = [draws.reference() for draws in self.draws]
        if generator not in known:
            known.append(generator)
            draws = _Draws(weakref.ref(generator), generator._key, generator._counter)
            self.draws.append(draws)
        index = known.index(generator)
        draws = self.draws[index]
        offset, draws.blocks = draws.blocks, draws.blocks - (-words // 4)
        return Stream(index), offset

    # The end

    def gradients(self) -> tuple[list[tuple[Callable[[], Any], Node]], list[Callable[[], Any]]]:
        """(tensors whose gradients changed, with the new ones; tensors that have none any more)."""
        given, cleared = [], []
        for entry in list(self.entries.values()):
            tensor = entry.reference()
            if tensor is None or tensor._grad is entry.handle:
                continue
            if tensor._grad is None:
                cleared.append(entry.reference)
                continue
            if not tensor.is_leaf:
                raise CompileError(
                    f"backward() in `{self.name}` reaches a tensor that was computed outside, "
                    "and cannot go on there. Hand the tensor over as an argument, or return the "
                    "loss and call backward() outside."
                )
            given.append((entry.reference, node_of(self.lift(tensor._grad))))
        return given, cleared

    def replaced(self) -> list[tuple[Callable[[], Any], Node]]:
        """(tensors from outside that were updated in place, what they are now)."""
        return [
            (e.reference, node_of(tensor))
            for e in self.entries.values()
            if (tensor := e.reference()) is not None and tensor._value is None
        ]

    def restore(self, *, failed: bool) -> None:
        """Leave the world as it was before the trace."""
        for entry in self.entries.values():
            tensor = entry.reference()
            if tensor is None:
                continue
            tensor._grad = entry.gradient
            if tensor._value is None:
                tensor._value, tensor._node = entry.array, entry.outside
        for (_, name), (holder, before) in self.remembered.items():
            setattr(holder, name, before)
        if failed:
            for undo in self.undo:
                undo()


def _here() -> str:
    place = show(user_place(2))
    return f" ({place})" if place else ""


def _origin(node: Node, owner: Tensor) -> Node:
    """A node of the same value at which derivatives end: they are delivered to `owner`."""
    found = Node(identity, (node,), {}, node.shape, node.dtype, True)
    found.owner = weakref.ref(owner)
    found.wanted, found.place = (False,), user_place(2)
    return found

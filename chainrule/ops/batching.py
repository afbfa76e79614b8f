"""Batching: what is recorded for one example runs on all of them at once.

A function is run once on examples: tensors without values that have the shape of one. The
operations that it records are then run again, in the order in which they were recorded, on values
that hold all examples along a first axis. Each operation knows how it does that
(`Operation.batch`): by a rule in its declaration, by its definition, or else example by example.
What runs are operations as any other, so they can be differentiated, traced and batched again.

    trailing(2)       a rule: what is in front of the last two axes of each operand is batch anyway
    along("axes")     a rule: the attribute names axes, which move on by one; along() has none
    mapped            a function of examples, on all of them
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ChainruleError, GradientError
from chainrule.tensor.creation import zeros
from chainrule.tensor.graph import (
    FULL,
    OFF,
    Node,
    describe_only,
    reachable,
    recording,
    state,
)
from chainrule.tensor.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.ops.operation import Operation

Rule = Callable[["Operation", Sequence[Any], Sequence[bool], dict[str, Any], int], Tensor]
"""(operation, operands, which have the batch axis in front, attributes, batch size) -> the result,
with the batch axis in front."""


class Batch:
    """A function that is being recorded for one example, to run on `size` of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: dict[Node, Tensor] = {}
        self.start = describe_only((), np.dtype(bool)).serial
        self.checked: list[Node] = []
        self._updated: list[tuple[weakref.ref[Tensor], Any]] = []

    def example(self, whole: Tensor) -> Tensor:
        """One example of a tensor that holds all along its first axis: a tensor without a value."""
        needs = whole.requires_grad and state.depth != OFF
        node = Node(None, (), {}, whole.shape[1:], whole.dtype, needs)
        self.values[node] = whole
        return Tensor(None, node)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """What runs inside of the block is recorded for one example."""
        before, state.batches = state.batches, (*state.batches, self)
        try:
            yield
        finally:
            state.batches = before

    def run(self, outputs: Sequence[Tensor]) -> list[tuple[Tensor, bool]]:
        """(value, whether it has the batch axis in front) of each output, for all examples."""
        roots = [o._node for o in outputs if o._value is None and o._node is not None]
        depends = set(self.values)
        for node in reachable([*roots, *self.checked], self.start):
            if any(n in depends for n in node.inputs):
                depends.add(node)
        needed = reachable([*roots, *self._checks(depends)], self.start)
        todo = [node for node in needed if node in depends and node not in self.values]
        last = {n: i for i, node in enumerate(todo) for n in node.inputs}
        last.update(dict.fromkeys(roots, len(todo)))
        for i, node in enumerate(todo):
            self.values[node] = self._run(node)
            for n in set(node.inputs):
                if n in self.values and last[n] == i:
                    del self.values[n]  # nothing reads it any more
        return [
            (self.values[o._node], True) if o._node in self.values else (o, False) for o in outputs
        ]

    def _checks(self, depends: set[Node]) -> list[Node]:
        """What refuses wrong indices and labels of the examples: it runs, if its result is used or
        not, as that of a gradient is not. Compiled code checks by itself."""
        if state.tracer is not None:
            return []
        whole = {n for n in depends if n.dtype.kind in "iu"}
        return [node for node in self.checked if not whole.isdisjoint(node.inputs)]

    def _run(self, node: Node) -> Tensor:
        operands: list[Any] = []
        batched = []
        for i, source in enumerate(node.inputs):
            batched.append(source in self.values)
            operands.append(self.values[source] if batched[-1] else _outside(node, i))  # type: ignore[index]
        live = any(isinstance(o, Tensor) and o.requires_grad for o in operands)
        depth = OFF if live and not node.needs_grad else state.depth  # under no_grad, it was
        before, state.scope = state.scope, node.scope
        try:
            with recording(depth):
                result = node.op.batch(operands, batched, node.attrs, self.size)
        finally:
            state.scope = before
        if result.shape != (self.size, *node.shape) or result.dtype != node.dtype:
            raise ChainruleError(
                f"`{node.op.name}` of a batch of {self.size} gives {result.shape} {result.dtype}, "
                f"and of one example {node.shape} {node.dtype}: its batching rule is wrong"
            )
        if result._node is not None and result._node.op is not None:
            result._node.place = node.place
        return result

    # Tensors that are updated in place

    def note_update(self, target: Tensor) -> None:
        """A handle gets a new value, which may be that of one example."""
        if target._value is None:
            if target._node is not None and target._node.serial < self.start:
                raise _updates_outside(target)
        else:
            self._updated.append((weakref.ref(target), (target._value, target._node)))

    def check_updates(self) -> None:
        """Refuse updates of tensors from outside; to be called when nothing holds the results."""
        left = [(ref, old) for ref, old in self._updated if _is_example(ref())]
        if left:
            import gc

            gc.collect()  # what was made inside goes, at the latest now
        for reference, old in left:
            target = reference()
            if target is not None and _is_example(target):
                target._value, target._node = old
                raise _updates_outside(target)


def _is_example(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor._value is None


def _updates_outside(target: Tensor) -> GradientError:
    return GradientError(
        f"a tensor of shape {target.shape} from outside of a function under vmap is updated in "
        "place, and would hold one example of many. Return the new value from the function instead."
    )


def _outside(node: Node, i: int) -> Any:
    """An operand that does not depend on the example, as it was when the node was recorded."""
    source = node.inputs[i]
    entry = source if node.saved is None else node.saved[i]
    if isinstance(entry, np.ndarray):
        assert source is not None
        operand = Tensor(entry, source if source.needs_grad or state.depth == FULL else None)
        for cell, _ in node.versions:
            if np.may_share_memory(entry, cell._value):
                operand._base = cell
        return operand
    if not isinstance(entry, Node):
        return entry  # a number, or None
    if entry.value is not None:
        return Tensor(entry.value)
    if not state.batches and state.tracer is None:
        raise ChainruleError(
            f"a tensor of shape {entry.shape} was left over from a function under vmap that has "
            "ended: it stands for one example, and has no value. Return tensors from the function; "
            "do not store them anywhere else."
        )
    return Tensor(None, entry)


def mapped(
    function: Callable[..., Sequence[Tensor]],
    operands: Sequence[Any],
    batched: Sequence[bool],
    size: int,
) -> list[Tensor]:
    """The results of a function of each example, all at once, each with the batch axis in front."""
    batch = Batch(size)
    with batch.recorded():
        given = [batch.example(o) if b else o for o, b in zip(operands, batched, strict=True)]
        outputs = function(*given)
    return [x if has_axis else spread(x, size) for x, has_axis in batch.run(outputs)]


def one_by_one(
    op: Operation, operands: Sequence[Any], batched: Sequence[bool], attrs: dict, size: int
) -> Tensor:
    """The rule of an operation that has none: each example by itself."""
    from chainrule.ops.joining import stack

    if not size:
        probes = [
            Tensor(None, describe_only(o.shape[1:], o.dtype)) if b else o
            for o, b in zip(operands, batched, strict=True)
        ]
        shape, dtype = op.shape(*probes, **attrs)
        return zeros((0, *shape), dtype=dtype)
    rows = [
        op.apply([o[i] if b else o for o, b in zip(operands, batched, strict=True)], attrs)
        for i in range(size)
    ]
    return stack(rows)


def spread(x: Tensor, size: int) -> Tensor:
    """The same for every example."""
    from chainrule.ops.structure import broadcast_to

    return broadcast_to.apply((x,), {"shape": (size, *x.shape)})


def everywhere(operands: Sequence[Any], batched: Sequence[bool], size: int) -> list[Any]:
    """Operands that all have the batch axis in front."""
    return [
        o if b or not isinstance(o, Tensor) else spread(o, size)
        for o, b in zip(operands, batched, strict=True)
    ]


def widened(x: Tensor, extra: int) -> Tensor:
    """A batch of examples with so many axes of size 1 in front of each."""
    from chainrule.ops.structure import reshape

    if not extra:
        return x
    return reshape.apply((x,), {"shape": (x.shape[0], *(1,) * extra, *x.shape[1:])})


def aligned(operands: Sequence[Any], batched: Sequence[bool], ranks: Sequence[int]) -> list[Any]:
    """Operands of which those with a batch have it in front of all that the others broadcast to.

    Args:
        ranks: for each operand how many of its last axes are its own; those in front broadcast.
    """
    fronts = [
        o.ndim - b - rank if isinstance(o, Tensor) else 0
        for o, b, rank in zip(operands, batched, ranks, strict=True)
    ]
    most = max(fronts)
    return [
        widened(o, most - front) if b else o
        for o, b, front in zip(operands, batched, fronts, strict=True)
    ]


def trailing(*ranks: int) -> Rule:
    """The rule where so many last axes of each operand are worked on, and those in front
    broadcast; the last number stands for all further operands."""

    def rule(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
        each = [ranks[min(i, len(ranks) - 1)] for i in range(len(operands))]
        return op.apply(aligned(operands, batched, each), attrs)

    return rule


def along(*names: str) -> Rule:
    """The rule where each operand has examples of its own, and attributes name axes (one, several,
    or None for all) of them."""

    def rule(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
        given = everywhere(operands, batched, size)
        ndim = next(o.ndim for o in given if isinstance(o, Tensor)) - 1
        return op.apply(given, {**attrs, **{name: _moved(attrs[name], ndim) for name in names}})

    return rule


def _moved(axis: Any, ndim: int) -> Any:
    """An axis of one example, or several, as axes of the batch."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, (tuple, list)):
        return tuple(a % ndim + 1 for a in axis)
    return axis % ndim + 1

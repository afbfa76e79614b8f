"""Bodies: graphs of their own, which a condition or a loop runs.

While a function is traced, what a `cond` or a `scan` is given is recorded once, cut out of the
graph around it, and held by one node. What it reads from outside becomes further operands of the
node, and its results lie behind one another in one flat array.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import CompileError
from chainrule.ops.composite import alias
from chainrule.ops.joining import concat
from chainrule.ops.operation import Operand, Operation
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.generator import Stream
from chainrule.tensor.graph import (
    DERIVATIVE,
    FULL,
    OFF,
    Node,
    describe_only,
    reachable,
    recording,
    state,
)
from chainrule.tensor.tensor import Tensor, node_of
from chainrule.tree import flatten

INTERNAL = (
    "apart", "capture", "common", "cut", "filled", "flat", "joined", "joined_each", "kind",
    "kinds_of", "pulled", "pushed", "replay",
)  # fmt: skip

Kind = tuple[tuple[int, ...], np.dtype]


@dataclass(frozen=True, eq=False)
class Body:
    """A graph of its own: what a condition or a scan runs.

    Attributes:
        inputs: leaves without values.
        outputs: nodes made of them and of constants.
        nodes: everything that the outputs are made of, oldest first.
    """

    inputs: list[Node]
    outputs: list[Node]
    nodes: list[Node]

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs' values from the inputs', operation by operation."""
        found: dict[Node, Any] = dict(zip(self.inputs, values, strict=True))
        for node in self.nodes:
            if node.op is None:
                found.setdefault(node, node.value)
                continue
            operands = [None if n is None else found[n] for n in node.inputs]
            found[node] = np.asarray(node.op.run(operands, node.attrs)[0])
        return [found[node] for node in self.outputs]

    def replay(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The outputs as tensors, by running the operations again on other operands."""
        return replay(self.nodes, dict(zip(self.inputs, tensors, strict=True)), self.outputs)


def replay(
    nodes: Sequence[Node],
    tensors: dict[Node, Any],
    outputs: Sequence[Node],
    attrs: Callable[[dict[str, Any]], dict[str, Any]] = lambda attrs: attrs,
) -> list[Tensor]:
    """Run recorded operations again, on `tensors` in place of the leaves."""
    for node in nodes:
        if node in tensors:
            continue
        if node.op is None:
            tensors[node] = Tensor(node.value)
            continue
        operands = [None if n is None else tensors[n] for n in node.inputs]
        with recording(state.depth if node.needs_grad else OFF):
            tensors[node] = node.op.apply(operands, attrs(node.attrs))
    return [tensors[node] for node in outputs]


def capture(
    function: Callable[..., Any], kinds: Sequence[Kind], call: Callable[[list[Tensor]], tuple]
) -> tuple[Body, list[Tensor], Any]:
    """(body, the tensors from outside that it reads behind its own inputs, how to rebuild)."""
    start = describe_only((), dtypes.bool_).serial
    inputs = [Node(None, (), {}, *kind, dtypes.is_float(kind[1])) for kind in kinds]
    before = {e: e.current for e in state.tracer.entries.values()}
    with recording(max(state.depth, DERIVATIVE)):
        leaves, rebuild = flatten(function(*call([Tensor(None, node) for node in inputs])))
        results = [state.tracer.lift(as_operand(leaf)) for leaf in leaves]
    for entry in state.tracer.entries.values():
        if entry.current is not before.get(entry, entry.current) or (
            entry not in before and entry.current._node is not entry.node
        ):
            raise CompileError(
                "a parameter or buffer is written inside of a cond or scan that is compiled, and "
                "would be written once, not every time. Carry its value, and write it afterwards."
            )
    body, free = cut(inputs, [node_of(r) for r in results], start)
    return body, [Tensor(None, node) for node in free], rebuild


def cut(inputs: list[Node], outputs: list[Node], start: int) -> tuple[Body, list[Node]]:
    """The part of a graph that depends on `inputs`, and the nodes outside that it reads.

    Args:
        start: the serial that all nodes of the part are behind.
    """
    inside: dict[Node, Node] = {node: node for node in inputs}
    free: dict[Node, Node] = {}

    def taken(node: Node) -> Node:
        if node in inside:
            return inside[node]
        if node.op is None and node.value is not None:
            return node
        if node not in free:
            free[node] = Node(None, (), {}, node.shape, node.dtype, node.needs_grad)
        return free[node]

    for node in reachable(outputs, start):
        if isinstance(node.attrs.get("key"), Stream):
            raise CompileError(
                "random numbers are drawn inside of a cond or scan that is compiled, and would be "
                "the same every time. Draw them before, and hand them over (in xs, one for each "
                "step)."
            )
        if any(n in inside for n in node.inputs):
            copied = Node(
                node.op,
                tuple([None if n is None else taken(n) for n in node.inputs]),
                node.attrs,
                node.shape,
                node.dtype,
                node.needs_grad,
            )
            copied.wanted, copied.place, copied.scope = node.wanted, node.place, node.scope
            inside[node] = copied
    found = [taken(node) for node in outputs]
    leaves = [*inputs, *free.values()]
    return Body(leaves, found, reachable(found)), list(free)


class Control(Operation):
    """An operation with bodies. It is not declared: what it computes is in its attributes."""

    kind = "control"
    display_only = True
    formula_text = "y = what its bodies compute"
    batching = None
    _operations = None

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = self.lower = name

    def apply(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Tensor:
        if state.tracer is not None:
            return super().apply(inputs, attrs)
        return joined(self.unrolled(inputs, attrs), common(kinds_of(attrs)))

    def unrolled(self, inputs: Sequence[Operand], attrs: dict[str, Any]) -> list[Tensor]:
        """The results by single operations."""
        raise NotImplementedError

    def shape(self, *inputs: Operand, **attrs: Any) -> Kind:
        kinds = kinds_of(attrs)
        return (builtins.sum(math.prod(shape) for shape, _ in kinds),), common(kinds)


def joined_each(tensors: Sequence[Tensor], size: int) -> Tensor:
    """`joined` for each example of tensors that have the batch axis in front."""
    dtype = common([kind(t) for t in tensors])
    rows = [t if t.dtype == dtype else t.astype(dtype) for t in tensors]
    return concat([reshape(t, (size, math.prod(t.shape[1:]))) for t in rows], axis=1)


def kinds_of(attrs: dict[str, Any]) -> list[Kind]:
    return list(attrs["kinds"])


def common(kinds: Sequence[Kind]) -> np.dtype:
    """A dtype that holds the numbers of all: float64 where whole numbers meet others."""
    found = {dtype for _, dtype in kinds}
    if len(found) == 1:
        return found.pop()
    floats = {dtype for dtype in found if dtypes.is_float(dtype)}
    if len(floats) < len(found):
        floats.add(dtypes.float64)
    return functools.reduce(dtypes.promote, floats)


def joined(tensors: Sequence[Tensor], dtype: np.dtype) -> Tensor:
    parts = [reshape(t if t.dtype == dtype else t.astype(dtype), (t.size,)) for t in tensors]
    return concat(parts) if parts else zeros((0,), dtype=dtype)


def apart(whole: Tensor, kinds: Sequence[Kind]) -> list[Tensor]:
    """The results that lie behind one another in a flat one."""
    found, start = [], 0
    for shape, dtype in kinds:
        end = start + math.prod(shape)
        part = reshape(whole[start:end], shape)
        found.append(part if dtype == whole.dtype else part.astype(dtype))
        start = end
    return found


def kind(x: Any) -> Kind:
    return x.shape, x.dtype


def pulled(
    body: Body,
    operands: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    wanted: Sequence[bool],
    walk: Callable[..., Any],
    keep: bool,
) -> list[Tensor]:
    """Cotangents of a body's wanted inputs, from those of its floating-point outputs; zeros too."""
    with recording(DERIVATIVE):
        fresh = [
            alias(o) if want else Tensor(o._value, o._node)
            for o, want in zip(operands, wanted, strict=True)
        ]
        outputs = [o for o in body.replay(fresh) if dtypes.is_float(o.dtype)]
        output = joined(outputs, common([kind(o) for o in outputs]))
    targets = [f for f, want in zip(fresh, wanted, strict=True) if want]
    seed = joined(cotangents, output.dtype)
    found = walk(output, seed, targets, keep=keep)
    return [
        zeros(t.shape, dtype=t.dtype) if f is None else f
        for t, f in zip(targets, found, strict=True)
    ]


def pushed(
    body: Body, operands: Sequence[Tensor], tangents: dict[int, Tensor], walk: Any, keep: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """(a body's outputs, the tangents of the floating-point ones)."""
    with recording(FULL):
        fresh = [alias(o) if i in tangents else o for i, o in enumerate(operands)]
        outputs = body.replay(fresh)
    seeds = [(fresh[i], t) for i, t in tangents.items()]
    return outputs, [walk(o, seeds, keep=keep) for o in outputs if dtypes.is_float(o.dtype)]


def filled(outputs: Sequence[Tensor], tangents: Sequence[Tensor]) -> list[Tensor]:
    """A tangent for every output: zeros for whole numbers."""
    rest = iter(tangents)
    return [
        next(rest) if dtypes.is_float(o.dtype) else zeros(o.shape, dtype=o.dtype) for o in outputs
    ]


def flat(arrays: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    if not arrays:
        return np.zeros(0, dtype)
    return np.concatenate([np.asarray(a, dtype).reshape(-1) for a in arrays])

"""Derivatives of what a compiled function returns: one node, whose pull is compiled when asked.

Where derivatives flow through a result to an argument or a parameter, eager code records a node for
each operation; a compiled call records one for each such result. Its cotangents are a program of
their own, traced from the same graph, which computes again what it needs of the forward pass. Where
the derivative is itself to be differentiated, the graph is replayed operation by operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.calculus.reverse import pull_back
from chainrule.compile.program import Argument, Captured, Program, Scalar, Source, Storage
from chainrule.compile.trace import Traced
from chainrule.compile.tracer import Tracer
from chainrule.errors import GradientError
from chainrule.ops.bodies import replay
from chainrule.ops.composite import alias
from chainrule.tensor.cell import Cell
from chainrule.tensor.generator import Stream
from chainrule.tensor.graph import DERIVATIVE, OFF, Node, reachable, recording, state
from chainrule.tensor.tensor import Tensor

Call = tuple[Sequence[np.ndarray], Sequence[float], Sequence[tuple[int, int]]]


class Derivative:
    """The derivable results of a traced function, by the leaves that derivatives flow to."""

    def __init__(self, traced: Traced, backend: Callable[[Program], Any]) -> None:
        self.traced, self.backend = traced, backend
        self.program = traced.program
        self.name = self.program.name
        self.leaves = [node for node, _ in self.program.inputs if node.needs_grad]
        self._sources = dict(self.program.inputs)
        self._pulls: dict[Any, Any] = {}
        # A running mean that the call writes to, and no derivative reads, may change.
        read = set(reachable([self.program.outputs[number] for number in traced.derivable]))
        self._read = [
            reference
            for leaf, reference in traced.tensors.items()
            if leaf in read or leaf.needs_grad
        ]

    def begin(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], tuple]:
        """(the tensors behind the leaves, versions of cells) before the call writes to any."""
        operands = []
        for leaf in self.leaves:
            source = self._sources[leaf]
            if isinstance(source, Argument):
                operands.append(tensors[source.position])
            else:
                operands.append(self.traced.tensors[leaf]())
        cells = [c for reference in self._read if isinstance(c := reference(), Cell)]
        return operands, tuple((c, c.version) for c in cells)

    def results(
        self, values: Sequence[np.ndarray], record: Any, *call: Sequence[Any]
    ) -> list[Tensor]:
        """Tensors of a call's outputs, with a node where a derivative flows."""
        operands, versions = record
        made = [Tensor(value) for value in values]
        for number in self.traced.derivable:
            if state.depth == OFF:
                break
            nodes = tuple(t._node for t in operands)
            tensor = made[number]
            node = Node(_Call(self, number), nodes, {}, tensor.shape, tensor.dtype, True)
            node.wanted = tuple(n is not None and n.needs_grad for n in nodes)
            node.saved, node.versions = [operands, call], versions
            tensor._node = node
        return made

    def pull(self, number: int, wanted: tuple[bool, ...], call: Call, g: np.ndarray) -> list:
        """Arrays: the cotangents of the wanted leaves, None where no path leads to one."""
        key = number, wanted
        if key not in self._pulls:
            self._pulls[key] = self._trace(number, wanted)
        executable, picks, found = self._pulls[key]
        arrays, scalars, streams = call
        results = iter(executable.run([*(arrays[i] for i in picks), g], scalars, streams))
        return [next(results) if there else None for there in found]

    def _trace(self, number: int, wanted: tuple[bool, ...]) -> tuple[Any, list[int], list[bool]]:
        output = self.program.outputs[number]
        seed = Node(None, (), {}, output.shape, output.dtype, False)
        targets = [Tensor(None, n) for n, want in zip(self.leaves, wanted, strict=True) if want]
        before, state.tracer = state.tracer, Tracer(self.name)
        try:
            with recording(DERIVATIVE):
                found = pull_back(Tensor(None, output), Tensor(None, seed), targets, keep=False)
            outputs = [state.tracer.lift(f)._node for f in found if f is not None]
            for entry in state.tracer.entries.values():
                entry.node.value = np.array(entry.array)  # constants of the derivatives
        finally:
            state.tracer = before
        used = set(reachable(outputs))
        given = [(n, s) for n, s in self.program.inputs if isinstance(s, (Argument, Captured))]
        picks = [i for i, (n, _) in enumerate(given) if n in used]
        inputs: list[tuple[Node, Source]] = [
            (given[i][0], Argument(place)) for place, i in enumerate(picks)
        ]
        inputs.append((seed, Argument(len(inputs))))
        inputs += [
            (n, s) for n, s in self.program.inputs if n in used and isinstance(s, (Storage, Scalar))
        ]
        program = Program(
            inputs,
            outputs,
            [],
            self.program.scalars,
            self.program.streams,
            f"derivative of {self.name}",
        )
        there = iter(f is not None for f in found)
        return self.backend(program), picks, [want and next(there) for want in wanted]

    def replay(self, number: int, fresh: Sequence[Tensor], call: Call) -> Tensor:
        """The output computed again by single operations, on tensors in place of the leaves."""
        arrays, scalars, streams = call
        rest = iter(arrays)
        tensors: dict[Node, Any] = dict(zip(self.leaves, fresh, strict=True))
        for node, source in self.program.inputs:
            if isinstance(source, (Argument, Captured)):
                value = next(rest)
            elif isinstance(source, Storage):
                value = source.array
            else:
                value = np.asarray(scalars[source.index], node.dtype)
            tensors.setdefault(node, Tensor(value))
        output = self.program.outputs[number]
        (found,) = replay(
            reachable([output]), tensors, [output], lambda attrs: resolved(attrs, streams)
        )
        return found


def resolved(attrs: dict[str, Any], streams: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Attributes with the key and counter of this call in place of a stream's."""
    stream = attrs.get("key")
    if not isinstance(stream, Stream):
        return attrs
    key, counter = streams[stream.index]
    return {
        **attrs, "key": (key & 0xFFFFFFFF, key >> 32), "counter": attrs["counter"] + counter
    }  # fmt: skip


class _Call:
    """In the place of an operation, for the node of a compiled call's result."""

    choice = definition = None
    differentiable = True

    def __init__(self, derivative: Derivative, number: int) -> None:
        self.derivative, self.number = derivative, number
        self.name = derivative.name

    def pull(
        self,
        node: Node,
        gradient: Tensor,
        wanted: tuple[bool, ...],
        keep: bool,
        walk: Callable[..., Any],
    ) -> Sequence[Tensor | None]:
        assert node.saved is not None
        operands, call = node.saved
        if not keep:
            arrays = self.derivative.pull(self.number, wanted, call, gradient._value)  # type: ignore[arg-type]
            return [None if a is None else Tensor(a) for a in arrays]
        with recording(DERIVATIVE):
            fresh = [alias(o) for o in operands]
            output = self.derivative.replay(self.number, fresh, call)
        targets = [f for f, want in zip(fresh, wanted, strict=True) if want]
        found = iter(walk(output, gradient, targets, keep=keep))
        return [next(found) if want else None for want in wanted]

    def push(self, *args: Any) -> Tensor:
        raise GradientError(
            f"`{self.name}` was compiled, and its results have derivatives in reverse mode only. "
            "Write cr.jvp around the function itself, and compile that."
        )

"""A backend that runs a program's operations one by one: the oracle of what a program means."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.compile.derivative import resolved
from chainrule.compile.program import Argument, Captured, Program, Scalar, Storage
from chainrule.tensor.graph import Node


class Interpreted:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes = program.nodes()
        self.runs = 0

    def run(
        self,
        arrays: Sequence[np.ndarray],
        scalars: Sequence[float],
        streams: Sequence[tuple[int, int]],
    ) -> list[np.ndarray]:
        self.runs += 1
        program, rest = self.program, iter(arrays)
        values: dict[Node, Any] = {}
        for node, source in program.inputs:
            if isinstance(source, (Argument, Captured)):
                values[node] = next(rest)
            elif isinstance(source, Storage):
                values[node] = source.array
            elif isinstance(source, Scalar):
                values[node] = np.asarray(scalars[source.index], node.dtype)
            assert values[node].shape == node.shape
            assert values[node].dtype == node.dtype
        assert next(rest, None) is None
        assert len(scalars) == program.scalars
        assert len(streams) == program.streams
        for node in self.nodes:
            if node.op is None:
                values.setdefault(node, node.value)
                continue
            operands = [None if n is None else values[n] for n in node.inputs]
            with np.errstate(all="ignore"):
                value, _ = node.op.run(operands, resolved(node.attrs, streams))
            values[node] = np.asarray(value)
            assert values[node].shape == node.shape, node
            assert values[node].dtype == node.dtype, node
        outputs = [np.array(values[node]) for node in program.outputs]
        written = [(storage.array, np.array(values[node])) for storage, node in program.writes]
        for array, value in written:
            array[...] = value
        return outputs

    def show(self, kind: str) -> str:
        return "\n".join(f"{node!r}" for node in self.nodes)


def interpret(program: Program) -> Interpreted:
    return Interpreted(program)

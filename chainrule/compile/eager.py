"""Single operations of eager code as machine code: `chainrule.ops.native` asks for them.

What is compiled is what a compiled function would hold: the operation's node, or its definition,
and for the derivative what taking a cotangent back through it records.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.calculus.reverse import pull_back
from chainrule.compile.executable import Executable, executable
from chainrule.compile.program import Argument, Program
from chainrule.compile.tracer import Tracer
from chainrule.ops.operation import Operation
from chainrule.tensor import debug
from chainrule.tensor.graph import DERIVATIVE, OFF, Node, recording, state
from chainrule.tensor.tensor import Tensor, node_of

_compiling = threading.RLock()

# The allocator of glibc takes blocks from the system and gives them back at each operation, page by
# page, if they are larger than the largest that was freed so far (mallopt(3), M_MMAP_THRESHOLD; at
# most 32 MB). It learns that size here, from a block that nobody writes to.
np.empty((32 << 20) - (64 << 10), np.uint8)


def native(op: Operation, values: Sequence[Any], attrs: dict[str, Any]) -> Native | None:
    """The operation on operands like these; None where a part of it would be NumPy's anyway."""
    made = Native(op, values, attrs)
    return made if made.forward is not None else None


class Native:
    """An operation on operands of certain shapes, dtypes and strides."""

    def __init__(self, op: Operation, values: Sequence[Any], attrs: dict[str, Any]) -> None:
        self.op, self.attrs = op, attrs
        self.kinds = [_Kind(v) if isinstance(v, np.ndarray) else v for v in values]
        self._pulls: dict[tuple[bool, ...], Any] = {}
        self.forward = self._compile(None)

    def run(self, values: Sequence[Any]) -> np.ndarray:
        """The output."""
        assert self.forward is not None
        return self.forward(values)[0]

    def pull(
        self, wanted: tuple[bool, ...], g: np.ndarray, values: Sequence[Any]
    ) -> list[np.ndarray | None] | None:
        """The cotangents of the wanted operands; None where NumPy would take part in them."""
        if wanted not in self._pulls:
            self._pulls[wanted] = self._compile(wanted)
        found = self._pulls[wanted]
        if found is None:
            return None
        results = iter(found([*values, g]))
        return [next(results) if there else None for there in found.there]

    def _compile(self, wanted: tuple[bool, ...] | None) -> _Call | None:
        with _compiling, debug.at(0):
            made = _Call(self, wanted)
        return made if made.native else None


class _Kind:
    """What an array is like: shape, dtype, and strides in elements where they are not packed."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        strides = [s // array.itemsize for s in array.strides]
        self.strides = None if array.flags.c_contiguous else tuple(strides)

    def leaf(self, needs_grad: bool) -> Node:
        return Node(None, (), {}, self.shape, self.dtype, needs_grad)


class _Call:
    """The program of an operation, or of its derivative for some operands.

    Attributes:
        there: for each operand whether the derivative gives its cotangent.
        native: whether all of it is machine code.
    """

    def __init__(self, of: Native, wanted: tuple[bool, ...] | None) -> None:
        wants = wanted or (False,) * len(of.kinds)
        kinds = list(of.kinds)
        operands = [
            Tensor(None, kind.leaf(want)) if isinstance(kind, _Kind) else kind
            for kind, want in zip(kinds, wants, strict=True)
        ]
        leaves = [node_of(o) if isinstance(o, Tensor) else None for o in operands]
        with _tracing(of.op.name) as tracer, recording(DERIVATIVE if any(wants) else OFF):
            results: list[Tensor | None] = [of.op.apply(operands, of.attrs)]
            if wanted is not None:
                (y,) = results
                assert y is not None
                seed = Node(None, (), {}, y.shape, y.dtype, False)
                leaves.append(seed)
                kinds.append(None)
                targets = [o for o, want in zip(operands, wants, strict=True) if want]
                results = pull_back(y, Tensor(None, seed), targets, keep=False)
            outputs = [node_of(tracer.lift(r)) for r in results if r is not None]
            for entry in tracer.entries.values():
                entry.node.value = np.array(entry.array)  # constants of the definition
        rest = iter(results)
        self.there = [want and next(rest) is not None for want in wants]
        program = Program([], outputs, name=of.op.name)
        used = set(program.nodes())
        self._picks: list[int] = []
        for i, leaf in enumerate(leaves):
            if leaf is not None and leaf in used:
                strides = kinds[i].strides if isinstance(kinds[i], _Kind) else None
                program.inputs.append((leaf, Argument(len(self._picks), strides=strides)))
                self._picks.append(i)
        self._executable: Executable = executable(program)
        self.native = all(step.name is not None for step in self._executable.plan.steps)

    def __call__(self, values: Sequence[Any]) -> list[np.ndarray]:
        return self._executable.run([values[i] for i in self._picks], (), ())


@contextmanager
def _tracing(name: str) -> Iterator[Tracer]:
    """Record for a tracer whatever surrounds the call that asks for it."""
    before = state.tracer, state.batches, state.scope, state.within
    tracer = Tracer(name)
    state.tracer, state.batches, state.scope, state.within = tracer, (), None, None
    try:
        yield tracer
    finally:
        state.tracer, state.batches, state.scope, state.within = before

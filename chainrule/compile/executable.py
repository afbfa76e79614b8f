"""A program that is ready to run: its kernels loaded, their arguments laid out."""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.compile.arena import arena
from chainrule.compile.engine import Library, library
from chainrule.compile.plan import Plan, Step, keep, key_of, recall, storages
from chainrule.compile.pool import Patch, Runner, Thunk
from chainrule.compile.program import Argument, Program, Scalar, Storage
from chainrule.errors import BoundsError, NonFiniteError, OutOfMemoryError
from chainrule.places import show
from chainrule.tensor import debug

if TYPE_CHECKING:
    from chainrule.compile.native import Compiled


def executable(program: Program) -> Executable:
    """An executable for a program: by the plan that is kept for its graph, or compiled."""
    key = key_of(program)
    plan, compiled = recall(key), None
    if plan is None:
        compiled = _compile(program)
        plan = compiled.plan
        keep(key, plan)
    found = Executable(program, plan, compiled)
    # The debug ladder: 1 the kernels, 2 what is in them, 3 the graph and the memory, 4 the code.
    kinds = ("schedule", "fused", "graph", "memory", "llvm", "asm")
    for kind in kinds[: (0, 1, 2, 4, 6)[min(debug.level, 4)]]:
        print(f"{program.name}: {kind}\n{found.show(kind)}", file=sys.stderr)
    return found


def _compile(program: Program) -> Compiled:
    from chainrule.compile.native import compile

    return compile(program)


class Executable:
    """Native code for a program.

    Attributes:
        library: the machine code; None where the program has no kernel of its own.
        compiled: the program's forms and kernels, for those who want to see them; made again where
            the plan was kept.
    """

    def __init__(self, program: Program, plan: Plan, compiled: Compiled | None = None) -> None:
        self.program, self.plan = program, plan
        if compiled is not None:
            self.compiled = compiled
        sources = [source for _, source in program.inputs]
        given = [source for source in sources if not isinstance(source, (Storage, Scalar))]
        self._inputs = len(given)
        self._strided = {
            i for i, s in enumerate(given) if isinstance(s, Argument) and s.strides is not None
        }
        self._results = [(node.shape, node.dtype) for node in program.outputs]
        self._lock = threading.Lock()
        self._arena = arena(plan.arena)
        self._storages = list(storages(program).values())
        self._constants = [np.frombuffer(bytearray(data), np.uint8) for data in plan.constants]
        self._status = np.zeros(1, np.int64)
        self._streams = np.zeros(max(2 * program.streams, 1), np.int64)
        self._callbacks: list[Any] = []
        self._errors: list[BaseException] = []
        self._lay_scalars()
        self.library: Library | None = None
        if plan.names:
            self.library = library(plan.library, plan.names, lambda: self.compiled.modules())
        self._runner = self._lay_out(plan.steps)
        self._run = self._runner.run

    @cached_property
    def compiled(self) -> Compiled:
        return _compile(self.program)

    def _lay_scalars(self) -> None:
        """The numbers of each call lie behind one another, each in its own dtype."""
        kinds = {s.index: n.dtype.char for n, s in self.program.inputs if isinstance(s, Scalar)}
        n = self.program.scalars
        self._numbers = np.zeros(max(8 * n, 8), np.uint8)
        self._pack = struct.Struct("=" + "".join(kinds.get(i, "d") + ("4x" if kinds.get(i) == "f"
                                   else "") for i in range(n)))  # fmt: skip

    def _lay_out(self, steps: list[Step]) -> Runner:
        slots = self._slots = np.zeros(max(sum(len(step.args) for step in steps), 1), np.int64)
        base = slots.ctypes.data
        addresses = {
            "arena": [self._arena.ctypes.data],
            "scalar": [self._numbers.ctypes.data + 8 * i for i in range(self.program.scalars)],
            "storage": [array.ctypes.data for array in self._storages],
            "constant": [array.ctypes.data for array in self._constants],
            "status": [self._status.ctypes.data],
            "streams": [self._streams.ctypes.data],
        }
        first = {"input": 0, "output": self._inputs}
        thunks, patches = [], []
        number = 0
        for index, step in enumerate(steps):
            start = base + 8 * number
            for kind, which, offset in step.args:
                if kind in first:
                    patches.append(Patch(base + 8 * number, first[kind] + which, offset))
                elif kind == "code":
                    slots[number] = which
                else:
                    slots[number] = addresses[kind][which] + offset
                number += 1
            if step.name is None:
                address = self._callback(index)
            else:
                assert self.library is not None
                address = self.library.address(step.name)
            thunks.append(Thunk(address, start, step.tasks, step.tasks > 1, step.commits))
        return Runner(
            thunks,
            patches,
            inputs=self._inputs + len(self._results),
            scratch=self.plan.scratch,
            status=self._status.ctypes.data,
        )

    def _callback(self, index: int) -> int:
        from chainrule.compile.host import callback

        function = callback(self.compiled.kernels[index].items[0], self._failed)
        self._callbacks.append(function)
        return ctypes.cast(function, ctypes.c_void_p).value or 0

    def run(
        self, arrays: list[np.ndarray], scalars: Sequence[float], streams: Sequence[Any]
    ) -> list[np.ndarray]:
        """See `Program`."""
        for i, array in enumerate(arrays):
            if not array.flags.c_contiguous and i not in self._strided:
                arrays = [*arrays[:i], np.ascontiguousarray(array), *arrays[i + 1 :]]
        try:
            results = [np.empty(shape, dtype) for shape, dtype in self._results]
        except MemoryError as error:
            raise OutOfMemoryError(f"{error}; take smaller sizes") from None
        with self._lock:
            self._set(scalars, streams)
            status = self._run(*arrays, *results)
            if status < 0:
                status = self._runner.again(*arrays, *results)
            if status:
                self._raise(status)
        return results

    def show(self, kind: str = "graph", kernel: int | None = None) -> str:
        """One of the forms that the program went through; see `inspect.show`."""
        from chainrule.compile import inspect

        return inspect.show(self, kind, kernel)

    def profile(
        self, arrays: list[np.ndarray], scalars: Sequence[float], streams: Sequence[Any]
    ) -> Any:
        """Where the time of a call goes. The arguments as `run`'s; state is put back afterwards."""
        from chainrule.compile import inspect

        arrays = [np.ascontiguousarray(array) for array in arrays]
        results = [np.empty(shape, dtype) for shape, dtype in self._results]
        kept = [array.copy() for array in self._storages]
        with self._lock:
            self._set(scalars, streams)
            try:
                times = [self._runner.times(*arrays, *results) for _ in range(inspect.RUNS + 2)]
            finally:
                for array, before in zip(self._storages, kept, strict=True):
                    np.copyto(array, before)
        return inspect.profile(self, np.array(times[2:]))

    def _set(self, scalars: Sequence[float], streams: Sequence[Any]) -> None:
        if scalars:
            self._pack.pack_into(self._numbers.data, 0, *scalars)
        if streams:
            self._streams[:] = [_signed(n) for pair in streams for n in pair]

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        self._status[0] = 1 << 40

    def _raise(self, status: int) -> None:
        self._status[0] = 0
        if self._errors:
            error = self._errors[0]
            self._errors.clear()
            raise error
        node = self.compiled.codes[status - 1].node
        where = f" in `{node.scope.describe()}`" if node.scope is not None else ""
        place = show(node.place)
        if node.op.name == "require_finite":
            raise NonFiniteError(f"a number is not finite{where}{f' ({place})' if place else ''}")
        raise BoundsError(
            f"`{node.op.name}`{where}{f' ({place})' if place else ''}: an index or a label lies "
            f"outside of what it chooses from, in `{self.program.name}`, which was compiled. "
            "Valid are the numbers from 0 to one less than the size of the axis; call the "
            "function without cr.compile to see which one it is."
        )


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number

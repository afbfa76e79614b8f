"""Runs what the kernel makers hand over, on arrays that lie between guards of NaN."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.kernel import Routine
from chainrule.compile.engine import compile_module

_GUARD = 1024  # bytes
_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)


class Guarded:
    """A copy of an array in memory of its own, with NaN in front of it and behind."""

    def __init__(self, array: np.ndarray) -> None:
        n = _GUARD // array.itemsize
        self._memory = np.full(array.size + 2 * n, _unlikely(array.dtype), array.dtype)
        self._n = n
        self.array = self._memory[n : n + array.size].reshape(array.shape)
        self.array[...] = array

    def is_intact(self) -> bool:
        edges = np.concatenate([self._memory[: self._n], self._memory[self._n + self.array.size :]])
        bits = np.full(1, _unlikely(edges.dtype), edges.dtype).view(np.uint8)
        return bool(np.all(edges.view(np.uint8).reshape(-1, len(bits)) == bits))


def _unlikely(dtype: np.dtype) -> Any:
    return np.nan if dtype.kind == "f" else 0x5A


def run(
    routine: Routine, arrays: dict[str, np.ndarray], finish: tuple[str, ...] = (), seed: int = 0
) -> dict[str, np.ndarray]:
    """The arrays after the routine ran on copies of them; its tasks come in any order.

    Args:
        finish: the names of what the finish of the last step works on.
    """
    module = ir.Module("routine")
    names = [f"step{i}" for i in range(len(routine.steps))]
    for name, step in zip(names, routine.steps, strict=True):
        step.code.emit(module, name)
    library = compile_module(module, names)
    buffers = {name: np.full(n, 0xFF, np.uint8) for name, n in routine.buffers.items()}
    memory = {name: Guarded(array) for name, array in {**arrays, **buffers}.items()}
    for i, (name, step) in enumerate(zip(names, routine.steps, strict=True)):
        used = step.args + (finish if i == len(names) - 1 else ())
        addresses = (ctypes.c_void_p * len(used))(*(memory[n].array.ctypes.data for n in used))
        scratch = Guarded(np.full(step.code.scratch, 0xFF, np.uint8))
        kernel = _KERNEL(library.address(name))
        for task in np.random.default_rng(seed).permutation(step.code.tasks).tolist():
            kernel(addresses, task, scratch.array.ctypes.data)
        assert scratch.is_intact(), f"{step.code.key} wrote beside its scratch memory"
    for name, guarded in memory.items():
        assert guarded.is_intact(), f"{name} was written beside"
    return {name: memory[name].array for name in arrays}

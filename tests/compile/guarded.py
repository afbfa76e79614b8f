"""Memory in which every access out of bounds is fatal: pages that cannot be touched lie around it.

Intermediate values, each by itself, arguments, results and constants end where such a page begins.
Programs run so in a process of their own, which a wrong access kills.
"""

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.compile import executable, native
from chainrule.compile.arena import _forbid, arena

LINE = 64


def guarded(x: np.ndarray) -> np.ndarray:
    """A copy of an array that ends at a page that cannot be touched."""
    room = arena(-(-max(x.nbytes, 1) // LINE) * LINE, guarded=True)
    copy = room[room.size - x.nbytes :].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


class Places:
    """In place of the memory plan: pages of its own for each buffer, and one between them."""

    def __init__(self) -> None:
        self.fences: list[int] = []

    def plan(self, kernels: Sequence[Any]) -> int:
        page = mmap.PAGESIZE
        self.fences, end = [0], page
        buffers = [b for k in kernels for b in (*k.reads, *k.writes) if b.kind == "arena"]
        for buffer in dict.fromkeys(buffers):
            size = -(-max(buffer.nbytes, 1) // LINE) * LINE
            pages = -(-size // page) * page
            buffer.offset = end + pages - size
            end += pages + page
            self.fences.append(end - page)
        return end

    def arena(self, size: int) -> np.ndarray:
        memory = np.frombuffer(mmap.mmap(-1, max(size, mmap.PAGESIZE)), np.uint8)
        for fence in self.fences:
            _forbid(memory.ctypes.data + fence, mmap.PAGESIZE)
        return memory


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """What is compiled and called inside works on guarded memory alone."""
    places, run = Places(), executable.Executable.run
    was = native.plan_memory, executable.arena, executable.recall, executable.np

    def guarded_run(self: Any, arrays: list, scalars: Any, streams: Any) -> list:
        return run(self, [guarded(np.ascontiguousarray(a)) for a in arrays], scalars, streams)

    class Memory:
        """NumPy, but that new results and constants are guarded."""

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def empty(self, shape: Any, dtype: Any) -> np.ndarray:
            return guarded(np.empty(shape, dtype))

        def frombuffer(self, data: Any, dtype: Any) -> np.ndarray:
            return guarded(np.frombuffer(data, dtype))

    native.plan_memory, executable.arena = places.plan, places.arena
    executable.recall = lambda program: None
    executable.Executable.run, executable.np = guarded_run, Memory()
    try:
        yield
    finally:
        native.plan_memory, executable.arena, executable.recall, executable.np = was
        executable.Executable.run = run

"""The order of kernels, and the places of what lives between them.

Kernels run in an order that their operands allow; what updates state runs as early as it can, so
that gradients need not be kept. Memory is planned by liveness: a buffer's place is free again when
the last kernel that reads it has run.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from chainrule.compile.kernels import Kernel
from chainrule.compile.views import Buffer

_LINE = 64


def order(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The kernels, each after those that it must follow (`before`: their numbers)."""
    after: list[list[int]] = [[] for _ in kernels]
    waiting = [len(kernel.before) for kernel in kernels]
    for number, kernel in enumerate(kernels):
        for other in kernel.before:
            after[other].append(number)
    ready = [(_rank(k), n) for n, k in enumerate(kernels) if not waiting[n]]
    heapq.heapify(ready)
    found = []
    while ready:
        _, number = heapq.heappop(ready)
        found.append(kernels[number])
        for other in after[number]:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, (_rank(kernels[other]), other))
    assert len(found) == len(kernels), "kernels wait for one another"
    return found


def _rank(kernel: Kernel) -> int:
    """State first: 0 where everything that is written stays."""
    return int(not all(buffer.kind in ("storage", "output") for buffer in kernel.writes))


def plan_memory(kernels: Sequence[Kernel], outside: Collection[Buffer] = ()) -> int:
    """Gives each buffer of the arena its offset, but those `outside`; the bytes that it needs."""
    live: dict[Buffer, list[int]] = {}
    for time, kernel in enumerate(kernels):
        for buffer in (*kernel.reads, *kernel.writes):
            if buffer.kind == "arena" and buffer not in outside:
                span = live.setdefault(buffer, [time, time])
                span[1] = time
    # Large ones first, each at the lowest place that is free while it lives (best fit by size is
    # within a few per cent of the most that is alive at once).
    placed: list[tuple[int, int, int, int]] = []
    total = 0
    for buffer, (start, stop) in sorted(live.items(), key=lambda item: -item[0].nbytes):
        size = -(-max(buffer.nbytes, 1) // _LINE) * _LINE
        offset = 0
        for low, high, first, last in placed:
            if last < start or stop < first:
                continue
            if low - offset >= size:
                break
            offset = max(offset, high)
        buffer.offset = offset
        placed.append((offset, offset + size, start, stop))
        placed.sort()
        total = max(total, offset + size)
    return total

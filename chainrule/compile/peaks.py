"""What this machine can do at most, measured: arithmetic, and traffic to memory.

The share of these peaks that a kernel reaches is what `profile` and the benchmarks tell.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache as once

import numpy as np

from chainrule.compile.arena import arena
from chainrule.compile.engine import compile_module
from chainrule.compile.machine import Machine, machine
from chainrule.compile.pool import Runner, Thunk, get_num_threads

_TURNS = 20_000  # of the loop of multiply-adds in a task: about a tenth of a millisecond
_PIECE = 1 << 16  # float32 numbers that a task of the traffic measurement updates
_REPEATS = 5
_PATIENCE = 0.1  # seconds
_LARGEST = 128 << 20  # bytes of each of the two arrays, beside a very large cache


@dataclass(frozen=True)
class Peaks:
    """Float32 operations a second (a fused multiply-add is two), and bytes a second.

    `flops_thread` is what one thread reaches, `flops` what all `threads` reach together;
    `bandwidth` is theirs, reading two arrays too large for the caches and writing one of them.
    """

    threads: int
    flops_thread: float
    flops: float
    bandwidth: float


def peaks() -> Peaks:
    """The peaks of this machine with the threads that programs run on now; measured once each."""
    return _measured(get_num_threads())


@once
def _measured(threads: int) -> Peaks:
    host = machine()
    chains = 3 * host.vector_registers // 4
    code = compile_module(_source(host.lanes, chains), ("multiply_add", "update"))
    numbers = np.full(host.lanes, 0.5, np.float32)
    slots = np.array([numbers.ctypes.data], np.int64)
    operations = 2.0 * host.lanes * chains * _TURNS

    def arithmetic(tasks: int, parallel: bool) -> float:
        kernel = code.address("multiply_add")
        run = Runner([Thunk(kernel, slots.ctypes.data, tasks, parallel)], scratch=4 * host.lanes)
        return operations * tasks / _fastest(run)

    return Peaks(
        threads=threads,
        flops_thread=arithmetic(8, parallel=False),
        flops=arithmetic(16 * threads, parallel=True),
        bandwidth=_bandwidth(host, code.address("update")),
    )


def _bandwidth(host: Machine, kernel: int) -> float:
    tasks = min(max(2 * host.l3, 2 * host.threads * host.l2), _LARGEST) // (4 * _PIECE) + 1
    data = arena(8 * _PIECE * tasks).view(np.float32)
    slots = np.array([data.ctypes.data, data[_PIECE * tasks :].ctypes.data], np.int64)
    return 12.0 * _PIECE * tasks / _fastest(Runner([Thunk(kernel, slots.ctypes.data, tasks, True)]))


def _fastest(run: Runner) -> float:
    """The least seconds of several runs; the first wakes the threads and touches the pages.

    They go on until the system has had time to give each thread a processor of its own.
    """
    times: list[float] = []
    while len(times) <= _REPEATS or sum(times) < _PATIENCE:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _source(lanes: int, chains: int) -> str:
    """Two kernels: independent chains of x ← x·s + s in registers, and a ← a + b/2 in memory."""
    vector, fma = f"<{lanes} x float>", f"@llvm.fma.v{lanes}f32"
    half = "splat (float 5.000000e-01)"
    # Chains that start at the same number would be found to be the same.
    phis = "\n".join(
        f"  %x{i} = phi {vector} [splat (float {i}.0), %entry], [%y{i}, %loop]"
        for i in range(chains)
    )
    steps = "\n".join(
        f"  %y{i} = call {vector} {fma}({vector} %x{i}, {vector} %s, {vector} %s)"
        for i in range(chains)
    )
    sums = "\n".join(
        f"  %sum{i + 1} = fadd {vector} %{f'sum{i}' if i else 'y0'}, %y{i + 1}"
        for i in range(chains - 1)
    )
    return f"""
declare {vector} {fma}({vector}, {vector}, {vector})

define void @multiply_add(ptr %args, i64 %task, ptr %scratch) nounwind {{
entry:
  %numbers = load ptr, ptr %args
  %s = load {vector}, ptr %numbers, align 4
  br label %loop
loop:
  %turn = phi i64 [0, %entry], [%next, %loop]
{phis}
{steps}
  %next = add i64 %turn, 1
  %more = icmp ult i64 %next, {_TURNS}
  br i1 %more, label %loop, label %end
end:
{sums}
  store {vector} %sum{chains - 1}, ptr %scratch, align 4
  ret void
}}

define void @update(ptr %args, i64 %task, ptr %scratch) nounwind {{
entry:
  %b.slot = getelementptr ptr, ptr %args, i64 1
  %a.all = load ptr, ptr %args
  %b.all = load ptr, ptr %b.slot
  %first = mul i64 %task, {_PIECE}
  %a = getelementptr float, ptr %a.all, i64 %first
  %b = getelementptr float, ptr %b.all, i64 %first
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %a.at = getelementptr float, ptr %a, i64 %i
  %b.at = getelementptr float, ptr %b, i64 %i
  %x = load {vector}, ptr %a.at, align 4
  %y = load {vector}, ptr %b.at, align 4
  %z = call {vector} {fma}({vector} %y, {vector} {half}, {vector} %x)
  store {vector} %z, ptr %a.at, align 4
  %next = add i64 %i, {lanes}
  %more = icmp ult i64 %next, {_PIECE}
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""

"""The processor that code is emitted for: its name, its vectors, its caches, its threads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

# Where the operating system does not tell the sizes: those of most processors of the last decade.
_USUAL_CACHES = {1: 32 << 10, 2: 512 << 10, 3: 8 << 20}


@dataclass(frozen=True)
class Machine:
    """What code generation needs to know of a processor.

    `lanes` float32 numbers make a vector; kernels use as many lanes for every dtype. The cache
    sizes are in bytes, of one instance; `threads` counts the processors this process may run on.
    """

    architecture: str
    cpu: str
    features: str
    vector_bits: int
    lanes: int
    vector_registers: int
    threads: int
    l1: int
    l2: int
    l3: int


@cache
def machine() -> Machine:
    """The machine that this process runs on."""
    import llvmlite.binding as llvm

    architecture = llvm.get_default_triple().partition("-")[0]
    features = llvm.get_host_cpu_features()
    vectors, registers = _vectors(architecture, features)
    sizes = _USUAL_CACHES | _caches()
    return Machine(
        architecture=architecture,
        cpu=llvm.get_host_cpu_name(),
        features=features.flatten(),
        vector_bits=vectors,
        lanes=vectors // 32,
        vector_registers=registers,
        threads=processors(),
        l1=sizes[1],
        l2=sizes[2],
        l3=sizes[3],
    )


def processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _vectors(architecture: str, features: dict[str, bool]) -> tuple[int, int]:
    """The bits of a vector register that is worth using, and how many of them there are."""
    if architecture == "x86_64":
        if features.get("avx512f") and features.get("avx512vl"):
            return 512, 32
        return (256, 16) if features.get("avx2") and features.get("fma") else (128, 16)
    return 128, 32  # NEON; elsewhere LLVM makes of vectors of 128 bits what the machine has


def _caches() -> dict[int, int]:
    """The size in bytes of each level of data cache, where Linux tells it."""
    sizes = {}
    for index in _CACHES.glob("index*"):
        try:
            kind, level, size = ((index / name).read_text() for name in ("type", "level", "size"))
        except OSError:
            continue
        if kind.strip() != "Instruction" and (match := re.match(r"(\d+)([KMG]?)", size)):
            sizes[int(level)] = int(match[1]) * _UNITS[match[2]]
    return sizes

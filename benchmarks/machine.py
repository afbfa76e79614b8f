"""This machine: its name, its measured peaks, and the least time that a workload takes on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks.workloads import Workload, flops, parameters
from chainrule.compile.peaks import peaks


def limit(workload: Workload) -> float:
    """Seconds: the operations at peak, then the weights' traffic at measured bandwidth.

    Training, Adam reads and writes a weight and its two running means once a step, 24 bytes;
    without, a weight is read. Weights that stay in the caches may pass faster than this.
    """
    traffic = parameters(workload) * (24 if workload.training else 4)
    return flops(workload) / peaks().flops + traffic / peaks().bandwidth


def description() -> str:
    return (
        f"{_cpu()}, {len(os.sched_getaffinity(0))} CPUs; Python {platform.python_version()}; "
        f"load average {os.getloadavg()[0]:.1f}, which should be near 0\n"
        f"measured peaks of all threads: {peaks().flops / 1e9:.0f} GFLOP/s float32, "
        f"{peaks().bandwidth / 1e9:.0f} GB/s"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

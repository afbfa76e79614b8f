"""Time training steps of chainrule and of its peers: `make bench`, or

    python -m benchmarks --workloads tiny,mnist --frameworks chainrule_eager,torch_eager --rounds 9

Each framework has a process of its own and starts from the same weights. Losses are compared before
times are. A ratio above 1 says that chainrule is faster.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from benchmarks import frameworks
from benchmarks.race import Worker, disagreement, take_turns
from benchmarks.ratio import ratio
from benchmarks.workloads import WORKLOADS

FRAMEWORKS = [module.name for module in pkgutil.iter_modules(frameworks.__path__)]


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Time training steps of chainrule and of its peers."
    )
    for what, known in (("workloads", list(WORKLOADS)), ("frameworks", FRAMEWORKS)):
        parser.add_argument(
            f"--{what}", type=_names_among(known), default=known, metavar="A,B",
            help=f"some of {', '.join(known)}",
        )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=9, help="how often each has its turn (9)")
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of a turn (0.5)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")

    print(f"{_cpu()}, {len(os.sched_getaffinity(0))} CPUs; Python {platform.python_version()}")
    for workload in options.workloads:
        bench(workload, options.frameworks, options.rounds, options.turn)


def bench(workload: str, frameworks: list[str], rounds: int, turn: float) -> None:
    """Print the table of one workload."""
    workers: list[Worker] = []
    try:
        workers.extend(Worker(name, workload) for name in frameworks)
        print(f"\n{workload}: {WORKLOADS[workload]}; rounds: {rounds}")
        present = [worker for worker in workers if worker.facts is not None]
        losses = {worker.framework: worker.ask("losses") for worker in present}
        problem = disagreement(losses) if losses else "none of these frameworks is installed"
        if problem:
            raise SystemExit(f"{workload}: {problem}")
        times = take_turns(present, rounds, turn)
    finally:
        for worker in workers:
            worker.stop()
    medians = {name: float(np.median(found)) for name, found in times.items()}
    ours = [name for name in times if name.startswith("chainrule")]
    peers = [name for name in times if name not in ours]
    best = min(peers, key=medians.__getitem__, default=None)

    header = "".join(f"  to {name:20}" for name in ours)
    print(f"  {'':18} {'ms per step':>12}{header}")
    for worker in workers:
        name = worker.framework
        if name not in times:
            print(f"  {name:18} {'missing':>12}")
            continue
        cells = ["" if name in ours else str(ratio(times[name], times[our])) for our in ours]
        row = "".join(f"  {cell:23}" for cell in cells)
        mark = "← best peer, " if name == best else ""
        print(f"  {name:18} {medians[name] * 1e3:12.4g}{row}  {mark}{worker.facts}")


def _names_among(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return names


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

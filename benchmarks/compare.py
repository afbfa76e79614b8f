"""One workload on several frameworks: the same results first, then times, taking turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.machine import limit
from benchmarks.race import BenchmarkError, Worker, disagreement, take_turns
from benchmarks.ratio import Ratio, ratio
from benchmarks.workloads import ALL


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        workload: the name of one of `workloads.ALL`.
        facts: versions and threads by framework; None where one is not installed.
        times: seconds per step in each round, of each framework that is installed.
    """

    workload: str
    facts: dict[str, str | None]
    times: dict[str, list[float]]

    def seconds(self, framework: str) -> float:
        return float(np.median(self.times[framework]))

    @property
    def ours(self) -> list[str]:
        return [name for name in self.times if name.startswith("chainrule")]

    @property
    def best_peer(self) -> str | None:
        peers = (name for name in self.times if name not in self.ours)
        return min(peers, key=self.seconds, default=None)

    def ratio(self, peer: str, ours: str) -> Ratio:
        return ratio(self.times[peer], self.times[ours])

    def share(self, framework: str) -> float:
        """How near to this machine's limit a framework comes: 1 is there."""
        return limit(ALL[self.workload]) / self.seconds(framework)


def compare(workload: str, frameworks: Sequence[str], rounds: int, turn: float) -> Comparison:
    """Run a workload in each framework.

    Raises:
        BenchmarkError: results differ, a worker died, or no framework is installed.
    """
    workers: list[Worker] = []
    try:
        workers.extend(Worker(name, workload) for name in frameworks)
        present = [worker for worker in workers if worker.facts is not None]
        if not present:
            raise BenchmarkError("no framework of this table was asked for and is installed")
        results = {worker.framework: worker.ask("results") for worker in present}
        if problem := disagreement(results):
            raise BenchmarkError(problem)
        times = take_turns(present, rounds, turn)
    finally:
        for worker in workers:
            worker.stop()
    return Comparison(workload, {worker.framework: worker.facts for worker in workers}, times)

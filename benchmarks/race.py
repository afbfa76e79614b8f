"""Workers taking turns: one runs while the others sleep."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]

# Float32 rounding, amplified where Adam divides a gradient that is nothing but rounding by its own
# size. Another learning rate, ε or first weight shows as 1e-2 and more.
TOLERANCE = 1e-3

# Some environments export what makes NumPy's OpenBLAS slower, or a checkout's first import slower
# than an installed package's; everybody runs at their best.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONDONTWRITEBYTECODE")
}

# Idle threads of OpenMP and of OpenBLAS spin for some tens of milliseconds before they sleep.
PAUSE = 0.1


class BenchmarkError(Exception):
    """What was to be timed cannot be: a worker died, or it is not the same work."""


class Worker:
    """A process that runs one workload in one framework.

    Args:
        framework: the name of a module in benchmarks/frameworks.
        workload: one of `workloads.ALL`.
        environment: variables beside those of this process.
        module: what runs there, and answers as `benchmarks.worker` does.

    Attributes:
        facts: versions and threads; None where the framework is not installed.
    """

    def __init__(
        self,
        framework: str,
        workload: str,
        environment: Mapping[str, str] | None = None,
        module: str = "benchmarks.worker",
    ) -> None:
        command = [sys.executable, "-m", module]
        self.framework = framework
        self._process = subprocess.Popen(
            [*command, "--framework", framework, "--workload", workload],
            cwd=ROOT,
            env=ENVIRONMENT | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self.ask("facts")

    def ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # then its last line says why
            print(command, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise BenchmarkError(f"{self.framework} stopped at {command!r}; its error stands above")
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def disagreement(results: Mapping[str, Sequence[float]]) -> str | None:
    """What to say where the results of the same steps differ by more than rounding, else None."""
    values = np.array(list(results.values()))
    middle = np.median(values, axis=0)
    error = np.abs(values - middle).max(axis=0)
    if np.all(error <= TOLERANCE * np.abs(middle).max()):
        return None
    worst = np.sort(np.argsort(np.nan_to_num(error, nan=np.inf))[-3:])
    lines = (f"  {name:18} {[f'{found[i]:.6g}' for i in worst]}" for name, found in results.items())
    return "the results of the first steps differ, so this is not the same work:\n" + "\n".join(
        lines
    )


def take_turns(workers: Sequence[Worker], rounds: int, turn: float) -> dict[str, list[float]]:
    """Seconds per step of each worker in each round; a turn lasts about `turn` seconds."""
    steps = {}
    for worker in workers:
        time.sleep(PAUSE)
        steps[worker] = worker.ask(f"steps {turn}")
    times: dict[str, list[float]] = {worker.framework: [] for worker in workers}
    for i in range(rounds):
        first = i % len(workers)  # so that nobody always follows the same one
        for worker in (*workers[first:], *workers[:first]):
            time.sleep(PAUSE)
            times[worker.framework].append(worker.ask(f"time {steps[worker]}"))
    return times

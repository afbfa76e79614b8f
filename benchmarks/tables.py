"""The tables that `python -m benchmarks` prints, a function each."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.compare import Comparison, compare
from benchmarks.race import BenchmarkError, Worker
from benchmarks.workloads import ALL, GROWTH, INFERENCE, SHAPES, WORKLOADS, flops

OURS = "chainrule_compiled"
STEPS = 10  # before memory is asked for


@dataclass(frozen=True)
class Bench:
    """What was asked for: the workloads and frameworks to take where they stand in a table.

    Attributes:
        failures: filled with what could not be timed.
    """

    workloads: Sequence[str]
    frameworks: Sequence[str]
    rounds: int
    turn: float
    failures: list[str] = field(default_factory=list)

    def among(self, known: Iterable[str]) -> list[str]:
        return [name for name in known if name in self.workloads]

    def compare(self, workload: str, frameworks: Iterable[str], turn: float = 1.0) -> Comparison:
        chosen = [name for name in frameworks if name in self.frameworks]
        return compare(workload, chosen, self.rounds, turn * self.turn)

    @contextlib.contextmanager
    def going_on(self, name: str) -> Iterator[None]:
        """Where something stops, that is told, and the table goes on."""
        try:
            yield
        except BenchmarkError as error:
            self.failures.append(f"{name}: {error}")
            print(f"  {self.failures[-1]}", flush=True)


def main(bench: Bench) -> None:
    """Milliseconds of a training step, and the ratio of each peer's time to ours."""
    for name in bench.among(WORKLOADS):
        print(f"\n{name}: {ALL[name]}; rounds: {bench.rounds}", flush=True)
        with bench.going_on(name):
            _print_frameworks(bench.compare(name, bench.frameworks))


def _print_frameworks(found: Comparison) -> None:
    header = "".join(f"  {'to ' + name:23}" for name in found.ours)
    print(f"  {'':18} {'ms per step':>12}  {'of the limit':>12}{header}")
    for name, facts in found.facts.items():
        if name not in found.times:
            print(f"  {name:18} {'missing':>12}")
            continue
        peer = name not in found.ours
        cells = [str(found.ratio(name, our)) if peer else "" for our in found.ours]
        row = "".join(f"  {cell:23}" for cell in cells)
        mark = "← best peer, " if name == found.best_peer else ""
        milliseconds = found.seconds(name) * 1e3
        print(f"  {name:18} {milliseconds:12.4g}  {found.share(name):12.0%}{row}  {mark}{facts}")


def inference(bench: Bench) -> None:
    """Milliseconds of a forward pass of one example."""
    _print_rows(bench, INFERENCE, ("torch_eager", "torch_compile", "jax_jit", OURS))


def shapes(bench: Bench) -> None:
    """Milliseconds of a training step of an LSTM, and of MLPs named WIDTH-BATCH."""
    _print_rows(bench, SHAPES, ("torch_fused", "torch_compile", "jax_jit", OURS))


def _print_rows(bench: Bench, names: Iterable[str], frameworks: Sequence[str]) -> None:
    columns = "".join(f" {name:>18}" for name in frameworks)
    print(f"\n  {'ms per step':14}{columns}  of the limit  best peer to ours")
    for name in bench.among(names):
        with bench.going_on(name):
            found = bench.compare(name, frameworks, turn=0.3)
            row = "".join(f" {_milliseconds(found, framework):>18}" for framework in frameworks)
            if OURS in found.times:
                row += f"  {found.share(OURS):12.0%}"
                if found.best_peer:
                    row += f"  {found.ratio(found.best_peer, OURS)}"
            print(f"  {name:14}{row}", flush=True)


def _milliseconds(found: Comparison, framework: str) -> str:
    return f"{found.seconds(framework) * 1e3:.4g}" if framework in found.times else "–"


def growth(bench: Bench) -> None:
    """Time against operations, of `gpt` with 2, 4 and 8 times the tokens and the layers."""
    frameworks = ("torch_fused", OURS)
    columns = "".join(f" {name:>18} {'ms/GFLOP':>9}" for name in frameworks)
    print(f"\n  {'ms per step':14} {'GFLOP':>7}{columns}")
    for name in bench.among(GROWTH):
        with bench.going_on(name):
            found = bench.compare(name, frameworks, turn=0.3)
            work = flops(ALL[name]) / 1e9
            row = ""
            for framework in frameworks:
                known = framework in found.times
                rate = f"{found.seconds(framework) * 1e3 / work:.2f}" if known else "–"
                row += f" {_milliseconds(found, framework):>18} {rate:>9}"
            print(f"  {name:14} {work:7.1f}{row}", flush=True)


def first(bench: Bench) -> None:
    """Seconds from the first call to its result: caches on disk empty / filled."""
    _print_grid(bench, "seconds", "first", lambda seconds: f"{seconds:.3f}")


def memory(bench: Bench) -> None:
    """Megabytes that a process grows by over its imports, at most: caches empty / filled."""
    _print_grid(bench, "MB", f"memory {STEPS}", lambda grown: f"{grown / 1e6:.1f}")


def _print_grid(bench: Bench, unit: str, question: str, show: Callable[[float], str]) -> None:
    print(f"\n  {unit:8}" + "".join(f" {name:>18}" for name in bench.frameworks))
    for name in bench.among(WORKLOADS):
        row = ""
        for framework in bench.frameworks:
            text = "failed"
            with bench.going_on(name):
                text = " / ".join(map(show, _alone(framework, name, question))) or "–"
            row += f" {text:>18}"
        print(f"  {name:8}{row}", flush=True)


def _alone(framework: str, workload: str, question: str) -> list[float]:
    """The answers of two fresh processes, of which the second finds what the first one stored.

    Nothing where the framework is not installed.
    """
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        caches = {
            "CHAINRULE_CACHE": str(Path(folder) / "chainrule"),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "torch"),
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        for _ in range(2):
            worker = Worker(framework, workload, caches)
            try:
                if worker.facts is not None:
                    answers.append(worker.ask(question))
            finally:
                worker.stop()
    return answers


TABLES = {table.__name__: table for table in (main, first, memory, inference, shapes, growth)}

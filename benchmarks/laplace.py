"""Last-layer Laplace beside an epoch of training and beside laplace-torch, in turns:

    python -m benchmarks.laplace [STRUCTURE] [ROWS] [ROUNDS]

Each of both libraries has a process of its own. What is timed of a posterior is all of it: the
features, the curvature and the prior precision by marginal likelihood (laplace-torch's default
number of steps; batches of 1000 rows, with which it is faster than with those of training). An
epoch is chainrule's, compiled, with Adam. Before anything is timed the evidences are compared, at
the same first weights. The first time, which compiles what it needs, is told by itself. Beside the
seconds that pass stand those that the process has a processor for, on all of its threads: where
others use the machine, too, they say more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.network import network
from benchmarks.race import ENVIRONMENT, PAUSE, ROOT, BenchmarkError
from benchmarks.ratio import ratio
from benchmarks.workloads import LEARNING_RATE, WORKLOADS, weights

NAMES = ("tiny", "mnist")
SAID = ("an epoch", "a posterior", "laplace-torch's")
KINDS = ("the clock", "the processor")


def rows_of(name: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    mlp: Any = WORKLOADS[name]
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, mlp.sizes[0]), np.float32)
    return x, random.integers(0, mlp.sizes[-1], rows)


def ours(name: str, structure: str, rows: int) -> dict[str, Callable[[], Any]]:
    import chainrule as cr
    from chainrule import nn, optim
    from chainrule import probability as prob

    mlp: Any = WORKLOADS[name]
    (x, y), model = rows_of(name, rows), network(mlp, nn, nn)
    model.load_state_dict(weights(mlp))
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    starts = range(0, rows - mlp.batch + 1, mlp.batch)
    batches = [(cr.asarray(x[i : i + mlp.batch]), cr.asarray(y[i : i + mlp.batch])) for i in starts]

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def posterior(**options: Any) -> Any:
        return prob.posterior(model, (x, y), weights="last-layer", structure=structure, **options)

    return {
        "evidence": lambda: posterior(precision=1.0).log_evidence,
        "posterior": lambda: posterior() and None,
        "epoch": lambda: [step(*batch) for batch in batches][-1].item(),
    }


def laplace_torch(name: str, structure: str, rows: int) -> dict[str, Callable[[], Any]]:
    warnings.simplefilter("ignore")
    import torch
    from torch import nn

    from tests.against.laplace_torch import DataLoader, Laplace, TensorDataset

    x, y = (torch.from_numpy(array) for array in rows_of(name, rows))
    model = network(WORKLOADS[name], nn, nn.functional)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights(WORKLOADS[name]).items()})

    def posterior() -> Any:
        found = Laplace(
            model.requires_grad_(),
            "classification",
            subset_of_weights="last_layer",
            hessian_structure=structure,
        )
        found.fit(DataLoader(TensorDataset(x, y), batch_size=1000))
        return found

    def tuned() -> None:
        posterior().optimize_prior_precision(pred_type="glm", prior_structure="scalar")

    return {
        "evidence": lambda: float(posterior().log_marginal_likelihood()),
        "posterior": tuned,
    }


class Process:
    """A library in a process of its own: told what to do, it answers with the result, the seconds
    that passed and those of the processor."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.laplace", "worker", *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> tuple[Any, float, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        time.sleep(PAUSE)
        print(what, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"a worker stopped at {what!r}; its error stands above")
        result, seconds, used = json.loads(line)
        return result, seconds, used

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def work(library: str, name: str, structure: str, rows: str) -> None:
    known = {"ours": ours, "laplace_torch": laplace_torch}
    tasks = known[library](name, structure, int(rows))
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        result = tasks[line.strip()]()
        spent = [time.perf_counter() - start, time.process_time() - used]
        print(json.dumps([result, *spent]), flush=True)


def main(structure: str = "kron", rows: int = 20_000, rounds: int = 7) -> None:
    print(description())
    print(f"last-layer Laplace, structure {structure!r}, {rows} rows; {rounds} rounds")
    for name in NAMES:
        mine, theirs = (
            Process(library, name, structure, str(rows)) for library in ("ours", "laplace_torch")
        )
        try:
            evidences = [process.ask("evidence")[0] for process in (mine, theirs)]
            if not np.isclose(evidences[0], evidences[1], rtol=1e-4):
                raise BenchmarkError(f"{name}: the evidences differ, {evidences}")
            asked = ((mine, "epoch"), (mine, "posterior"), (theirs, "posterior"))
            firsts = [process.ask(what)[1] for process, what in asked]
            spent = np.array(
                [[process.ask(what)[1:] for process, what in asked] for _ in range(rounds)]
            )
        finally:
            mine.stop()
            theirs.stop()
        print(f"{WORKLOADS[name]}: log evidence {evidences[0]:.1f} and {evidences[1]:.1f}")
        for what, first, each in zip(SAID, firsts, spent.swapaxes(0, 1), strict=True):
            seconds, used = np.median(each, 0)
            print(f"  {what}: {seconds:.3f} s (first {first:.2f}), processor {used:.3f} s")
        for kind, (epoch, own, other) in zip(KINDS, spent.T, strict=True):
            print(
                f"  by {kind} an epoch takes {ratio(epoch, own)} times as long as a posterior, "
                f"laplace-torch's {ratio(other, own)} times"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(*sys.argv[2:])
    else:
        given = sys.argv[1:] or ["kron"]
        main(given[0], *[int(number) for number in given[1:]])

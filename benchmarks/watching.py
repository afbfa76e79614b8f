"""What watching a loop costs: the `mnist` workload compiled, watched and not, in turns:

    python -m benchmarks.watching

The rows are as many as 100 batches hold, so that watching begins with keeping them, as it does in a
loop of a user's own. The ratio is of whole blocks of steps: the copies of weights, the recorded
steps and all.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.machine import description
from benchmarks.network import network
from benchmarks.ratio import Ratio, ratio
from benchmarks.workloads import ALL, LEARNING_RATE
from chainrule import nn, optim
from chainrule.lens.diagnose.watch import watch

BATCHES = 100


def main(rounds: int = 7, steps: int = 4000) -> None:
    print(description())
    found, samples = overhead(rounds, steps)
    print(f"a watched step takes {found} times as long; {samples} steps of {steps} were measured")


def overhead(rounds: int, steps: int) -> tuple[Ratio, int]:
    """(time watched over time unwatched, how many steps were measured in the last block)."""
    mlp: Any = ALL["mnist"]
    rng = np.random.default_rng(0)
    x = cr.asarray(rng.standard_normal((BATCHES * mlp.batch, mlp.sizes[0]), np.float32))
    y = cr.asarray(rng.integers(0, mlp.sizes[-1], BATCHES * mlp.batch))
    batches = [slice(i * mlp.batch, (i + 1) * mlp.batch) for i in range(BATCHES)]
    data = [(cr.asarray(x[cut]), cr.asarray(y[cut])) for cut in batches]
    model = network(mlp, nn, nn)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def block(around: Any) -> float:
        began = time.perf_counter()
        with around:
            for i in range(steps):
                step(*data[i % BATCHES]).item()
        return time.perf_counter() - began

    block(nullcontext())
    watched, plain, samples = [], [], 0
    for _ in range(rounds):
        watching = watch(model, optimizer)
        watched.append(block(watching))
        plain.append(block(nullcontext()))
        samples = len(watching.trace.samples)
    return ratio(watched, plain), samples


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

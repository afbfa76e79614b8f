"""`chainrule bench`: what this machine can do, and how fast training steps run on it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile.peaks import peaks

ROOT = Path(cr.__file__).parents[1]

# Layers of an MLP, and the batch.
STEPS = {
    "tiny": ((64, 64, 10), 32),
    "mnist": ((784, 512, 256, 10), 128),
    "wide": ((1024, 2048, 2048, 10), 256),
}
ROUNDS, TURN = 7, 0.1  # of TURN seconds each


def run() -> int:
    """Run the benchmarks where this is a checkout, which has them; give the exit status."""
    if (ROOT / "benchmarks" / "__main__.py").exists():
        return subprocess.call([sys.executable, "-m", "benchmarks"], cwd=ROOT)
    time_own_steps()
    return 0


def time_own_steps() -> None:
    """Print the peaks of this machine, and the time of compiled training steps."""
    most = peaks()
    print(
        f"measured peaks of {most.threads} threads: {most.flops / 1e9:.0f} GFLOP/s float32, "
        f"{most.bandwidth / 1e9:.0f} GB/s\n"
    )
    print(f"{'compiled training step':44} {'ms':>10} {'GFLOP/s':>9}")
    for name, (sizes, batch) in STEPS.items():
        seconds = _median_seconds(_step(sizes, batch))
        # A product in each layer forward, two backward; the data want no derivative.
        products = [2 * batch * n * m for n, m in itertools.pairwise(sizes)]
        rate = (3 * sum(products) - products[0]) / seconds / 1e9
        title = f"{name}: MLP {'-'.join(map(str, sizes))}, batch {batch}"
        print(f"{title:44} {seconds * 1e3:10.4g} {rate:9.1f}", flush=True)


def _step(sizes: tuple[int, ...], batch: int) -> Callable[[], object]:
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    random = np.random.default_rng(0)
    x = cr.asarray(random.standard_normal((batch, sizes[0]), np.float32))
    y = cr.asarray(random.integers(0, sizes[-1], batch))

    @cr.compile
    def train(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return lambda: train(x, y)


def _median_seconds(step: Callable[[], object]) -> float:
    step()  # compiles
    times = []
    for _ in range(ROUNDS):
        start, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < TURN:
            step()
            count += 1
        times.append(passed / count)
    return float(np.median(times))

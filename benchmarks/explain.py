"""How long a whole explanation takes, every claim recomputed:

    python -m benchmarks.explain

for a multi-layer perceptron of three layers and for the `gpt` workload (4 layers, width 128, 4
heads, 16 sequences of 64 tokens, 256 tokens known). The first call derives the formulas of the
backward pass, which later ones of the same process need not do again.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.machine import description
from benchmarks.network import network
from benchmarks.workloads import ALL
from chainrule import nn


def main() -> None:
    print(description())
    cr.seed(0)
    rng = np.random.default_rng(0)
    mlp = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    images = rng.normal(size=(32, 64)).astype(np.float32)
    print("3-layer MLP:", _times(mlp, images, np.arange(32) % 10))
    gpt: Any = ALL["gpt"]
    tokens = rng.integers(0, gpt.vocabulary, (gpt.batch, gpt.tokens))
    targets = rng.integers(0, gpt.vocabulary, gpt.batch * gpt.tokens)
    print("gpt:", _times(network(gpt, nn, nn), tokens, targets))


def _times(model: Any, x: np.ndarray, y: np.ndarray, calls: int = 3) -> str:
    """Seconds of each call, and what came of the claims."""
    found = []
    for _ in range(calls):
        start = time.perf_counter()
        derivation = cr.explain(model, x, y, loss=nn.cross_entropy)
        verdict = derivation.verdict()
        found.append(time.perf_counter() - start)
    return ", ".join(f"{t:.2f} s" for t in found) + f"; {verdict}"


if __name__ == "__main__":
    main()

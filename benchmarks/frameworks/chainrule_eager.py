"""chainrule, operation by operation."""

from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.network import network
from benchmarks.workloads import LEARNING_RATE, Workload, data, weights
from chainrule import nn, optim

LATER = ()


def build(workload: Workload, *, compiled: bool = False) -> Callable[[], Any]:
    inputs, targets = (cr.asarray(array) for array in data(workload))
    targets = targets.reshape(-1)
    model = network(workload, nn, nn)
    model.load_state_dict(weights(workload))
    if not workload.training:
        model = cr.compile(model) if compiled else model
        return cr.no_grad()(lambda: model(inputs))
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(inputs: Any, targets: Any) -> Any:
        loss = nn.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = cr.compile(step)
    return lambda: step(inputs, targets)


def facts() -> str:
    from threadpoolctl import threadpool_info

    threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return f"chainrule {cr.__version__}, NumPy {np.__version__}, {threads[0]} BLAS threads"

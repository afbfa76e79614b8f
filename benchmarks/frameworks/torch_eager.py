"""PyTorch as it comes: eager, with its default Adam."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.network import network
from benchmarks.workloads import LEARNING_RATE, Workload, data, weights

LATER = ("torch._dynamo",)  # which the optimiser imports


def build(
    workload: Workload, *, compiled: bool = False, fused: bool | None = None
) -> Callable[[], Any]:
    inputs, targets = (torch.from_numpy(array) for array in data(workload))
    targets = targets.reshape(-1)
    model = network(workload, nn, nn.functional)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights(workload).items()})
    if not workload.training:
        model = torch.compile(model) if compiled else model
        return torch.inference_mode()(lambda: model(inputs))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=fused)

    def loss_of(inputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(model(inputs), targets)

    if compiled:
        loss_of = torch.compile(loss_of)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(inputs, targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def facts() -> str:
    return f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"

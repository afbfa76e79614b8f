"""The benchmarks count as many operations as PyTorch does."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.network import network
from benchmarks.workloads import ALL, GPT, WORKLOADS, data, flops


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("name", [*WORKLOADS, "lstm", "tiny-1", "mnist-1", "gpt-1"])
def test_operations_are_those_that_pytorch_counts(name) -> None:
    workload = ALL[name]
    x, targets = (torch.from_numpy(array) for array in data(workload))
    model = network(workload, torch.nn, torch.nn.functional)
    # It counts products, so attention and LSTM may not be kernels of their own.
    with (
        torch.backends.mkldnn.flags(enabled=False),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        loss = torch.nn.functional.cross_entropy(model(x), targets.reshape(-1))
        if workload.training:
            loss.backward()
    masked = 0
    if isinstance(workload, GPT):  # two products forward, four backward, above the diagonal
        pairs = workload.batch * workload.tokens * (workload.tokens - 1) // 2
        masked = workload.layers * 2 * pairs * workload.width * (6 if workload.training else 2)
    assert flops(workload) == counter.get_total_flops() - masked

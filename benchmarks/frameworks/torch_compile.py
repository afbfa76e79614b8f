"""PyTorch with the network and its loss compiled, and the fused Adam."""

from functools import partial

from benchmarks.frameworks import torch_eager

build = partial(torch_eager.build, compiled=True, fused=True)
facts = torch_eager.facts
LATER = ("torch._dynamo", "torch._inductor.compile_fx")

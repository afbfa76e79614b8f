"""PyTorch eager with the fused Adam, which one has to ask for."""

from functools import partial

from benchmarks.frameworks import torch_eager

build = partial(torch_eager.build, fused=True)
facts, LATER = torch_eager.facts, torch_eager.LATER

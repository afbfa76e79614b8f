"""A loop of PyTorch that does what is not seen of it: it is judged by what it came to."""

import numpy as np
import torch

from chainrule.lens.diagnose.watch import watch

nn, F = torch.nn, torch.nn.functional


def test_a_loop_that_cuts_its_gradients_to_nothing_has_not_learnt() -> None:
    rng = np.random.default_rng(0)
    y = torch.tensor(rng.integers(0, 3, 240))
    x = torch.tensor(rng.normal(size=(3, 6)) * 2, dtype=torch.float32)[y]
    x += torch.tensor(rng.normal(size=(240, 6)), dtype=torch.float32)
    for norm, learns in ((1e-4, False), (5.0, True)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with watch(model, optimizer) as watching:
            for _ in range(12):
                for i in range(0, 240, 16):
                    optimizer.zero_grad()
                    F.cross_entropy(model(x[i : i + 16]), y[i : i + 16]).backward()
                    nn.utils.clip_grad_norm_(model.parameters(), norm)
                    optimizer.step()
        assert watching.diagnosis.healthy == learns

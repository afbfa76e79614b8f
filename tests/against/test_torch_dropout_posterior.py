"""Monte Carlo dropout as it is written in PyTorch: its moments, within Monte Carlo error."""

import numpy as np
import pytest
import torch
from torch import nn as tnn

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob

X = np.random.default_rng(0).normal(size=(6, 1, 6, 6)).astype(np.float32)


def build(lib):
    return lib.Sequential(
        lib.Conv2d(1, 4, 3), lib.BatchNorm2d(4), lib.ReLU(), lib.Dropout2d(0.3), lib.Flatten(),
        lib.Linear(64, 10), lib.Tanh(), lib.Dropout(0.2), lib.Linear(10, 3),
    )  # fmt: skip


@pytest.mark.parametrize("softmax", [False, True])
def test_moments_are_those_of_a_loop_with_dropout_in_training_mode(softmax):
    torch.manual_seed(0)
    theirs = build(tnn).eval()
    theirs[1].running_mean.normal_()
    theirs[1].running_var.uniform_(0.5, 2)
    ours = build(nn)
    ours.load_state_dict(theirs.state_dict())
    cr.seed(0)
    own = prob.posterior(ours, (X, np.zeros(6, int)), method="dropout")
    draws = own.predict(X, samples=1500).draws if softmax else own.draws(X, 1500)

    for module in theirs.modules():
        if isinstance(module, (tnn.Dropout, tnn.Dropout2d)):
            module.train()
    with torch.inference_mode():
        loop = torch.stack([theirs(torch.from_numpy(X)) for _ in range(1500)])
    its = (loop.softmax(-1) if softmax else loop).numpy().astype(np.float64)

    error = np.sqrt((draws.var(0) + its.var(0)) / 1500)
    assert (np.abs(draws.mean(0) - its.mean(0)) < 4.5 * error).all()
    np.testing.assert_allclose(draws.std(0), its.std(0), rtol=0.15)
    assert (its.std(0) > 0.01).all()

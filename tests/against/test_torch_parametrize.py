"""Computed weights equal PyTorch's: names, values, gradients and singular vectors, in float64."""

import numpy as np
import pytest
import torch
from torch import nn as tnn
from torch.nn.utils import parametrizations as theirs_of

from chainrule import nn
from tests.against.test_torch_nn import check, seeded

ours_of = nn.utils.parametrizations
LAYERS = {
    "linear": (lambda lib: lib.Linear(4, 3), (5, 4)),
    "conv": (lambda lib: lib.Conv2d(2, 3, 3), (2, 2, 5, 4)),
    "embedding": (lambda lib: lib.Embedding(5, 3), None),
}


def both(norm, layer, **options):
    build, shape = LAYERS[layer]
    torch.manual_seed(0)
    theirs = getattr(theirs_of, norm)(build(tnn).double(), **options)
    ours = getattr(ours_of, norm)(build(nn).to("float64"), **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = np.array([[0, 2], [4, 2]]) if shape is None else seeded(*shape)
    return ours, theirs, x


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(layer, dim):
    check(*both("weight_norm", layer, dim=dim))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("options", [{}, {"n_power_iterations": 3, "dim": 1}])
def test_spectral_norm(layer, options):
    ours, theirs, x = both("spectral_norm", layer, **options)
    for _ in range(3):
        check(ours, theirs, x)
    check(ours.eval(), theirs.eval(), x)


def test_recurrent_weights():
    torch.manual_seed(0)
    theirs = theirs_of.weight_norm(tnn.LSTM(2, 3).double(), "weight_hh_l0")
    ours = ours_of.weight_norm(nn.LSTM(2, 3).to("float64"), "weight_hh_l0")
    ours.load_state_dict(theirs.state_dict())
    check(ours, theirs, seeded(4, 2, 2), call=lambda model, x: model(x)[0])


def test_the_estimate_after_registration_is_near():
    layer = ours_of.spectral_norm(nn.Linear(30, 20))
    assert np.linalg.svd(layer.weight.numpy(), compute_uv=False)[0] == pytest.approx(1, abs=0.1)

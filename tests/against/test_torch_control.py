"""A scan that is compiled and run by the interpreter trains an LSTM as PyTorch's does."""

import functools

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile.compiled import compile as compile_with
from tests.compile.interpreter import interpret

compiled = functools.partial(compile_with, backend=interpret)


def lstm(weights, xs, h, c):
    def cell(carry, x):
        h, c = carry
        gates = x @ weights["ih"].mT + h @ weights["hh"].mT + weights["b"]
        n = h.shape[-1]
        i, f, g, o = (gates[..., k * n : (k + 1) * n] for k in range(4))
        c = cr.sigmoid(f) * c + cr.sigmoid(i) * cr.tanh(g)
        h = cr.sigmoid(o) * cr.tanh(c)
        return (h, c), h

    return cr.scan(cell, (h, c), xs)[1]


def test_an_lstm_trains_as_in_pytorch():
    rng = np.random.default_rng(0)
    theirs = torch.nn.LSTM(3, 4, dtype=torch.float64)
    weights = {
        "ih": theirs.weight_ih_l0, "hh": theirs.weight_hh_l0, "b": theirs.bias_ih_l0,
    }  # fmt: skip
    theirs.bias_hh_l0.data.zero_()
    theirs.bias_hh_l0.requires_grad_(False)
    mine = {k: nn.Parameter(v.detach().numpy()) for k, v in weights.items()}
    x, goal = rng.normal(size=(64, 2, 3)), rng.normal(size=(64, 2, 4))
    zero = cr.zeros((2, 4), dtype=cr.float64)
    opt = optim.SGD(list(mine.values()), lr=0.1)
    reference = torch.optim.SGD(list(weights.values()), lr=0.1)

    @compiled
    def train(x, goal):
        loss = ((lstm(mine, x, zero, zero) - goal) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    for _ in range(3):
        loss = ((theirs(torch.from_numpy(x))[0] - torch.from_numpy(goal)) ** 2).mean()
        reference.zero_grad()
        loss.backward()
        reference.step()
        assert train(cr.asarray(x), cr.asarray(goal)).item() == pytest.approx(loss.item())
    for key, w in weights.items():
        np.testing.assert_allclose(mine[key].numpy(), w.detach().numpy(), rtol=1e-9, atol=1e-12)
    assert train.traces == 1

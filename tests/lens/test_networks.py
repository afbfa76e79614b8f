"""Whole derivations of whole networks: everything that is claimed holds."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


class LastOf(nn.Module):
    """A recurrent network, and a layer on its last state."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        states, _ = self.layer(x)
        return self.head(states[:, -1])


def lstm():
    return LastOf(nn.LSTM(4, 5, batch_first=True))


def gru():
    return LastOf(nn.GRU(4, 5, batch_first=True))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(cr.mean(self.block(self.embedding(tokens)), axis=1))


def normalised():
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4),
        nn.Linear(8, 8), nn.LayerNorm(8), nn.Sigmoid(), nn.Linear(8, 3),
    )  # fmt: skip


RNG = np.random.default_rng(0)
NETWORKS = {
    "mlp": (mlp, RNG.normal(size=(4, 6))),
    "cnn": (cnn, RNG.normal(size=(4, 1, 9, 9))),
    "lstm": (lstm, RNG.normal(size=(4, 3, 4))),
    "gru": (gru, RNG.normal(size=(4, 3, 4))),
    "transformer": (Transformer, RNG.integers(0, 7, (4, 5))),
    "normalised": (normalised, RNG.normal(size=(4, 6))),
}
LABELS = np.array([0, 2, 1, 1])


@pytest.mark.parametrize("dtype", [cr.float64, cr.float32], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_claims_hold(name, training, dtype):
    make, x = NETWORKS[name]
    cr.seed(1)
    model = make()
    model.to(dtype)
    x = x.astype(dtype) if x.dtype.kind == "f" else x
    derivation = cr.explain(model, x, LABELS, loss=nn.cross_entropy, training=training)
    assert derivation.verified, [(step.title, step.check) for step in derivation.failed]
    names = {step.name for step in derivation.steps}
    assert {f"∂L/∂{parameter}" for parameter, _ in model.named_parameters()} <= names
    assert len(names) == len(derivation.steps)


def test_regression():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Softplus(), nn.Linear(4, 1))
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    derivation = cr.explain(model, x, x[:, :1], loss=nn.mse_loss)
    assert derivation.verified

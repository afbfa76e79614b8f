"""Networks that the tests of `interpret` look into."""

import numpy as np

import chainrule as cr
from chainrule import nn


def line(weights, bias=0.0):
    """A linear network of one output, in float64."""
    model = nn.Linear(len(weights), 1).to(np.float64)
    model.weight.assign(cr.asarray(np.array([weights], float)))
    model.bias.assign(cr.asarray(np.array([bias], float)))
    return model


def dense(inputs, outputs, seed=0, hidden=8):
    """A small smooth network in float64."""
    cr.seed(seed)
    layers = nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
    return nn.Sequential(*layers).to(np.float64)


class Formula(nn.Module):
    """Any function of the rows as a network."""

    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


class Tokens(nn.Module):
    """Embedding, encoder layers and a dense layer over the mean token."""

    def __init__(self, layers=2, vocabulary=7, width=8, classes=3):
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(width, 2, 16, batch_first=True, dropout=0.0)
                for _ in range(layers)
            ]
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        h = self.embedding(x)
        for layer in self.layers:
            h = layer(h)
        return self.head(h.mean(1))


def images(seed=0):
    cr.seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4 * 4, 3),
    )  # fmt: skip

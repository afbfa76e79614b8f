"""Networks that the static rules must be silent about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import chainrule as cr
from benchmarks.diagnosis_static.making import (
    BCE,
    BIT,
    BITS,
    CE,
    COUNTS,
    HOT,
    IMAGES,
    LOGITS,
    MSE,
    POSITIVE,
    REAL,
    RNG,
    ROWS,
    SEQUENCES,
    WORDS,
    Y3,
    Y10,
    Example,
    L,
    Made,
    Own,
    S,
    U,
    X,
    clipped_bce,
    drawn,
    filled,
    frozen,
    mlp,
    net,
    picked,
    sgd,
    with_sgd,
)
from chainrule import nn

HEALTHY: list[Example] = []


def healthy(name: str, make: Callable[[], Made]) -> None:
    HEALTHY.append(Example(name, make))


# Healthy networks

ACTIVATIONS = (
    "ReLU",
    "Tanh",
    "GELU",
    "SiLU",
    "SELU",
    "ELU",
    "LeakyReLU",
    "Sigmoid",
    "Softplus",
    "Mish",
)


def with_activation(kind: str, out: int, y: np.ndarray, loss: object) -> Callable[[], Made]:
    return lambda: Made(mlp(6, 16, 16, out, act=getattr(nn, kind)), X, y, loss)


for _kind in ACTIVATIONS:
    healthy(f"classifier with {_kind}", with_activation(_kind, 3, Y3, CE))
    healthy(f"regression with {_kind}", with_activation(_kind, 1, REAL, MSE))
healthy("logistic regression", lambda: Made(L(6, 1), X, BIT, LOGITS))
healthy("softmax regression", lambda: Made(L(6, 3), X, Y3, CE))
healthy("linear regression", lambda: Made(L(6, 1), X, REAL, MSE))
healthy("sigmoid with binary cross-entropy", lambda: Made(net(1, nn.Sigmoid()), X, BIT, BCE))
healthy(
    "sigmoid with binary cross-entropy by hand",
    lambda: Made(net(1, nn.Sigmoid()), X, BIT, clipped_bce),
)
healthy("several yes-or-no labels", lambda: Made(net(4, nn.Sigmoid()), X, BITS, BCE))
healthy("several logits", lambda: Made(net(4), X, BITS, LOGITS))
healthy("two logits for two classes", lambda: Made(net(2), X, BIT[:, 0].astype(np.int64), CE))
healthy("one-hot cross-entropy", lambda: Made(net(3), X, HOT, CE))
healthy(
    "one-hot cross-entropy by hand",
    lambda: Made(
        net(3, nn.Softmax(1)), X, HOT, lambda p, y: -(y * cr.log(p + 1e-8)).sum(axis=1).mean()
    ),
)
healthy("soft labels", lambda: Made(net(3), X, (0.8 * HOT + 0.2 / 3).astype(np.float32), CE))
healthy("label smoothing", lambda: Made(net(3), X, Y3, nn.CrossEntropyLoss(label_smoothing=0.1)))
healthy(
    "class weights",
    lambda: Made(net(3), X, Y3, nn.CrossEntropyLoss(weight=np.array([1, 2, 4.0], np.float32))),
)
healthy("log-softmax with nll", lambda: Made(net(3, nn.LogSoftmax(1)), X, Y3, nn.nll_loss))
healthy("log-softmax and picked labels", lambda: Made(net(3, nn.LogSoftmax(1)), X, Y3, picked))
healthy(
    "softmax, logarithm and picked labels",
    lambda: Made(net(3, nn.Softmax(1)), X, Y3, lambda p, y: picked(cr.log(p), y)),
)
healthy("log-softmax before cross-entropy", lambda: Made(net(3, nn.LogSoftmax(1)), X, Y3, CE))
healthy(
    "focal loss",
    lambda: Made(
        net(3),
        X,
        HOT,
        lambda o, y: (
            -(y * (1 - cr.softmax(o, axis=1)) ** 2 * cr.log_softmax(o, axis=1)).sum(axis=1).mean()
        ),
    ),
)
healthy("sigmoid with squared error", lambda: Made(net(1, nn.Sigmoid()), X, BIT, MSE))
healthy("least squares of one-hot rows", lambda: Made(net(3), X, HOT, MSE))
healthy("hinge loss", lambda: Made(net(1), X, 2 * BIT - 1, lambda o, y: cr.relu(1 - o * y).mean()))
healthy("absolute error", lambda: Made(net(1), X, REAL, nn.L1Loss()))
healthy("Huber loss", lambda: Made(net(1), X, REAL, nn.HuberLoss()))
healthy("log-cosh loss", lambda: Made(net(1), X, REAL, lambda o, y: cr.log(cr.cosh(o - y)).mean()))
healthy(
    "quantile loss",
    lambda: Made(net(1), X, REAL, lambda o, y: cr.maximum(0.9 * (y - o), 0.1 * (o - y)).mean()),
)
healthy("Poisson regression", lambda: Made(net(1), X, COUNTS, nn.PoissonNLLLoss()))
healthy(
    "Poisson with softplus",
    lambda: Made(net(1, nn.Softplus()), X, COUNTS, lambda o, y: (o - y * cr.log(o)).mean()),
)
healthy("softplus for positive targets", lambda: Made(net(1, nn.Softplus()), X, POSITIVE, MSE))
healthy(
    "ReLU for positive targets",
    lambda: Made(S(L(6, 16), nn.ReLU(), L(16, 1), nn.ReLU()), X, POSITIVE, MSE),
)
healthy("tanh for targets in [-1, 1]", lambda: Made(net(1, nn.Tanh()), X, np.tanh(REAL), MSE))
healthy(
    "sigmoid scaled to a range",
    lambda: Made(
        Own(lambda s, x: 5 * cr.sigmoid(s.body(x)), body=net(1)), X, np.clip(REAL + 2, 0, 5), MSE
    ),
)
healthy(
    "mean and variance",
    lambda: Made(
        net(2),
        X,
        REAL,
        lambda o, y: (0.5 * o[:, 1:] + 0.5 * (o[:, :1] - y) ** 2 * cr.exp(-o[:, 1:])).mean(),
    ),
)
healthy(
    "mixture of two Gaussians",
    lambda: Made(
        net(4),
        X,
        REAL,
        lambda o, y: (
            -cr.logsumexp(
                cr.log_softmax(o[:, :2], axis=1) - 0.5 * (y - o[:, 2:]) ** 2, axis=1
            ).mean()
        ),
    ),
)
healthy(
    "regression as a vector",
    lambda: Made(Own(lambda s, x: s.body(x)[:, 0], body=net(1)), X, REAL[:, 0], MSE),
)
healthy(
    "targets reshaped in the loss",
    lambda: Made(net(1), X, REAL[:, 0], lambda o, y: ((o - y[:, None]) ** 2).mean()),
)
healthy(
    "outputs squeezed in the loss",
    lambda: Made(net(1), X, BIT[:, 0], lambda o, y: LOGITS(o.squeeze(-1), y)),
)
healthy("autoencoder on [0, 1]", lambda: Made(mlp(6, 3, 6, out=nn.Sigmoid()), U, U, MSE))
healthy(
    "autoencoder with binary cross-entropy", lambda: Made(mlp(6, 3, 6, out=nn.Sigmoid()), U, U, BCE)
)
healthy("autoencoder on standardised inputs", lambda: Made(mlp(6, 16, 3, 16, 6), X, X, MSE))
healthy("linear autoencoder", lambda: Made(S(L(6, 2), L(2, 6)), X, X, MSE))
healthy(
    "linear bottleneck",
    lambda: Made(S(L(6, 16), nn.ReLU(), L(16, 2), L(2, 16), nn.ReLU(), L(16, 6)), X, X, MSE),
)
healthy(
    "factorised layer",
    lambda: Made(
        S(L(6, 32), nn.ReLU(), L(32, 4, bias=False), L(4, 32), nn.ReLU(), L(32, 3)), X, Y3, CE
    ),
)
healthy(
    "convolutions",
    lambda: Made(
        S(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            L(32, 10),
        ),
        IMAGES,
        Y10,
        CE,
    ),
)
healthy(
    "convolutions with BatchNorm",
    lambda: Made(
        S(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), L(288, 10)),
        IMAGES,
        Y10,
        CE,
    ),
)
healthy(
    "depthwise and pointwise",
    lambda: Made(
        S(
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Conv2d(8, 8, 1),
            nn.ReLU(),
            nn.Flatten(),
            L(128, 10),
        ),
        IMAGES,
        Y10,
        CE,
    ),
)
healthy(
    "classes of pixels",
    lambda: Made(
        S(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)),
        IMAGES,
        RNG.integers(0, 4, (ROWS, 8, 8)),
        lambda o, y: nn.cross_entropy(o, y),
    ),
)
healthy(
    "pixels by log-softmax",
    lambda: Made(
        S(nn.Conv2d(1, 4, 1), nn.LogSoftmax(1)),
        IMAGES,
        np.moveaxis(np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (ROWS, 8, 8))], -1, 1),
        lambda o, y: -(y * o).sum(axis=1).mean(),
    ),
)
healthy(
    "classes of a sequence",
    lambda: Made(
        net(4),
        SEQUENCES,
        np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (ROWS, 5))],
        lambda o, y: -(y * cr.log_softmax(o, axis=-1)).sum(axis=-1).mean(),
    ),
)
healthy(
    "BatchNorm",
    lambda: Made(S(L(6, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), L(16, 3)), X, Y3, CE),
)
healthy(
    "BatchNorm behind a bias",
    lambda: Made(S(L(6, 16), nn.BatchNorm1d(16), nn.ReLU(), L(16, 3)), X, Y3, CE),
)
healthy(
    "BatchNorm behind dropout",
    lambda: Made(
        S(L(6, 16), nn.ReLU(), nn.Dropout(0.1), L(16, 16), nn.BatchNorm1d(16), nn.ReLU(), L(16, 3)),
        X,
        Y3,
        CE,
    ),
)
healthy(
    "raw pixels behind BatchNorm",
    lambda: Made(
        S(nn.BatchNorm1d(6), L(6, 16), nn.ReLU(), L(16, 3)), (255 * U).astype(np.float32), Y3, CE
    ),
)
healthy(
    "raw pixels divided in the model",
    lambda: Made(
        Own(lambda s, x: s.body(x / 255), body=net(3)), (255 * U).astype(np.float32), Y3, CE
    ),
)
healthy("pixels on 0 to 16", lambda: Made(mlp(6, 16, 3), (8 * U).astype(np.float32), Y3, CE))
healthy("LayerNorm", lambda: Made(S(L(6, 16), nn.LayerNorm(16), nn.GELU(), L(16, 3)), X, Y3, CE))
healthy("dropout", lambda: Made(S(L(6, 16), nn.ReLU(), nn.Dropout(0.5), L(16, 3)), X, Y3, CE))
healthy(
    "residual",
    lambda: Made(
        Own(lambda s, x: s.c((h := s.a(x)) + s.b(cr.relu(h))), a=L(6, 16), b=L(16, 16), c=L(16, 3)),
        X,
        Y3,
        CE,
    ),
)
healthy(
    "residual branch that starts at zero",
    lambda: Made(
        Own(
            lambda s, x: s.d((h := s.a(x)) + s.c(cr.relu(s.b(h)))),
            a=L(6, 16),
            b=L(16, 16),
            c=filled(L(16, 16), 0.0),
            d=L(16, 3),
        ),
        X,
        Y3,
        CE,
    ),
)
healthy(
    "last layer that starts at zero",
    lambda: Made(S(L(6, 16), nn.ReLU(), filled(L(16, 3), 0.0)), X, Y3, CE),
)
healthy(
    "small first weights behind LayerNorm",
    lambda: Made(
        S(drawn(L(6, 16), 0.02), nn.LayerNorm(16), nn.ReLU(), drawn(L(16, 3), 0.02)), X, Y3, CE
    ),
)
healthy(
    "words",
    lambda: Made(
        Own(lambda s, x: s.b(s.a(x).mean(axis=1)), a=nn.Embedding(20, 8), b=mlp(8, 16, 3)),
        WORDS,
        Y3,
        CE,
    ),
)
healthy(
    "next word",
    lambda: Made(
        Own(lambda s, x: s.b(s.a(x)), a=nn.Embedding(20, 8), b=L(8, 20)),
        WORDS,
        np.eye(20, dtype=np.float32)[(WORDS + 1) % 20],
        lambda o, y: -(y * cr.log_softmax(o, axis=-1)).sum(axis=-1).mean(),
    ),
)
healthy(
    "LSTM",
    lambda: Made(
        Own(lambda s, x: s.b(s.a(x)[0][:, -1]), a=nn.LSTM(6, 12, batch_first=True), b=L(12, 3)),
        SEQUENCES,
        Y3,
        CE,
    ),
)
healthy(
    "GRU",
    lambda: Made(
        Own(lambda s, x: s.b(s.a(x)[0][:, -1]), a=nn.GRU(6, 12, batch_first=True), b=L(12, 1)),
        SEQUENCES,
        REAL,
        MSE,
    ),
)
healthy(
    "attention over time",
    lambda: Made(
        Own(
            lambda s, x: s.c((cr.softmax((q := s.a(x)) @ q.mT / 4, axis=-1) @ s.b(x)).mean(axis=1)),
            a=L(6, 16),
            b=L(6, 16),
            c=L(16, 3),
        ),
        SEQUENCES,
        Y3,
        CE,
    ),
)
healthy(
    "transformer layer",
    lambda: Made(
        Own(
            lambda s, x: s.c(s.b(s.a(x)).mean(axis=1)),
            a=L(6, 16),
            b=nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
            c=L(16, 3),
        ),
        SEQUENCES,
        Y3,
        CE,
    ),
)
healthy(
    "mixture of experts",
    lambda: Made(
        Own(
            lambda s, x: (
                cr.softmax(s.gate(x), axis=1)[:, :1] * s.a(x)
                + cr.softmax(s.gate(x), axis=1)[:, 1:] * s.b(x)
            ),
            gate=L(6, 2),
            a=mlp(6, 8, 3),
            b=mlp(6, 8, 3),
        ),
        X,
        Y3,
        CE,
    ),
)
healthy(
    "gated unit",
    lambda: Made(
        Own(lambda s, x: s.c(s.a(x) * cr.sigmoid(s.b(x))), a=L(6, 16), b=L(6, 16), c=L(16, 3)),
        X,
        Y3,
        CE,
    ),
)
healthy(
    "siamese",
    lambda: Made(
        Own(lambda s, x: s.c(cr.abs(s.a(x[:, :3]) - s.a(x[:, 3:]))), a=mlp(3, 8, 8), c=L(8, 1)),
        X,
        BIT,
        LOGITS,
    ),
)
healthy(
    "the first layer frozen",
    lambda: (m := frozen(mlp(6, 16, 16, 3), "0.weight", "0.bias")) and Made(m, X, Y3, CE, sgd(m)),
)
healthy(
    "all but the head frozen",
    lambda: (
        (m := frozen(mlp(6, 16, 16, 3), "0.weight", "0.bias", "2.weight", "2.bias"))
        and Made(m, X, Y3, CE, sgd(m))
    ),
)
healthy(
    "biases alone",
    lambda: (m := frozen(mlp(6, 16, 3), "0.weight", "2.weight")) and Made(m, X, Y3, CE, sgd(m)),
)
healthy(
    "a sum at a small rate",
    lambda: with_sgd(net(3), X, Y3, lambda o, y: nn.cross_entropy(o, y, reduction="sum"), 1e-3),
)
healthy("a sum with Adam", lambda: Made(net(1), X, REAL, lambda o, y: ((o - y) ** 2).sum()))
healthy(
    "a sum over columns, a mean over rows",
    lambda: with_sgd(mlp(6, 8, 6), X, X, lambda o, y: ((o - y) ** 2).sum(axis=1).mean()),
)
healthy("a rare class that does not occur", lambda: Made(net(4), X, Y3, CE))
healthy(
    "momentum and decay", lambda: with_sgd(net(3), X, Y3, CE, 0.1, momentum=0.9, weight_decay=1e-4)
)

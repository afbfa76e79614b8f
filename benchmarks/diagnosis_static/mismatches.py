"""Networks that contradict their data, their loss or their optimiser, and the rules that say so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import chainrule as cr
from benchmarks.diagnosis_static.making import (
    BCE,
    BIT,
    BITS,
    CE,
    HOT,
    IMAGES,
    LOGITS,
    MSE,
    POSITIVE,
    REAL,
    REALS,
    RNG,
    ROWS,
    SEQUENCES,
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
    net_of,
    picked,
    sgd,
    with_sgd,
)
from chainrule import nn, optim

MISMATCHES: list[Example] = []


def mismatch(name: str, rules: str, make: Callable[[], Made]) -> None:
    MISMATCHES.append(Example(name, make, frozenset(rules.split())))


OUTPUT = "loss-output-mismatch output-activation"

# Loss and output layer

mismatch(
    "softmax before cross-entropy", "double-softmax", lambda: Made(net(3, nn.Softmax(1)), X, Y3, CE)
)
mismatch(
    "softmax before the module of cross-entropy",
    "double-softmax",
    lambda: Made(net(3, nn.Softmax(-1)), X, Y3, nn.CrossEntropyLoss()),
)
mismatch(
    "softmax function before cross-entropy",
    "double-softmax",
    lambda: Made(Own(lambda s, x: cr.softmax(s.body(x), axis=1), body=net(3)), X, Y3, CE),
)
mismatch(
    "softmax in the loss before cross-entropy",
    "double-softmax",
    lambda: Made(net(3), X, Y3, lambda o, y: nn.cross_entropy(cr.softmax(o, axis=1), y)),
)
mismatch(
    "softmax by hand before cross-entropy",
    "double-softmax",
    lambda: Made(
        Own(lambda s, x: (e := cr.exp(s.body(x))) / e.sum(axis=1, keepdims=True), body=net(3)),
        X,
        Y3,
        CE,
    ),
)
mismatch(
    "softmax before cross-entropy with one-hot rows",
    "double-softmax",
    lambda: Made(net(3, nn.Softmax(1)), X, HOT, CE),
)
mismatch(
    "softmax before smoothed cross-entropy",
    "double-softmax",
    lambda: Made(net(3, nn.Softmax(1)), X, Y3, nn.CrossEntropyLoss(label_smoothing=0.1)),
)
mismatch(
    "softmax twice",
    "double-softmax",
    lambda: Made(net(3, nn.Softmax(1), nn.Softmax(1)), X, Y3, lambda p, y: picked(cr.log(p), y)),
)
mismatch(
    "softmax and a log-softmax by hand",
    "double-softmax",
    lambda: Made(
        net(3, nn.Softmax(1)),
        X,
        HOT,
        lambda o, y: -(y * cr.log_softmax(o, axis=1)).sum(axis=1).mean(),
    ),
)
mismatch("sigmoid before cross-entropy", OUTPUT, lambda: Made(net(3, nn.Sigmoid()), X, Y3, CE))
mismatch(
    "sigmoid before nll",
    OUTPUT,
    lambda: Made(net(3, nn.Sigmoid()), X, Y3, lambda p, y: picked(cr.log(p), y)),
)
mismatch(
    "sigmoid before binary cross-entropy with logits",
    OUTPUT,
    lambda: Made(net(1, nn.Sigmoid()), X, BIT, LOGITS),
)
mismatch(
    "sigmoid function before its logits loss",
    OUTPUT,
    lambda: Made(
        Own(lambda s, x: cr.sigmoid(s.body(x)), body=net(1)), X, BIT, nn.BCEWithLogitsLoss()
    ),
)
mismatch(
    "softmax before binary cross-entropy with logits",
    OUTPUT,
    lambda: Made(net(3, nn.Softmax(1)), X, HOT, LOGITS),
)
mismatch(
    "several sigmoids before logits loss",
    OUTPUT,
    lambda: Made(net(4, nn.Sigmoid()), X, BITS, LOGITS),
)
mismatch("no sigmoid before binary cross-entropy", OUTPUT, lambda: Made(net(1), X, BIT, BCE))
mismatch(
    "no sigmoid before a clipped binary cross-entropy",
    OUTPUT,
    lambda: Made(net(1), X, BIT, clipped_bce),
)
mismatch("no sigmoid, several columns", OUTPUT, lambda: Made(net(4), X, BITS, nn.BCELoss()))
mismatch("ReLU before binary cross-entropy", OUTPUT, lambda: Made(net(1, nn.ReLU()), X, BIT, BCE))
mismatch(
    "ReLU before a clipped binary cross-entropy",
    OUTPUT,
    lambda: Made(net(1, nn.ReLU()), X, BIT, clipped_bce),
)
mismatch("tanh before binary cross-entropy", OUTPUT, lambda: Made(net(1, nn.Tanh()), X, BIT, BCE))
mismatch("ReLU before logits loss", OUTPUT, lambda: Made(net(1, nn.ReLU()), X, BIT, LOGITS))
mismatch("ReLU before cross-entropy", OUTPUT, lambda: Made(net(3, nn.ReLU()), X, Y3, CE))
mismatch("tanh before cross-entropy", OUTPUT, lambda: Made(net(3, nn.Tanh()), X, Y3, CE))
mismatch(
    "softmax of one unit, binary cross-entropy",
    OUTPUT,
    lambda: Made(net(1, nn.Softmax(1)), X, BIT, BCE),
)
mismatch(
    "softmax of one unit, squared error", OUTPUT, lambda: Made(net(1, nn.Softmax(1)), X, BIT, MSE)
)
mismatch(
    "softmax of one unit, regression", OUTPUT, lambda: Made(net(1, nn.Softmax(1)), X, REAL, MSE)
)
mismatch(
    "softmax of one unit, absolute error",
    OUTPUT,
    lambda: Made(net(1, nn.Softmax(1)), X, REAL, nn.L1Loss()),
)
mismatch(
    "softmax of one unit, -y log p",
    OUTPUT,
    lambda: Made(net(1, nn.Softmax(1)), X, BIT, lambda p, y: -(y * cr.log(p)).mean()),
)
mismatch(
    "one logit in a cross-entropy of labels",
    OUTPUT + " target-encoding",
    lambda: Made(net(1), X, BIT[:, 0].astype(np.int64), CE),
)
mismatch("one logit in a cross-entropy of one column", OUTPUT, lambda: Made(net(1), X, BIT, CE))
mismatch("nll of logits", OUTPUT, lambda: Made(net(3), X, Y3, nn.nll_loss))
mismatch("nll of probabilities", OUTPUT, lambda: Made(net(3, nn.Softmax(1)), X, Y3, nn.nll_loss))
mismatch("nll of probabilities by hand", OUTPUT, lambda: Made(net(3, nn.Softmax(1)), X, Y3, picked))
mismatch(
    "softmax with binary cross-entropy over four classes",
    OUTPUT,
    lambda: Made(net(4, nn.Softmax(1)), X, np.eye(4, dtype=np.float32)[np.arange(ROWS) % 4], BCE),
)
mismatch(
    "real targets with binary cross-entropy",
    OUTPUT,
    lambda: Made(net(1, nn.Sigmoid()), X, 3 * REAL, BCE),
)
mismatch("real targets with logits loss", OUTPUT, lambda: Made(net(1), X, 3 * REAL, LOGITS))
mismatch(
    "one sigmoid for three classes",
    OUTPUT + " target-encoding",
    lambda: Made(net(1, nn.Sigmoid()), X, Y3.astype(np.float32)[:, None], BCE),
)
mismatch(
    "one logit for ten classes",
    OUTPUT + " target-encoding",
    lambda: Made(net(1), X, Y10.astype(np.float32)[:, None], LOGITS),
)

# Output activation and range

mismatch("ReLU before negative targets", OUTPUT, lambda: Made(net(1, nn.ReLU()), X, REAL, MSE))
mismatch(
    "ReLU function before negative targets",
    OUTPUT,
    lambda: Made(
        Own(lambda s, x: cr.relu(s.body(x)), body=net(1)),
        X,
        REAL,
        lambda o, y: ((o - y) ** 2).mean(),
    ),
)
mismatch(
    "sigmoid before large targets", OUTPUT, lambda: Made(net(1, nn.Sigmoid()), X, 2 * REAL, MSE)
)
mismatch(
    "tanh before large targets",
    OUTPUT,
    lambda: Made(net(1, nn.Tanh()), X, 4 * REAL, nn.HuberLoss()),
)
mismatch(
    "softplus before negative targets",
    OUTPUT,
    lambda: Made(net(1, nn.Softplus()), X, REAL, nn.L1Loss()),
)
mismatch("softmax before real targets", OUTPUT, lambda: Made(net(3, nn.Softmax(1)), X, REALS, MSE))
mismatch(
    "autoencoder: sigmoid before standardised inputs",
    OUTPUT,
    lambda: Made(mlp(6, 4, 6, out=nn.Sigmoid()), X, X, MSE),
)
mismatch(
    "autoencoder: ReLU at its end", OUTPUT, lambda: Made(mlp(6, 4, 6, out=nn.ReLU()), X, X, MSE)
)
mismatch(
    "ReLU head that is dead",
    OUTPUT,
    lambda: Made(S(L(6, 16), nn.ReLU(), filled(L(16, 1), -1.0), nn.ReLU()), X, POSITIVE, MSE),
)

# Axes, hidden layers, shapes

mismatch("softmax over the batch", "softmax-axis", lambda: Made(net(3, nn.Softmax(0)), X, Y3, CE))
mismatch(
    "softmax over the batch before nll",
    "softmax-axis",
    lambda: Made(net(3, nn.Softmax(0)), X, Y3, lambda p, y: picked(cr.log(p), y)),
)
mismatch(
    "log-softmax over the batch",
    "softmax-axis",
    lambda: Made(net(3, nn.LogSoftmax(0)), X, Y3, nn.nll_loss),
)
mismatch(
    "log-softmax over the batch in the loss",
    "softmax-axis",
    lambda: Made(net(3), X, HOT, lambda o, y: -(y * cr.log_softmax(o, axis=0)).sum(axis=1).mean()),
)
mismatch(
    "log-softmax over time",
    "softmax-axis",
    lambda: Made(
        Own(lambda s, x: cr.log_softmax(s.body(x), axis=1), body=net(4)),
        SEQUENCES,
        np.eye(4, dtype=np.float32)[RNG.integers(0, 4, (ROWS, 5))],
        lambda o, y: -(y * o).sum(axis=2).mean(),
    ),
)
mismatch(
    "softmax in a hidden layer",
    "hidden-softmax",
    lambda: Made(S(L(6, 16), nn.Softmax(1), L(16, 3)), X, Y3, CE),
)
mismatch(
    "softmax in two hidden layers",
    "hidden-softmax",
    lambda: Made(S(L(6, 16), nn.Softmax(1), L(16, 16), nn.Softmax(1), L(16, 1)), X, REAL, MSE),
)
mismatch(
    "softmax function in a hidden layer",
    "hidden-softmax",
    lambda: Made(
        Own(lambda s, x: s.b(cr.softmax(s.a(x), axis=1)), a=L(6, 16), b=L(16, 3)), X, Y3, CE
    ),
)
mismatch(
    "nothing between layers", "no-nonlinearity", lambda: Made(S(L(6, 16), L(16, 3)), X, Y3, CE)
)
mismatch(
    "nothing but dropout between layers",
    "no-nonlinearity",
    lambda: Made(S(L(6, 16), nn.Dropout(0.2), L(16, 16), L(16, 1)), X, REAL, MSE),
)
mismatch(
    "convolutions with nothing between",
    "no-nonlinearity",
    lambda: Made(
        S(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), L(64, 10)), IMAGES, Y10, CE
    ),
)
mismatch(
    "column against row in squared error",
    "broadcast-accident",
    lambda: Made(net(1), X, REAL[:, 0], MSE),
)
mismatch(
    "column against row by hand",
    "broadcast-accident",
    lambda: Made(net(1), X, REAL[:, 0], lambda o, y: ((o - y) ** 2).mean()),
)
mismatch(
    "row against column by hand",
    "broadcast-accident",
    lambda: Made(
        Own(lambda s, x: s.body(x)[:, 0], body=net(1)), X, REAL, lambda o, y: cr.abs(o - y).mean()
    ),
)
mismatch(
    "column against row in binary cross-entropy",
    "broadcast-accident",
    lambda: Made(net(1, nn.Sigmoid()), X, BIT[:, 0], BCE),
)
mismatch(
    "column against row in a logits loss by hand",
    "broadcast-accident",
    lambda: Made(net(1), X, BIT[:, 0], lambda o, y: (cr.softplus(o) - y * o).mean()),
)
mismatch(
    "ten outputs against one label in squared error",
    "broadcast-accident",
    lambda: Made(net(10), X, Y10.astype(np.float32)[:, None], lambda o, y: ((o - y) ** 2).mean()),
)
mismatch(
    "a mean over the batch in the model",
    "batch-crosstalk",
    lambda: Made(Own(lambda s, x: s.body(x - x.mean(axis=0)), body=net(3)), X, Y3, CE),
)
mismatch(
    "a reshape that mixes rows",
    "batch-crosstalk",
    lambda: Made(Own(lambda s, x: s.body(x.mT.reshape(x.shape)), body=net(3)), X, Y3, CE),
)
mismatch(
    "an LSTM that takes the batch for time",
    "batch-crosstalk",
    lambda: Made(
        Own(lambda s, x: s.b(s.a(x)[0][:, -1]), a=nn.LSTM(6, 12), b=L(12, 3)), SEQUENCES, Y3, CE
    ),
)
mismatch(
    "attention over the batch",
    "batch-crosstalk softmax-axis",
    lambda: Made(
        Own(
            lambda s, x: s.b(cr.softmax((q := s.a(x)) @ q.mT, axis=1) @ q), a=L(6, 16), b=net_of(16)
        ),
        X,
        Y3,
        CE,
    ),
)

# Targets

mismatch("labels from one", "target-encoding", lambda: Made(net(3), X, Y3 + 1, CE))
mismatch("a label too many", "target-encoding", lambda: Made(net(9), X, Y10, CE))
mismatch("a negative label", "target-encoding", lambda: Made(net(3), X, Y3 - 1, CE))
mismatch("labels as floats", "target-encoding", lambda: Made(net(3), X, Y3.astype(np.float32), CE))
mismatch(
    "labels as a column of floats",
    "target-encoding",
    lambda: Made(net(3), X, Y3.astype(np.float32)[:, None], CE),
)
mismatch(
    "labels divided by 255",
    "target-encoding loss-output-mismatch",
    lambda: Made(net(1), X, (Y10 / 255).astype(np.float32)[:, None], MSE),
)
mismatch(
    "labels divided by 255 as whole numbers",
    "target-encoding",
    lambda: Made(net(10), X, Y10 // 255, CE),
)
mismatch("one-hot rows divided by 255", "target-encoding", lambda: Made(net(3), X, HOT / 255, CE))
mismatch("every target the same", "target-encoding", lambda: Made(net(1), X, 0 * REAL + 2, MSE))
mismatch(
    "whole-numbered one-hot rows",
    "target-encoding",
    lambda: Made(net(3), X, HOT.astype(np.int64), CE),
)
mismatch(
    "ten outputs for three classes",
    "unused-classes",
    lambda: Made(net(10), np.concatenate([X, X]), np.concatenate([Y3, Y3]), CE),
)

# Parameters and first weights

mismatch(
    "a layer that is not called",
    "unreached-parameters",
    lambda: Made(Own(lambda s, x: s.body(x), body=net(3), spare=L(6, 6)), X, Y3, CE),
)
mismatch(
    "a gradient that is cut",
    "unreached-parameters",
    lambda: Made(
        Own(lambda s, x: s.b(cr.relu(s.a(x)).detach()), a=L(6, 16), b=L(16, 3)), X, Y3, CE
    ),
)
mismatch(
    "argmax before the loss",
    "unreached-parameters",
    lambda: Made(
        Own(lambda s, x: cr.argmax(s.body(x), axis=1).astype(cr.float32), body=net(3)),
        X,
        Y3.astype(np.float32),
        MSE,
    ),
)
mismatch(
    "a layer that the optimiser does not hold",
    "frozen-parameters",
    lambda: (m := net(3)) and Made(m, X, Y3, CE, optim.Adam(list(m.parameters())[:2])),
)
mismatch(
    "an optimiser of another model",
    "frozen-parameters",
    lambda: Made(net(3), X, Y3, CE, optim.Adam(net(3).parameters())),
)
mismatch(
    "the last layer frozen",
    "frozen-parameters",
    lambda: (m := frozen(mlp(6, 16, 16, 3), "4.weight", "4.bias")) and Made(m, X, Y3, CE, sgd(m)),
)
mismatch(
    "a layer in the middle frozen",
    "frozen-parameters",
    lambda: (m := frozen(mlp(6, 16, 16, 3), "2.weight", "2.bias")) and Made(m, X, Y3, CE, sgd(m)),
)
mismatch(
    "constant weights", "symmetric-units", lambda: Made(filled(mlp(6, 16, 16, 3), 0.01), X, Y3, CE)
)
mismatch(
    "zero weights",
    "symmetric-units bad-initialisation",
    lambda: Made(filled(mlp(6, 16, 3, act=nn.Tanh), 0.0), X, Y3, CE),
)
mismatch(
    "constant filters",
    "symmetric-units",
    lambda: Made(
        filled(S(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), L(144, 10)), 0.1), IMAGES, Y10, CE
    ),
)
mismatch(
    "weights of N(0, 1)",
    "bad-initialisation",
    lambda: Made(drawn(mlp(6, 64, 64, 3, act=nn.Tanh), 1.0), X, Y3, CE),
)
mismatch(
    "weights of N(0, 1) with ReLU",
    "bad-initialisation",
    lambda: Made(drawn(mlp(6, 64, 64, 1), 1.0), X, REAL, MSE),
)
mismatch(
    "weights of N(0, 0.001²)",
    "bad-initialisation",
    lambda: Made(drawn(mlp(6, 64, 64, 64, 3), 1e-3), X, Y3, CE),
)

# Scales, reductions, settings

mismatch("inputs of thousands", "input-scale", lambda: Made(net(3), 1000 * X, Y3, CE))
mismatch(
    "pixels from 0 to 255",
    "input-scale",
    lambda: Made(net(3), (255 * U).astype(np.float32), Y3, CE),
)
mismatch(
    "columns of different units",
    "input-scale",
    lambda: Made(net(3), X * np.array([1, 1e4, 1, 100, 1e-2, 1], np.float32), Y3, CE),
)
mismatch(
    "targets of thousands",
    "target-scale",
    lambda: with_sgd(net(1), X, 3000 + 500 * REAL, MSE, 0.01),
)
mismatch("targets far from 0", "target-scale", lambda: Made(net(1), X, 200 + REAL, MSE))
mismatch(
    "a sum of cross-entropies",
    "sum-reduction",
    lambda: with_sgd(net(3), X, Y3, lambda o, y: nn.cross_entropy(o, y, reduction="sum"), 0.1),
)
mismatch(
    "a sum of -y log p",
    "sum-reduction",
    lambda: with_sgd(net(3, nn.Softmax(1)), X, HOT, lambda p, y: -(y * cr.log(p)).sum(), 0.1),
)
mismatch(
    "a sum of squares",
    "sum-reduction",
    lambda: with_sgd(net(1), X, REAL, lambda o, y: ((o - y) ** 2).sum(), 0.05),
)
mismatch("a learning rate of 0", "optimizer-setting", lambda: with_sgd(net(3), X, Y3, CE, 0.0))
mismatch("SGD at 3", "optimizer-setting", lambda: with_sgd(net(3), X, Y3, CE, 3.0))
mismatch(
    "Adam at 0.5",
    "optimizer-setting",
    lambda: (m := net(3)) and Made(m, X, Y3, CE, optim.Adam(m.parameters(), lr=0.5)),
)
mismatch("a step that climbs", "wrong-sign", lambda: with_sgd(net(3), X, Y3, CE, maximize=True))
mismatch(
    "a loss with a minus",
    "wrong-sign",
    lambda: Made(net(1), X, REAL, lambda o, y: -((o - y) ** 2).mean()),
)
mismatch(
    "LayerNorm over one number",
    "normalisation",
    lambda: Made(S(L(6, 1), nn.LayerNorm(1), L(1, 1)), X, REAL, MSE),
)
mismatch(
    "NaN among the inputs",
    "non-finite",
    lambda: Made(net(3), np.where((X > 1.5) & (np.arange(ROWS)[:, None] > 40), np.nan, X), Y3, CE),
)
mismatch(
    "the logarithm of 0",
    "non-finite output-activation",
    lambda: Made(
        S(L(6, 16), nn.ReLU(), filled(L(16, 1), -1.0), nn.ReLU()),
        X,
        POSITIVE,
        lambda o, y: ((cr.log(o) - y) ** 2).mean(),
    ),
)
mismatch(
    "a gradient that is infinite",
    "non-finite",
    lambda: Made(Own(lambda s, x: cr.sqrt(cr.relu(s.body(x))), body=net(1)), X, POSITIVE, MSE),
)
mismatch(
    "widths that do not fit",
    "model-error",
    lambda: Made(S(L(6, 16), nn.ReLU(), L(17, 3)), X, Y3, CE),
)

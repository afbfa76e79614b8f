"""Contradictions of graph and data that must be named before the first step: those of the issue's
list, beside the bugs. Each is a run that is not trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.diagnosis import sets
from benchmarks.diagnosis.development import scaled
from benchmarks.diagnosis.kit import Kit
from benchmarks.diagnosis.runs import Run, mismatch
from benchmarks.diagnosis.sets import Data

Build = Callable[[Kit, int], Run]


def _run(kit: Kit, data: Data, model: Any, loss: Any, optimizer: Any = None) -> Run:
    return Run(kit, model, data, loss, optimizer or kit.descend("Adam", model, 1e-3), 1)


def _headed(name: str, table: str, out: str, loss: str, *rules: str, shape: str = "labels") -> None:
    """A network whose last activation and loss do not fit; `shape`: labels, column or one-hot."""

    def make(kit: Kit, seed: int) -> Run:
        data = scaled(table, seed)
        units = 1 if shape == "column" or data.task == "real" else data.classes
        if data.task != "real" and shape != "labels":
            data = data.column() if shape == "column" else data.one_hot()
        model = kit.mlp(data.columns, 12, units, out=out)
        return _run(kit, data, model, getattr(kit.nn, loss)())

    mismatch(name, *rules)(make)


MISFIT = ("loss-output-mismatch", "output-activation")
_headed("softmax-before-cross-entropy", "iris", "Softmax", "CrossEntropyLoss", "double-softmax",
        "loss-output-mismatch")  # fmt: skip
_headed("sigmoid-before-cross-entropy", "wine", "Sigmoid", "CrossEntropyLoss", "double-softmax",
        *MISFIT)  # fmt: skip
_headed("one-softmax-unit-bce", "moons", "Softmax", "BCELoss", *MISFIT, shape="column")
_headed("one-softmax-unit-mse", "teacher", "Softmax", "MSELoss", *MISFIT)
_headed("sigmoid-before-logits-bce", "xor", "Sigmoid", "BCEWithLogitsLoss", *MISFIT,
        "double-softmax", shape="column")  # fmt: skip
_headed("nll-of-logits", "iris", "", "NLLLoss", *MISFIT)
_headed("nll-of-probabilities", "wine", "Softmax", "NLLLoss", *MISFIT)
_headed("softmax-with-bce", "iris", "Softmax", "BCELoss", *MISFIT, shape="one-hot")
_headed("relu-before-negative-targets", "teacher", "ReLU", "MSELoss", *MISFIT)
_headed("sigmoid-before-real-targets", "teacher", "Sigmoid", "MSELoss", *MISFIT)
_headed("softplus-before-negative-targets", "teacher", "Softplus", "MSELoss", *MISFIT)
_headed("relu-before-cross-entropy", "digits", "ReLU", "CrossEntropyLoss", *MISFIT)


def _layers(
    name: str, build: Callable[[Kit], list[Any]], *rules: str, table: str = "digits"
) -> None:
    """A network with something wrong between its layers."""

    def make(kit: Kit, seed: int) -> Run:
        model = kit.nn.Sequential(*build(kit))
        return _run(kit, scaled(table, seed), model, kit.nn.CrossEntropyLoss())

    mismatch(name, *rules)(make)


_layers("hidden-softmax", lambda k: [k.nn.Linear(64, 32), k.nn.Softmax(1), k.nn.Linear(32, 10)],
        "hidden-softmax")  # fmt: skip
_layers("softmax-over-the-batch", lambda k: [k.nn.Linear(64, 32), k.nn.Softmax(0),
        k.nn.Linear(32, 10)], "softmax-axis", "batch-crosstalk", "hidden-softmax")  # fmt: skip
_layers("linear-only", lambda k: [k.nn.Linear(64, 32), k.nn.Linear(32, 32), k.nn.Linear(32, 10)],
        "no-nonlinearity")  # fmt: skip
_layers("bias-before-batch-norm", lambda k: [k.nn.Linear(64, 32), k.nn.BatchNorm1d(32), k.nn.ReLU(),
        k.nn.Linear(32, 10)], "normalisation")  # fmt: skip
_layers("dropout-before-batch-norm", lambda k: [k.nn.Linear(64, 32), k.nn.ReLU(), k.nn.Dropout(0.5),
        k.nn.BatchNorm1d(32), k.nn.Linear(32, 10)], "normalisation")  # fmt: skip
_layers("ten-units-for-three-classes", lambda k: [k.nn.Linear(13, 16), k.nn.ReLU(),
        k.nn.Linear(16, 10)], "unused-classes", table="wine")  # fmt: skip


@mismatch("zero-weights", "symmetric-units", "bad-initialisation")
def zero_weights(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 10)
    kit.fill(model, 0.0)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss())


@mismatch("constant-weights", "symmetric-units", "bad-initialisation")
def constant_weights(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 10, act="Tanh")
    kit.fill(model, 0.05, 0.1)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss())


@mismatch("huge-weights", "bad-initialisation")
def huge_weights(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 64, 64, 64, 10)
    kit.draw(model, 2.0, seed)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss())


@mismatch("tiny-weights", "bad-initialisation", "vanishing-gradients")
def tiny_weights(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 64, 64, 64, 10, act="Tanh")
    kit.draw(model, 1e-4, seed)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss())


@mismatch("not-in-the-optimiser", "unreached-parameters", "frozen-parameters")
def not_in_the_optimiser(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 10)
    optimizer = kit.optim.Adam(list(model[2].parameters()), lr=1e-3)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss(), optimizer)


@mismatch("not-in-the-graph", "unreached-parameters", "frozen-parameters")
def not_in_the_graph(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    model = kit.through(
        lambda self, x: self.head(x), spare=nn.Linear(64, 64), head=nn.Linear(64, 10)
    )
    return _run(kit, scaled("digits", seed), model, nn.CrossEntropyLoss())


@mismatch("broadcast-accident", "broadcast-accident")
def broadcast_accident(kit: Kit, seed: int) -> Run:
    data = scaled("teacher", seed).mapped(y=lambda y: y[:, 0])
    return _run(kit, data, kit.mlp(8, 16, 1), lambda out, y: ((out - y) ** 2).mean())


@mismatch("batch-crosstalk", "batch-crosstalk", "softmax-axis")
def batch_crosstalk(kit: Kit, seed: int) -> Run:
    model = kit.through(
        lambda self, x: self.head(self.body(x) - self.body(x).mean(0)),
        body=kit.mlp(64, 32, 32, out="ReLU"),
        head=kit.nn.Linear(32, 10),
    )
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss())


@mismatch("summed-loss", "sum-reduction")
def summed_loss(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 10)
    loss = kit.nn.CrossEntropyLoss(reduction="sum")
    return _run(kit, scaled("digits", seed), model, loss, kit.descend("SGD", model, 0.1))


@mismatch("inputs-of-thousands", "input-scale")
def inputs_of_thousands(kit: Kit, seed: int) -> Run:
    data = sets.table("breast_cancer", seed).mapped(x=lambda x: 10 * x)
    return _run(kit, data, kit.mlp(30, 16, 2, act="Tanh"), kit.nn.CrossEntropyLoss())


@mismatch("targets-of-thousands", "target-scale")
def targets_of_thousands(kit: Kit, seed: int) -> Run:
    data = scaled("teacher", seed).mapped(y=lambda y: 3000 + 1000 * y)
    return _run(kit, data, kit.mlp(8, 16, 1), kit.nn.MSELoss())


@mismatch("labels-from-one", "target-encoding")
def labels_from_one(kit: Kit, seed: int) -> Run:
    data = scaled("wine", seed).mapped(y=lambda y: y + 1)
    return _run(kit, data, kit.mlp(13, 16, 3), kit.nn.CrossEntropyLoss())


@mismatch("column-of-labels", "target-encoding", "loss-output-mismatch")
def column_of_labels(kit: Kit, seed: int) -> Run:
    data = scaled("iris", seed).column().mapped(y=lambda y: y.astype(np.float32))
    return _run(kit, data, kit.mlp(4, 16, 1, out="Sigmoid"), kit.nn.BCELoss())


@mismatch("climbing", "wrong-sign")
def climbing(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 10)
    optimizer = kit.descend("Adam", model, 1e-3, maximize=True)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss(), optimizer)


@mismatch("rate-of-a-hundred", "optimizer-setting", "learning-rate-too-high")
def rate_of_a_hundred(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 10)
    return _run(kit, scaled("digits", seed), model, kit.nn.CrossEntropyLoss(),
                kit.descend("SGD", model, 100.0))  # fmt: skip

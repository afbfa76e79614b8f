"""Healthy runs of the ordinary kinds: layers, losses, optimisers and data of every sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.diagnosis import sets
from benchmarks.diagnosis.development import scaled
from benchmarks.diagnosis.kit import Kit
from benchmarks.diagnosis.runs import Run, healthy
from benchmarks.diagnosis.sets import Data


def classifier(
    kit: Kit, data: Data, model: Any, *, loss: Any = None, kind: str = "Adam", lr: float = 3e-3,
    epochs: int = 12, batch: int = 32, schedule: Callable[[Any], Any] | None = None,
    loop: dict[str, Any] | None = None, **options: Any,
) -> Run:  # fmt: skip
    """Cross-entropy on logits with Adam, unless something else is said."""
    optimizer = kit.descend(kind, model, lr, **options)
    return Run(
        kit, model, data, loss or kit.nn.CrossEntropyLoss(), optimizer, epochs, batch,
        schedule=schedule(optimizer) if schedule else None, loop=loop or {},
    )  # fmt: skip


def regressor(kit: Kit, data: Data, model: Any, **options: Any) -> Run:
    """Mean squares with Adam, unless something else is said."""
    options.setdefault("loss", kit.nn.MSELoss())
    options.setdefault("lr", 5e-3)
    options.setdefault("epochs", 30)
    return classifier(kit, data, model, **options)


def _digits(act: str, **options: Any) -> Callable[[Kit, int], Run]:
    def make(kit: Kit, seed: int) -> Run:
        model = kit.mlp(64, 48, 32, 10, act=act)
        return classifier(kit, scaled("digits", seed), model, **options)

    make.__name__ = f"digits_{act.lower()}"
    return make


for act in ("ReLU", "Tanh", "GELU", "SiLU", "LeakyReLU", "ELU", "SELU", "Mish", "Softplus"):
    healthy(0.15)(_digits(act))
healthy(0.2)(_digits("Sigmoid", lr=0.01))


def _optimised(name: str, kind: str, lr: float, **options: Any) -> Callable[[Kit, int], Run]:
    def make(kit: Kit, seed: int) -> Run:
        model = kit.mlp(64, 64, 10)
        return classifier(kit, scaled("digits", seed), model, kind=kind, lr=lr, **options)

    make.__name__ = f"digits_with_{name}"
    return make


for name, kind, lr, options in (
    ("sgd", "SGD", 0.2, {}),
    ("momentum", "SGD", 0.05, {"momentum": 0.9}),
    ("nesterov", "SGD", 0.05, {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", "RMSprop", 2e-3, {}),
    ("adamw", "AdamW", 3e-3, {"weight_decay": 0.01}),
    ("adagrad", "Adagrad", 0.02, {}),
    ("nadam", "NAdam", 3e-3, {}),
    ("small_decay", "Adam", 3e-3, {"weight_decay": 1e-4}),
):
    healthy(0.15)(_optimised(name, kind, lr, **options))


@healthy(0.15)
def digits_batch_norm(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 48, 32, 10, norm="BatchNorm1d")
    return classifier(kit, scaled("digits", seed), model)


@healthy(0.15)
def digits_layer_norm(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed), kit.mlp(64, 48, 32, 10, norm="LayerNorm"))


@healthy(0.15)
def digits_dropout(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed), kit.mlp(64, 96, 10, drop=0.3), epochs=15)


@healthy(0.2)
def digits_softmax_regression(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed), kit.nn.Linear(64, 10), lr=0.01)


@healthy(0.15)
def digits_log_softmax(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 48, 10, out="LogSoftmax")
    return classifier(kit, scaled("digits", seed), model, loss=kit.nn.NLLLoss())


@healthy(0.15)
def digits_one_hot(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed).one_hot(), kit.mlp(64, 48, 10))


@healthy(0.15)
def digits_deep(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 48, 48, 48, 48, 48, 10)
    kit.draw(model, "he", seed)
    return classifier(kit, scaled("digits", seed), model, lr=2e-3)


@healthy(0.15)
def digits_cosine(kit: Kit, seed: int) -> Run:
    return classifier(
        kit, scaled("digits", seed), kit.mlp(64, 48, 10), lr=5e-3,
        schedule=lambda o: kit.optim_schedule("CosineAnnealingLR", o, 480),
    )  # fmt: skip


@healthy(0.15)
def digits_warm_up(kit: Kit, seed: int) -> Run:
    return classifier(
        kit, scaled("digits", seed), kit.mlp(64, 48, 10), lr=5e-3,
        schedule=lambda o: kit.optim_schedule("LinearLR", o, 0.1, 1.0, 100),
    )  # fmt: skip


def _convolution(kit: Kit, norm: bool) -> Any:
    nn = kit.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    )  # fmt: skip


@healthy(0.15)
def digits_convolution(kit: Kit, seed: int) -> Run:
    return classifier(kit, sets.images(seed), _convolution(kit, False), epochs=6)


@healthy(0.15)
def digits_convolution_batch_norm(kit: Kit, seed: int) -> Run:
    return classifier(kit, sets.images(seed), _convolution(kit, True), epochs=5)


@healthy(0.2)
def digits_global_pooling(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return classifier(kit, sets.images(seed), model, lr=5e-3, epochs=8)


def _rows(seed: int) -> Data:
    return scaled("digits", seed).mapped(x=lambda x: x.reshape(-1, 8, 8))


@healthy(0.25)
def digits_lstm(kit: Kit, seed: int) -> Run:
    model = kit.through(
        lambda self, x: self.head(self.body(x)[0][:, -1]),
        body=kit.nn.LSTM(8, 32, batch_first=True), head=kit.nn.Linear(32, 10),
    )  # fmt: skip
    return classifier(kit, _rows(seed), model, lr=0.01, epochs=8)


@healthy(0.25)
def digits_gru(kit: Kit, seed: int) -> Run:
    model = kit.through(
        lambda self, x: self.head(self.body(x)[0][:, -1]),
        body=kit.nn.GRU(8, 32, batch_first=True), head=kit.nn.Linear(32, 10),
    )  # fmt: skip
    return classifier(kit, _rows(seed), model, lr=0.01, epochs=8)


@healthy(0.25)
def digits_transformer(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    model = kit.through(
        lambda self, x: self.head(self.body(self.embed(x) + self.place).reshape(-1, 128)),
        embed=nn.Linear(8, 16), place=nn.Parameter(kit.array.zeros((8, 16))),
        body=nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True),
        head=nn.Linear(128, 10),
    )  # fmt: skip
    return classifier(kit, _rows(seed), model, lr=5e-3, epochs=6)


@healthy(0.2)
def wine(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("wine", seed), kit.mlp(13, 16, 3), lr=0.01, epochs=40, batch=16)


@healthy(0.2)
def iris(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("iris", seed), kit.mlp(4, 12, 3), lr=0.01, epochs=40, batch=16)


@healthy(0.2)
def iris_tanh_as_it_is(kit: Kit, seed: int) -> Run:
    model = kit.mlp(4, 16, 3, act="Tanh")
    return classifier(kit, sets.table("iris", seed), model, lr=0.02, epochs=50, batch=16)


@healthy(0.2)
def breast_cancer_logit(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("breast_cancer", seed).column(), kit.mlp(30, 24, 1),
                      loss=kit.nn.BCEWithLogitsLoss())  # fmt: skip


@healthy(0.2)
def breast_cancer_sigmoid(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("breast_cancer", seed).column(),
                      kit.mlp(30, 16, 8, 1, out="Sigmoid"), loss=kit.nn.BCELoss())  # fmt: skip


@healthy(0.2)
def breast_cancer_two_logits(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("breast_cancer", seed), kit.mlp(30, 16, 2, act="Tanh"))


@healthy(0.2)
def breast_cancer_logistic(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("breast_cancer", seed).column(), kit.nn.Linear(30, 1),
                      loss=kit.nn.BCEWithLogitsLoss(), lr=0.01, epochs=20)  # fmt: skip


@healthy(0.35)
def moons(kit: Kit, seed: int) -> Run:
    return classifier(kit, sets.moons(seed), kit.mlp(2, 24, 24, 2), lr=0.01, epochs=40)


@healthy(0.1)
def xor(kit: Kit, seed: int) -> Run:
    return classifier(kit, sets.xor(seed).column(), kit.mlp(2, 16, 1, act="Tanh"), lr=0.02,
                      loss=kit.nn.BCEWithLogitsLoss(), epochs=40, batch=16)  # fmt: skip


@healthy(0.35)
def many_blobs(kit: Kit, seed: int) -> Run:
    data = sets.blobs(seed, classes=8, dims=12, spread=0.8, rows=800)
    return classifier(kit, data, kit.mlp(12, 32, 8), lr=5e-3)


@healthy(0.85)
def diabetes(kit: Kit, seed: int) -> Run:
    return regressor(kit, scaled("diabetes", seed), kit.mlp(10, 8, 1), lr=3e-3, epochs=15)


@healthy(0.85)
def diabetes_line(kit: Kit, seed: int) -> Run:
    return regressor(kit, scaled("diabetes", seed), kit.nn.Linear(10, 1), lr=0.01)


@healthy(0.85)
def diabetes_huber(kit: Kit, seed: int) -> Run:
    return regressor(kit, scaled("diabetes", seed), kit.mlp(10, 8, 1, act="Tanh"), epochs=15,
                     lr=3e-3, loss=kit.nn.HuberLoss())  # fmt: skip


@healthy(0.2)
def teacher(kit: Kit, seed: int) -> Run:
    return regressor(kit, sets.teacher(seed), kit.mlp(8, 32, 32, 1))


@healthy(0.2)
def teacher_tanh_sgd(kit: Kit, seed: int) -> Run:
    return regressor(kit, sets.teacher(seed), kit.mlp(8, 24, 1, act="Tanh"), kind="SGD", lr=0.05,
                     momentum=0.9)  # fmt: skip


@healthy(0.25)
def teacher_absolute(kit: Kit, seed: int) -> Run:
    return regressor(kit, sets.teacher(seed), kit.mlp(8, 32, 1), loss=kit.nn.L1Loss())


@healthy(0.3)
def sine(kit: Kit, seed: int) -> Run:
    data = sets.curve(seed, lambda x: np.sin(3 * x), -1.5, 1.5, noise=0.1)
    return regressor(kit, data, kit.mlp(1, 32, 32, 1, act="Tanh"), lr=0.01, epochs=50)


@healthy(0.2)
def several_targets(kit: Kit, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(600, 6)).astype(np.float32)
    y = np.sin(x @ rng.normal(size=(6, 3)) / 4).astype(np.float32)
    return regressor(kit, sets.split(x, y, "real", seed), kit.mlp(6, 48, 3, act="SiLU"), lr=0.01)


def _itself(data: Data) -> Data:
    return Data(data.x, data.x, data.x_held, data.x_held, "real")


@healthy(0.5)
def autoencoder_sigmoid(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 12, 32, 64, out="Sigmoid")
    return regressor(kit, _itself(sets.table("digits", seed)), model, epochs=12)


@healthy(0.6)
def autoencoder_line(kit: Kit, seed: int) -> Run:
    data = sets.table("wine", seed).standardised()
    return regressor(kit, _itself(data), kit.mlp(13, 16, 5, 16, 13, act="Tanh"), epochs=60,
                     batch=16)  # fmt: skip


# With PyTorch's BCELoss of float32 probabilities its units saturate: that is no healthy run.
@healthy(0.5, frameworks=("chainrule",))
def autoencoder_likelihood(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 32, 16, 32, 64, act="Tanh", out="Sigmoid")
    return regressor(kit, _itself(sets.table("digits", seed)), model, loss=kit.nn.BCELoss(),
                     epochs=20, lr=2e-3)  # fmt: skip


@healthy(0.3)
def tokens_mean(kit: Kit, seed: int) -> Run:
    model = kit.through(
        lambda self, x: self.head(self.embed(x).mean(1)),
        embed=kit.nn.Embedding(8, 8), head=kit.nn.Linear(8, 2),
    )  # fmt: skip
    return classifier(kit, sets.sequences(seed), model, lr=0.02, epochs=25)


@healthy(0.3)
def waves_gru(kit: Kit, seed: int) -> Run:
    model = kit.through(
        lambda self, x: self.head(self.body(x)[0].mean(1)),
        body=kit.nn.GRU(1, 16, batch_first=True), head=kit.nn.Linear(16, 3),
    )  # fmt: skip
    return classifier(kit, sets.waves(seed), model, lr=0.02, epochs=20)


@healthy(0.3)
def waves_convolution(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    data = sets.waves(seed).mapped(x=lambda x: x.transpose(0, 2, 1))
    model = nn.Sequential(nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(),
                          nn.Linear(128, 3))  # fmt: skip
    return classifier(kit, data, model, lr=5e-3, epochs=15)


@healthy(0.6)
def several_labels(kit: Kit, seed: int) -> Run:
    """Four independent yes-or-no labels a row; the yardstick reads them as numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(700, 10)).astype(np.float32)
    y = (x @ rng.normal(size=(10, 4)) > 0).astype(np.float32)
    model = kit.mlp(10, 32, 4, out="Sigmoid")
    return classifier(kit, sets.split(x, y, "real", seed), model, loss=kit.nn.BCELoss(), lr=0.01,
                      epochs=20)  # fmt: skip


@healthy(0.6)
def counts(kit: Kit, seed: int) -> Run:
    """Poisson counts; the softplus output is the rate."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(600, 5)).astype(np.float32)
    y = rng.poisson(np.exp(1 + 0.5 * x[:, :1] - 0.5 * x[:, 1:2])).astype(np.float32)
    model = kit.mlp(5, 24, 1, out="Softplus")
    return regressor(kit, sets.split(x, y, "real", seed), model, lr=0.01,
                     loss=kit.nn.PoissonNLLLoss(log_input=False))  # fmt: skip


@healthy(0.35)
def pixels(kit: Kit, seed: int) -> Run:
    """Every pixel of an 8×8 image gets a class: whether it and its neighbours are bright."""
    nn = kit.nn
    data = sets.images(seed, 500)
    bright = [(x[:, 0] > 0.5).astype(np.int64) for x in (data.x, data.x_held)]
    held = data.x_held[:200]
    data = Data(data.x, bright[0], held, bright[1][:200], "classes")
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return classifier(kit, data, model, lr=0.02, epochs=15)

"""Healthy runs that published tools raise false alarms on."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.diagnosis import sets
from benchmarks.diagnosis.development import scaled
from benchmarks.diagnosis.healthy_tables import classifier, regressor
from benchmarks.diagnosis.kit import Kit
from benchmarks.diagnosis.runs import Run, healthy
from benchmarks.diagnosis.sets import Data


@healthy(0.15, "sparse ReLU: four fifths of the activations are zero")
def sparse_relu(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 256, 10)
    kit.draw(model, "he", seed)
    kit.put(model[0].bias, -0.8)
    return classifier(kit, scaled("digits", seed), model, lr=2e-3, epochs=10)


@healthy(0.15, "sparse ReLU in two layers")
def sparse_relu_deep(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 128, 128, 10)
    kit.draw(model, "he", seed)
    kit.put(model[0].bias, -0.5)
    kit.put(model[2].bias, -0.5)
    return classifier(kit, scaled("digits", seed), model, lr=2e-3, epochs=10)


@healthy(0.2, "edge of stability: full-batch descent, sharpness near 2/η")
def edge_of_stability(kit: Kit, seed: int) -> Run:
    data = scaled("digits", seed).first(600)
    model = kit.mlp(64, 48, 10, act="Tanh")
    return classifier(kit, data, model, kind="SGD", lr=0.8, epochs=300, batch=600)


@healthy(0.25, "edge of stability: momentum on mean squares")
def edge_of_stability_regression(kit: Kit, seed: int) -> Run:
    model = kit.mlp(8, 32, 1, act="Tanh")
    return regressor(kit, sets.teacher(seed), model, kind="SGD", lr=0.2, epochs=250, batch=420)


@healthy(0.2, "tiny batches: the loss is noisy")
def batch_of_two(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed).first(500), kit.mlp(64, 32, 10), kind="SGD",
                      lr=0.05, batch=2, epochs=6)  # fmt: skip


@healthy(0.3, "batches of a single row")
def batch_of_one(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("wine", seed), kit.mlp(13, 12, 3), kind="SGD", lr=0.01, batch=1,
                      epochs=8)  # fmt: skip


@healthy(0.05, "high accuracy early")
def easy(kit: Kit, seed: int) -> Run:
    return classifier(kit, sets.blobs(seed, 3, 8, 0.4), kit.mlp(8, 16, 3), lr=0.01, epochs=10)


@healthy(0.15, "residual net: depth without vanishing")
def residual(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    blocks = [kit.residual(kit.mlp(32, 32, 32)) for _ in range(6)]
    model = nn.Sequential(nn.Linear(64, 32), *blocks, nn.ReLU(), nn.Linear(32, 10))
    return classifier(kit, scaled("digits", seed), model, lr=1e-3, epochs=8)


@healthy(0.2, "residual net with normalisation, regression")
def residual_normalised(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    blocks = [
        kit.residual(nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24), nn.GELU(),
                                   nn.Linear(24, 24)))
        for _ in range(4)
    ]  # fmt: skip
    model = nn.Sequential(nn.Linear(8, 24), *blocks, nn.Linear(24, 1))
    return regressor(kit, sets.teacher(seed), model, lr=2e-3, epochs=20)


@healthy(0.2, "fine-tuning: trained features are frozen, the head learns")
def fine_tuned(kit: Kit, seed: int) -> Run:
    data = scaled("digits", seed)
    features = kit.mlp(64, 48, 24, 10)
    kit.fit(features, kit.nn.CrossEntropyLoss(), data.x[:600], data.y[:600], 200)
    model = kit.nn.Sequential(*[features[i] for i in range(4)], kit.nn.Linear(24, 10))
    for i in (0, 2):
        for parameter in model[i].parameters():
            parameter.requires_grad = False
    return classifier(kit, data, model, lr=5e-3, epochs=10)


@healthy(0.2, "random features: a wide first layer stays as it was drawn")
def random_features(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 400, 10)
    kit.draw(model, "he", seed)
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    return classifier(kit, scaled("digits", seed), model, lr=3e-3, epochs=8)


@healthy(0.35, "small data")
def forty_rows(kit: Kit, seed: int) -> Run:
    data = scaled("wine", seed).first(40)
    return classifier(kit, data, kit.mlp(13, 8, 3), lr=0.01, epochs=25, batch=8,
                      weight_decay=1e-3)  # fmt: skip


@healthy(0.15, "strong dropout: training loss above held-out loss")
def half_dropped(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 128, 64, 10, drop=0.5)
    return classifier(kit, scaled("digits", seed), model, lr=2e-3, epochs=15)


@healthy(0.25, "negative targets with ReLU inside")
def negative_targets(kit: Kit, seed: int) -> Run:
    data = sets.teacher(seed).mapped(y=lambda y: -2 - np.abs(y))
    return regressor(kit, data, kit.mlp(8, 64, 64, 1), lr=5e-3, epochs=40)


@healthy(0.15, "inputs of 0 to 255 behind BatchNorm")
def bytes_behind_batch_norm(kit: Kit, seed: int) -> Run:
    data = scaled("digits", seed).mapped(x=lambda x: 255 * x)
    nn = kit.nn
    model = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    return classifier(kit, data, model)


@healthy(0.2, "inputs of 0 to 255 behind LayerNorm")
def bytes_behind_layer_norm(kit: Kit, seed: int) -> Run:
    data = scaled("digits", seed).mapped(x=lambda x: 255 * x)
    nn = kit.nn
    model = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    return classifier(kit, data, model)


@healthy(0.15, "inputs of 0 to 16, outside [−1, 1], which Adam bears")
def sixteen_levels(kit: Kit, seed: int) -> Run:
    data = scaled("digits", seed).mapped(x=lambda x: 16 * x)
    return classifier(kit, data, kit.mlp(64, 48, 10), lr=1e-3, epochs=12)


@healthy(0.15, "a small rate in a long run")
def small_rate(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 96, 10)
    return classifier(kit, scaled("digits", seed), model, lr=2e-4, batch=16, epochs=25)


@healthy(0.15, "a large rate that a normalised network bears")
def large_rate(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 48, 10, norm="BatchNorm1d")
    return classifier(kit, scaled("digits", seed), model, kind="SGD", lr=0.5, epochs=10)


@healthy(0.15, "label smoothing: the loss has a floor")
def smoothed_labels(kit: Kit, seed: int) -> Run:
    loss = kit.nn.CrossEntropyLoss(label_smoothing=0.2)
    return classifier(kit, scaled("digits", seed), kit.mlp(64, 48, 10), loss=loss)


@healthy(0.5, "class imbalance that the network handles")
def imbalanced(kit: Kit, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    y = (rng.random(900) < 0.1).astype(np.int64)
    x = (rng.normal(size=(900, 6)) + 1.6 * y[:, None]).astype(np.float32)
    return classifier(kit, sets.split(x, y, "binary", seed), kit.mlp(6, 16, 2), lr=5e-3)


@healthy(0.6, "class imbalance answered by class weights")
def weighted(kit: Kit, seed: int) -> Run:
    data = sets.blobs(seed, 3, 5, 0.8)
    keep = np.random.default_rng(seed).random(len(data.y)) < np.where(data.y == 0, 0.4, 1.0)
    data = Data(data.x[keep], data.y[keep], data.x_held, data.y_held, "classes")
    weight = kit.array.asarray(np.array([2.0, 1.0, 1.0], np.float32))
    return classifier(kit, data, kit.mlp(5, 16, 3), lr=0.01,
                      loss=kit.nn.CrossEntropyLoss(weight=weight))  # fmt: skip


@healthy(0.2, "a deep tanh net with Xavier's weights")
def deep_tanh(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 40, 40, 40, 40, 10, act="Tanh")
    kit.draw(model, 40**-0.5, seed)
    return classifier(kit, scaled("digits", seed), model, lr=2e-3, epochs=10)


@healthy(0.15, "warm restarts: the loss rises at each")
def warm_restarts(kit: Kit, seed: int) -> Run:
    return classifier(
        kit, scaled("digits", seed), kit.mlp(64, 48, 10), lr=0.01,
        schedule=lambda o: kit.optim_schedule("CosineAnnealingWarmRestarts", o, 160),
    )  # fmt: skip


@healthy(0.25, "gradient clipping: updates are all of one size")
def clipped(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed), kit.mlp(64, 48, 10), kind="SGD", lr=0.3,
                      loop={"clip": 0.5})  # fmt: skip


@healthy(0.3, "a short run that still improves")
def short(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed), kit.mlp(64, 64, 10), lr=2e-3, epochs=4)


@healthy(0.7, "linear layers with nothing between: a linear autoencoder is PCA")
def principal_components(kit: Kit, seed: int) -> Run:
    data = sets.table("breast_cancer", seed).standardised()
    data = Data(data.x, data.x, data.x_held, data.x_held, "real")
    return regressor(kit, data, kit.mlp(30, 6, 30, act=""), lr=0.01, epochs=20)


@healthy(0.15, "layers without biases before normalisation")
def without_biases(kit: Kit, seed: int) -> Run:
    nn = kit.nn
    model = nn.Sequential(nn.Linear(64, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(),
                          nn.Linear(48, 10))  # fmt: skip
    return classifier(kit, scaled("digits", seed), model)


@healthy(0.15, "the last layer starts at zero: the first outputs are all alike")
def zero_head(kit: Kit, seed: int) -> Run:
    model = kit.mlp(64, 48, 10)
    kit.put(model[2].weight, 0.0)
    kit.put(model[2].bias, 0.0)
    return classifier(kit, scaled("digits", seed), model)


@healthy(0.5, "tied weights: the decoder is the encoder's transpose")
def tied(kit: Kit, seed: int) -> Run:
    data = sets.table("digits", seed)
    data = Data(data.x, data.x, data.x_held, data.x_held, "real")

    def forward(self: Any, x: Any) -> Any:
        code = kit.array.tanh(self.code(x))
        return code @ self.code.weight + self.shift

    model = kit.through(forward, code=kit.nn.Linear(64, 24),
                        shift=kit.nn.Parameter(kit.array.zeros((64,))))  # fmt: skip
    return regressor(kit, data, model, lr=5e-3, epochs=12)


@healthy(0.15, "a very wide layer for the data at hand")
def wide(kit: Kit, seed: int) -> Run:
    return classifier(kit, scaled("digits", seed), kit.mlp(64, 512, 10), lr=1e-3, epochs=6)


@healthy(0.75, "noisy targets: the floor of the loss is high")
def noisy_targets(kit: Kit, seed: int) -> Run:
    data = sets.teacher(seed, noise=0.6)
    return regressor(kit, data, kit.mlp(8, 16, 1), lr=3e-3, epochs=15, weight_decay=1e-3)


@healthy(0.6, "overlapping classes: no network can be sure")
def overlapping(kit: Kit, seed: int) -> Run:
    data = sets.blobs(seed, 3, 6, 1.8, rows=900)
    return classifier(kit, data, kit.mlp(6, 16, 3), lr=3e-3, epochs=10)

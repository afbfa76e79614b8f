"""chainrule's own passes, as `diagnose` sees them: losses by any way of writing them, gradients,
and nothing disturbed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.frameworks.ours import Ours
from chainrule.lens.diagnose.passes import Pass
from chainrule.tensor import generator

ROWS, CLASSES = 6, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype("f")
LABELS = np.array([0, 2, 1, 1, 0, 2])
ONE_HOT = np.eye(CLASSES, dtype="f")[LABELS]
REAL = RNG.normal(size=(ROWS, CLASSES)).astype("f")
BITS = (REAL > 0).astype("f")


def softmax(o: Any) -> Any:
    return nn.softmax(o, axis=1)


def log_softmax(o: Any) -> Any:
    return nn.log_softmax(o, axis=1)


def rows(y: Any) -> Any:
    return np.arange(len(y)), y


# name: (loss of outputs and targets, targets, kind, reduction, sign, what the prediction is)
LOSSES: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray, str, str, int, str]] = {
    "cross_entropy": (nn.cross_entropy, LABELS, "cross_entropy", "mean", 1, "linear"),
    "its sum": (
        lambda o, y: nn.cross_entropy(o, y, reduction="sum"),
        LABELS, "cross_entropy", "sum", 1, "linear",
    ),
    "summed afterwards": (
        lambda o, y: nn.cross_entropy(o, y, reduction="none").sum(),
        LABELS, "cross_entropy", "sum", 1, "linear",
    ),
    "a sum divided by the rows": (
        lambda o, y: nn.cross_entropy(o, y, reduction="sum") / len(y),
        LABELS, "cross_entropy", "sum", 1, "linear",
    ),
    "a module": (nn.CrossEntropyLoss(), LABELS, "cross_entropy", "mean", 1, "linear"),
    "soft targets": (nn.cross_entropy, ONE_HOT, "cross_entropy", "mean", 1, "linear"),
    "negated": (
        lambda o, y: -nn.cross_entropy(o, y), LABELS, "cross_entropy", "mean", -1, "linear",
    ),
    "smoothed": (
        lambda o, y: nn.cross_entropy(o, y, label_smoothing=0.1),
        LABELS, "cross_entropy", "mean", 1, "linear",
    ),
    "with a penalty": (
        lambda o, y: nn.cross_entropy(o, y) + 0.01 * (o * 0 + 1).mean().detach(),
        LABELS, "cross_entropy", "mean", 1, "linear",
    ),
    "softmax first": (
        lambda o, y: nn.cross_entropy(softmax(o), y), LABELS, "cross_entropy", "mean", 1, "softmax",
    ),
    "nll": (
        lambda o, y: nn.nll_loss(log_softmax(o), y), LABELS, "nll", "mean", 1, "log_softmax",
    ),
    "log softmax by hand": (
        lambda o, y: -log_softmax(o)[rows(y)].mean(), LABELS, "cross_entropy", "mean", 1, "linear",
    ),
    "one-hot by hand": (
        lambda o, y: -(y * log_softmax(o)).sum(axis=1).mean(),
        ONE_HOT, "cross_entropy", "mean", 1, "linear",
    ),
    "log of softmax, summed": (
        lambda o, y: -cr.log(softmax(o))[rows(y)].sum(), LABELS, "nll", "sum", 1, "softmax",
    ),
    "log without its sign": (
        lambda o, y: cr.log(softmax(o))[rows(y)].mean(), LABELS, "nll", "mean", -1, "softmax",
    ),
    "mse": (nn.mse_loss, REAL, "mse", "mean", 1, "linear"),
    "mse by hand": (lambda o, y: ((o - y) ** 2).mean(), REAL, "mse", "mean", 1, "linear"),
    "mse, target first": (lambda o, y: cr.mean(cr.square(y - o)), REAL, "mse", "mean", 1, "linear"),
    "mse as a product": (
        lambda o, y: (lambda d: 0.5 * (d * d).sum())(o - y), REAL, "mse", "sum", 1, "linear",
    ),
    "mse by rows": (
        lambda o, y: ((o - y) ** 2).sum(axis=1).mean(), REAL, "mse", "mean", 1, "linear",
    ),
    "mae": (nn.l1_loss, REAL, "mae", "mean", 1, "linear"),
    "mae by hand": (lambda o, y: abs(o - y).mean(), REAL, "mae", "mean", 1, "linear"),
    "huber": (nn.huber_loss, REAL, "huber", "mean", 1, "linear"),
    "smooth l1": (nn.smooth_l1_loss, REAL, "huber", "mean", 1, "linear"),
    "bce with logits": (
        nn.binary_cross_entropy_with_logits, BITS, "bce_with_logits", "mean", 1, "linear",
    ),
    "bce": (
        lambda o, y: nn.binary_cross_entropy(nn.sigmoid(o), y), BITS, "bce", "mean", 1, "sigmoid",
    ),
    "bce by hand": (
        lambda o, y: (lambda p: -(y * cr.log(p) + (1 - y) * cr.log(1 - p)).mean())(nn.sigmoid(o)),
        BITS, "bce", "mean", 1, "sigmoid",
    ),
    "reshaped": (
        lambda o, y: nn.mse_loss(o.reshape(-1), y.reshape(-1)), REAL, "mse", "mean", 1, "linear",
    ),
    "another": (lambda o, y: cr.log(cr.cosh(o - y)).mean(), REAL, "custom", "mean", 1, "linear"),
}  # fmt: skip


@pytest.fixture
def model() -> nn.Module:
    cr.seed(0)
    return nn.Linear(4, CLASSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_known_however_it_is_written(name: str, model: nn.Module) -> None:
    loss, targets, kind, reduction, sign, prediction = LOSSES[name]
    run = Ours().observe(model, X, targets, loss)
    assert run.error is None
    facts = run.facts
    assert (facts.kind, facts.reduction, facts.sign) == (kind, reduction, sign)
    assert facts.prediction is not None
    assert run.ops[facts.prediction].name == prediction
    assert facts.target is not None
    assert np.array_equal(np.reshape(facts.target, targets.shape), targets)
    assert facts.operation is not None
    assert facts.prediction in run.ops[facts.operation].inputs


def test_a_loss_that_is_rebuilt_from_what_is_known_is_the_loss(model: nn.Module) -> None:
    for name, (loss, targets, kind, reduction, *_) in LOSSES.items():
        run = Ours().observe(model, X, targets, loss)
        ours = {"linear": run.outputs}.get(run.ops[run.facts.prediction or 0].name)
        plain = run.facts.sign > 0 and name not in (
            "a sum divided by the rows", "with a penalty", "mse as a product", "mse by rows",
        )  # fmt: skip
        if kind == "custom" or ours is None or not plain:
            continue
        again = Ours().loss(kind, reduction, **run.facts.options)
        assert Ours().loss_of(again, ours, targets) == pytest.approx(run.loss, rel=1e-5), name


def test_gradients_are_those_that_backward_gives() -> None:
    cr.seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, CLASSES))
    run = Ours().observe(model, X, LABELS, nn.cross_entropy)
    nn.cross_entropy(model(cr.asarray(X)), cr.asarray(LABELS)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(
            gradient_of(run, name), parameter.grad.numpy(), rtol=1e-5, atol=1e-7
        )
    (last,) = [layer for layer in run.layers if layer.last]
    # ∂L/∂z = (softmax(z) − y)/n (Bishop 2006, eq. 4.109), written here by itself.
    z = last.z.astype(float)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert last.delta is not None
    np.testing.assert_allclose(last.delta, (p - ONE_HOT) / ROWS, atol=1e-6)


def gradient_of(run: Pass, name: str) -> np.ndarray:
    found = run.gradients[name]
    assert found is not None
    return found


def test_a_pass_leaves_no_trace() -> None:
    cr.seed(2)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    model[2].eval()
    optimizer = optim.Adam(model.parameters())
    nn.cross_entropy(model(cr.asarray(X)), cr.asarray(LABELS)).backward()
    before = {name: value.tobytes() for name, value in model.state_dict().items()}
    gradients = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
    versions = [p.version for p in model.parameters()]
    random, modes = generator.default.state, [m.training for m in model.modules()]
    Ours().observe(model, X, LABELS, nn.cross_entropy)
    Ours().gradients(model, X, LABELS, nn.cross_entropy)
    Ours().outputs(model, X)
    assert {n: v.tobytes() for n, v in model.state_dict().items()} == before
    assert [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None] == gradients
    assert [p.version for p in model.parameters()] == versions
    assert (generator.default.state, [m.training for m in model.modules()]) == (random, modes)
    assert not optimizer.state


def test_what_a_model_raises_is_kept() -> None:
    run = Ours().observe(nn.Linear(5, 3), X, LABELS, nn.cross_entropy)
    assert isinstance(run.error, cr.ShapeError)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x.reshape(len(x), 2, 4))[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        self.embed = nn.Embedding(7, 4)
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Any) -> Any:
        h = self.embed(x)
        return (self.mix(h, h, h, need_weights=False)[0] @ self.embed.weight.T).mean(axis=1)


class Functional(nn.Module):
    def __init__(self) -> None:
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.two(nn.dropout(nn.relu(self.one(x)), 0.2))


def layers(model: nn.Module, x: np.ndarray) -> list[tuple[str, str, str, bool]]:
    run = Ours().observe(model, x, np.arange(len(x)) % 3, nn.cross_entropy)
    assert run.error is None
    return [(layer.path, layer.kind, layer.activation, layer.last) for layer in run.layers]


def test_layers_of_functions_convolutions_and_recurrent_networks() -> None:
    cr.seed(3)
    assert layers(Functional(), X) == [
        ("one", "linear", "relu", False),
        ("two", "linear", "", True),
    ]
    conv = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    images = RNG.normal(size=(5, 1, 4, 4)).astype("f")
    assert layers(conv, images) == [("0", "conv", "relu", False), ("4", "linear", "", True)]
    found = layers(Recurrent(), RNG.normal(size=(5, 8)).astype("f"))
    assert [(path, kind) for path, kind, *_ in found] == [
        ("lstm", "recurrent"), ("head", "linear"),
    ]  # fmt: skip
    assert found[-1][-1]


def test_a_tied_weight_is_one_parameter_with_the_gradient_of_both_uses() -> None:
    cr.seed(4)
    model, x, y = Tied(), RNG.integers(0, 7, (5, 3)), np.arange(5)
    run = Ours().observe(model, x, y, nn.cross_entropy)
    assert run.error is None
    nn.cross_entropy(model(cr.asarray(x)), cr.asarray(y)).backward()
    assert model.embed.weight.grad is not None
    both = model.embed.weight.grad.numpy()
    np.testing.assert_allclose(gradient_of(run, "embed.weight"), both, rtol=1e-5, atol=1e-7)
    kinds = {layer.kind for layer in run.layers}
    assert "embedding" in kinds

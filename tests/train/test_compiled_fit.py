"""`fit` compiles its step where that pays, and nobody notices where it cannot."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.train import fit, loop

rng = np.random.default_rng(0)
X = rng.normal(size=(70, 3)).astype("f4")
Y = (X @ np.array([1.0, -2.0, 0.5]) + 0.3).astype("f4")[:, None]
LABELS = (Y[:, 0] > 0).astype(int)


def network(outputs=1):
    cr.seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, outputs))


@pytest.fixture(params=[True, False], ids=["compiled", "eager"])
def always(request, monkeypatch):
    monkeypatch.setattr(loop, "WORTH_COMPILING", 0 if request.param else 10**9)
    return request.param


def weights(model):
    return [p.numpy(copy=True) for p in model.parameters()]


def trained(worth, monkeypatch, loss=nn.mse_loss, schedule=None):
    monkeypatch.setattr(loop, "WORTH_COMPILING", worth)
    model = network()
    opt = optim.Adam(model.parameters(), lr=0.01)
    history = fit(
        model, (X, Y), loss=loss, epochs=5, batch_size=16, optimizer=opt, validation=(X[:9], Y[:9]),
        schedule=schedule and schedule(opt),
    )  # fmt: skip
    return [*weights(model), np.array([e.train_loss for e in history.epochs])]


@pytest.mark.parametrize("schedule", [None, lambda opt: optim.CosineAnnealingLR(opt, 20)])
def test_the_same_training_compiled_and_eager(monkeypatch, schedule):
    compiled = trained(0, monkeypatch, schedule=schedule)
    for a, b in zip(compiled, trained(10**9, monkeypatch, schedule=schedule), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_loss_that_branches_on_values_is_trained_eagerly_without_a_word(monkeypatch):
    def loss(outputs, targets):
        found = nn.mse_loss(outputs, targets)
        return found * 2 if found.item() > 1 else found

    compiled = trained(0, monkeypatch, loss)
    for a, b in zip(compiled, trained(10**9, monkeypatch, loss), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_label_out_of_range_is_named(always):
    with pytest.raises(cr.ShapeError, match="has the label 2, and the logits have 2 classes"):
        fit(network(2), (X, np.where(np.arange(70) == 40, 2, LABELS)), loss=nn.cross_entropy)


def test_a_loss_that_explodes_is_named(always):
    model = network()
    with pytest.raises(cr.NonFiniteError, match=r"epoch \d+, batch \d+ of 3"):
        fit(
            model, (X, Y), loss=nn.mse_loss, epochs=50,
            optimizer=optim.SGD(model.parameters(), lr=1e20),
        )  # fmt: skip


def test_an_optimiser_of_another_kind_is_used_as_it_is(always):
    class Mine:
        param_groups = ({"lr": 0.1},)
        steps = 0

        def step(self):
            Mine.steps += 1

    fit(network(), (X, Y), loss=nn.mse_loss, epochs=1, optimizer=Mine(), batch_size=35)
    assert Mine.steps == 2

"""The training loop against closed forms, and what it says where it cannot go on."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.train import fit

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.3


def line():
    cr.seed(1)
    return nn.Linear(3, 1)


def squared(outputs, targets):
    return nn.mse_loss(outputs[:, 0], targets)


def test_converges_to_least_squares():
    model = line()
    history = fit(
        model, (X, Y + 0.1 * rng.normal(size=60)), loss=squared, epochs=300, batch_size=60,
        optimizer=optim.SGD(model.parameters(), lr=0.2),
    )  # fmt: skip
    assert history.epochs[-1].train_loss < 0.02
    noisy = X @ np.array([1.0, -2.0, 0.5]) + 0.3
    wanted, *_ = np.linalg.lstsq(np.c_[X, np.ones(60)], noisy, rcond=None)
    found = [*model.weight.numpy()[0], *model.bias.numpy()]
    assert found == pytest.approx(wanted, abs=0.06)
    assert history.stopped == "all 300 epochs were done"


def test_one_epoch_is_the_hand_written_loop():
    ours, by_hand = line(), line()
    fit(ours, (X, Y), loss=squared, epochs=2, batch_size=16, seed=5,
        optimizer=optim.Adam(ours.parameters(), lr=0.01))  # fmt: skip
    opt = optim.Adam(by_hand.parameters(), lr=0.01)
    batches = cr.data.Batches((X.astype(np.float32), Y.astype(np.float32)), 16, seed=5)
    for epoch in range(2):
        for x, y in batches.epoch(epoch):
            squared(by_hand(x), cr.asarray(y)).backward()
            opt.step()
    assert np.array_equal(ours.weight.numpy(), by_hand.weight.numpy())


def test_the_best_weights_are_kept_and_training_stops():
    model = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 1))
    noise = rng.normal(size=60)
    history = fit(
        model, (X[:30], noise[:30]), loss=squared, validation=(X[30:], noise[30:]), epochs=400,
        optimizer=optim.Adam(model.parameters(), lr=0.01), patience=7,
    )  # fmt: skip
    losses = [e.validation_loss for e in history.epochs]
    assert history.best_epoch == int(np.argmin(losses)) + 1
    assert len(losses) == history.best_epoch + 7
    assert "did not fall for 7 epochs" in history.stopped
    with cr.no_grad():
        again = squared(model(X[30:]), cr.asarray(noise[30:], dtype=cr.float32)).item()
    assert again == pytest.approx(min(losses), rel=1e-5)
    assert history.best.validation_loss == min(losses)


def test_the_same_seed_gives_the_same_bits():
    def weights():
        cr.seed(3)
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        fit(model, (X, Y), loss=squared, epochs=3, seed=4)
        return model[0].weight.numpy().tobytes()

    assert weights() == weights()


def test_a_loss_that_explodes_is_an_error_that_says_where():
    model = line()
    with pytest.raises(cr.NonFiniteError, match=r"epoch \d+, batch \d+ of 2.*learning rate 1e\+20"):
        fit(
            model, (X, Y), loss=squared, epochs=50, optimizer=optim.SGD(model.parameters(), lr=1e20)
        )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((X, Y[:5]), "belongs to row i"),
        ((X[:0], Y[:0]), "at least"),
        ((np.where(X > 2, np.nan, X) * np.where(X[3, 1] == X, np.nan, 1), Y), "nan"),
        ((X.astype(str), Y), "takes numbers"),
        (X, "pair"),
    ],
)
def test_bad_data(data, says):
    with pytest.raises(cr.DataError, match=says):
        fit(line(), data, loss=squared)


def test_nothing_to_train():
    with pytest.raises(cr.GradientError, match="no parameters"):
        fit(nn.ReLU(), (X, Y), loss=squared)


def test_progress_is_called_with_every_epoch():
    seen = []
    fit(line(), (X, Y), loss=squared, epochs=4, progress=seen.append)
    assert [e.epoch for e in seen] == [1, 2, 3, 4]
    assert all(e.validation_loss is None for e in seen)

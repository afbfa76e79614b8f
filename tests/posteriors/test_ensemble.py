"""Ensembles: each member is what it would be alone, and a maximum of p(D | w) p(w)."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, NonFiniteError, ShapeError
from chainrule.posteriors.together import MIXING, own_orders, together

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (np.sin(X[:, 0]) + 0.1 * RNG.normal(size=60)).astype(np.float32)


def posterior(model, y=Y, **options):
    return prob.posterior(model, (X, y), method="ensemble", **options)


def network(*middle, outputs=1):
    cr.seed(0)
    return nn.Sequential(nn.Linear(4, 12), *middle, nn.ReLU(), nn.Linear(12, outputs))


def test_linear_members_reach_the_posterior_s_mean():
    """For y = Xw + ε with ε ~ Normal(0, σ²) and w ~ Normal(0, 1/λ) it is (XᵀX + λσ² 1)⁻¹ Xᵀy."""
    found = posterior(
        nn.Linear(4, 1, bias=False), noise=0.5, precision=8.0, members=3, epochs=300,
        batch_size=60, lr=0.02,
    )  # fmt: skip
    exact = np.linalg.solve(X.T @ X + 8.0 * 0.25 * np.eye(4), X.T @ Y)
    for member in found.members:
        np.testing.assert_allclose(member.weight.numpy()[0], exact, atol=2e-4)
    np.testing.assert_allclose(found.predict(X).mean, X @ exact, atol=1e-3)
    np.testing.assert_allclose(found.predict(X).aleatoric, 0.25)
    assert found.predict(X).epistemic.max() < 1e-6


def test_the_prior_may_have_a_precision_for_each_weight():
    precision = np.array([1.0, 1e-3, 50.0, 300.0])
    found = posterior(
        nn.Linear(4, 1, bias=False), precision=precision, members=2, epochs=400, batch_size=60,
        lr=0.02,
    )  # fmt: skip
    exact = np.linalg.solve(X.T @ X + np.diag(precision), X.T @ Y)
    np.testing.assert_allclose(found.members[0].weight.numpy()[0], exact, atol=2e-4)


def test_members_together_are_what_they_are_alone():
    """The same batches, each network by itself, eagerly: the same weights to rounding."""
    model = network()
    starts = [network() for _ in range(3)]
    for i, one in enumerate(starts):
        for parameter in one.parameters():
            parameter.assign(parameter.numpy() * (1 + 0.3 * i))
    stacked = {
        name: nn.Parameter(np.stack([dict(s.named_parameters())[name].numpy() for s in starts]))
        for name, _ in model.named_parameters()
    }

    def loss(own, x, y):
        return nn.mse_loss(nn.functional_call(model, own, x)[:, 0], y)

    step = together(loss, stacked, lambda p: optim.Adam(p, lr=0.01))
    batches = [b for e in range(3) for b in own_orders(60, 25, 3, np.random.default_rng(e))]
    losses = np.stack([step(X[rows], Y[rows]).numpy() for rows in batches])
    for i, one in enumerate(starts):
        optimizer = optim.Adam(one.parameters(), lr=0.01)
        for n, rows in enumerate(batches):
            value = nn.mse_loss(one(X[rows[i]])[:, 0], cr.asarray(Y[rows[i]]))
            np.testing.assert_allclose(value.item(), losses[n, i], rtol=1e-4)
            value.backward()
            optimizer.step()
        for name, parameter in one.named_parameters():
            np.testing.assert_allclose(stacked[name].numpy()[i], parameter.numpy(), atol=2e-5)


def test_orders_hold_every_row_once_and_differ_between_members():
    batches = list(own_orders(10, 4, 3, np.random.default_rng(0)))
    assert [b.shape for b in batches] == [(3, 4), (3, 4), (3, 2)]
    whole = np.concatenate(batches, 1)
    assert (np.sort(whole, 1) == np.arange(10)).all()
    assert len({tuple(row) for row in whole}) == 3


def test_members_start_apart_from_the_template_s_distribution_and_the_template_stays():
    model = network()
    before = model.state_dict()
    found = posterior(model, members=4, epochs=1, lr=1e-12)
    firsts = [member[0].weight.numpy() for member in found.members]
    wanted = np.sort(before["0.weight"].reshape(-1))
    for i, first in enumerate(firsts):
        np.testing.assert_allclose(np.sort(first.reshape(-1)), wanted, atol=1e-6)
        assert all(np.abs(first - other).max() > 0.1 for other in firsts[:i])
    for name, value in model.state_dict().items():
        assert np.array_equal(value, before[name])


def test_shared_and_frozen_weights_stay_shared_and_frozen():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1))
    model[2].weight = model[0].weight
    model[3].weight.requires_grad = False
    for member in posterior(model, members=2, epochs=1).members:
        assert member[2].weight is member[0].weight
        assert np.abs(member[0].weight.numpy() - model[0].weight.numpy()).max() > 0.05
        assert np.array_equal(member[3].weight.numpy(), model[3].weight.numpy())


def test_the_same_seed_gives_the_same_members_and_the_default_generator_stays():
    options = {"members": 2, "epochs": 2}
    first = posterior(network(nn.Dropout(0.2)), **options)
    again = posterior(network(nn.Dropout(0.2)), **options)
    other = posterior(network(nn.Dropout(0.2)), generator=cr.Generator(1), **options)
    assert np.array_equal(first.draws(X), again.draws(X))
    assert not np.allclose(first.draws(X), other.draws(X))
    model = nn.Linear(4, 1)
    cr.seed(7)
    expected = cr.random.uniform((2,)).tolist()
    cr.seed(7)
    posterior(model, members=2, epochs=1)
    assert cr.random.uniform((2,)).tolist() == expected


def test_dropout_draws_for_each_member():
    """Members from equal weights, with equal rows in one batch, differ by their masks alone."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 1))
    for parameter in model.parameters():
        parameter.assign(np.full(parameter.shape, 0.5, np.float32))
    found = posterior(model, members=3, epochs=1, batch_size=60, lr=0.1, optimizer=optim.SGD)
    weights = np.stack([member[1].weight.numpy() for member in found.members])
    assert weights.std(0).min() > 0
    still = posterior(model[1], members=3, epochs=1, batch_size=60, lr=0.1, optimizer=optim.SGD)
    assert np.stack([member.weight.numpy() for member in still.members]).std(0).max() < 1e-6


def test_batch_normalisation_tracks_in_each_member():
    """They are trained one after the other, and each has statistics of its own batches."""
    model = network(nn.BatchNorm1d(12)).eval()
    found = posterior(model, members=2, epochs=30, noise=0.2, lr=1e-2)
    assert not model[1].running_mean.numpy().any()
    for member in found.members:
        hidden = member[0](X).numpy()
        np.testing.assert_allclose(member[1].running_mean.numpy(), hidden.mean(0), atol=0.15)
        assert not member.training
    assert found.losses.shape == (30, 2)
    assert (found.losses[-1] < found.losses[0]).all()


class Looking(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(4, 1)

    def forward(self, x):
        return self.inner(x) if x.sum().item() < 1e9 else x


def test_a_module_that_looks_at_values_is_trained_all_the_same():
    found = posterior(Looking(), members=2, epochs=40, lr=0.05)
    assert (found.losses[-1] < found.losses[0]).all()


def test_a_mean_and_a_variance_are_learnt():
    """y = x + |x| ε: the aleatoric part follows the noise, which a fixed one cannot."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, (400, 1)).astype(np.float32)
    y = x[:, 0] + np.abs(x[:, 0]) * rng.normal(size=400)
    cr.seed(0)
    model = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2))
    found = prob.posterior(
        model, (x, y), method="ensemble", likelihood="mean-variance", members=3, epochs=60,
        lr=1e-2, precision=0.1,
    ).predict(np.array([[0.1], [1.8]]))  # fmt: skip
    deviation = np.sqrt(found.aleatoric)
    assert deviation[0] < 0.5
    assert 1.2 < deviation[1] < 2.6
    assert np.abs(found.mean - [0.1, 1.8]).max() < 0.5


def test_classes_and_their_probabilities():
    labels = (X[:, 0] > 0).astype(int)
    found = posterior(network(outputs=2), labels, members=3, epochs=100, lr=1e-2).predict(X)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert (found.probabilities.argmax(1) == labels).mean() > 0.9
    np.testing.assert_allclose(found.entropy, found.aleatoric + found.epistemic)


def test_a_label_beyond_the_classes_is_named():
    with pytest.raises(DataError, match=r"row 0 has the label 5.* 2 outputs"):
        posterior(network(outputs=2), np.full(60, 5), members=2, epochs=1)


def test_given_networks_are_the_members():
    one, two = network(), nn.Linear(4, 1)
    found = posterior(one, members=[one, two])
    np.testing.assert_allclose(found.draws(X), [one(X).numpy(), two(X).numpy()])
    with pytest.raises(ShapeError, match="same outputs"):
        posterior(one, members=[one, network(outputs=2)]).draws(X)


def test_data_where_there_were_none_take_the_epistemic_part_away_and_leave_the_aleatoric():
    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 2, (400, 1)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) + 0.3 * rng.normal(size=len(x))
    cr.seed(0)
    model = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 2))
    found = []
    for rows in (np.abs(x[:, 0]) > 0.9, x[:, 0] > -3):  # with a gap, and all
        own = prob.posterior(
            model, (x[rows], y[rows]), method="ensemble", likelihood="mean-variance",
            precision=0.01, epochs=100, batch_size=20, lr=1e-2,
        )  # fmt: skip
        found.append(own.predict(np.linspace(-0.5, 0.5, 20)[:, None]))
    gap, filled = found
    assert filled.epistemic.mean() < gap.epistemic.mean() / 3
    for one in found:
        assert 0.06 < one.aleatoric.mean() < 0.14  # the truth is 0.09


def test_an_ensemble_of_one_says_so():
    assert "one network" in posterior(network(), members=[network()]).warnings[0]
    assert not posterior(network(), members=[network(), network()]).warnings


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"members": 0}, "members is 0"), ({"members": 2.5}, "members is 2.5"),
        ({"members": []}, "list of trained"),
        ({"members": [3]}, "list of trained"), ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
    ],
)  # fmt: skip
def test_bad_options(options, match):
    with pytest.raises(DataError, match=match):
        posterior(network(), **options)


@pytest.mark.parametrize("kind", MIXING)
def test_optimisers_that_would_mix_networks_are_refused_together(kind):
    weights = {"weight": nn.Parameter(np.ones((3, 4), np.float32))}
    with pytest.raises(DTypeError, match="holds several networks"):
        together(lambda own, x: own["weight"].sum() * x, weights, kind)


@pytest.mark.parametrize("kind", [optim.LAMB, optim.Shampoo])
def test_members_with_such_an_optimiser_are_trained_apart(kind):
    found = posterior(network(), optimizer=kind, members=2, epochs=30, lr=0.02)
    assert (found.losses[-1] < found.losses[0]).all()


def test_a_loss_that_is_not_finite_names_the_member():
    with pytest.raises(NonFiniteError, match=r"member \d of 3 is .* in epoch \d+.*learning rate"):
        posterior(network(), members=3, epochs=30, lr=1e30, optimizer=optim.SGD)

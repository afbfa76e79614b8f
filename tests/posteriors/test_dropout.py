"""Monte Carlo dropout against its closed forms, and the model as it was afterwards."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.errors import DataError, ShapeError
from chainrule.posteriors import dropout
from chainrule.tensor import debug

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 40)


def posterior(model, x=X, y=Y, **options):
    return prob.posterior(model, (x, y), method="dropout", **options)


def network(*last):
    cr.seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), *last, nn.Linear(16, 3)
    ).eval()  # fmt: skip


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_a_linear_layer_has_the_closed_form_s_moments(p):
    """y = Σ_j w_j x_j z_j / (1 − p) + b with z_j Bernoulli(1 − p) has the mean w·x + b and the
    variance p/(1 − p) Σ_j (w_j x_j)², and rows have masks of their own."""
    model = nn.Sequential(nn.Dropout(p), nn.Linear(6, 1))
    draws = posterior(model, y=X[:, 0], noise=0.5).draws(X, 20_000)[..., 0]
    w, b = model[1].weight.numpy()[0], model[1].bias.numpy()[0]
    variance = p / (1 - p) * ((w * X) ** 2).sum(1)
    error = np.sqrt(variance / len(draws))
    assert (np.abs(draws.mean(0) - (X @ w + b)) < 4.5 * error).all()
    # Of x drawn thus, the fourth central moment is Σκ₄ + 3σ⁴; its excess is below 1/(p(1−p)).
    kurtosis = ((draws - draws.mean(0)) ** 4).mean(0) / variance**2
    relative = np.sqrt((kurtosis - 1) / len(draws))
    assert (np.abs(draws.var(0) / variance - 1) < 4.5 * relative).all()
    between = np.corrcoef(draws[:, :8].T) - np.eye(8)
    assert np.abs(between).max() < 5 / np.sqrt(len(draws))


def test_the_predictive_adds_the_noise_of_the_likelihood():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1))
    found = posterior(model, y=X[:, 0], noise=0.5).predict(X, samples=2000)
    variance = ((model[1].weight.numpy() * X) ** 2).sum(1)
    np.testing.assert_allclose(found.epistemic, variance, rtol=0.3)
    np.testing.assert_allclose(found.aleatoric, 0.25)


def test_draws_are_those_of_a_training_pass_behind_the_first_dropout():
    """With what is behind the dropout an identity, each number is 0 or x / (1 − p)."""
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.25))
    before = model.eval()(X).numpy()
    draws = posterior(model, y=X).draws(X, 300)
    kept = draws != 0
    np.testing.assert_allclose(draws[kept], np.broadcast_to(before / 0.75, draws.shape)[kept], 1e-5)
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / kept.size)


def test_batch_normalisation_uses_what_it_tracked():
    """In evaluation mode a row's answer does not depend on its neighbours: the mean over draws of a
    linear tail is the network's own answer."""
    model = network(nn.BatchNorm1d(16))
    model[3].running_mean.assign(np.linspace(-1, 1, 16, dtype=np.float32))
    model[3].running_var.assign(np.linspace(0.5, 2, 16, dtype=np.float32))
    draws = posterior(model).draws(X, 4000)
    error = draws.std(0) / np.sqrt(4000)
    assert (np.abs(draws.mean(0) - model(X).numpy()) < 5 * error + 1e-6).all()


def test_the_model_and_the_generator_are_as_before():
    model = network(nn.BatchNorm1d(16)).train()
    model[4].eval()
    state, modes = model.state_dict(), [m.training for m in model.modules()]
    cr.seed(5)
    expected = cr.random.uniform((3,)).tolist()
    cr.seed(5)
    posterior(model).predict(X, samples=5)
    assert cr.random.uniform((3,)).tolist() == expected
    assert [m.training for m in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert np.array_equal(value, state[name])


def test_the_same_seed_gives_the_same_draws_and_another_others():
    model = network()
    first = posterior(model, generator=cr.Generator(1))
    draws = first.draws(X, 7)
    assert np.array_equal(first.draws(X, 7), draws)
    assert np.array_equal(posterior(model, generator=cr.Generator(1)).draws(X, 7), draws)
    assert not np.array_equal(posterior(model, generator=cr.Generator(2)).draws(X, 7), draws)
    cr.seed(3)
    by_seed = posterior(model).draws(X, 7)
    cr.seed(3)
    assert np.array_equal(posterior(model).draws(X, 7), by_seed)


class Counting(nn.Module):
    """Functional dropout in a module of a user's, whose first layer says how many rows it saw."""

    def __init__(self):
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = cr.tanh(self.first(x))
        return self.last(h + nn.dropout(h, 0.4, training=self.training))


class Looking(Counting):
    """The same, in Python that looks at values."""

    def forward(self, x):
        h = cr.tanh(self.first(x))
        drop = bool((h.sum() < 1e9).item())
        return self.last(h + nn.dropout(h, 0.4, training=self.training and drop))


def test_any_module_s_dropout_is_found_and_a_module_that_looks_at_values_runs_draw_by_draw():
    one, other = Counting(), Looking()
    other.load_state_dict(one.state_dict())
    together, apart = (posterior(model).draws(X, 3000) for model in (one, other))
    error = together.std(0) / np.sqrt(3000)
    assert (error > 0).all()
    assert (np.abs(together.mean(0) - apart.mean(0)) < 5 * np.sqrt(2) * error).all()
    np.testing.assert_allclose(together.var(0), apart.var(0), rtol=0.3)


class Shapes(debug.Observer):
    def __init__(self):
        self.found = []

    def ran(self, run):
        if run.op.name == "linear":
            self.found.append(run.value.shape)


def test_what_lies_before_the_first_dropout_is_computed_once():
    own, seen = posterior(network()), Shapes()
    with dropout._dropping(own.joint.model, own.state), debug.observed(seen):
        own._together(cr.asarray(X), 50)
    assert seen.found == [(40, 16), (50, 40, 3)]


def test_blocks_of_rows_give_every_row_its_draws(monkeypatch):
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.25))
    before = model.eval()(X).numpy()
    own = posterior(model, y=X)
    monkeypatch.setattr(dropout, "AT_ONCE", 10 * 6 * 7)  # 7 rows at once
    draws = own.draws(X, 10)
    assert draws.shape == (10, 40, 6)
    wanted = np.broadcast_to(before / 0.75, draws.shape)
    assert ((draws == 0) | (np.abs(draws - wanted) < 1e-5)).all()
    assert 0.6 < (draws != 0).mean() < 0.9
    assert (draws != 0).any(0).all()


def test_attention_and_channels_are_dropped_too():
    sequence = nn.Sequential(
        nn.Unflatten(1, (3, 2)),
        nn.TransformerEncoderLayer(2, 1, dim_feedforward=4, dropout=0.2, batch_first=True),
        nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    image = nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.Dropout2d(0.5), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip
    for model in (sequence, image):
        assert posterior(model).draws(X, 20).std(0).min() > 0


def test_a_model_without_dropout_is_told_what_to_do():
    for model in (nn.Linear(6, 3), nn.Sequential(nn.Dropout(0.0), nn.Linear(6, 3))):
        with pytest.raises(DataError, match=r"drops nothing.*nn\.Dropout\(0\.1\).*laplace"):
            posterior(model)


@pytest.mark.parametrize("samples", [0, -1, 2.5, True])
def test_samples_is_a_number_of_draws(samples):
    with pytest.raises(DataError, match="how many draws there are"):
        posterior(network()).predict(X, samples=samples)


def test_rows_of_another_width_are_a_shape_error():
    with pytest.raises(ShapeError):
        posterior(network()).predict(X[:, :5])


class Tracking(nn.Module):
    """Normalisation of a user's own, in Python that cannot be batched."""

    def __init__(self):
        self.mean, self.last = nn.Buffer(np.zeros(6, np.float32)), nn.Linear(6, 3)

    def forward(self, x):
        if self.training:
            self.mean.assign(0.9 * self.mean.numpy() + 0.1 * x.numpy().mean(0))
        return self.last(nn.dropout(x - self.mean, 0.2, training=self.training))


def test_a_module_that_tracks_statistics_of_its_own_is_refused():
    model = Tracking()
    with pytest.raises(DataError, match=r"buffer 'mean'.*BatchNorm1d"):
        posterior(model).predict(X, samples=3)
    assert not model.mean.numpy().any()

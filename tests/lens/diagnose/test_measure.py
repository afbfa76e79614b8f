"""Measurements against calculations of other kinds: exact Hessians, closed forms, NumPy."""

from math import e, log

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.frameworks.framework import OptimizerFacts
from chainrule.lens.diagnose.measure.chance import chance_of, double_softmax_floor
from chainrule.lens.diagnose.measure.jacobians import singular_values, spectra
from chainrule.lens.diagnose.measure.learning import blocks_of
from chainrule.lens.diagnose.measure.noise import gradient_noise, noise_scale
from chainrule.lens.diagnose.measure.ranks import (
    coherence,
    dead_units,
    dormant_units,
    effective_rank,
    stable_rank,
)
from chainrule.lens.diagnose.measure.replay import origin_in
from chainrule.lens.diagnose.measure.sharpness import (
    bench,
    critical_rate,
    curvature_along,
    largest_stable_rate,
    preconditioner,
    top_eigenvalue,
)
from chainrule.lens.diagnose.measure.slopes import agree, slopes_of


def case_of(model, x, y, loss=nn.mse_loss, kind="SGD", **options):
    options = {"lr": 0.1} | options
    optimizer = getattr(optim, kind)(model.parameters(), **options)
    return Case(setup_of(model, (x, y), loss=loss, optimizer=optimizer, validation=(x, y)))


def straight(rows=200, columns=6, seed=0):
    """A linear model, whose mean squared error has the Hessian 2XᵀX/n exactly."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((rows, columns)) * np.linspace(0.3, 2, columns)).astype("f")
    y = (x @ rng.standard_normal((columns, 1))).astype("f")
    return nn.Linear(columns, 1, bias=False), x, y


# --- curvature


def test_the_top_eigenvalue_is_that_of_the_exact_hessian_of_a_linear_model():
    model, x, y = straight()
    exact = np.linalg.eigvalsh(2 * x.T.astype(float) @ x / len(x))[-1]
    assert top_eigenvalue(bench(case_of(model, x, y)), iterations=60) == pytest.approx(
        exact, rel=0.01
    )


def test_the_top_eigenvalue_is_that_of_a_small_network_by_automatic_differentiation():
    cr.seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 3)).astype("f"), rng.standard_normal((60, 1)).astype("f")
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    state = {n: p.numpy(copy=True) for n, p in model.named_parameters()}

    def loss(flat):
        w, b, v, c = flat[:12], flat[12:16], flat[16:20], flat[20:21]
        hidden = cr.tanh(cr.asarray(x, dtype=cr.float64) @ w.reshape((4, 3)).mT + b)
        out = hidden @ v.reshape((1, 4)).mT + c
        return ((out - cr.asarray(y, dtype=cr.float64)) ** 2).mean()

    flat = np.concatenate(
        [state[n].reshape(-1) for n in ("0.weight", "0.bias", "2.weight", "2.bias")]
    )
    hessian = np.asarray(cr.hessian(loss)(cr.asarray(flat.astype(float))))
    exact = np.linalg.eigvalsh(hessian)
    at = bench(case_of(model, x, y))
    expected = max(exact, key=abs)
    assert top_eigenvalue(at, iterations=80) == pytest.approx(expected, rel=0.02)
    direction = {n: np.ones_like(v) for n, v in state.items()}
    image = curvature_along(at, direction)
    got = np.concatenate(
        [image[n].reshape(-1) for n in ("0.weight", "0.bias", "2.weight", "2.bias")]
    )
    assert got == pytest.approx(hessian @ np.ones(21), rel=0.02, abs=0.02)


@pytest.mark.parametrize("rate", [1e-3, 0.05, 3.0])
def test_the_critical_rate_along_a_gradient_of_a_quadratic_is_2_gg_over_gHg(rate):
    model, x, y = straight()
    case = case_of(model, x, y, lr=rate)
    at = bench(case)
    g = at.gradient()["weight"].astype(float).reshape(-1)
    hessian = 2 * at.x.T.astype(float) @ at.x / len(at.x)
    exact = 2 * (g @ g) / (g @ hessian @ g)
    found = critical_rate(case)
    assert found.passes <= 10
    # bisected on a logarithmic scale: never below it, and above by no more than one last interval
    assert exact * 0.999 <= found.rate <= exact * 3
    assert found.sharpness == pytest.approx(2 / found.rate)


def test_the_critical_rate_of_a_single_direction_is_2_over_lambda():
    x = np.ones((8, 1), "f")
    model = nn.Linear(1, 1, bias=False)
    case = case_of(model, x, 5 * x, lr=0.9)  # L = (w − 5)², λ = 2, so η_c = 1
    assert 1.0 <= critical_rate(case).rate * 1.001 <= 1.5


def test_measuring_leaves_model_and_optimiser_as_they_were():
    model, x, y = straight()
    case = case_of(model, x, y, momentum=0.9)
    before = model.weight.numpy(copy=True)
    critical_rate(case)
    top_eigenvalue(bench(case), iterations=3)
    gradient_noise(case)
    assert np.array_equal(model.weight.numpy(), before)
    assert not case.setup.optimizer.state_dict()["state"]


def test_the_largest_stable_rate_of_momentum_and_adam():
    assert largest_stable_rate(OptimizerFacts("SGD", 1, {"momentum": 0.9}), 2.0) == pytest.approx(
        1.9
    )
    adam = OptimizerFacts("Adam", 1, {"betas": (0.9, 0.999)})
    assert largest_stable_rate(adam, 1.0) == pytest.approx(38)  # Cohen et al. 2022
    assert largest_stable_rate(adam, -1.0) == float("inf")


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_descent_diverges_above_the_largest_stable_rate_and_not_below_it(momentum):
    """Run, rather than derived: heavy-ball momentum on a quadratic of known curvature."""
    curvature = 3.0
    edge = largest_stable_rate(OptimizerFacts("SGD", 1, {"momentum": momentum}), curvature)
    for factor, grows in ((0.97, False), (1.03, True)):
        w, v = 1.0, 0.0
        for _ in range(2000):
            v = momentum * v + curvature * w
            w -= factor * edge * v
        assert (abs(w) > 1) is grows


def test_the_preconditioner_is_the_inverse_root_of_the_gradients_size():
    model, x, y = straight()
    case = case_of(model, x, y, kind="Adam")
    at = bench(case)
    scale = preconditioner(at, case.optimizer, len(at.x))["weight"]
    g = at.gradient()["weight"]
    assert scale == pytest.approx((np.abs(g) + 1e-8) ** -0.5, rel=1e-4)


# --- noise


def test_the_noise_scale_of_gaussian_gradients_with_a_known_one():
    rng = np.random.default_rng(0)
    true = rng.standard_normal(400) * 0.1
    rows, sigma = 32, 1.0
    batches = true + sigma / np.sqrt(rows) * rng.standard_normal((64, 400))
    expected = 400 * sigma**2 / float(true @ true)
    found = noise_scale(batches, rows)
    assert found.scale == pytest.approx(expected, rel=0.15)
    assert found.variance == pytest.approx(400, rel=0.05)


def test_equal_gradients_have_no_noise_and_pure_noise_has_a_large_scale():
    assert noise_scale(np.ones((4, 10)), 8).scale == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(0)
    assert noise_scale(rng.standard_normal((16, 1000)), 8).scale > 1000


def test_the_noise_of_a_linear_model_is_that_of_its_examples_gradients():
    model, x, y = straight(rows=2048)
    y = (y + np.random.default_rng(1).standard_normal(y.shape)).astype("f")
    case = case_of(model, x, y)
    w = model.weight.numpy().reshape(-1)
    each = 2 * (x @ w - y[:, 0])[:, None].astype(float) * x
    mean = each.mean(0)
    expected = each.var(0).sum() / (mean @ mean)
    assert gradient_noise(case).scale == pytest.approx(expected, rel=0.5)


# --- chance and floor


def test_the_loss_by_chance_is_what_the_best_constant_gets():
    labels = np.random.default_rng(0).choice(4, 5000, p=[0.5, 0.3, 0.15, 0.05])
    shares = np.bincount(labels) / len(labels)
    best = float(
        nn.cross_entropy(cr.asarray(np.tile(np.log(shares), (5000, 1))), cr.asarray(labels))
    )
    assert chance_of("cross_entropy", labels, 4).level == pytest.approx(best, rel=1e-5)
    y = np.random.default_rng(0).gamma(2.0, size=(1001, 1))
    grid = np.linspace(0, 6, 6001)
    absolute = min(np.abs(y - c).mean() for c in grid)
    assert chance_of("mae", y).level == pytest.approx(absolute, rel=1e-4)
    assert chance_of("mse", y).level == pytest.approx(
        min(((y - c) ** 2).mean() for c in grid), rel=1e-4
    )
    binary = (np.random.default_rng(1).random((999, 1)) < 0.2).astype("f")
    p = binary.mean()
    assert chance_of("bce", binary).level == pytest.approx(
        -p * log(p) - (1 - p) * log(1 - p), rel=1e-5
    )


def test_the_floor_of_label_smoothing_is_the_least_loss_that_an_optimiser_finds():
    smoothing, classes = 0.1, 5
    target = np.full(classes, smoothing / classes)
    target[0] += 1 - smoothing
    logits = cr.asarray(np.log(target)[None])
    least = float(nn.cross_entropy(logits, cr.asarray([0]), label_smoothing=smoothing))
    found = chance_of("cross_entropy", np.arange(classes).repeat(3), classes, smoothing)
    assert found.floor == pytest.approx(least, rel=1e-5)
    assert found.floor < found.level


def test_the_floor_of_a_second_softmax():
    one_hot = cr.asarray(np.eye(10)[:1])
    assert float(nn.cross_entropy(one_hot, cr.asarray([0]))) == pytest.approx(
        double_softmax_floor(10), rel=1e-6
    )
    assert double_softmax_floor(10) == pytest.approx(log(1 + 9 / e))


def test_targets_that_a_loss_cannot_have_give_no_level():
    assert np.isnan(chance_of("bce", np.array([0.0, 3.0])).level)
    assert np.isnan(chance_of("custom", np.arange(3)).level)
    assert np.isnan(chance_of("mse", np.array([np.nan, 1.0])).level)


# --- ranks


def test_ranks_against_their_definitions():
    rng = np.random.default_rng(0)
    low = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30))
    assert effective_rank(low) <= 3.000001
    assert stable_rank(low) <= 3
    orthogonal = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    assert effective_rank(orthogonal) == pytest.approx(20)
    assert stable_rank(orthogonal) == pytest.approx(20)
    assert effective_rank(np.zeros((3, 3))) == stable_rank(np.zeros((3, 3))) == 0
    w = rng.standard_normal((6, 5))
    by_hand = max(
        abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
        for i, a in enumerate(w)
        for j, b in enumerate(w)
        if i != j
    )
    assert coherence(w) == pytest.approx(by_hand)
    assert coherence(np.ones((4, 5))) == pytest.approx(1)


def test_dead_and_dormant_units_of_values_made_so():
    values = np.abs(np.random.default_rng(0).standard_normal((1000, 5)))
    values[:, 1] = 0
    values[1:, 2] = 0  # one row in a thousand wakes it: not dead
    values[:, 3] *= 0.01
    assert dead_units(values).tolist() == [False, True, False, False, False]
    assert dormant_units(values).tolist() == [False, True, True, True, False]


# --- depth


def random_network(depth, width, activation, scale, seed=0):
    """He's law times `scale` in every layer."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        layer.weight.assign(
            (rng.standard_normal((width, width)) * scale / np.sqrt(width)).astype("f")
        )
        layer.bias.assign(np.zeros(width, "f"))
        parts += [layer, activation()]
    return nn.Sequential(*parts, nn.Linear(width, 1))


@pytest.mark.parametrize("scale", [0.7, 2**0.5, 2.0])
def test_the_slope_of_a_relu_network_is_the_mean_field_law(scale):
    """χ₁ = σ_w²/2 for ReLU (Poole et al. 2016): ln χ₁ for each layer, weights' part ln σ_w²,
    activation's part ln ½."""
    x = np.random.default_rng(1).standard_normal((128, 256)).astype("f")
    model = random_network(8, 256, nn.ReLU, scale)
    slopes = slopes_of(case_of(model, x, x[:, :1]).first_probe)
    inner = slopes[:-1]  # the last layer has one unit: no average over units
    assert len(inner) == 7
    assert np.mean([s.weights for s in inner]) == pytest.approx(log(scale**2), abs=0.02)
    assert np.mean([s.activation for s in inner]) == pytest.approx(log(0.5), abs=0.1)
    assert np.mean([s.measured for s in inner]) == pytest.approx(log(scale**2 / 2), abs=0.15)
    assert agree(slopes)


def test_the_parts_of_a_convolutional_network_reproduce_the_measured_slope():
    cr.seed(0)
    x = np.random.default_rng(1).standard_normal((16, 3, 12, 12)).astype("f")
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24 * 36, 5),
    )  # fmt: skip
    case = case_of(model, x, np.arange(16) % 5, loss=nn.cross_entropy)
    slopes = slopes_of(case.first_probe)
    assert [(s.below, s.above) for s in slopes] == [("0", "2"), ("2", "4"), ("4", "7")]
    assert agree(slopes)


def test_a_batch_norm_between_layers_is_measured_as_its_own_part():
    cr.seed(0)
    x = np.random.default_rng(1).standard_normal((256, 32)).astype("f")
    model = nn.Sequential(
        nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64),
        nn.ReLU(), nn.Linear(64, 1),
    )  # fmt: skip
    case = case_of(model, x, x[:, :1])
    slopes = slopes_of(case.framework.observe(model, x, x[:, :1], nn.mse_loss))
    assert len(slopes) == 2
    assert abs(slopes[0].between) > 0.2
    assert agree(slopes)


def test_parts_that_do_not_add_up_are_not_claimed():
    """Rows of W aligned with δ: weights and gradients depend on one another."""
    x = np.random.default_rng(1).standard_normal((64, 64)).astype("f")
    model = random_network(6, 64, nn.ReLU, 1.0)
    for layer in list(model)[0:-1:2]:
        layer.weight.assign(np.full((64, 64), 1 / 64, "f"))
    slopes = slopes_of(case_of(model, np.abs(x), x[:, :1]).first_probe)
    assert slopes
    assert not agree(slopes)


def test_singular_values_against_numpy():
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((20, 30)), rng.standard_normal((30, 10))]
    assert singular_values(factors) == pytest.approx(np.linalg.svd(factors[0] @ factors[1])[1])
    large = [rng.standard_normal((30, 600)), rng.standard_normal((600, 40))]
    exact = np.linalg.svd(large[0] @ large[1])[1][0]
    assert singular_values(large, iterations=60) == pytest.approx([exact], rel=1e-3)


def test_the_jacobian_of_a_chain_is_that_of_automatic_differentiation():
    cr.seed(0)
    x = np.random.default_rng(0).standard_normal((3, 5)).astype("f")
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.Sigmoid())
    case = case_of(model, x, np.zeros((3, 4), "f"))
    found = spectra(case.framework.observe(model, x, np.zeros((3, 4), "f"), nn.mse_loss))
    assert [s.path for s in found] == ["0", "2", "0 → 2"]
    jacobians = [np.asarray(cr.jacobian(lambda v: model(v[None])[0])(cr.asarray(row))) for row in x]
    sigma = [np.linalg.svd(j)[1] for j in jacobians]
    assert found[-1].largest == pytest.approx(np.mean([s[0] for s in sigma]), rel=1e-4)
    assert found[-1].median == pytest.approx(np.mean([np.median(s) for s in sigma]), rel=1e-4)
    assert found[-1].isometry > 1


# --- losses and origins


def test_blocks_are_means_of_whole_epochs():
    losses = np.tile([1.0, 3.0], 10)
    assert blocks_of(losses, 2).tolist() == [2.0] * 10
    assert len(blocks_of(np.arange(1000.0))) == 20


def test_the_origin_of_an_infinity_is_the_operation_that_made_it():
    x = np.full((4, 2), 200.0, "f")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.first.weight.assign(np.eye(2, dtype="f"))
            self.first.bias.assign(np.zeros(2, "f"))

        def forward(self, x):
            return cr.log(cr.exp(self.first(x)))

    case = case_of(Model(), x, x)
    found = origin_in(case.framework.observe(case.setup.model, x, x, nn.mse_loss))
    assert (found.op, found.kind, found.largest) == ("exp", "forward", 200.0)

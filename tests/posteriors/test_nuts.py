"""NUTS against densities whose moments are known."""

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import probability as prob
from chainrule.errors import DataError, GradientError, ShapeError
from chainrule.posteriors import paths
from chainrule.posteriors.adaptation import Scales, StepSize
from chainrule.posteriors.paths import LONG, Path, Surface, _parts
from chainrule.tensor import generator


def within(x, mean, std):
    """Means and standard deviations are within 4.5 Monte Carlo errors of the exact ones."""
    error = std / np.sqrt(prob.effective_sample_size(x))
    assert (np.abs(x.mean((0, 1)) - mean) < 4.5 * error).all()
    squares = (x - mean) ** 2
    error = squares.std((0, 1)) / np.sqrt(prob.effective_sample_size(squares))
    assert (np.abs(squares.mean((0, 1)) - std**2) < 4.5 * error).all()


def test_a_normal_density_of_unequal_scales():
    cr.seed(0)
    rng = np.random.default_rng(0)
    A = rng.normal(size=(5, 5)) * [1, 3, 0.2, 1, 1]
    covariance = A @ A.T + 0.01 * np.eye(5)
    precision, mean = cr.asarray(np.linalg.inv(covariance)), np.arange(5.0)

    def log_density(x):
        return -0.5 * ((x - mean) * (precision @ (x - mean))).sum()

    found = prob.nuts(log_density, np.zeros(5), draws=400, warmup=300)
    assert found.warnings == []
    within(found.values, mean, np.sqrt(np.diag(covariance)))
    np.testing.assert_allclose(
        found.log_density[0, :3],
        [-0.5 * (x - mean) @ precision.numpy() @ (x - mean) for x in found.values[0, :3]],
    )


def test_a_banana():
    """x₀ ~ N(0, 1) and x₁ − x₀² + 1 ~ N(0, ½²), by itself."""
    cr.seed(1)

    def log_density(x):
        return -0.5 * x[0] ** 2 - 2 * (x[1] - x[0] ** 2 + 1) ** 2

    found = prob.nuts(log_density, np.zeros(2), draws=600, warmup=300, target_accept=0.95)
    x = found.values
    straight = np.stack([x[..., 0], x[..., 1] - x[..., 0] ** 2 + 1], -1)
    within(straight, np.zeros(2), np.array([1, 0.5]))


def test_a_gamma_density_by_its_logarithm():
    """θ = e^u with u's density that of Gamma(3, rate 2) times the derivative e^u."""
    cr.seed(2)
    found = prob.nuts(lambda u: (3 * u - 2 * cr.exp(u)).sum(), [0.0], draws=400, warmup=200)
    theta = np.exp(found.flat[:, 0])
    n = float(prob.effective_sample_size(found.values)[0])
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        below = (theta <= stats.gamma(3, scale=0.5).ppf(q)).mean()
        assert abs(below - q) < 4.5 * np.sqrt(q * (1 - q) / n)


def test_a_funnel_is_warned_of():
    """Neal's funnel is narrower than any step that suits its mouth (Betancourt, Girolami 2013)."""
    cr.seed(3)

    def log_density(x):
        return -0.5 * (x[0] / 3) ** 2 - 0.5 * (x[1:] ** 2).sum() * cr.exp(-x[0]) - 2 * x[0]

    found = prob.nuts(log_density, np.zeros(5), draws=100, warmup=100)
    assert any("diverged" in warning for warning in found.warnings)


def test_chains_in_two_places_are_warned_of():
    cr.seed(4)

    def log_density(x):
        return cr.logsumexp(cr.stack([-0.5 * (x - 20) ** 2, -0.5 * (x + 20) ** 2]), axis=0).sum()

    starts = [[-20.0], [-20.0], [20.0], [20.0]]
    found = prob.nuts(log_density, starts, draws=100, warmup=100)
    assert any("R-hat" in warning for warning in found.warnings)


def test_the_same_seed_gives_the_same_draws():
    def log_density(x):
        return -0.5 * (x**2).sum()

    def found(seed):
        return prob.nuts(
            log_density, [0.0], draws=20, warmup=20, generator=cr.Generator(seed)
        ).values

    before = generator.default.state
    assert (found(1) == found(1)).all()
    assert (found(1) != found(2)).any()
    assert generator.default.state == before


def test_the_step_size_goes_to_where_the_acceptance_is_as_wished():
    """An acceptance of 1/(1 + ε²) is 0.8 at ε = ½."""
    steps = StepSize(10.0, 0.8)
    for _ in range(5000):
        steps.learn(1 / (1 + steps.now**2))
    assert steps.final == pytest.approx(0.5, rel=0.02)


def test_scales_are_variances_drawn_towards_a_thousandth():
    x = np.random.default_rng(0).normal(size=(100, 2)) * [1, 5]
    scales = Scales(2)
    for row in x:
        scales.learn(row)
    wanted = (100 * x.var(0, ddof=1) + 5 * 1e-3) / 105
    np.testing.assert_allclose(scales.variance, wanted)


# The path


def test_a_path_runs_backwards_as_forwards_and_keeps_the_energy():
    surface = Surface(lambda x: -0.25 * (x**4).sum())
    variance = np.array([0.5, 2.0])
    start = surface.look(np.array([1.0, -0.5]))._replace(p=np.array([0.3, 1.0]))
    there = surface.walk(start, 0.01, variance, LONG)
    back = surface.walk(there.part(-1), -0.01, variance, LONG).part(-1)
    np.testing.assert_allclose(back.q, start.q, atol=1e-12)
    np.testing.assert_allclose(back.p, start.p, atol=1e-12)

    def energy(at):
        return 0.5 * (variance * at.p**2).sum(-1) - at.log_density

    # The error is of second order in the step.
    coarse = np.abs(energy(surface.walk(start, 0.02, variance, LONG).part(15)) - energy(start))
    fine = np.abs(energy(there.part(31)) - energy(start))
    assert 3.5 < coarse / fine < 4.5


def turns_by_recursion(p, variance):
    """Whether a path, or one of its dyadic parts, turns round, as Betancourt writes it (2017,
    A.4.2) and in Stan's reference."""
    if len(p) == 1:
        return False
    half = len(p) // 2
    early, late = p[:half], p[half:]
    if turns_by_recursion(early, variance) or turns_by_recursion(late, variance):
        return True

    def turned(rho, a, b):
        return (variance * a) @ rho <= 0 or (variance * b) @ rho <= 0

    return (
        turned(p.sum(0), p[0], p[-1])
        or turned(early.sum(0) + late[0], p[0], late[0])
        or turned(late.sum(0) + early[-1], early[-1], p[-1])
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_of_a_path_are_those_of_the_recursion(seed):
    """Taken in blocks, it is found to turn exactly if the recursion finds it."""
    rng = np.random.default_rng(seed)
    variance = np.array([0.5, 2.0])
    surface = Surface.__new__(Surface)
    place = paths.Places(*np.zeros((3, 2)), np.zeros(()))
    path = Path(surface, place, 0.1, variance, rng)
    seen = set()
    for n in (2, 8, 32, 64, 128) * 8:
        angle = 0.2 * rng.random() + np.linspace(0, rng.random() * 5, n)
        p = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.02 * rng.normal(size=(n, 2))
        block = min(n, LONG)
        found = any(path._turns(p[: i + block], block) for i in range(0, n, block))
        assert found == turns_by_recursion(p, variance)
        seen.add(found)
    assert seen == {True, False}


def test_every_dyadic_part_is_looked_at_once():
    parts = [
        p
        for n in range(LONG, 129, LONG)
        for p in zip(*(a.tolist() for a in _parts(n, LONG)), strict=True)
    ]
    wanted = [(a, a + s // 2, a + s) for s in (2, 4, 8, 16, 32, 64, 128) for a in range(0, 128, s)]
    assert sorted(parts) == sorted(wanted)


# Bad input


def normal(x):
    return -0.5 * (x**2).sum()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((lambda x: -0.5 * x**2, [0.0, 1.0]), GradientError, "single number"),
        ((normal, np.zeros((3, 2))), ShapeError, r"\(3, 2\)"),
        ((normal, [np.nan]), DataError, "nan"),
        ((lambda x: cr.log(x).sum(), [[-1.0]] * 4), DataError, "start of chain 0"),
        ((3, [0.0]), TypeError, "function of a vector"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        prob.nuts(*arguments, draws=10, warmup=10)


@pytest.mark.parametrize(
    "option", [{"draws": 3}, {"warmup": -1}, {"chains": 0}, {"max_depth": 0}, {"target_accept": 1}]
)
def test_bad_options(option):
    with pytest.raises(DataError, match=next(iter(option))):
        prob.nuts(normal, [0.0], **option)

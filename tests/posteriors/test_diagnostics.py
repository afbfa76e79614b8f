"""Diagnostics of chains against what is known of the processes that made them."""

import numpy as np
import pytest

from chainrule import probability as prob
from chainrule.errors import DataError, ShapeError
from chainrule.posteriors.diagnostics import doubts


def walks(rho, chains=4, draws=4000, seed=0):
    """AR(1) of variance 1, from its stationary law; its mean has (1 + ρ)/(1 − ρ) draws for one."""
    rng = np.random.default_rng(seed)
    x = np.empty((chains, draws))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.6, 0.9])
def test_autoregressive_chains_are_worth_what_theory_says(rho):
    found = prob.effective_sample_size(walks(rho))
    assert found == pytest.approx(16_000 * (1 - rho) / (1 + rho), rel=0.15)


def test_chains_that_disagree_are_noticed():
    same = walks(0.5)
    moved, wide, drifting = same.copy(), same.copy(), same + np.linspace(0, 2, 4000)
    moved[0] += 1
    wide[0] *= 3  # the same mean: only the folded ranks show it (Vehtari et al. 2021, §3.2)
    assert prob.r_hat(same) < 1.01
    for x in (moved, wide, drifting):
        assert prob.r_hat(x) > 1.05
        assert "R-hat" in doubts(x, "it")[0]
    heavy = np.random.default_rng(0).standard_cauchy((4, 1000))  # without moments
    assert prob.r_hat(heavy) < 1.01
    assert doubts(heavy, "it") == []


def test_several_quantities_are_each_by_itself():
    x = np.stack([walks(0.2, draws=500), walks(0.8, draws=500, seed=1)], -1)
    for f in (
        prob.r_hat,
        prob.effective_sample_size,
        lambda x: prob.effective_sample_size(x, "tail"),
    ):
        assert f(x) == pytest.approx([float(f(x[..., 0])), float(f(x[..., 1]))])


def test_a_number_that_never_moves_is_no_agreement():
    stuck = np.ones((4, 1000))
    assert np.isnan(prob.r_hat(stuck))
    assert doubts(stuck, "it")
    assert prob.r_hat(stuck * [[0], [0], [0], [1]]) > 1.01


def test_few_draws_are_a_doubt():
    assert "worth" in " ".join(doubts(walks(0.95, draws=300), "it"))


@pytest.mark.parametrize("draws", [np.zeros(10), np.zeros((4, 3)), np.zeros((0, 10)), 1.0])
def test_no_chains(draws):
    with pytest.raises(ShapeError, match="chains, draws"):
        prob.r_hat(draws)


def test_bad_arguments():
    with pytest.raises(DataError, match="'bulk' or 'tail'"):
        prob.effective_sample_size(np.zeros((4, 10)), "middle")
    with pytest.raises(DataError, match=r"nan at \(0, 1\)"):
        prob.r_hat([[0.0, np.nan, 1.0, 2.0]])

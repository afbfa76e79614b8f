"""Diagnostics of chains equal ArviZ's on the same draws."""

import numpy as np
import pytest
from arviz_stats.base import array_stats as arviz

from chainrule import probability as prob

RNG = np.random.default_rng(0)


def walks(chains, draws, rho):
    x = RNG.normal(size=(chains, draws))
    for t in range(1, draws):
        x[:, t] += rho * x[:, t - 1]
    return x


CHAINS = {
    "independent": walks(4, 1000, 0.0),
    "walking": walks(4, 1000, 0.9),
    "alternating": walks(4, 1000, -0.7),
    "odd": walks(3, 251, 0.5),
    "short": walks(2, 11, 0.3),
    "least": walks(2, 4, 0.0),
    "single": walks(1, 400, 0.4),
    "ties": np.round(walks(4, 500, 0.5)),
    "heavy": RNG.standard_cauchy((4, 700)),
    "apart": walks(4, 500, 0.5) + np.arange(4)[:, None],
    "drifting": walks(4, 500, 0.5) + np.linspace(0, 3, 500),
    "wide": walks(4, 500, 0.2) * np.array([[1], [1], [1], [5]]),
}


@pytest.mark.parametrize("name", CHAINS)
def test_equal(name):
    x = CHAINS[name]
    where = {"chain_axis": 0, "draw_axis": 1}
    ours = [
        prob.r_hat(x),
        prob.effective_sample_size(x),
        prob.effective_sample_size(x, "tail"),
    ]
    theirs = [
        arviz.rhat(x, method="rank", **where),
        arviz.ess(x, method="bulk", **where),
        arviz.ess(x, method="tail", prob=(0.05, 0.95), **where),
    ]
    begin = len(x) == 1  # ArviZ gives no R-hat of a single chain; ours is that of its halves
    np.testing.assert_allclose(ours[begin:], theirs[begin:], rtol=1e-9)

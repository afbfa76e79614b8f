"""Every distribution of numbers, over wide ranges of its parameters, beside SciPy's."""

import numpy as np
from scipy import stats
from scipy.special import expit

from chainrule import probability as prob


def f64(*values):
    return np.array(values, np.float64)


# Exact in binary, so that both libraries see the same ends of supports.
LOC, SCALE = f64(-3.0, 0.0, 2.5), f64(2**-7, 1.0, 40.0)
LOW, HIGH = f64(-2.0, -1.0, -0.125), f64(3.0, np.inf, 2.0)
A, B = f64(0.1, 1.0, 300.0), f64(3.0, 1.0, 40.0)
P = f64(0.01, 0.5, 0.999)
LOGITS = f64(-40.0, 0.0, 3.0)

CONTINUOUS = {
    "Normal": (prob.Normal(LOC, SCALE), stats.norm(LOC, SCALE)),
    "Laplace": (prob.Laplace(LOC, SCALE), stats.laplace(LOC, SCALE)),
    "Cauchy": (prob.Cauchy(LOC, SCALE), stats.cauchy(LOC, SCALE)),
    "Logistic": (prob.Logistic(LOC, SCALE), stats.logistic(LOC, SCALE)),
    "Gumbel": (prob.Gumbel(LOC, SCALE), stats.gumbel_r(LOC, SCALE)),
    "StudentT": (
        prob.StudentT(f64(1.1, 4.0, 900.0), LOC, SCALE),
        stats.t(f64(1.1, 4.0, 900.0), LOC, SCALE),
    ),
    "Uniform": (prob.Uniform(LOC, LOC + SCALE), stats.uniform(LOC, SCALE)),
    "TruncatedNormal": (
        prob.TruncatedNormal(LOC, SCALE, LOC + LOW * SCALE, LOC + HIGH * SCALE),
        stats.truncnorm(LOW, HIGH, LOC, SCALE),
    ),
    "LogNormal": (
        prob.LogNormal(LOC, f64(0.1, 1.0, 3.0)),
        stats.lognorm(f64(0.1, 1.0, 3.0), scale=np.exp(LOC)),
    ),
    "HalfNormal": (prob.HalfNormal(SCALE), stats.halfnorm(scale=SCALE)),
    "HalfCauchy": (prob.HalfCauchy(SCALE), stats.halfcauchy(scale=SCALE)),
    "Exponential": (prob.Exponential(1 / SCALE), stats.expon(scale=SCALE)),
    "Gamma": (prob.Gamma(A, 1 / SCALE), stats.gamma(A, scale=SCALE)),
    "Chi2": (prob.Chi2(A), stats.chi2(A)),
    "InverseGamma": (
        prob.InverseGamma(f64(0.5, 3.0, 100.0), SCALE),
        stats.invgamma(f64(0.5, 3.0, 100.0), scale=SCALE),
    ),
    "Weibull": (
        prob.Weibull(SCALE, f64(0.5, 1.0, 7.0)),
        stats.weibull_min(f64(0.5, 1.0, 7.0), scale=SCALE),
    ),
    "Pareto": (
        prob.Pareto(SCALE, f64(0.5, 2.5, 20.0)),
        stats.pareto(f64(0.5, 2.5, 20.0), scale=SCALE),
    ),
    "FisherSnedecor": (
        prob.FisherSnedecor(f64(1.0, 4.0, 30.0), f64(5.0, 9.0, 50.0)),
        stats.f(f64(1.0, 4.0, 30.0), f64(5.0, 9.0, 50.0)),
    ),
    "Beta": (prob.Beta(f64(0.2, 1.0, 80.0), B), stats.beta(f64(0.2, 1.0, 80.0), B)),
}
DISCRETE = {
    "Bernoulli": (prob.Bernoulli(P), stats.bernoulli(P)),
    "Bernoulli by logits": (prob.Bernoulli(logits=LOGITS), stats.bernoulli(expit(LOGITS))),
    "Binomial": (
        prob.Binomial(f64(5, 40, 1000), P),
        stats.binom(f64(5, 40, 1000), P),
    ),
    "Binomial at its ends": (
        prob.Binomial(f64(5, 40, 0), f64(0, 1, 0.5)),
        stats.binom(f64(5, 40, 0), f64(0, 1, 0.5)),
    ),
    "Geometric": (prob.Geometric(P), stats.geom(P, loc=-1)),
    "NegativeBinomial": (
        prob.NegativeBinomial(f64(0.5, 3.0, 50.0), P),
        stats.nbinom(f64(0.5, 3.0, 50.0), 1 - P),
    ),
    "Poisson": (prob.Poisson(f64(0.01, 4.0, 900.0)), stats.poisson(f64(0.01, 4.0, 900.0))),
}

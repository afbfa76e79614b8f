"""Draws by rejection, one number at a time, as their sources write them: what
`chainrule.ops.sampling` makes of whole arrays."""

import math

import numpy as np
from scipy import special, stats

MASK = 0xFFFFFFFF


def philox(key, counter):
    """Philox4x32-10 in Python's integers."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def uniforms(u, number):
    seed = int(u * 2**53)
    a, b, c, d = philox((0x5EED, 0x1DEA), (seed & MASK, seed >> 32, number, 0))
    fine = ((a << 21) ^ b) & (2**53 - 1)
    return (fine + 0.5) / 2**53, (c + 0.5) / 2**32, (d + 0.5) / 2**32


def log_gamma(a, u):
    if a < 1:
        return log_gamma(a + 1, u) + math.log(uniforms(u, 2**31)[0]) / a
    d = a - 1 / 3
    number = 0
    while True:
        first, second, third = uniforms(u, number)
        x = math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
        v = (1 + x / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(third) < x * x / 2 + d - d * v + d * math.log(v):
            return math.log(d * v)
        number += 1


def poisson(rate, u):
    if rate < 10:
        return stats.poisson.ppf(u, rate)
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    number = 0
    while True:
        first, v, _ = uniforms(u, number)
        centred = first - 0.5
        us = 0.5 - abs(centred)
        k = math.floor((2 * a / us + b) * centred + rate + 0.43)
        if us >= 0.07 and v <= 0.9277 - 3.6224 / (b - 2):
            return k
        if k >= 0 and not (us < 0.013 and v > us):
            left = math.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / us**2 + b))
            if left <= k * math.log(rate) - rate - math.lgamma(k + 1):
                return k
        number += 1


def binomial(n, q, u):
    if q > 0.5:
        return n - binomial(n, 1 - q, u)
    if n * q < 10:
        return stats.binom.ppf(u, n, q)
    spread = math.sqrt(n * q * (1 - q))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * q
    number = 0
    while True:
        first, v, _ = uniforms(u, number)
        centred = first - 0.5
        us = 0.5 - abs(centred)
        k = math.floor((2 * a / us + b) * centred + n * q + 0.5)
        if us >= 0.07 and v <= 0.92 - 4.2 / b:
            return k
        if 0 <= k <= n:
            left = math.log(v * (2.83 + 5.1 / b) * spread / (a / us**2 + b))
            top = math.floor((n + 1) * q)  # relative to the most likely count
            ways = [stats.binom.logpmf(j, n, q) for j in (k, top)]
            if left <= ways[0] - ways[1]:
                return k
        number += 1


def angle(kappa, u):
    tau = 1 + math.sqrt(1 + 4 * kappa**2)
    rho = (tau - math.sqrt(2 * tau)) / (2 * kappa)
    r = (1 + rho**2) / (2 * rho)
    number = 0
    while True:
        first, second, third = uniforms(u, number)
        z = math.cos(math.pi * first)
        f = (1 + r * z) / (r + z)
        c = kappa * (r - f)
        if c * (2 - c) > second or math.log(c / second) + 1 >= c:
            return math.copysign(math.acos(f), third - 0.5)
        number += 1


def each(function):
    """A function of numbers on arrays."""

    def on_arrays(*arrays):
        wide = np.broadcast_arrays(*arrays)
        flat = [function(*map(float, row)) for row in zip(*(x.flat for x in wide), strict=True)]
        return np.array(flat, np.float64).reshape(wide[0].shape)

    return on_arrays


DRAWS = {
    "log_gamma_from": each(log_gamma),
    "poisson_from": each(poisson),
    "binomial_from": each(binomial),
    "von_mises_from": each(angle),
    "log_gammaincinv": lambda a, p: np.log(special.gammaincinv(a, p)),
    "log_gamma_near": lambda a, p, near: np.log(special.gammaincinv(a, p)),
    "poisson_quantile": lambda rate, p: stats.poisson.ppf(p, rate),
    "binomial_quantile": lambda n, q, p: stats.binom.ppf(p, n, q),
}

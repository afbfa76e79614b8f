"""Whether Markov chains have converged: R-hat, and how many independent draws theirs are worth.

Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021), "Rank-normalization, folding, and localization:
an improved R-hat for assessing convergence of MCMC", Bayesian Analysis 16.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.probability.calibration.given import array_of
from chainrule.tensor.locate import explained

LARGEST_R_HAT = 1.01
LEAST_DRAWS = 100
"""Of the effective sample size, for each chain (both: Vehtari et al. 2021, §4)."""


@explained
def r_hat(draws: Any) -> np.ndarray:
    """How much wider all chains together are than each one: 1 where they agree.

    √((B/W + n − 1)/n) with the variance B/n between and W within the halves of chains of n draws,
    of the draws' ranks as normal quantiles, and of those of their distances from the median; the
    larger of both. So it notices chains of different places and of different widths, and needs no
    moments. Above 1.01, chains have not converged. It is NaN where all draws are the same number.

    Args:
        draws: (chains, draws) or (chains, draws, …), of at least 4 draws.

    Returns:
        One number for each quantity, of the shape of the axes that follow.

    >>> rng = np.random.default_rng(0)
    >>> same = rng.normal(size=(4, 500))
    >>> bool(r_hat(same) < 1.01), bool(r_hat(same + [[0], [0], [0], [1]]) > 1.05)
    (True, True)
    """
    halves = _halves(_chains(draws))
    distances = np.abs(halves - np.median(halves, (0, 1)))
    return np.maximum(_r_hat(_normal_scores(halves)), _r_hat(_normal_scores(distances)))


@explained
def effective_sample_size(draws: Any, kind: Literal["bulk", "tail"] = "bulk") -> np.ndarray:
    """How many independent draws would estimate as precisely as these do.

    S / τ with S draws in all and τ = 1 + 2 Σ_t ρ_t, the autocorrelations up to the lag at which
    sums of neighbouring pairs turn negative, made to fall (Geyer 1992). In the bulk it is of the
    draws' ranks as normal quantiles; in the tail, the smaller one of the indicators of the
    quantiles 5 % and 95 %. Below 100 for each chain, nothing is to be trusted, R-hat neither.

    Args:
        draws: (chains, draws) or (chains, draws, …), of at least 4 draws.
        kind: "bulk" or "tail".

    Returns:
        One number for each quantity, of the shape of the axes that follow.

    >>> rng = np.random.default_rng(0)
    >>> steps = rng.normal(size=(4, 1000))
    >>> walk = np.zeros((4, 1000))
    >>> for t in range(1, 1000):
    ...     walk[:, t] = 0.9 * walk[:, t - 1] + steps[:, t]
    >>> bool(3000 < effective_sample_size(steps) < 5500)  # 4000 independent draws
    True
    >>> bool(100 < effective_sample_size(walk) < 400)  # 4000 (1 − 0.9)/(1 + 0.9) = 210
    True
    """
    if kind not in ("bulk", "tail"):
        raise DataError(f"kind is 'bulk' or 'tail', not {kind!r}")
    chains = _chains(draws)
    if kind == "bulk":
        return _effective(_normal_scores(_halves(chains)))
    tails = [chains <= np.quantile(chains, q, axis=(0, 1)) for q in (0.05, 0.95)]
    low, high = (_effective(_halves(tail.astype(np.float64))) for tail in tails)
    return np.minimum(low, high)


def doubts(draws: np.ndarray, of: str) -> list[str]:
    """What keeps chains (chains, draws, …) from being trusted, in sentences; empty is good."""
    found = []
    largest = float(np.max(r_hat(draws)))  # NaN, of a number that never moves, is no agreement
    if not largest <= LARGEST_R_HAT:
        found.append(
            f"The chains have not converged: R-hat of {of} is {largest:.3f}, and at most "
            f"{LARGEST_R_HAT} where they agree. Take more warm-up and more draws."
        )
    for kind in ("bulk", "tail"):
        least = float(np.min(effective_sample_size(draws, kind)))
        if not least >= LEAST_DRAWS * len(draws):
            found.append(
                f"The draws are worth {least:.0f} independent ones in the {kind} of {of}, and "
                f"{LEAST_DRAWS * len(draws)} are wanted ({LEAST_DRAWS} a chain). Take more draws."
            )
    return found


def _chains(draws: Any) -> np.ndarray:
    found = array_of(draws, "draws")
    if found.ndim < 2 or not found.shape[0] or found.shape[1] < 4:
        raise ShapeError(
            f"draws have the shape {found.shape}; it is (chains, draws) or (chains, draws, …), "
            "with at least 4 draws"
        )
    return found


def _halves(chains: np.ndarray) -> np.ndarray:
    """Each chain as two, so that one that drifts disagrees with itself."""
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def _normal_scores(x: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r − 3/8)/(S + 1/4)) of the ranks r of all S draws (Blom 1958)."""
    from scipy.special import ndtri

    flat = x.reshape(x.shape[0] * x.shape[1], -1)
    ranks = np.stack([_ranks(column) for column in flat.T], 1)
    found: np.ndarray = ndtri((ranks - 0.375) / (len(flat) + 0.25)).reshape(x.shape)
    return found


def _ranks(x: np.ndarray) -> np.ndarray:
    """From 1; equal numbers share the mean of theirs."""
    _, places, counts = np.unique(x, return_inverse=True, return_counts=True)
    found: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return found


def _r_hat(x: np.ndarray) -> np.ndarray:
    n = x.shape[1]
    between, within = n * x.mean(1).var(0, ddof=1), x.var(1, ddof=1).mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = np.sqrt((between / within + n - 1) / n)
    return found


def _effective(x: np.ndarray) -> np.ndarray:
    """S / τ of chains (m, n, …)."""
    m, n = x.shape[:2]
    constant = np.ptp(x, axis=(0, 1)) < np.finfo(np.float64).resolution
    centred = x - x.mean(1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * n, axis=1)  # zeros behind: no lag goes round
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + (x.mean(1).var(0, ddof=1) if m > 1 else 0.0)
    rho = 1 - (within - covariance) / np.where(constant, 1.0, total)
    rho[0] = 1.0
    pairs = max((n - 1) // 2, 1)
    sums = rho[0 : 2 * pairs : 2] + rho[1 : 2 * pairs : 2]
    # The pairs before the first one whose sum is not positive; the last one counts half.
    ended = sums <= 0
    ended[-1] = True
    end = ended.argmax(0)[None]
    before = np.arange(pairs).reshape(-1, *[1] * (x.ndim - 2)) < end
    falling = np.minimum.accumulate(sums, 0)
    last = np.take_along_axis(rho[0 : 2 * pairs : 2], end, 0)[0]
    tau = -1 + 2 * np.where(before, falling, 0.0).sum(0) + np.maximum(last, 0.0)
    # Chains that alternate may do better than independent draws, but no more than this.
    found = m * n / np.maximum(tau, 1 / np.log10(m * n))
    return np.where(constant, float(m * n), found)

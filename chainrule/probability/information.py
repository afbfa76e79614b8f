"""Information theory: entropy and what is made of it, in nats, or in bits with `base=2`.

For probabilities, exact: `entropy`, `cross_entropy`, `kl_divergence`, `jensen_shannon`,
`mutual_information` are differentiable in their arrays. For samples, estimates, each with what is
known of its error: `entropy_of_samples`, `mutual_information_of_samples` (discrete values: the
plug-in estimate with Miller and Madow's correction; continuous ones: nearest neighbours).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.ops.arithmetic import maximum
from chainrule.ops.choosing import where
from chainrule.ops.exponential import log, xlogy
from chainrule.ops.reduction import sum
from chainrule.probability import constraints
from chainrule.probability.distribution import _check, _named, _whole_number
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import explained
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


def _unit(base: Any) -> float:
    """log(base), in nats."""
    if isinstance(base, str) and base in ("nats", "bits"):
        return 1.0 if base == "nats" else math.log(2)
    if isinstance(base, bool) or not isinstance(base, (int, float)) or not 1 < base < math.inf:
        raise DTypeError(f'base is above 1, or "nats" or "bits", and not {base!r}')
    return math.log(base)


def _probabilities(p: Any, name: str, axes: int = 1) -> Tensor:
    p = as_operand(p)
    if not dtypes.is_float(p.dtype):
        p = p.astype(dtypes.default_float)
    if p.ndim < axes:
        raise ShapeError(f"{name} has {axes} axes or more, and this is of shape {p.shape}")
    if axes == 1:
        _check(name, p, constraints.simplex)
    else:
        _check(name, p.reshape(*p.shape[:-2], p.shape[-2] * p.shape[-1]), constraints.simplex)
    return p


@explained
def entropy(p: Any, /, *, base: Any = math.e) -> Tensor:
    """H(p) = −Σ_i p_i log p_i: how uncertain a draw is (Shannon 1948).

    Args:
        p: (…, K), probabilities along the last axis.
        base: of the logarithm: e for nats, 2 for bits.

    >>> entropy([0.5, 0.25, 0.25], base=2).item()
    1.5
    """
    with _named("entropy"):
        p = _probabilities(p, "p")
        return -sum(xlogy(p, p), -1) / _unit(base)


@explained
def cross_entropy(p: Any, q: Any, /, *, base: Any = math.e) -> Tensor:
    """H(p, q) = −Σ_i p_i log q_i: how long messages become that are coded for q; ∞ where q rules
    out what p has.

    Args:
        p, q: (…, K), which broadcast.

    For a network's logits and labels there is `nn.cross_entropy`.

    >>> cross_entropy([1.0, 0.0], [0.25, 0.75], base=2).item()
    2.0
    """
    with _named("cross_entropy"):
        p, q = _probabilities(p, "p"), _probabilities(q, "q")
        _classes(p, q)
        return -sum(xlogy(p, q), -1) / _unit(base)


@explained
def kl_divergence(p: Any, q: Any, /, *, base: Any = math.e) -> Tensor:
    """KL(p ‖ q) = Σ_i p_i log(p_i/q_i), from 0 to ∞ (Kullback, Leibler 1951).

    >>> round(kl_divergence([0.5, 0.5], [0.25, 0.75], base=2).item(), 4)
    0.2075
    """
    with _named("kl_divergence"):
        p, q = _probabilities(p, "p"), _probabilities(q, "q")
        _classes(p, q)
        none = p == 0
        ratio = where(none, 1.0, p) / where(none, 1.0, q)
        return sum(where(none, 0.0, p * log(ratio)), -1) / _unit(base)


@explained
def jensen_shannon(p: Any, q: Any, /, *, base: Any = math.e) -> Tensor:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q)/2: symmetric, from 0 to log 2 (Lin 1991).

    >>> jensen_shannon([1.0, 0.0], [0.0, 1.0], base=2).item()
    1.0
    """
    with _named("jensen_shannon"):
        p, q = _probabilities(p, "p"), _probabilities(q, "q")
        _classes(p, q)
        m = 0.5 * (p + q)
        return 0.5 * (kl_divergence(p, m, base=base) + kl_divergence(q, m, base=base))


@explained
def mutual_information(joint: Any, /, *, base: Any = math.e) -> Tensor:
    """I(X; Y) = Σ_ij p_ij log(p_ij / (p_i p_j)): what one tells of the other, ≥ 0.

    Args:
        joint: (…, K, M), the probabilities of all pairs, adding up to 1.

    >>> mutual_information([[0.5, 0.0], [0.0, 0.5]], base=2).item()
    1.0
    """
    with _named("mutual_information"):
        joint = _probabilities(joint, "joint", 2)
        apart = sum(joint, -1, keepdims=True) * sum(joint, -2, keepdims=True)
        none = joint == 0
        ratio = where(none, 1.0, joint) / where(none, 1.0, apart)
        return sum(where(none, 0.0, joint * log(ratio)), axis=(-2, -1)) / _unit(base)


@explained
def conditional_entropy(joint: Any, /, *, base: Any = math.e) -> Tensor:
    """H(Y | X) = H(X, Y) − H(X): how uncertain the column still is when the row is known.

    >>> conditional_entropy([[0.25, 0.25], [0.25, 0.25]], base=2).item()
    1.0
    """
    with _named("conditional_entropy"):
        joint = _probabilities(joint, "joint", 2)
        rows = sum(joint, -1)
        whole = sum(xlogy(joint, joint), axis=(-2, -1))
        return maximum(sum(xlogy(rows, rows), -1) - whole, 0.0) / _unit(base)


def _classes(p: Tensor, q: Tensor) -> None:
    if p.shape[-1] != q.shape[-1]:
        raise ShapeError(f"p has {p.shape[-1]} classes and q {q.shape[-1]}")
    broadcast_shapes(p.shape, q.shape)


# From samples


class InformationEstimate(NamedTuple):
    """An estimate from samples.

    Attributes:
        value: the estimate.
        standard_error: how far it strays from sample to sample, of the estimate's own terms.
        bias: what is known of its bias, in words.
    """

    value: float
    standard_error: float
    bias: str


_PLUG_IN = "the first order, (K − 1)/2n, is taken off (Miller, Madow 1955); what is left is O(1/n²)"
_NEIGHBOURS = "vanishes as n grows; it is of the order of n^(−2/d), and larger near sharp edges"


@explained
def entropy_of_samples(
    x: Any, /, *, discrete: bool | None = None, k: int = 3, base: Any = math.e
) -> InformationEstimate:
    """The entropy of what samples were drawn from.

    Args:
        x: (n,) or (n, d), a sample a row.
        discrete: whether the values are of a finite set; if left out, whether they are integers.
        k: of continuous values, which nearest neighbour is taken.

    Discrete values: the plug-in entropy of their frequencies, plus (K − 1)/2n for K different
    values (Miller, Madow 1955). Continuous ones: ψ(n) − ψ(k) + log V_d + d · mean log ε_i,
    with ε_i the distance to the k-th neighbour (Kozachenko, Leonenko 1987); it may be negative.

    Raises:
        DataError: too few samples, values that are not finite, or equal continuous ones.

    >>> found = entropy_of_samples(np.array([0, 1] * 50), base=2)
    >>> round(found.value, 3)
    1.007
    """
    with _named("entropy_of_samples"):
        unit, rows = _unit(base), _rows(x, "x")
        if discrete if discrete is not None else rows.dtype.kind in "biu":
            value, error = _plug_in(_codes(rows))
            return InformationEstimate(value / unit, error / unit, _PLUG_IN)
        value, error = _kozachenko_leonenko(rows.astype(np.float64), _neighbours(k, len(rows)))
        return InformationEstimate(value / unit, error / unit, _NEIGHBOURS)


@explained
def mutual_information_of_samples(
    x: Any, y: Any, /, *, discrete: bool | None = None, k: int = 3, base: Any = math.e
) -> InformationEstimate:
    """The mutual information of what pairs of samples were drawn from.

    Args:
        x, y: (n,) or (n, d), row i of one belongs to row i of the other.
        discrete: whether the values of both are of finite sets; if left out, whether both are
            integers.
        k: of continuous values, which nearest neighbour is taken.

    Discrete values: H(X) + H(Y) − H(X, Y), each corrected as in `entropy_of_samples`. Continuous
    ones: ψ(k) + ψ(n) − mean(ψ(n_x + 1) + ψ(n_y + 1)) (Kraskov, Stögbauer, Grassberger 2004, eq. 8).
    Either may come out a little below 0.

    >>> t = np.arange(200) % 4
    >>> round(mutual_information_of_samples(t, t // 2, base=2).value, 2)
    1.0
    """
    with _named("mutual_information_of_samples"):
        unit, a, b = _unit(base), _rows(x, "x"), _rows(y, "y")
        if len(a) != len(b):
            raise ShapeError(f"x has {len(a)} rows and y {len(b)}; row i of both is one pair")
        whole = all(r.dtype.kind in "biu" for r in (a, b))
        if discrete if discrete is not None else whole:
            value, error = _discrete_pair(_codes(a), _codes(b))
            return InformationEstimate(value / unit, error / unit, _PLUG_IN)
        k = _neighbours(k, len(a))
        value, error = _kraskov(a.astype(np.float64), b.astype(np.float64), k)
        return InformationEstimate(value / unit, error / unit, _NEIGHBOURS)


def _rows(x: Any, name: str) -> np.ndarray:
    value = as_operand(x)._concrete(f"an estimate of {name}")
    if value.ndim not in (1, 2) or value.dtype.kind == "c":
        raise ShapeError(f"{name} is (n,) or (n, d) real numbers, not {value.dtype} {value.shape}")
    if len(value) < 2:
        raise DataError(f"{name} has {len(value)} rows, and an estimate needs two at least")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise DataError(f"{name} has {value[place]} at {list(place)}")
    return value if value.ndim == 2 else value[:, None]


def _codes(rows: np.ndarray) -> np.ndarray:
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _plug_in(codes: np.ndarray) -> tuple[float, float]:
    n, counts = len(codes), np.bincount(codes)
    share = counts[counts > 0] / n
    surprise = -np.log(share)
    value = float(np.sum(share * surprise))
    spread = max(float(np.sum(share * surprise**2)) - value**2, 0.0)
    return value + (len(share) - 1) / (2 * n), math.sqrt(spread / n)


def _discrete_pair(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    both = a * (b.max() + 1) + b
    codes = np.unique(both, return_inverse=True)[1].reshape(-1)
    value = _plug_in(a)[0] + _plug_in(b)[0] - _plug_in(codes)[0]
    n = len(a)
    joint = np.bincount(codes) / n
    apart = (np.bincount(a) / n)[a] * (np.bincount(b) / n)[b]
    return value, float(np.std(np.log(joint[codes] / apart)) / math.sqrt(n))


def _neighbours(k: Any, n: int) -> int:
    return _whole_number(k, "k", 1, n - 1)


def _kozachenko_leonenko(x: np.ndarray, k: int) -> tuple[float, float]:
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    n, d = x.shape
    distance = cKDTree(x).query(x, k + 1)[0][:, -1]
    if (distance == 0).any():
        row = int(np.argmin(distance))
        raise DataError(
            f"row {row} comes {k + 1} times or more, which continuous values do not. Write "
            "discrete=True for values of a finite set."
        )
    ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1)
    terms = digamma(n) - digamma(k) + ball + d * np.log(distance)
    return float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(n))


def _kraskov(x: np.ndarray, y: np.ndarray, k: int) -> tuple[float, float]:
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    n = len(x)
    both = np.concatenate([x, y], axis=1)
    distance = cKDTree(both).query(both, k + 1, p=np.inf)[0][:, -1]
    inside = np.nextafter(distance, 0)  # strictly nearer ones are counted
    counts = [
        cKDTree(z).query_ball_point(z, inside, p=np.inf, return_length=True) for z in (x, y)
    ]  # each counts itself, which is the + 1
    terms = digamma(k) + digamma(n) - digamma(counts[0]) - digamma(counts[1])
    return float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(n))

"""Distributions over vectors and matrices."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.activation import log_sigmoid
from chainrule.ops.arithmetic import sqrt, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, log, xlogy
from chainrule.ops.gamma import digamma, gammaln, multigammaln
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.reduction import sum
from chainrule.ops.softmax import softmax
from chainrule.ops.solving import cholesky, cholesky_solve, solve_triangular
from chainrule.ops.structure import expand_dims, flip, matrix_transpose, squeeze
from chainrule.probability import constraints, noise
from chainrule.probability.constraints import Constraint, Independent
from chainrule.probability.continuous import HALF_LOG_2PI
from chainrule.probability.distribution import Distribution, Shape, _check, _named, _whole_number
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


class Dirichlet(Distribution):
    """The Dirichlet distribution over probabilities, p(x) = ∏ x_i^(a_i − 1) / B(a).

    Args:
        concentration: a, (*batch, K), all > 0.

    Samples are softmax of the logarithms of gamma variates; derivatives flow to the concentration.

    >>> Dirichlet([1.0, 3.0]).mean
    tensor([0.25, 0.75])
    """

    arg_constraints: ClassVar = {"concentration": Independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    concentration: Tensor

    def __init__(self, concentration: Any) -> None:
        self._set(concentration=concentration)
        self.event_shape = self.concentration.shape[-1:]

    @property
    def _total(self) -> Tensor:
        return sum(self.concentration, -1)

    def _log_norm(self) -> Tensor:
        """log B(a) = Σ log Γ(a_i) − log Γ(Σ a_i)."""
        return sum(gammaln(self.concentration), -1) - gammaln(self._total)

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        return where(expand_dims(inside, -1), x, 1 / max(x.shape[-1], 1))

    def _log_prob(self, x: Tensor) -> Tensor:
        return sum(xlogy(self.concentration - 1, x), -1) - self._log_norm()

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        logs = noise.log_gamma(self.concentration, shape + self.event_shape, generator)
        return softmax(logs).astype(self.dtype)

    @property
    def mean(self) -> Tensor:
        return self.concentration / expand_dims(self._total, -1)

    @property
    def mode(self) -> Tensor:
        """The largest density's place; NaN where some a_i < 1, where the density is unbounded."""
        a = self.concentration - 1
        total = sum(a, -1, keepdims=True)
        none = sum((a < 0).astype(self.dtype), -1, keepdims=True) > 0
        flat = total == 0
        return where(none | flat, math.nan, a / where(flat, 1.0, total))

    @property
    def variance(self) -> Tensor:
        total = expand_dims(self._total, -1)
        share = self.concentration / total
        return share * (1 - share) / (total + 1)

    def entropy(self) -> Tensor:
        a, total = self.concentration, self._total
        spread = (total - a.shape[-1]) * digamma(total)
        return self._log_norm() + spread - sum((a - 1) * digamma(a), -1)


def _mahalanobis(factor: Tensor, d: Tensor) -> Tensor:
    """dᵀ (L Lᵀ)⁻¹ d, for vectors d (…, n) and L (…, n, n)."""
    # The vectors of a sample become columns of one solve, where L is the same for them.
    shape = broadcast_shapes(d.shape[:-1], factor.shape[:-2])
    n = d.shape[-1]
    d = d.broadcast_to((*shape, n))
    own = factor.ndim - 2
    if own == 0:
        columns = matrix_transpose(d.reshape(-1, n))
        return sum(square(solve_triangular(factor, columns, upper=False)), 0).reshape(shape)
    solved = solve_triangular(factor, expand_dims(d, -1), upper=False)
    return sum(square(squeeze(solved, -1)), -1)


def _diagonal(x: Tensor) -> Tensor:
    """The diagonals of matrices."""
    n = x.shape[-1]
    flat = x.reshape(*x.shape[:-2], n * n)
    return flat[..., :: n + 1] if n else flat


def _turned(x: Tensor) -> Tensor:
    """A matrix with rows and columns in reverse."""
    return flip(x, axis=(-2, -1))


class MultivariateNormal(Distribution):
    """The normal distribution of vectors, p(x) = exp(−½ (x − μ)ᵀ Σ⁻¹ (x − μ)) / √det 2πΣ.

    Args:
        loc: μ, (*batch, n).
        covariance_matrix: Σ; or
        precision_matrix: Σ⁻¹; or
        scale_tril: L with Σ = L Lᵀ, lower, with a positive diagonal: (*batch, n, n).

    Raises:
        LinAlgError: the matrix is not positive definite.

    >>> import chainrule as cr
    >>> x = MultivariateNormal(cr.zeros(2), covariance_matrix=cr.eye(2))
    >>> round(x.log_prob([0.0, 0.0]).item(), 4)  # −log 2π
    -1.8379
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    loc: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
    ) -> None:
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        some = [name for name, value in given.items() if value is not None]
        with _named("MultivariateNormal"):
            if len(some) != 1:
                raise DTypeError(f"it takes one of {', '.join(given)}, and not {some or 'none'}")
        self._set(loc=loc, **given)
        n = self.loc.shape[-1]
        matrix = getattr(self, some[0])
        with _named("MultivariateNormal"):
            if matrix.shape[-1] != n:
                raise ShapeError(
                    f"loc has {n} elements, and {some[0]} is of shape {matrix.shape[-2:]}"
                )
            if covariance_matrix is not None:
                self.scale_tril = cholesky(matrix)
            elif precision_matrix is not None:
                # P = (J C J)(J C J)ᵀ with J the reversal, so that L = (J C J)⁻ᵀ is lower already
                reverse = cholesky(_turned(matrix))
                eye = Tensor(np.eye(n, dtype=self.dtype))
                upper = matrix_transpose(_turned(reverse))
                wide = eye.broadcast_to(upper.shape)
                self.scale_tril = solve_triangular(upper, wide, upper=False)
        self.event_shape = (n,)

    def __getattr__(self, name: str) -> Any:
        # The forms that were not given are made when they are asked for.
        if name == "covariance_matrix":
            return matmul(self.scale_tril, matrix_transpose(self.scale_tril))
        if name == "precision_matrix":
            n = self.event_shape[0]
            eye = Tensor(np.eye(n, dtype=self.dtype)).broadcast_to(self.scale_tril.shape)
            return cholesky_solve(eye, self.scale_tril)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _log_prob(self, x: Tensor) -> Tensor:
        size = self.loc.shape[-1] * HALF_LOG_2PI + sum(log(_diagonal(self.scale_tril)), -1)
        return -0.5 * _mahalanobis(self.scale_tril, x - self.loc) - size

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        z = noise.normal(shape + self.event_shape, self.dtype, generator)
        return self.loc + squeeze(matmul(self.scale_tril, expand_dims(z, -1)), -1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return sum(square(self.scale_tril), -1)

    def entropy(self) -> Tensor:
        n = self.loc.shape[-1]
        return n * (0.5 + HALF_LOG_2PI) + sum(log(_diagonal(self.scale_tril)), -1)


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of vectors with Σ = W Wᵀ + diag(D): n numbers cost n·rank², not n³.

    Args:
        loc: (*batch, n).
        cov_factor: W, (*batch, n, rank).
        cov_diag: D, (*batch, n), > 0.

    By Woodbury's identity and the matrix determinant lemma, through the Cholesky factor of the
    capacitance 1 + Wᵀ D⁻¹ W.
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "cov_factor": Independent(constraints.real, 2),
        "cov_diag": Independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True
    loc: Tensor
    cov_factor: Tensor
    cov_diag: Tensor

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any) -> None:
        self._set(loc=loc, cov_factor=cov_factor, cov_diag=cov_diag)
        n = self.loc.shape[-1]
        with _named("LowRankMultivariateNormal"):
            if self.cov_factor.shape[-2] != n or self.cov_diag.shape[-1] != n:
                raise ShapeError(
                    f"loc has {n} elements, cov_factor is of shape {self.cov_factor.shape[-2:]} "
                    f"and cov_diag has {self.cov_diag.shape[-1]}; they are (n,), (n, rank), (n,)"
                )
        self.event_shape = (n,)

    def _capacitance(self) -> tuple[Tensor, Tensor]:
        """(Wᵀ D⁻¹, the Cholesky factor of 1 + Wᵀ D⁻¹ W)."""
        rank = self.cov_factor.shape[-1]
        scaled = matrix_transpose(self.cov_factor / expand_dims(self.cov_diag, -1))
        eye = Tensor(np.eye(rank, dtype=self.dtype))
        return scaled, cholesky(eye + matmul(scaled, self.cov_factor))

    def _log_size(self, factor: Tensor) -> Tensor:
        """½ log det 2πΣ."""
        n = self.loc.shape[-1]
        spread = 0.5 * sum(log(self.cov_diag), -1) + sum(log(_diagonal(factor)), -1)
        return n * HALF_LOG_2PI + spread

    def _log_prob(self, x: Tensor) -> Tensor:
        scaled, factor = self._capacitance()
        d = x - self.loc
        part = squeeze(matmul(scaled, expand_dims(d, -1)), -1)
        quadratic = sum(square(d) / self.cov_diag, -1) - _mahalanobis(factor, part)
        return -0.5 * quadratic - self._log_size(factor)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        rank = self.cov_factor.shape[-1]
        z = noise.normal((*shape, rank), self.dtype, generator)
        e = noise.normal(shape + self.event_shape, self.dtype, generator)
        spread = squeeze(matmul(self.cov_factor, expand_dims(z, -1)), -1)
        return self.loc + spread + sqrt(self.cov_diag) * e

    @property
    def covariance_matrix(self) -> Tensor:
        """W Wᵀ + diag(D)."""
        eye = Tensor(np.eye(self.event_shape[0], dtype=self.dtype))
        gram = matmul(self.cov_factor, matrix_transpose(self.cov_factor))
        return gram + eye * expand_dims(self.cov_diag, -1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return sum(square(self.cov_factor), -1) + self.cov_diag

    def entropy(self) -> Tensor:
        return 0.5 * self.loc.shape[-1] + self._log_size(self._capacitance()[1])


class Wishart(Distribution):
    """The Wishart distribution of positive definite matrices: Σ_{i ≤ ν} x_i x_iᵀ, x_i ~ N(0, V).

    Args:
        df: ν > n − 1, not only whole.
        covariance_matrix: V; or
        scale_tril: L with V = L Lᵀ; (*batch, n, n).

    Samples are (L A)(L A)ᵀ with Bartlett's A (1933).
    """

    arg_constraints: ClassVar = {
        "df": constraints.positive,
        "covariance_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.positive_definite
    has_rsample = True
    df: Tensor
    scale_tril: Tensor

    def __init__(self, df: Any, covariance_matrix: Any = None, scale_tril: Any = None) -> None:
        pair = ("covariance_matrix", covariance_matrix), ("scale_tril", scale_tril)
        self._either(*pair, "Wishart")
        self._set(df=df, covariance_matrix=covariance_matrix, scale_tril=scale_tril)
        with _named("Wishart"):
            if scale_tril is None:
                self.scale_tril = cholesky(self.covariance_matrix)
        n = self.scale_tril.shape[-1]
        with _named("Wishart"):
            _check("df", self.df, constraints.greater_than(float(n - 1)))
        self.event_shape = (n, n)

    def __getattr__(self, name: str) -> Any:
        if name == "covariance_matrix":
            return matmul(self.scale_tril, matrix_transpose(self.scale_tril))
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        eye = Tensor(np.eye(x.shape[-1], dtype=x.dtype))
        return where(expand_dims(expand_dims(inside, -1), -1), x, eye)

    def _half_log_det(self) -> Tensor:
        return sum(log(_diagonal(self.scale_tril)), -1)

    def _log_prob(self, x: Tensor) -> Tensor:
        n, v = self.event_shape[-1], self.df
        root = cholesky(x)
        trace = sum(square(solve_triangular(self.scale_tril, root, upper=False)), axis=(-2, -1))
        size = v * (0.5 * n * math.log(2)) + v * self._half_log_det() + multigammaln(0.5 * v, n)
        return (v - n - 1) * sum(log(_diagonal(root)), -1) - 0.5 * trace - size

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        n = self.event_shape[-1]
        z = noise.normal((*shape, n, n), self.dtype, generator)
        half = 0.5 * (expand_dims(self.df, -1) - Tensor(np.arange(n, dtype=self.dtype)))
        logs = noise.log_gamma(half, (*shape, n), generator).astype(self.dtype)
        chi = expand_dims(exp(0.5 * (logs + math.log(2))), -1)
        below = Tensor(np.tril(np.ones((n, n), bool), -1))
        bartlett = where(Tensor(np.eye(n, dtype=bool)), chi, where(below, z, 0.0))
        root = matmul(self.scale_tril, bartlett)
        return matmul(root, matrix_transpose(root))

    @property
    def mean(self) -> Tensor:
        return expand_dims(expand_dims(self.df, -1), -1) * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        n = self.event_shape[-1]
        factor = where(self.df >= n + 1, self.df - n - 1, math.nan)
        return expand_dims(expand_dims(factor, -1), -1) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        cov = self.covariance_matrix
        spread = _diagonal(cov)
        outer = expand_dims(spread, -1) * expand_dims(spread, -2)
        return expand_dims(expand_dims(self.df, -1), -1) * (square(cov) + outer)

    def entropy(self) -> Tensor:
        n, v = self.event_shape[-1], self.df
        steps = Tensor(np.arange(n, dtype=self.dtype))
        digammas = sum(digamma(0.5 * (expand_dims(v, -1) - steps)), -1)
        log_det = 2 * self._half_log_det()
        return (
            0.5 * (n + 1) * (log_det + n * math.log(2))
            + multigammaln(0.5 * v, n) - 0.5 * (v - n - 1) * digammas + 0.5 * n * v
        )  # fmt: skip


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices R with density ∝ det(R)^(η − 1).

    Args:
        dim: n, from 2 on.
        concentration: η > 0; 1 makes all correlation matrices equally likely.

    Lewandowski, Kurowicka, Joe 2009; samples by the onion method of their section 3.2.

    >>> LKJCholesky(3, 1.0).sample().shape
    (3, 3)
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    has_rsample = True
    concentration: Tensor

    def __init__(self, dim: int, concentration: Any = 1.0) -> None:
        with _named("LKJCholesky"):
            self.dim = _whole_number(dim, "dim", 2)
        self._set(concentration=concentration)
        self.event_shape = (self.dim, self.dim)

    def _like(self, parameters: dict[str, Tensor]) -> LKJCholesky:
        return LKJCholesky(self.dim, **parameters)

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        eye = Tensor(np.eye(self.dim, dtype=x.dtype))
        return where(expand_dims(expand_dims(inside, -1), -1), x, eye)

    def _log_prob(self, x: Tensor) -> Tensor:
        # ∏_{i ≥ 1} L_ii^(n − 1 − i + 2(η − 1)), i from 0 on; the norm as in PyTorch and Stan
        n, eta = self.dim, expand_dims(self.concentration, -1)
        order = Tensor((n - 1 - np.arange(1, n)).astype(self.dtype))
        terms = sum((order + 2 * (eta - 1)) * log(_diagonal(x)[..., 1:]), -1)
        alpha = self.concentration + 0.5 * (n - 1)
        size = multigammaln(alpha - 0.5, n - 1) - (n - 1) * gammaln(alpha)
        return terms - size - 0.5 * (n - 1) * math.log(math.pi)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        n = self.dim
        rows = np.arange(1, n, dtype=self.dtype)
        eta = expand_dims(self.concentration, -1)
        a, b = Tensor(0.5 * rows), eta + 0.5 * (n - 2) - Tensor(0.5 * (rows - 1))
        first = noise.log_gamma(a, (*shape, n - 1), generator)
        second = noise.log_gamma(b, (*shape, n - 1), generator)
        odds = (first - second).astype(self.dtype)
        radius, rest = exp(0.5 * log_sigmoid(odds)), exp(0.5 * log_sigmoid(-odds))
        z = noise.normal((*shape, n - 1, n), self.dtype, generator)
        z = where(Tensor(np.tril(np.ones((n - 1, n), bool))), z, 0.0)
        direction = z / sqrt(sum(square(z), -1, keepdims=True))
        below = expand_dims(radius, -1) * direction
        diagonal = Tensor(np.eye(n, dtype=bool)[1:])
        below = where(diagonal, expand_dims(rest, -1), below)
        top = Tensor(np.eye(1, n, dtype=self.dtype)).broadcast_to((*shape, 1, n))
        return concat([top, below], axis=-2)

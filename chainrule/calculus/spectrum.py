"""What can be known of a matrix from its products with vectors: extreme eigenvalues, the trace.

The matrix is a function v -> A v, such as `lambda v: cr.hvp(loss, (w,), (v,))`; v is a vector, or
has the structure of parameters (nested dicts, lists and tuples of tensors).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.calculus.transforms import require_function
from chainrule.errors import ChainruleError, DTypeError, NonFiniteError, ShapeError
from chainrule.tensor import dtypes, generator
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import OFF, recording
from chainrule.tensor.inspection import finfo
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten

Product = Callable[[Any], Any]


class Lanczos(NamedTuple):
    """Approximate eigenpairs of a symmetric matrix.

    Attributes:
        eigenvalues: ascending, float64: (k,). The first and last are the best.
        eigenvectors: one for each, of length 1, in the structure of the vectors, with k in front.
        residuals: ‖A v − λ v‖ of each, in exact arithmetic: (k,). An eigenvalue lies within this
            distance of λ.
    """

    eigenvalues: Tensor
    eigenvectors: Any
    residuals: Tensor


class PowerIteration(NamedTuple):
    """The eigenvalue of largest modulus, its eigenvector, and how many products it took."""

    eigenvalue: Tensor
    eigenvector: Any
    steps: int


class TraceEstimate(NamedTuple):
    """An estimate of a trace, and its standard error."""

    trace: Tensor
    standard_error: Tensor


class _Space:
    """Vectors in the user's structure and as one NumPy array each."""

    def __init__(self, product: Product, like: Any, what: str) -> None:
        require_function(product, what)
        if isinstance(like, (float, complex)):
            raise DTypeError(
                f"{what} takes the length of a vector or what it is like, not {like!r}"
            )
        if isinstance(like, (int, np.integer)) and not isinstance(like, bool):
            if like < 1:
                raise ShapeError(f"{what} needs a vector of at least one element, not {like}")
            like = Tensor(np.zeros(int(like), dtypes.default_float))
        leaves, self.rebuild = flatten(like)
        self.leaves = [as_operand(leaf) for leaf in leaves]
        for leaf in self.leaves:
            if not dtypes.is_float(leaf.dtype) or leaf.dtype.kind == "c":
                raise DTypeError(f"{what} is of real floating-point vectors, not of {leaf.dtype}")
        self.size = sum(leaf.size for leaf in self.leaves)
        if not self.size:
            raise ShapeError(f"{what} needs a vector of at least one element")
        self.product, self.what = product, what

    def tree(self, flat: np.ndarray) -> Any:
        """A vector, or several along the axes in front, in the user's structure."""
        parts, start = [], 0
        for leaf in self.leaves:
            part = flat[..., start : start + leaf.size]
            shape = (*flat.shape[:-1], *leaf.shape)
            parts.append(Tensor(part.reshape(shape).astype(leaf.dtype)))
            start += leaf.size
        return self.rebuild(parts)

    def flat(self, tree: Any) -> np.ndarray:
        parts = [as_operand(leaf) for leaf in flatten(tree)[0]]
        shapes, wanted = [p.shape for p in parts], [leaf.shape for leaf in self.leaves]
        if shapes != wanted:
            raise ShapeError(
                f"{self.what}: the product with a vector has the shapes {shapes}, and the vector "
                f"{wanted}; the matrix is a square one"
            )
        return np.concatenate([p.numpy().reshape(-1).astype(np.float64) for p in parts])

    def times(self, v: np.ndarray) -> np.ndarray:
        with recording(OFF):
            found = self.flat(self.product(self.tree(v)))
        if not np.isfinite(found).all():
            raise NonFiniteError(f"{self.what}: the product with a vector is not finite")
        return found

    def random(self, given: Any) -> np.ndarray:
        """A direction, each equally likely, as a vector of length 1 in float64."""
        from chainrule.ops.random import normal

        v = normal((self.size,), dtype=dtypes.float64, generator=given).numpy()
        return v / np.linalg.norm(v)

    def signs(self, given: Any) -> np.ndarray:
        from chainrule.ops.random import bernoulli

        return np.where(bernoulli(0.5, (self.size,), generator=given).numpy(), 1.0, -1.0)


def count(value: Any, name: str, least: int = 1) -> int:
    """A whole number of at least so much."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < least:
        raise DTypeError(f"{name} is a whole number of at least {least}, not {value!r}")
    return int(value.__index__())


def positive(tolerance: Any) -> None:
    """Refuse a tolerance that is no positive number."""
    if not isinstance(tolerance, (int, float)) or not tolerance > 0:
        raise DTypeError(f"tolerance is a positive number, not {tolerance!r}")


@explained
def lanczos(
    matvec: Product, like: Any, k: int, *, generator: generator.Generator | None = None
) -> Lanczos:
    """The extreme eigenvalues of a symmetric matrix that is known by its products with vectors.

    k products build a basis of the Krylov space {v, A v, A² v, …} of a random vector v, orthogonal
    to rounding (each is orthogonalised twice against all before), in which A is tridiagonal
    (Golub and Van Loan, Matrix Computations, 2013, §10.1 and 10.3). The vectors are kept in
    float64: k times the size of one.

    Args:
        matvec: v -> A v.
        like: the length of v, or a tensor or structure that v is like.
        k: how many products; where the space ends earlier, fewer eigenvalues come out.
        generator: what the first vector is drawn from.

    Raises:
        ShapeError: the product has another shape than the vector.
        NonFiniteError: a product is not finite.

    >>> import chainrule as cr
    >>> a = cr.asarray([2.0, 5.0, 11.0])
    >>> [round(v, 4) for v in cr.lanczos(lambda v: a * v, 3, 3).eigenvalues.tolist()]
    [2.0, 5.0, 11.0]
    """
    space = _Space(matvec, like, "lanczos")
    k = min(count(k, "k"), space.size)
    basis = np.zeros((k, space.size))
    alphas: list[float] = []
    betas: list[float] = []
    v = space.random(generator)
    scale = 0.0
    for i in range(k):
        basis[i] = v
        w = space.times(v)
        scale = max(scale, float(np.linalg.norm(w)))
        alphas.append(float(w @ v))
        for _ in range(2):
            w -= basis[: i + 1].T @ (basis[: i + 1] @ w)
        betas.append(float(np.linalg.norm(w)))
        if betas[-1] <= _resolution(space) * scale:
            betas[-1] = 0.0
            break
        v = w / betas[-1]
    n = len(alphas)
    values, vectors = np.linalg.eigh(
        np.diag(alphas) + np.diag(betas[: n - 1], 1) + np.diag(betas[: n - 1], -1)
    )
    residuals = np.abs(betas[n - 1] * vectors[-1])
    return Lanczos(Tensor(values), space.tree(vectors.T @ basis[:n]), Tensor(residuals))


def _resolution(space: _Space) -> float:
    """What is rounding in a product, relative to its length."""
    return 10 * max(float(finfo(leaf.dtype).eps) for leaf in space.leaves)


@explained
def power_iteration(
    matvec: Product,
    like: Any,
    *,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
    generator: generator.Generator | None = None,
) -> PowerIteration:
    """The eigenvalue of largest modulus of a matrix, and its eigenvector.

    v becomes A v / ‖A v‖ until ‖A v − λ v‖ ≤ tolerance · |λ|, with λ = v · A v. The error falls as
    the ratio of the two largest moduli; `lanczos` needs far fewer products of a symmetric matrix.

    Args:
        matvec: v -> A v.
        like: the length of v, or a tensor or structure that v is like.
        tolerance: of the residual, relative to the eigenvalue.
        max_steps: so many products at most.
        generator: what the first vector is drawn from.

    Raises:
        ChainruleError: it has not converged: two eigenvalues have (nearly) the same modulus, or the
            tolerance is below the rounding of the dtype.

    >>> import chainrule as cr
    >>> a = cr.asarray([[2.0, 1.0], [1.0, 2.0]])
    >>> round(cr.power_iteration(lambda v: a @ v, 2).eigenvalue.item(), 4)
    3.0
    """
    space = _Space(matvec, like, "power_iteration")
    positive(tolerance)
    v = space.random(generator)
    value = residual = 0.0
    for step in range(1, count(max_steps, "max_steps") + 1):
        w = space.times(v)
        value = float(v @ w)
        residual = float(np.linalg.norm(w - value * v))
        if residual <= tolerance * abs(value) or not np.any(w):
            return PowerIteration(Tensor(np.asarray(value)), space.tree(v), step)
        v = w / np.linalg.norm(w)
    raise ChainruleError(
        f"power_iteration has not converged in {max_steps} steps: the eigenvalue is about "
        f"{value:.6g}, and the residual {residual:.2g}. Usually two eigenvalues have nearly the "
        "same modulus (then max_steps is to be larger), or are λ and −λ (then use lanczos); or the "
        "tolerance is below what the dtype resolves."
    )


@explained
def hutchinson_trace(
    matvec: Product,
    like: Any,
    samples: int = 100,
    *,
    generator: generator.Generator | None = None,
) -> TraceEstimate:
    """An estimate of the trace of a matrix from its products with random vectors.

    The mean of v · A v over vectors of random signs, whose expected value is the trace (Hutchinson
    1990, A stochastic estimator of the trace of the influence matrix). Of a diagonal matrix it is
    exact.

    Args:
        matvec: v -> A v.
        like: the length of v, or a tensor or structure that v is like.
        samples: how many products, at least 2.
        generator: what the signs are drawn from.

    Returns the estimate and its standard error: the samples' standard deviation / √samples.

    >>> import chainrule as cr
    >>> a = cr.asarray([1.0, 2.0, 3.0])
    >>> estimate = cr.hutchinson_trace(lambda v: a * v, 3, samples=10)
    >>> estimate.trace.item(), estimate.standard_error.item()
    (6.0, 0.0)
    """
    space = _Space(matvec, like, "hutchinson_trace")
    found = []
    for _ in range(count(samples, "samples", 2)):
        v = space.signs(generator)
        found.append(float(v @ space.times(v)))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    return TraceEstimate(Tensor(np.asarray(np.mean(found))), Tensor(np.asarray(error)))

"""The generalised Gauss–Newton matrix of a network's likelihood, Σ_i J_iᵀ Λ_i J_i.

J_i = ∂f(x_i)/∂w is the Jacobian of the outputs of row i, and Λ_i the Fisher information of the
likelihood in them, which for the likelihoods here with natural parameters (all but `mean-variance`)
is the Hessian of −log p(y_i | f) (Martens 2020, New insights and perspectives on the natural
gradient method, §9). It is positive semidefinite at any weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from chainrule.calculus.jacobian import jacobian
from chainrule.calculus.transforms import value_and_grad
from chainrule.calculus.vmap import vmap
from chainrule.errors import DataError, ShapeError
from chainrule.posteriors.joint import LEAST_VARIANCE, Joint
from chainrule.posteriors.laplace.gaussian import Block, dense_block, require_finite
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import no_grad
from chainrule.tensor.tensor import Tensor

AT_ONCE = 2**23
"""Numbers that the Jacobians of a chunk of rows may have, about."""
ROWS_AT_ONCE = 2048
"""Rows that a network is asked for in one go, at most: so that what it makes of them fits into the
processor's cache, and is many times what a call costs."""
LARGEST_DENSE = 2**29
"""Numbers of a dense matrix, 4 GiB in float64."""


@dataclass(frozen=True)
class Curvature:
    """What the likelihood says about the weights around where they are, of unit noise.

    Attributes:
        blocks: the Gauss–Newton matrix, or what a structure keeps of it.
        outputs: (n, K), the network's outputs of the training rows, float64.
        log_likelihood: log p(D | w).
        gradient: (P,), of log p(D | w).
    """

    blocks: list[Block]
    outputs: np.ndarray
    log_likelihood: float
    gradient: np.ndarray

    def __post_init__(self) -> None:
        require_finite(*(block.values for block in self.blocks), self.gradient)


def chunks(rows: int, numbers: int) -> Iterator[slice]:
    """Slices of so many rows, where each row needs so many numbers."""
    step = max(1, AT_ONCE // max(1, numbers))
    return (slice(start, start + step) for start in range(0, rows, step))


def in_blocks(
    x: np.ndarray, function: Callable[[np.ndarray], tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """A function of rows, of many of them: of blocks of one length, so that what is compiled for a
    shape serves all; the last two may overlap."""
    numbers = 8 * max(1, x[0].size if len(x) else 1)
    step = min(ROWS_AT_ONCE, max(1, AT_ONCE // numbers))
    if len(x) <= step:
        return function(x)
    last = len(x) - step
    ends = function(x[last:])
    found = tuple(np.empty((len(x), *end.shape[1:]), end.dtype) for end in ends)
    for start in range(0, last, step):
        for whole, part in zip(found, function(x[start : start + step]), strict=True):
            whole[start : start + step] = part
    for whole, end in zip(found, ends, strict=True):
        whole[last:] = end
    return found


def outputs_of(joint: Joint, x: np.ndarray) -> np.ndarray:
    """(n, K), float64: the outputs of rows, in evaluation mode.

    Raises:
        ShapeError: the network gives something else than one row of outputs for each of inputs.
        DataError: an output is not finite.
    """
    with no_grad():
        (found,) = in_blocks(x, lambda rows: (_outputs(joint, rows),))
    return checked(found, x)


def _outputs(joint: Joint, rows: np.ndarray) -> np.ndarray:
    return joint.outputs(None, asarray(rows, copy=False)).numpy()


def checked(found: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The outputs of rows x as (n, K), float64; raises what `outputs_of` does."""
    if found.shape[:1] != (len(x),) or found.ndim > 2:
        raise ShapeError(
            f"the network gives outputs of the shape {found.shape} for {len(x)} rows; a Laplace "
            "approximation is of one output, or a vector of them, for each row"
        )
    if not np.isfinite(found).all():
        row = int(np.argwhere(~np.isfinite(found))[0][0])
        raise DataError(f"the network's output for row {row} is not finite: {found[row]}")
    return found.reshape(len(x), math.prod(found.shape[1:])).astype(np.float64)


def information(joint: Joint, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(d, p), each (n, K): the Fisher information in the outputs (n, K), of unit noise.

    Λ = diag(p) − p pᵀ for classes, whose diagonal is d; Λ = diag(d) and p is None otherwise.

    | likelihood | d |
    |---|---|
    | `categorical` | p (1 − p) |
    | `bernoulli` | p (1 − p) |
    | `normal` | 1 |
    | `mean-variance` | (1/v, v′²/2v²), v′ = ∂v/∂s |
    """
    from scipy.special import expit

    if joint.likelihood == "categorical":
        p = softmax(outputs)[0]
        return p * (1 - p), p
    if joint.likelihood == "bernoulli":
        p = expit(outputs)
        return p * (1 - p), None
    if joint.likelihood == "normal":
        return np.ones(outputs.shape), None
    variance = np.logaddexp(0, outputs[:, 1]) + LEAST_VARIANCE
    slope = expit(outputs[:, 1])
    return np.stack([1 / variance, 0.5 * (slope / variance) ** 2], -1), None


def information_root(joint: Joint, outputs: np.ndarray) -> np.ndarray:
    """(n, K, K): S with S Sᵀ = Λ; diag(√p) − p √pᵀ for classes, diag(√d) otherwise."""
    d, p = information(joint, outputs)
    if p is None:
        return np.sqrt(d)[:, :, None] * np.eye(d.shape[1])
    root = np.sqrt(p)
    found: np.ndarray = -p[:, :, None] * root[:, None, :]
    np.einsum("nkk->nk", found)[...] += root
    return found


def softmax(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) and (n,): probabilities, and log Σ exp; class by class, NumPy being slow along short
    rows."""
    by_class = np.array(outputs.T, order="C")
    highest = by_class.max(0)
    by_class -= highest
    np.exp(by_class, out=by_class)
    total = by_class.sum(0)
    by_class /= total
    return by_class.T, highest + np.log(total)


def first_order(joint: Joint, outputs: np.ndarray) -> tuple[float, np.ndarray]:
    """log p(D | w), and (n, K): ∂ log p(y_i | f_i) / ∂f_i; of unit noise."""
    y = asarray(joint.y, copy=False)
    of_outputs = value_and_grad(lambda f: joint.log_likelihood(f, y, noise=1.0))
    value, slope = of_outputs(asarray(outputs, copy=False))
    return value.item(), slope.numpy()


def second_order(
    joint: Joint, outputs: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray | None]:
    """What `first_order` and `information` give; of classes from one softmax."""
    if joint.likelihood != "categorical":
        return *first_order(joint, outputs), *information(joint, outputs)
    p, log_total = softmax(outputs)
    labels = np.arange(len(p)), joint.y
    slope = -p
    slope[labels] += 1
    return float((outputs[labels] - log_total).sum()), slope, p * (1 - p), p


def jacobians(joint: Joint, x: np.ndarray) -> np.ndarray:
    """(n, K, P): ∂f/∂w of each row by itself, as `vmap` of a row's Jacobian; of any layers."""
    parameters = {name: asarray(p.numpy(), copy=False) for name, p in joint.parameters.items()}

    def of_row(row: Tensor) -> dict[str, Tensor]:
        def outputs(given: dict[str, Tensor]) -> Tensor:
            return joint.outputs(given, row[None]).reshape((-1,))

        found: dict[str, Tensor] = jacobian(outputs, mode="reverse")(parameters)
        return found

    each = vmap(of_row)(asarray(x, copy=False))
    parts = [each[n].numpy() for n in joint.names]
    return np.concatenate([p.reshape(*p.shape[:2], -1) for p in parts], -1)


def check_dense(joint: Joint) -> None:
    """Refuse a dense matrix of the weights that would not fit into memory."""
    if joint.size**2 > LARGEST_DENSE:
        raise DataError(
            f"structure='full' is a matrix of {joint.size} × {joint.size} numbers here. Take "
            "structure='kron' or 'diag', or weights='last-layer'."
        )


def full(joint: Joint) -> Curvature:
    """The whole matrix, (P, P), as one block.

    Raises:
        DataError: it would not fit into memory.
    """
    check_dense(joint)
    total = np.zeros((joint.size, joint.size))

    def add(rooted: np.ndarray) -> None:
        flat = rooted.reshape(-1, joint.size)
        total[...] += flat.T @ flat

    found = _through_jacobians(joint, add)
    return Curvature([dense_block(total)], *found)


def diag(joint: Joint) -> Curvature:
    """The diagonal alone, (P,)."""
    total = np.zeros(joint.size)

    def add(rooted: np.ndarray) -> None:
        flat = rooted.reshape(-1, joint.size)
        total[...] += np.einsum("np,np->p", flat, flat)

    found = _through_jacobians(joint, add)
    return Curvature([Block(total[:, None])], *found)


def _through_jacobians(joint: Joint, add: Callable[[np.ndarray], None]) -> tuple:
    """(outputs, log p(D | w), gradient); `add` is given Sᵀ J of each chunk, (rows, K, P)."""
    outputs, gradient = outputs_of(joint, joint.x), np.zeros(joint.size)
    value, slope = first_order(joint, outputs)
    for rows in chunks(len(outputs), outputs.shape[1] * joint.size):
        j = jacobians(joint, joint.x[rows])
        roots = information_root(joint, outputs[rows])
        add(np.matmul(roots.swapaxes(1, 2).astype(j.dtype), j))
        gradient += np.tensordot(slope[rows], j, 2)
    return outputs, value, gradient

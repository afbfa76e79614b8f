"""Where eigenvectors and singular vectors have a derivative, and where they have none.

Eigenvectors of equal eigenvalues are any basis of a plane, so a loss has a derivative there only if
it does not depend on which basis it was given. The derivative sees the cotangents in the basis that
LAPACK happened to return. For a block of equal eigenvalues they bear three marks:

1. the antisymmetric part of Vᴴ ∂L/∂V is 0 in the block: turning the basis changes nothing;
2. the cotangents of the block's eigenvalues are equal. (Of a function of the matrix, tr(C log A),
   they differ, and its derivative needs the slope of log in the block, which no cotangent tells.)
3. if the vectors of a pair are used, they have a common non-zero element. (Vectors in a special
   position, such as the unit vectors that belong to a diagonal matrix, may hide what 2. looks for.)

With all three the block contributes nothing and the result is exact. Without one, a GradientError
names the two eigenvalues. The same holds for singular values, where those that are 0 form a block
together with what the thin decomposition leaves out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import GradientError
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import constant_op
from chainrule.ops.matrices import real_dtype
from chainrule.ops.operation import operands
from chainrule.tensor.tensor import Tensor

INTERNAL = (
    "closeness",
    "coincident",
    "derivative_of_basis",
    "derivative_of_vectors",
    "gaps",
    "tolerance",
    "vanishing",
)

EIGEN = (
    "For eigenvalues alone write cr.linalg.eigvalsh; for a function of the matrix, what computes "
    "it (matrix_exp, matrix_sqrt, matrix_log, matrix_power, inv); or make the eigenvalues differ, "
    "by adding a diagonal of small distinct numbers."
)
SINGULAR = (
    "For singular values alone write cr.linalg.svdvals; for a function of the matrix, what "
    "computes it (pinv, lstsq, matrix_norm); or make the singular values differ, by adding small "
    "distinct numbers."
)


def tolerance(values: np.ndarray) -> np.ndarray:
    """How far apart two eigenvalues may be that are equal up to rounding: 8 √n ε max|λ|."""
    eps = np.finfo(real_dtype(values.dtype)).eps
    size = np.abs(values).max(-1, initial=0)
    return np.asarray(8 * np.sqrt(max(values.shape[-1], 1)) * eps * size)


def closeness(values: np.ndarray) -> np.ndarray:
    """Which pairs of eigenvalues are equal up to rounding, each with itself too."""
    apart = np.abs(values[..., :, None] - values[..., None, :])
    return apart <= tolerance(values)[..., None, None]


def _spectra() -> list:
    return [
        ((np.array([1.0, 2.0, 2.0]),), {}),
        ((np.array([[0.0, 3.0]]),), {}),
        ((np.zeros((2, 0)),), {}),
    ]


@constant_op(
    formula="y[…, i, j] = abs(x[…, i] − x[…, j]) ≤ 8 √n ε max_k abs(x[…, k])",
    display_only=True,
    shape=lambda x: ((*x.shape, x.shape[-1]), np.dtype(bool)),
    forward=closeness,
    reason="which numbers are equal is a choice",
    lower="lapack",
    batch=along(),
    samples=_spectra,
)
def coincident(x: Any, /) -> Any:
    """Which pairs of eigenvalues are equal up to rounding."""
    return operands(x), {}


@constant_op(
    formula="y[…, i] = x[…, i] ≤ 8 √n ε max_k abs(x[…, k])",
    display_only=True,
    shape=lambda x: (x.shape, np.dtype(bool)),
    forward=lambda x: np.abs(x) <= tolerance(x)[..., None],
    reason="which numbers are 0 is a choice",
    lower="lapack",
    batch=along(),
    samples=_spectra,
)
def vanishing(x: Any, /) -> Any:
    """Which singular values are 0 up to rounding."""
    return operands(x), {}


def _check(
    g: np.ndarray,
    values: np.ndarray,
    turning: np.ndarray,
    used: np.ndarray,
    vectors: np.ndarray | None,
    stretching: np.ndarray | None,
    outside: np.ndarray | None,
    *,
    what: str,
    instead: str,
) -> np.ndarray:
    """True, if the derivative can be had."""
    n = values.shape[-1]
    if not values.size:
        return np.ones(g.shape, bool)
    eps = np.finfo(real_dtype(values.dtype)).eps
    slack = eps ** (2 / 3)  # rounding leaves less of what is 0; what is not 0 is far above
    size = np.abs(used).max((-1, -2))[..., None]
    if outside is not None:
        size = np.maximum(size, outside.max(-1)[..., None])
    largest = np.abs(values).max(-1)[..., None]
    with np.errstate(all="ignore"):
        level = np.maximum(np.abs(g).max(-1)[..., None], np.nan_to_num(size / largest, posinf=0))

    def refuse(where: np.ndarray, why: str) -> None:
        for *place, i, j in np.argwhere(where)[:1].tolist():
            i, j = sorted((i, j))
            which = f" of matrix {tuple(place)} of the batch" if place else ""
            pair = f"{what}s {i} and {j}{which} are" if i != j else f"{what} {i}{which} is"
            found = " and ".join(f"{values[(*place, k)]:.9g}" for k in sorted({i, j}))
            raise GradientError(f"{pair} {why.format(found=found)}. {instead}")

    if np.iscomplexobj(used):
        phase = np.abs(np.imag(np.einsum("...ii->...i", turning)))
        limit = np.maximum(np.sqrt(eps) * size, 64 * eps)  # cotangents that cancel leave rounding
        refuse(
            (phase > limit)[..., None] & np.eye(n, dtype=bool),
            "{found}, and its vector is determined up to a factor of modulus 1, on which this loss "
            "depends; make it independent of the phase, as |v| or v vᴴ is",
        )
    same = closeness(values) & ~np.eye(n, dtype=bool)
    if same.any():
        equal = "equal up to rounding ({found}), so that their vectors are any basis of a plane"
        wrong = np.abs(turning) > slack * size[..., None]
        wrong |= np.abs(g[..., :, None] - g[..., None, :]) > slack * level[..., None]
        refuse(
            same & wrong,
            f"{equal} and have no derivative; this loss depends on the basis, or on one of the two "
            f"{what}s alone",
        )
        if vectors is not None:
            overlap = np.swapaxes(np.abs(vectors), -1, -2) @ np.abs(vectors)
            pair = np.maximum(np.abs(used), np.abs(np.swapaxes(used, -1, -2)))
            refuse(
                same & (pair > slack * size[..., None]) & (overlap <= slack),
                f"{equal}; those that were found have no common non-zero element, and whether the "
                "loss depends on them cannot be told. Turn the matrix first, as Q A Qᵀ with an "
                "orthogonal Q",
            )
    if stretching is not None:  # singular values alone
        zero = np.abs(values) <= tolerance(values)[..., None]
        both = zero[..., :, None] & zero[..., None, :]
        refuse(
            both & (np.abs(stretching) > slack * size[..., None]),
            "0 up to rounding ({found}), so that left and right vectors have no derivative, and "
            "this loss depends on them",
        )
        if outside is not None:
            alone = zero & ((outside > slack * size) | (np.abs(g) > slack * level))
            refuse(
                alone[..., None] & np.eye(n, dtype=bool),
                "0 up to rounding ({found}) in a matrix that is not square, so that it has no "
                "derivative, nor have its vectors, and this loss depends on them",
            )
    return np.ones(g.shape, bool)


@constant_op(
    formula="y = true, or an error where equal eigenvalues leave no derivative",
    display_only=True,
    shape=lambda g, *rest, **attrs: (g.shape, np.dtype(bool)),
    forward=_check,
    reason="it is a check",
    lower="lapack",
    batch=along(),
    samples=lambda: [
        ((np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.zeros((2, 2)), np.eye(2), None, None,
          None), {"what": "eigenvalue", "instead": ""}),
        ((np.array([1.0, 5.0]), np.array([2.0, 3.0]), np.ones((2, 2)), np.eye(2), np.eye(2), None,
          None), {"what": "eigenvalue", "instead": ""}),
    ],
)  # fmt: skip
def derivative_of_vectors(
    g: Any, values: Any, turning: Any, used: Any, vectors: Any = None, stretching: Any = None,
    outside: Any = None, /, *, what: str, instead: str,
) -> Any:  # fmt: skip
    """True in the shape of g, or a GradientError where cotangents do not tell the derivative.

    Args:
        g: (…, n), the cotangents of the eigenvalues or singular values.
        values: (…, n), the eigenvalues or singular values.
        turning: (…, n, n), what is divided by the difference of two values.
        used: (…, n, n), Vᴴ ∂L/∂V.
        vectors: (…, m, n), the eigenvectors, whose position is looked at.
        stretching: (…, n, n), what is divided by the sum of two singular values.
        outside: (…, n), how much is divided by a singular value for what lies outside of the span.
        what: "eigenvalue" or "singular value".
        instead: the way out, for the message.
    """
    given = (g, values, turning, used, vectors, stretching, outside)
    return tuple(None if x is None else operands(x)[0] for x in given), {
        "what": what,
        "instead": instead,
    }


def _basis_check(g: np.ndarray, turning: np.ndarray) -> np.ndarray:
    size = np.abs(g).max((-1, -2), initial=0)[..., None, None]
    if (np.abs(turning) > np.finfo(real_dtype(g.dtype)).eps ** (2 / 3) * size).any():
        raise GradientError(
            "the vectors that complete a basis are any that do, and have no derivative; this loss "
            "depends on which. Use the reduced decomposition (full_matrices=False, mode='reduced')"
        )
    return np.ones(g.shape, bool)


@constant_op(
    formula="y = true, or an error where the loss depends on the choice of a basis",
    display_only=True,
    shape=lambda g, turning: (g.shape, np.dtype(bool)),
    forward=_basis_check,
    reason="it is a check",
    lower="lapack",
    batch=along(),
    samples=lambda: [((np.ones((3, 2)), np.zeros((2, 2))), {})],
)
def derivative_of_basis(g: Any, turning: Any, /) -> Any:
    """True in the shape of g, or a GradientError where Qᴴ g has an antisymmetric part."""
    return operands(g, turning), {}


def gaps(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x_j − x_i with 1 where that is 0 up to rounding, where that is)."""
    same = coincident(x)
    return where(same, 1, x[..., None, :] - x[..., :, None]), same

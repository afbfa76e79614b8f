"""What operations on matrices share: their dtypes and shapes, and how LAPACK's errors read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, LinAlgError, NonFiniteError, ShapeError
from chainrule.ops.choosing import where
from chainrule.ops.complex import real as real_part
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.operation import conjugate, operands
from chainrule.ops.structure import matrix_transpose, reshape, sum_to
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor

INTERNAL = (
    "adjoint", "cubic", "decomposed", "finite", "fit", "floating", "hermitian",
    "hermitian_part", "lapack", "matrix", "pack", "packed", "parts", "positive", "real",
    "real_dtype", "regular", "singular", "spread_diagonal", "square", "square_shape",
    "take_diagonal", "well_conditioned",
)  # fmt: skip
ALSO_IN = {"linalg": ("LinAlgError",)}


def floating(*args: Any) -> tuple[Tensor, ...]:
    """Operands in one dtype that LAPACK has; integers become the default float."""
    given = operands(*args)
    target = given[0].dtype
    for x in given[1:]:
        target = dtypes.promote(target, x.dtype)
    if target.kind in "biu":
        target = dtypes.default_float
    elif target.itemsize == 2:
        raise DTypeError(
            f"matrices are solved and decomposed in float32, float64 and complex, not in {target}. "
            "Write x.astype(cr.float32), and convert the result back."
        )
    return tuple(x if x.dtype == target else x.astype(target) for x in given)


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex number; that of a real one is its own."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def matrix(x: Any, what: str = "it takes matrices") -> tuple[int, int]:
    """(rows, columns); ShapeError for less than two axes."""
    if len(x.shape) < 2:
        raise ShapeError(
            f"{what}, with the shape (…, rows, columns), and this has the shape {x.shape}"
        )
    return x.shape[-2], x.shape[-1]


def square(x: Any) -> int:
    """The size of square matrices; ShapeError for others."""
    m, n = matrix(x)
    if m != n:
        raise ShapeError(f"the matrices are to be square, and these are {m}×{n} (shape {x.shape})")
    return n


def real(x: Tensor) -> Tensor:
    """The real part; a real number as it is."""
    return real_part(x) if x.dtype.kind == "c" else x


def adjoint(x: Tensor) -> Tensor:
    """xᴴ, the conjugate transpose of the last two axes."""
    return matrix_transpose(conjugate(x))


def fit(g: Tensor | None, x: Any) -> Tensor | None:
    """A cotangent in the shape of an operand that was broadcast."""
    return g if g is None or g.shape == x.shape else sum_to(g, x.shape)


def regular(*shape: int) -> np.ndarray:
    """Sample matrices that are far from singular."""
    return sampled(*shape) + 3 * np.eye(shape[-2], shape[-1])


def positive(*shape: int) -> np.ndarray:
    """Sample matrices that are symmetric and positive definite."""
    a = sampled(*shape)
    return a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])


def square_shape(x: Any, **attrs: Any) -> tuple[tuple[int, ...], np.dtype]:
    square(x)
    return x.shape, x.dtype


def cubic(factor: float) -> Any:
    """The cost of n³ work in each matrix."""

    def operations(y: Any, x: Any, *rest: Any, **attrs: Any) -> int:
        return int(factor * math.prod(x.shape) * min(x.shape[-2:], default=0))

    return operations


def take_diagonal(x: Tensor) -> Tensor:
    """The diagonals of square matrices."""
    i = np.arange(x.shape[-1])
    return x[..., i, i]


def spread_diagonal(x: Tensor) -> Tensor:
    """Diagonal matrices with x on the diagonal."""
    return where(Tensor(np.eye(x.shape[-1], dtype=bool)), x[..., None], 0)


def parts(packed: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    """The parts of a packed result, which lie behind one another along its last axis."""
    batch, at, found = packed.shape[:-1], 0, []
    for shape in shapes:
        size = int(np.prod(shape))
        found.append(packed[..., at : at + size].reshape((*batch, *shape)))
        at += size
    return found


def packed(*arrays: np.ndarray, ends: tuple[int, ...]) -> np.ndarray:
    """Parts behind one another along the last axis; `ends` says how many axes each part has."""
    flat = [a.reshape(*a.shape[: a.ndim - n], math.prod(a.shape[a.ndim - n :]))
            for a, n in zip(arrays, ends, strict=True)]  # fmt: skip
    return np.concatenate(flat, -1)


def pack(*tensors: Tensor, ends: tuple[int, ...], dtype: np.dtype) -> Tensor:
    """The same of tensors, as an operation."""
    flat = []
    for x, n in zip(tensors, ends, strict=True):
        flat.append(reshape(x, (*x.shape[: x.ndim - n], math.prod(x.shape[x.ndim - n :]))))
    return concat([x if x.dtype == dtype else x.astype(dtype) for x in flat], axis=-1)


def hermitian(x: np.ndarray) -> np.ndarray:
    """The Hermitian part (A + Aᴴ)/2; matrices that are plainly not Hermitian are refused.

    Taking the Hermitian part rather than one triangle makes the derivative right in every
    direction; what is off by more than a hundredth is a mistake, usually a single triangle.
    """
    other = np.conj(np.swapaxes(x, -1, -2))
    apart = np.abs(x - other).max((-1, -2), initial=0)
    bad = np.argwhere(apart > 0.01 * np.abs(x).max((-1, -2), initial=0))
    if len(bad):
        which = f"matrix {tuple(map(int, bad[0]))} of the batch" if x.ndim > 2 else "the matrix"
        name = "Hermitian (A = Aᴴ)" if x.dtype.kind == "c" else "symmetric (A = Aᵀ)"
        raise LinAlgError(
            f"{which} is not {name}: elements differ from their mirror images by up to "
            f"{apart[tuple(bad[0])]:.3g}. Write (A + A.mT) / 2 for its symmetric part; if only the "
            "lower triangle is filled, A + cr.tril(A, k=-1).mT."
        )
    return (x + other) / 2


def hermitian_part(x: Tensor) -> Tensor:
    return (x + adjoint(x)) * 0.5


def finite(*arrays: np.ndarray) -> None:
    """Refuse what is not finite: what LAPACK makes of it differs from routine to routine."""
    for x in arrays:
        if not np.isfinite(x).all():
            place = tuple(map(int, np.argwhere(~np.isfinite(x))[0]))
            raise NonFiniteError(
                f"the matrix holds {x[place]} at {place}; what made it is found with "
                "cr.detect_nonfinite()"
            )


def lapack(function: Callable[..., Any], *arrays: np.ndarray, **options: Any) -> Any:
    """Call one of NumPy's, whose error becomes ours."""
    try:
        return function(*arrays, **options)
    except np.linalg.LinAlgError as error:
        finite(*arrays)
        raise LinAlgError(str(error)) from None


def decomposed(function: Callable[..., Any], x: np.ndarray, **options: Any) -> Any:
    """The same for a decomposition, which is of finite numbers."""
    finite(x)
    return lapack(function, x, **options)


def well_conditioned(a: np.ndarray, inverse: np.ndarray) -> None:
    """Refuse matrices that are singular to the precision of their dtype.

    The condition is min(‖|A⁻¹| |A|‖∞, ‖|A| |A⁻¹|‖₁), which scaling of rows, or of columns, does not
    change (Bauer and Skeel; Higham, Accuracy and Stability of Numerical Algorithms, §7.2), so that
    diag(1, 1e-30) is not refused.
    """
    if not inverse.size:
        return
    x, y = np.abs(a), np.abs(inverse)
    with np.errstate(all="ignore"):
        rows = (y @ x).sum(-1).max(-1)
        columns = (x @ y).sum(-2).max(-1)
        condition = np.asarray(np.minimum(rows, columns))
        finite = np.isfinite(a).all((-1, -2))
        bad = np.argwhere(finite & ~(condition < 1 / np.finfo(a.dtype).eps))
    if len(bad):
        place = tuple(map(int, bad[0]))
        raise singular(place, float(condition[place]), a.dtype)


def singular(place: tuple[int, ...], condition: float, dtype: np.dtype) -> LinAlgError:
    which = f"matrix {place} of the batch" if place else "the matrix"
    return LinAlgError(
        f"{which} is singular: its condition is {condition:.2g}, and {dtype} resolves up to "
        f"{1 / np.finfo(dtype).eps:.2g}. Rows or columns depend on one another. Use "
        "cr.linalg.pinv or cr.linalg.lstsq, or add a small multiple of the identity."
    )

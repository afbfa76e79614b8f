"""PyTorch's linear algebra and Fourier transforms that are short compositions of this library's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import linalg
from tests.against.torch_names import Lacks, axes_of
from tests.against.torch_shapes import at_least

Maker = Callable[..., Any]


# Fourier transforms of what is its own conjugate mirror image, in several axes.


def _transformed(x: Any, s: Any, dim: Any, default: int | None) -> tuple[list[int], list[Any]]:
    if dim is None:
        dim = range(-len(s), 0) if s is not None else range(-(default or x.ndim), 0)
    axes = [dim] if isinstance(dim, int) else list(dim)
    return axes, [None] * len(axes) if s is None else list(s)


def hermitian_fft(default: int | None) -> Maker:
    def call(x: Any, s: Any = None, dim: Any = None, norm: Any = "backward") -> Any:
        axes, sizes = _transformed(x, s, dim, default)
        for axis, n in zip(axes[:-1], sizes[:-1], strict=True):
            x = cr.fft.fft(x, n, axis=axis, norm=norm or "backward")
        return cr.fft.hfft(x, sizes[-1], axis=axes[-1], norm=norm or "backward")

    return call


def inverse_hermitian_fft(default: int | None) -> Maker:
    def call(x: Any, s: Any = None, dim: Any = None, norm: Any = "backward") -> Any:
        axes, sizes = _transformed(x, s, dim, default)
        y = cr.fft.ihfft(x, sizes[-1], axis=axes[-1], norm=norm or "backward")
        for axis, n in zip(axes[:-1], sizes[:-1], strict=True):
            y = cr.fft.ifft(y, n, axis=axis, norm=norm or "backward")
        return y

    return call


# Linear algebra.


def einsum(xs: Sequence[Any], text: str) -> Any:
    """Where the result has no "…", PyTorch adds up over its axes; NumPy and ours want that said."""
    given, arrow, wanted = text.replace(" ", "").partition("->")
    if "..." in given and arrow and "..." not in wanted:
        y = cr.einsum(f"{given}->...{wanted}", *xs)
        return cr.sum(y, axis=tuple(range(y.ndim - len(wanted))))
    return cr.einsum(text, *xs)


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    if not isinstance(dims, int) and any(
        a.shape[i] != b.shape[j] for i, j in zip(*dims, strict=True)
    ):
        raise Lacks(
            "axes of the sizes 1 and n added up over together; by the standard they are equal"
        )
    return cr.tensordot(a, b, axes=dims)


def matrix_rank(
    x: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, tol: Any = None
) -> Any:
    if tol is not None:
        raise Lacks("tol=")
    if atol is None:
        return linalg.matrix_rank(x, rtol=rtol)
    s = linalg.svdvals(x)
    largest = cr.max(s, axis=-1) if s.shape[-1] else cr.zeros(s.shape[:-1], dtype=s.dtype)
    if rtol is None:
        rtol = cr.where(cr.asarray(atol) > 0, 0.0, float(np.finfo(s.dtype).eps * max(x.shape[-2:])))
    least = cr.maximum(cr.asarray(atol, dtype=s.dtype), cr.asarray(rtol, dtype=s.dtype) * largest)
    return cr.count_nonzero(s > cr.expand_dims(least, -1), axis=-1)


def lu_factor(x: Any, pivot: bool = True) -> Any:
    """PyTorch counts the rows from 1, as LAPACK does."""
    if not pivot:
        raise Lacks("pivot=False")
    lu, pivots = linalg.lu_factor(x)
    return lu, pivots + 1


def lu_factor_ex(x: Any, pivot: bool = True, check_errors: bool = False) -> Any:
    lu, pivots = lu_factor(x, pivot)
    return lu, pivots, no_errors(x)


def no_errors(x: Any) -> Any:
    """PyTorch's `info`: 0 for each matrix, as ours raises where it is not."""
    return cr.zeros(x.shape[:-2], dtype=cr.int64)


def lu_unpack(lu: Any, pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    m, n = lu.shape[-2:]
    k = min(m, n)
    lower = cr.tril(lu[..., :k], k=-1) + cr.eye(m, k, dtype=lu.dtype)
    rows = np.broadcast_to(np.arange(m), (*lu.shape[:-2], m)).copy()
    for i, swap in enumerate(np.moveaxis(np.asarray(pivots) - 1, -1, 0)):
        other = np.take_along_axis(rows, swap[..., None], -1)
        np.put_along_axis(rows, swap[..., None], rows[..., i : i + 1].copy(), -1)
        rows[..., i : i + 1] = other
    turned = cr.one_hot(cr.asarray(rows), m, dtype=lu.dtype).mT
    return turned, lower, cr.triu(lu[..., :k, :])


def cross(a: Any, b: Any, dim: Any = None) -> Any:
    """PyTorch's old default is the first axis of size 3."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    axis = shape.index(3) if dim is None else dim % len(shape)
    a, b = cr.broadcast_to(a, shape), cr.broadcast_to(b, shape)
    return linalg.cross(a, b, axis=axis - len(shape))


def solve(a: Any, b: Any, *, left: bool = True) -> Any:
    """b is one vector by the standard; PyTorch takes it for a stack of them too, by its shape."""
    vector = b.ndim == 1 or (a.ndim - 1 == b.ndim and a.shape[:-1] == b.shape)
    if vector:
        return linalg.solve(a, cr.expand_dims(b, -1))[..., 0]
    return linalg.solve(a, b) if left else linalg.solve(a.mT, b.mT).mT


def matrix_norm(
    x: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    x = x if dtype is None else cr.astype(x, dtype)
    y = linalg.matrix_norm(cr.moveaxis(x, dim, (-2, -1)), ord=ord)
    if keepdim:
        for axis in sorted(axes_of(x, dim)):
            y = cr.expand_dims(y, axis)
    return y


def triangular_solve(
    b: Any, a: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    a_ = a.mT if transpose else a
    x = linalg.solve_triangular(a_, b, upper=upper != transpose, unitriangular=unitriangular)
    return x, cr.broadcast_to(a, (*x.shape[:-2], *a.shape[-2:]))


def lu_solve(lu: Any, pivots: Any, b: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    batch = np.broadcast_shapes(lu.shape[:-2], b.shape[:-2])
    lu = cr.broadcast_to(lu, (*batch, *lu.shape[-2:]))
    pivots = cr.broadcast_to(pivots - 1, (*batch, pivots.shape[-1]))
    if left and not adjoint:
        return linalg.lu_solve(lu, pivots, cr.broadcast_to(b, (*batch, *b.shape[-2:])))
    one = cr.broadcast_to(cr.eye(lu.shape[-1], dtype=lu.dtype), lu.shape)
    inverse = linalg.lu_solve(lu, pivots, one)
    inverse = cr.conj(inverse.mT) if adjoint else inverse
    return inverse @ b if left else b @ inverse


def tensorinv(x: Any, ind: int = 2) -> Any:
    rows, columns = x.shape[:ind], x.shape[ind:]
    flat = cr.reshape(x, (math.prod(rows), math.prod(columns)))
    return cr.reshape(linalg.inv(flat), (*columns, *rows))


def tensorsolve(a: Any, b: Any, dims: Any = None) -> Any:
    if dims is not None:
        a = cr.moveaxis(a, tuple(dims), tuple(range(a.ndim - len(dims), a.ndim)))
    result = a.shape[b.ndim :]
    flat = cr.reshape(a, (b.size, math.prod(result)))
    return cr.reshape(linalg.solve(flat, cr.reshape(b, (-1,))), result)


def pinv(x: Any, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    if atol is not None:
        raise Lacks("atol=")
    return linalg.pinv(x, rtol=rtol)


MATRICES: dict[str, Maker] = {
    "cross": cross,
    "linalg.solve": solve,
    "linalg.matrix_norm": matrix_norm,
    "triangular_solve": triangular_solve,
    "lu_solve": lambda b, lu, pivots: lu_solve(lu, pivots, b),
    "linalg.lu_solve": lu_solve,
    "linalg.lu_factor": lu_factor,
    "linalg.lu_factor_ex": lu_factor_ex,
    "lu": lambda x, pivot=True, get_infos=False: (
        lu_factor_ex(x, pivot) if get_infos else lu_factor(x, pivot)
    ),
    "linalg.matrix_rank": matrix_rank,
    "linalg.matrix_rank.hermitian": matrix_rank,
    "linalg.tensorinv": tensorinv,
    "linalg.tensorsolve": tensorsolve,
    "linalg.pinv": pinv,
    "linalg.pinv.hermitian": pinv,
    "linalg.pinv.singular": lambda a, b: linalg.pinv(a @ b.mT),
    "cholesky_inverse": lambda f, upper=False: linalg.cholesky_solve(
        cr.eye(f.shape[-1], dtype=f.dtype), f, upper=upper
    ),
    "linalg.lstsq.grad_oriented": lambda a, b, driver=None: linalg.lstsq(a, b)[:2],
    "linalg.lstsq": lambda a, b, driver=None: linalg.lstsq(a, b),
    "svd": lambda x, some=True, compute_uv=True: (lambda u, s, v: (u, s, cr.conj(v.mT)))(
        *linalg.svd(x, full_matrices=not some)
    ),
    "linalg.vander": lambda x, N=None: linalg.vander(at_least(1)(x), N=N),
    "linalg.eigh": lambda x, UPLO="L": linalg.eigh(x),
    "linalg.eigvalsh": lambda x, UPLO="L": linalg.eigvalsh(x),
    "fft.hfft2": hermitian_fft(2),
    "fft.hfftn": hermitian_fft(None),
    "fft.ihfft2": inverse_hermitian_fft(2),
    "fft.ihfftn": inverse_hermitian_fft(None),
    "linalg.cholesky_ex": lambda x, upper=False, check_errors=False: (
        linalg.cholesky(x, upper=upper),
        no_errors(x),
    ),
    "linalg.inv_ex": lambda x, check_errors=False: (linalg.inv(x), no_errors(x)),
    "linalg.solve_ex": lambda a, b, left=True, check_errors=False: (
        solve(a, b, left=left),
        no_errors(a),
    ),
    "lu_unpack": lu_unpack,
    "einsum": einsum,
    "tensordot": tensordot,
}

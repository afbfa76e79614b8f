"""What NumPy and SciPy make of the samples of linear algebra, in float64."""

import numpy as np
import scipy.linalg


def pack(*parts):
    """Parts with the number of their own axes, behind one another along the last axis."""
    return np.concatenate([np.reshape(a, (*a.shape[: a.ndim - n], -1)) if a.size else
                           np.zeros((*a.shape[: a.ndim - n], int(np.prod(a.shape[a.ndim - n :]))))
                           for a, n in parts], -1)  # fmt: skip


def triangular(a, b, upper, unit=False):
    a = np.triu(a) if upper else np.tril(a)
    if unit:
        a = a - a * np.eye(a.shape[-1]) + np.eye(a.shape[-1])
    return np.linalg.solve(a, b)


def adjugate(x):
    n = x.shape[-1]
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-2]):
        for i in range(n):
            for j in range(n):
                minor = np.delete(np.delete(x[place], i, 0), j, 1)
                y[(*place, j, i)] = (-1) ** (i + j) * np.linalg.det(minor)
    return y


def eigh(x):
    values, vectors = np.linalg.eigh(x)
    return pack((values, 1), (vectors, 2))


def svd(x):
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return pack((u, 2), (s, 1), (vh, 2))


def coincident(x):
    return np.isclose(x[..., :, None], x[..., None, :], 1e-14, 0)


def qr(x):
    q, r = np.linalg.qr(x)
    return pack((q, 2), (r, 2))


def lu(x):
    m, n = x.shape[-2:]
    both, pivots = np.zeros_like(x), np.zeros((*x.shape[:-2], min(m, n)))
    for place in np.ndindex(*x.shape[:-2]):
        if x.size:
            both[place], pivots[place] = scipy.linalg.lu_factor(x[place])
    return pack((both, 2), (pivots, 1))


def order(pivots, rows):
    y = np.tile(np.arange(rows), (*pivots.shape[:-1], 1))
    for place in np.ndindex(*pivots.shape[:-1]):
        for i, j in enumerate(pivots[place]):
            y[place][[i, j]] = y[place][[j, i]]
    return y


def eig(x):
    values, vectors = np.linalg.eig(x)
    return pack((values + 0j, 1), (vectors + 0j, 2))


def vander(x, N=None, increasing=True):
    n = x.shape[-1] if N is None else N
    return x[..., None] ** np.arange(n)


def cond(x, p=None):
    return np.linalg.cond(x, p) if x.size else np.zeros(x.shape[:-2])


def each(function):
    """A function of one matrix, of each of a stack."""

    def of_all(x):
        y = np.empty(x.shape)
        for place in np.ndindex(*x.shape[:-2]) if x.size else ():
            y[place] = function(x[place])
        return y

    return of_all


def expm(x):
    """By the definition: the series, with the matrix scaled down."""
    y = term = np.eye(len(x))
    for k in range(1, 30):
        term = term @ x / 64 / k
        y = y + term
    return np.linalg.matrix_power(y, 64)


def of_eigenvalues(function):
    def of_matrix(x):
        values, vectors = np.linalg.eig(x + 0j)
        return (vectors * function(values) @ np.linalg.inv(vectors)).real

    return of_matrix


def matrix_norm(x, ord="fro", keepdims=False):
    if not x.size:
        return np.zeros(x.shape[:-2])
    return np.linalg.matrix_norm(x, ord=ord, keepdims=keepdims)


LINALG = {
    "inv": np.linalg.inv, "det": np.linalg.det, "solve": np.linalg.solve,
    "solve_triangular": triangular,
    "cholesky": lambda x, upper=False: np.linalg.cholesky(x, upper=upper),
    "adjugate": adjugate,
    "slogdet": lambda x: np.stack(np.linalg.slogdet(x), -1),
    "eigh": eigh, "eigvalsh": np.linalg.eigvalsh,
    "svd": svd, "svdvals": lambda x: np.linalg.svd(x, compute_uv=False),
    "complement": lambda x: np.linalg.qr(x, "complete")[0][..., x.shape[-1] :],
    "qr": qr, "lu": lu, "pivot_order": order,
    "eig": eig, "eigvals": lambda x: np.linalg.eigvals(x) + 0j,
    "derivative_of_eigenvalues": lambda x: np.ones(x.shape[:-1], bool),
    "vector_norm": lambda x, axis=None, keepdims=False, ord=2: np.linalg.vector_norm(
        x, axis=axis, keepdims=keepdims, ord=ord
    ),
    "matrix_norm": matrix_norm, "cond": cond,
    "matrix_rank": lambda x, rtol=None: np.linalg.matrix_rank(x, rtol=rtol),
    "matrix_power": np.linalg.matrix_power, "matrix_exp": each(expm),
    "matrix_sqrt": each(of_eigenvalues(np.sqrt)), "matrix_log": each(of_eigenvalues(np.log)),
    "pinv": lambda x, rtol=None: np.linalg.pinv(x, rtol=rtol),
    "vander": vander, "kron": np.kron,
    "cross": lambda a, b, axis=-1: np.cross(*np.broadcast_arrays(a, b), axis=axis),
    "diagonal": lambda x, offset=0: np.diagonal(x, offset, -2, -1),
    "trace": lambda x, offset=0: np.trace(x, offset, -2, -1),
    "diag_embed": lambda x, offset=0: np.stack(
        [np.diag(row, offset) for row in x.reshape(-1, x.shape[-1])]
    ).reshape(*x.shape[:-1], *2 * (x.shape[-1] + abs(offset),)) if x.size else np.zeros((0, 0)),
    "coincident": coincident, "vanishing": lambda x: x == 0,
    "derivative_of_vectors": lambda g, *rest, **attrs: g == g,
    "derivative_of_basis": lambda g, turning: g == g,
}  # fmt: skip

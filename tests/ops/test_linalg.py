"""Linear algebra beyond what the registry's suite does for every operation.

Decompositions by what defines them, in all dtypes; complex derivatives, and those at equal and at
vanishing eigenvalues and singular values, against differences of the forward pass; errors.
"""

import itertools

import numpy as np
import pytest
import scipy.linalg

import chainrule as cr

L = cr.linalg
DTYPES = ["float32", "float64", "complex64", "complex128"]
STANDARD = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet",
    "solve", "svd", "svdvals", "tensordot", "trace", "vecdot",
    "vector_norm",
]  # fmt: skip


def drawn(*shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def adjoint(x):
    return np.conj(np.swapaxes(x, -1, -2))


def hermitian(*shape, dtype="float64", seed=0):
    a = drawn(*shape, dtype=dtype, seed=seed)
    return a + adjoint(a)


def positive(*shape, dtype="float64", seed=0):
    a = drawn(*shape, dtype=dtype, seed=seed)
    return a @ adjoint(a) + np.eye(shape[-1], dtype=dtype)


def close(found, wanted, dtype="float64", factor=100):
    found, wanted = np.asarray(found), np.asarray(wanted)
    eps = factor * np.finfo(dtype).eps
    np.testing.assert_allclose(found, wanted, eps, eps * max(1, np.abs(wanted).max(initial=0)))


def test_the_extension_is_complete():
    for name in STANDARD:
        assert callable(getattr(L, name))
        assert name in dir(L)
    assert not hasattr(cr, "svd")
    with pytest.raises(AttributeError, match=r"did you mean .*cholesky"):
        L.choleski  # noqa: B018


# What defines a decomposition

SHAPES = [
    (3, 3),
    (4, 2),
    (2, 5),
    (2, 3, 3),
    (2, 1, 4, 2),
    (2, 4),
    (0, 0),
    (3, 0),
    (0, 2),
    (0, 2, 2),
]


def identity_like(x):
    return np.broadcast_to(np.eye(x.shape[-1]), x.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("whole", [False, True])
def test_qr_and_svd(shape, dtype, whole):
    x = drawn(*shape, dtype=dtype)
    m, n = shape[-2:]
    k = min(m, n)
    q, r = map(np.asarray, L.qr(x, mode="complete" if whole else "reduced"))
    assert q.shape == (*shape[:-1], m if whole else k)
    assert r.shape == (*shape[:-2], m if whole else k, n)
    close(q @ r, x, dtype)
    close(adjoint(q) @ q, identity_like(adjoint(q) @ q), dtype)
    np.testing.assert_array_equal(r, np.triu(r))
    u, s, vh = map(np.asarray, L.svd(x, full_matrices=whole))
    assert u.shape == (*shape[:-1], m if whole else k)
    assert vh.shape == (*shape[:-2], n if whole else k, n)
    assert q.dtype == r.dtype == u.dtype == vh.dtype == np.dtype(dtype)
    assert s.dtype == np.empty(0, dtype).real.dtype
    close(u[..., :k] * s[..., None, :] @ vh[..., :k, :], x, dtype)
    close(adjoint(u) @ u, identity_like(adjoint(u) @ u), dtype)
    close(vh @ adjoint(vh), identity_like(vh @ adjoint(vh)), dtype)
    assert (np.diff(s, axis=-1) <= 0).all()
    close(L.svdvals(x), s, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lu(shape, dtype):
    x = drawn(*shape, dtype=dtype)
    p, lower, upper = map(np.asarray, L.lu(x))
    close(p @ lower @ upper, x, dtype)
    close(np.swapaxes(p, -1, -2) @ p, identity_like(p), dtype)
    np.testing.assert_array_equal(upper, np.triu(upper))
    np.testing.assert_array_equal(lower, np.tril(lower))
    if x.size and shape[-1] == shape[-2]:
        both, pivots = L.lu_factor(x)
        for place in np.ndindex(*shape[:-2]):
            wanted = scipy.linalg.lu_factor(x[place])
            close(both[place], wanted[0], dtype)
            np.testing.assert_array_equal(pivots[place], wanted[1])
        b = drawn(*shape[:-1], 2, dtype=dtype, seed=1)
        close(x @ np.asarray(L.lu_solve(both, pivots, b)), b, dtype, 1000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(3, 3), (2, 4, 4), (1, 1), (0, 0), (0, 2, 2), (2, 0, 0)], ids=str
)
def test_square_matrices(shape, dtype):
    h, x, p = (f(*shape, dtype=dtype) for f in (hermitian, drawn, positive))
    values, v = map(np.asarray, L.eigh(h))
    close(h @ v, v * values[..., None, :], dtype)
    close(adjoint(v) @ v, identity_like(v), dtype)
    close(L.eigvalsh(h), values, dtype)
    assert values.dtype == np.empty(0, dtype).real.dtype
    values, v = map(np.asarray, L.eig(x))
    assert values.dtype == v.dtype == np.result_type(dtype, np.complex64)
    close(x @ v, v * values[..., None, :], dtype)
    close(np.sort_complex(L.eigvals(x)), np.sort_complex(values), dtype, 1000)
    lower, upper = np.asarray(L.cholesky(p)), np.asarray(L.cholesky(p, upper=True))
    close(lower @ adjoint(lower), p, dtype)
    close(adjoint(upper) @ upper, p, dtype)
    b = drawn(*shape[:-1], 2, dtype=dtype, seed=1)
    for solution in (L.solve(p, b), L.cholesky_solve(b, lower),
                     L.cholesky_solve(b, upper, upper=True), L.inv(p) @ b):  # fmt: skip
        close(p @ np.asarray(solution), b, dtype, 1000)
    sign, size = map(np.asarray, L.slogdet(x))
    close(sign * np.exp(size), np.linalg.det(x), dtype)
    close(L.det(x), np.linalg.det(x), dtype)
    close(L.logdet(p), np.linalg.slogdet(p)[1], dtype)
    for f, g in ((L.matrix_exp, L.matrix_log), (lambda a: L.matrix_power(a, 2), L.matrix_sqrt)):
        close(f(g(p)), p, dtype, 1000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("upper", "left"), [(a, b) for a in (0, 1) for b in (0, 1)])
def test_triangles(upper, left, dtype):
    a, b = (
        drawn(2, 3, 3, dtype=dtype) + 3 * np.eye(3, dtype=dtype),
        drawn(3, 3, dtype=dtype, seed=1),
    )
    half = (np.triu if upper else np.tril)(a)
    x = np.asarray(L.solve_triangular(a, b, upper=upper, left=left))
    close(half @ x if left else x @ half, np.broadcast_to(b, x.shape), dtype)
    ones = half - half * np.eye(3, dtype=dtype) + np.eye(3, dtype=dtype)
    x = np.asarray(L.solve_triangular(a, b, upper=upper, left=left, unitriangular=True))
    close(ones @ x if left else x @ ones, np.broadcast_to(b, x.shape), dtype)
    v = np.asarray(L.solve_triangular(a[0], b[0], upper=upper, left=left))
    close(half[0] @ v if left else v @ half[0], b[0], dtype)


def test_householder():
    x = drawn(4, 3)
    (h, tau), r = scipy.linalg.qr(x, mode="raw")
    q = np.asarray(L.householder_product(h, tau))
    close(q @ r[:3], x)
    close(L.householder_product(h, tau[:0]), np.eye(4, 3))


# Numbers


def test_norms_are_numpys():
    x = drawn(3, 4, 2)
    for order in (None, 0, 0.5, 1, 2, 3.5, np.inf, -np.inf, -1):
        for axis in (0, -1):
            for keep in (False, True):
                wanted = np.linalg.norm(x, order, axis, keep)
                close(L.norm(x, order, axis, keep), wanted)
    for order in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        for keep in (False, True):
            close(L.norm(x, order, (2, 0), keep), np.linalg.norm(x, order, (2, 0), keep))
    close(cr.norm(x), np.linalg.norm(x.ravel()))
    close(L.vector_norm(x, keepdims=True), np.linalg.vector_norm(x, keepdims=True))


@pytest.mark.parametrize("order", [1.5, 2, 3, -2])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_norms_neither_overflow_nor_underflow(order, scale):
    x = np.array([3, -4]) * scale
    found = L.vector_norm(x.astype(np.float32), ord=order).item()
    assert found == pytest.approx(np.linalg.vector_norm(x, ord=order), 1e-6)
    assert np.isnan(L.vector_norm(np.float32([np.nan, 1.0]), ord=order).item())


def test_norms_of_what_is_infinite():
    assert L.vector_norm(np.float32([np.inf, 1.0])).item() == np.inf


def test_norms_of_halves_and_integers():
    half = cr.asarray([300.0, 400.0], dtype=cr.float16)
    assert L.vector_norm(half).dtype == cr.float16
    assert L.vector_norm(half).item() == 500
    assert L.matrix_norm(cr.asarray([[3, 0], [0, 4]])).dtype == cr.float32
    gradient = cr.grad(lambda x: L.vector_norm(x))(cr.zeros(3))
    np.testing.assert_array_equal(gradient, 0)


def test_rank_and_pseudo_inverse_with_a_tolerance():
    x = np.stack([np.diag([1.0, 1e-3, 1e-20]), np.diag([1.0, 1e-3, 0.1])])
    np.testing.assert_array_equal(L.matrix_rank(x), [2, 3])
    np.testing.assert_array_equal(L.matrix_rank(x, rtol=0.01), [1, 2])
    np.testing.assert_array_equal(L.matrix_rank(x, rtol=np.array([1e-30, 0.01])), [3, 2])
    close(L.pinv(x, rtol=0.01)[0], np.diag([1.0, 0, 0]))
    close(L.pinv(x, rtol=np.array([1e-8, 0.01])), np.linalg.pinv(x, rtol=np.array([1e-8, 0.01])))


@pytest.mark.parametrize("shape", [(5, 3), (3, 3), (2, 4)])
@pytest.mark.parametrize("rank", [1, 2])
def test_least_squares_of_any_rank(shape, rank):
    a = drawn(shape[0], rank) @ drawn(rank, shape[1], seed=1)
    for b in (drawn(shape[0], seed=2), drawn(shape[0], 2, seed=2)):
        found = L.lstsq(a, b)
        wanted = np.linalg.lstsq(a, b)
        close(found.solution, wanted[0], factor=1000)
        assert found.rank.item() == wanted[2] == rank
        close(found.singular_values, wanted[3])
        close(found.residuals, np.sum((a @ wanted[0] - b) ** 2, 0), factor=1000)


def test_products_in_the_cheapest_order():
    arrays = [drawn(10, 100), drawn(100, 5), drawn(5, 50)]
    close(L.multi_dot(arrays), np.linalg.multi_dot(arrays), factor=1000)
    vectors = [drawn(3), drawn(3, 4), drawn(4)]
    close(L.multi_dot(vectors), np.linalg.multi_dot(vectors))


# Derivatives


def difference(f, x, v, h=1e-4):
    def value(t):
        return float(np.asarray(f(cr.asarray(x + t * v))))

    return (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)


def assert_gradient(f, x, symmetric=False, tolerance=1e-7, forward=True):
    """∇f and the derivative in forward mode against differences in random directions."""
    gradient = np.asarray(cr.grad(f)(cr.asarray(x)))
    for seed in range(3):
        v = drawn(*x.shape, dtype=x.dtype, seed=10 + seed)
        v = (v + adjoint(v)) / 2 if symmetric else v
        wanted = difference(f, x, v)
        size = max(1, abs(wanted))
        assert abs(np.sum(np.conj(gradient) * v).real - wanted) < tolerance * size
        if not forward:
            continue  # in forward mode the direction itself turns the eigenvectors
        _, tangent = cr.jvp(f, (cr.asarray(x),), (cr.asarray(v),))
        assert abs(tangent.item() - wanted) < tolerance * size


def weighted(f):
    """A real loss of all results of f, each with its own weights."""

    def loss(x):
        found = f(x)
        total = 0
        for i, y in enumerate(found if isinstance(found, tuple) else (found,)):
            y = cr.asarray(drawn(*y.shape, dtype=y.dtype, seed=20 + i)) * y
            total = total + cr.sum(cr.real(y) if y.dtype.kind == "c" else y)
        return total

    return loss


def rank_one(x):
    return x @ cr.conj(x.mT)


def low_rank(u, s, vh, k=2):
    return u[:, :k] @ vh[:k]


COMPLEX = {
    "inv": (L.inv, drawn(3, 3, dtype=complex)),
    "solve": (lambda a: L.solve(a, drawn(3, 2, dtype=complex)), drawn(2, 3, 3, dtype=complex)),
    "solve, right": (lambda b: L.solve(drawn(3, 3, dtype=complex), b), drawn(3, dtype=complex)),
    "cholesky": (L.cholesky, positive(2, 3, 3, dtype=complex)),
    "cholesky, upper": (lambda a: L.cholesky(a, upper=True), positive(3, 3, dtype=complex)),
    "det": (L.det, drawn(3, 3, dtype=complex)),
    "slogdet": (L.slogdet, drawn(3, 3, dtype=complex)),
    "eigvalsh": (L.eigvalsh, hermitian(3, 3, dtype=complex)),
    "eigh": (lambda a: (L.eigh(a).eigenvalues, cr.abs(L.eigh(a).eigenvectors)),
             hermitian(3, 3, dtype=complex)),
    "projector": (lambda a: rank_one(L.eigh(a).eigenvectors[:, :1]),
                  hermitian(3, 3, dtype=complex)),
    "eigvals": (L.eigvals, drawn(3, 3, dtype=complex)),
    "eig": (lambda a: cr.abs(L.eig(a).eigenvectors), drawn(3, 3, dtype=complex)),
    "eig of a real one": (lambda a: cr.abs(L.eig(a).eigenvectors), drawn(3, 3)),
    "svd, tall": (lambda a: low_rank(*L.svd(a)), drawn(4, 3, dtype=complex)),
    "svd, wide": (lambda a: cr.abs(L.svd(a, full_matrices=False).Vh), drawn(3, 5, dtype=complex)),
    "svdvals": (L.svdvals, drawn(3, 4, dtype=complex)),
    "outside": (lambda a: rank_one(L.svd(a).U[:, 2:]), drawn(4, 2, dtype=complex)),
    "qr, tall": (L.qr, drawn(4, 3, dtype=complex)),
    "qr, wide": (L.qr, drawn(3, 5, dtype=complex)),
    "qr, complete": (lambda a: L.qr(a, mode="complete").R, drawn(4, 3, dtype=complex)),
    "lu, tall": (lambda a: L.lu(a)[1:], drawn(4, 3, dtype=complex)),
    "lu, wide": (lambda a: L.lu(a)[1:], drawn(3, 5, dtype=complex)),
    "pinv": (L.pinv, drawn(4, 2, dtype=complex)),
    "lstsq": (lambda a: L.lstsq(a, drawn(4, dtype=complex))[:2], drawn(4, 2, dtype=complex)),
    "matrix_exp": (L.matrix_exp, drawn(3, 3, dtype=complex)),
    "matrix_sqrt": (L.matrix_sqrt, positive(3, 3, dtype=complex)),
    "matrix_log": (L.matrix_log, positive(3, 3, dtype=complex)),
    "vector_norm": (lambda a: L.vector_norm(a, ord=3, axis=0), drawn(3, 2, dtype=complex)),
    "matrix_norm": (lambda a: L.matrix_norm(a, ord="nuc"), drawn(3, 2, dtype=complex)),
    "kron": (lambda a: L.kron(a, drawn(2, 2, dtype=complex, seed=1)), drawn(2, 3, dtype=complex)),
    "cross": (lambda a: L.cross(a, drawn(3, dtype=complex, seed=1)), drawn(2, 3, dtype=complex)),
    "householder": (lambda a: L.householder_product(a, drawn(2, dtype=complex)),
                    drawn(4, 3, dtype=complex)),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_derivatives(name):
    f, x = COMPLEX[name]
    assert_gradient(weighted(f), x)


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_second_derivatives(name):
    f, x = COMPLEX[name]
    u = cr.asarray(drawn(*x.shape, dtype=x.dtype, seed=30))
    first = cr.grad(weighted(f))

    def along(x):
        return cr.sum(cr.real(cr.conj(u) * first(x)))

    assert_gradient(along, x, tolerance=1e-6)


# Equal and vanishing eigenvalues and singular values

Q, P = (np.linalg.qr(drawn(5, 5, seed=s))[0] for s in (3, 4))
C = drawn(5, 5, seed=5)


def symmetric(values, turn=Q):
    n = len(values)
    q = np.linalg.qr(turn[:n, :n])[0]
    return q @ np.diag(values) @ q.T


def of_spectrum(phi):
    """tr(C φ(A)), by the eigenvectors."""

    def loss(a):
        values, v = L.eigh(a)
        return cr.sum(cr.asarray(C[:4, :4] + C[:4, :4].T) * ((v * phi(values)) @ v.mT))

    return loss


def onto(columns):
    """tr(C P), P the projector onto some eigenvectors."""

    def loss(a):
        v = L.eigh(a).eigenvectors[:, columns]
        return cr.sum(cr.asarray(C[:4, :4] + C[:4, :4].T) * (v @ v.mT))

    return loss


def trace_with(f):
    return lambda a: cr.sum(cr.asarray(C[: a.shape[0], : a.shape[1]]) * f(a))


SPECTRA = {
    "two equal": [1.0, 1, 2, 4], "nearly": [1, 1 + 1e-10, 2, 4], "two are 0": [0.0, 0, 2, 4],
    "two pairs": [1.0, 1, 3, 3],
}  # fmt: skip
INVARIANT = {
    "sum of squares": lambda a: cr.sum(L.eigvalsh(a) ** 2),
    "sum of exponentials": lambda a: cr.sum(cr.exp(L.eigh(a).eigenvalues)),
    "onto the lower two": onto(slice(0, 2)),
    "onto the upper two": onto(slice(2, 4)),
    "exponential": trace_with(L.matrix_exp),
    "determinant": L.det,
    "sum of singular values, squared": lambda a: cr.sum(L.svdvals(a) ** 2),
}


@pytest.mark.parametrize("values", SPECTRA)
@pytest.mark.parametrize("name", INVARIANT)
def test_what_has_a_derivative_at_equal_eigenvalues(values, name):
    # Rounding is divided by the gap between eigenvalues, where there is one.
    tolerance = 10 * 2.2e-16 / 1e-10 if values == "nearly" else 1e-7
    by_vectors = "onto" in name or "exponentials" in name
    a = symmetric(SPECTRA[values])
    assert_gradient(INVARIANT[name], a, True, tolerance, forward=not by_vectors)


@pytest.mark.parametrize("f", [L.matrix_sqrt, L.matrix_log, L.inv, L.cholesky, L.pinv])
@pytest.mark.parametrize("a", [symmetric(SPECTRA["two equal"]), np.eye(4)], ids=["turned", "eye"])
def test_functions_of_a_matrix_with_equal_eigenvalues(f, a):
    assert_gradient(trace_with(f), a, True)


@pytest.mark.parametrize("turn", [Q, np.eye(5)], ids=["turned", "diagonal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_of_two_equal_eigenvectors_has_none(turn, dtype):
    a = symmetric(SPECTRA["two equal"], turn).astype(dtype)
    for loss in (onto(slice(0, 1)), onto(slice(1, 3)), of_spectrum(cr.sqrt), of_spectrum(cr.log),
                 of_spectrum(lambda v: v), lambda a: L.eigh(a).eigenvalues[0]):  # fmt: skip
        with pytest.raises(cr.GradientError, match=r"eigenvalues 0 and 1 are equal up to rounding"):
            cr.grad(loss)(cr.asarray(a))
    v = cr.asarray(drawn(4, 4, seed=9).astype(dtype))
    with pytest.raises(cr.GradientError, match=r"eigenvalues 0 and 1 are equal"):
        cr.jvp(onto(slice(0, 1)), (cr.asarray(a),), (v + v.mT,))


def test_the_matrix_of_a_batch_is_named():
    a = np.stack([np.diag([1.0, 2]), np.diag([3.0, 3])])
    with pytest.raises(
        cr.GradientError, match=r"eigenvalues 0 and 1 of matrix \(1,\) of the batch"
    ):
        cr.grad(lambda a: cr.sum(L.eigh(a).eigenvectors[..., 0]))(cr.asarray(a))


def test_a_jacobian_through_eigenvectors_is_never_silently_wrong():
    """√A at the identity, element by element: each refuses, since eigenvectors do not tell it."""
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        with pytest.raises(cr.GradientError):
            cr.grad(lambda a, i=i, j=j: _root(a)[i, j])(cr.eye(3, dtype=cr.float64))
        gradient = cr.grad(lambda a, i=i, j=j: L.matrix_sqrt(a)[i, j])(cr.eye(3, dtype=cr.float64))
        wanted = np.zeros((3, 3))
        wanted[i, j] = 0.5
        close(gradient, wanted)


def _root(a):
    values, v = L.eigh(a)
    return (v * cr.sqrt(values)) @ v.mT


def singular_values(m, n, values):
    k = len(values)
    u, v = np.linalg.qr(Q[:m, :m])[0], np.linalg.qr(P[:n, :n])[0]
    return u[:, :k] @ np.diag(values) @ v[:, :k].T


def thin(a):
    return L.svd(a, full_matrices=False)


def first_term(u, s, vh):
    return s[0] * u[:, :1] @ vh[:1]


def leading(k):
    return trace_with(lambda a: low_rank(*thin(a), k=k))


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)], ids=str)
def test_what_has_a_derivative_at_equal_singular_values(shape):
    def check(f, a):
        assert_gradient(f, a, forward=False)

    for values in ([2.0, 2, 1], [2, 1, 1.0], [2, 1, 0.0], [2, 0, 0.0], [1, 1, 1.0]):
        a = singular_values(*shape, values)
        assert_gradient(lambda a: cr.sum(L.svdvals(a) ** 2), a)
        check(lambda a: cr.sum(thin(a).S ** 2), a)
    for values in ([2.0, 1, 1], [2, 1, 0.0], [2, 0, 0.0]):
        a = singular_values(*shape, values)
        check(leading(1), a)
        check(trace_with(lambda a: first_term(*thin(a))), a)
        assert_gradient(lambda a: L.matrix_norm(a, ord=2), a)
    for values in ([2.0, 2, 1], [2, 1, 0.0]):
        check(leading(2), singular_values(*shape, values))
    for values in ([2.0, 2, 1], [2, 1, 1.0]):
        a = singular_values(*shape, values)
        check(leading(3), a)
        assert_gradient(lambda a: L.matrix_norm(a, ord="nuc"), a)
        assert_gradient(trace_with(lambda a: L.pinv(a).mT), a)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)], ids=str)
def test_one_of_two_equal_singular_vectors_has_none(shape):
    with pytest.raises(cr.GradientError, match="singular values 0 and 1 are equal"):
        cr.grad(leading(1))(cr.asarray(singular_values(*shape, [2.0, 2, 1])))
    with pytest.raises(cr.GradientError, match="singular values 1 and 2 are"):
        cr.grad(leading(2))(cr.asarray(singular_values(*shape, [2.0, 0, 0])))
    if shape[0] != shape[1]:
        with pytest.raises(cr.GradientError, match="singular value 2 is 0 up to rounding"):
            cr.grad(leading(3))(cr.asarray(singular_values(*shape, [2.0, 1, 0])))
    with pytest.raises(cr.GradientError, match="any that do"):
        cr.grad(lambda a: L.svd(a).U[0, -1] + L.svd(a).Vh[-1, 0])(cr.asarray(drawn(5, 2)))


def test_a_loss_that_depends_on_the_phase_is_refused():
    for f in (lambda a: L.eigh(a).eigenvectors, lambda a: L.eig(a).eigenvectors,
              lambda a: L.svd(a).U):  # fmt: skip
        with pytest.raises(cr.GradientError, match="modulus 1"):
            cr.grad(weighted(f))(cr.asarray(hermitian(3, 3, dtype=complex)))


def test_defective_matrices():
    with pytest.raises(cr.GradientError, match="defective"):
        cr.grad(lambda a: cr.sum(cr.abs(L.eigvals(a))))(cr.asarray([[1.0, 1.0], [0.0, 1.0]]))
    a = np.diag([2.0, 2.0, 1.0])
    assert_gradient(lambda a: cr.real(cr.sum(L.eigvals(a) ** 2)), a)
    with pytest.raises(cr.GradientError, match="eigenvalues 0 and 1"):
        cr.grad(lambda a: cr.real(L.eigvals(a)[0]))(cr.asarray(a))


def test_determinants_of_singular_matrices_to_second_order():
    for rank in (0, 1, 2, 3):
        a = drawn(4, rank) @ drawn(rank, 4, seed=1)
        assert_gradient(L.det, a)
        assert_gradient(lambda a: cr.sum(cr.grad(L.det)(a) * cr.asarray(C[:4, :4])), a)


def test_second_derivatives_of_a_chain():
    """Through a Gaussian log-likelihood, in its covariance."""
    x = cr.asarray(drawn(4, seed=3))

    def loss(s):
        factor = L.cholesky(s @ s.mT + cr.eye(4, dtype=cr.float64))
        z = L.solve_triangular(factor, x, upper=False)
        return 0.5 * cr.sum(z * z) + cr.sum(cr.log(cr.diagonal(factor)))

    s = drawn(4, 4)
    assert_gradient(loss, s)
    assert_gradient(lambda s: cr.sum(cr.grad(loss)(s) * cr.asarray(C[:4, :4])), s, tolerance=1e-6)


def test_compiled():
    def step(a):
        return cr.grad(onto(slice(2, 4)))(a), L.solve(a, a[:, 0]), L.svd(a).S

    compiled = cr.compile(step)
    for values in (SPECTRA["two equal"], SPECTRA["two pairs"]):
        a = cr.asarray(symmetric(values))
        for mine, eager in zip(compiled(a), step(a), strict=True):
            close(mine, eager)
    refused = cr.compile(cr.grad(onto(slice(0, 1))))
    close(refused(cr.asarray(symmetric([1.0, 2, 3, 4]))),
          cr.grad(onto(slice(0, 1)))(cr.asarray(symmetric([1.0, 2, 3, 4]))))  # fmt: skip
    with pytest.raises(cr.GradientError, match="eigenvalues 0 and 1"):
        refused(cr.asarray(symmetric(SPECTRA["two equal"])))


# Errors

SINGULAR = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
BAD = [
    (lambda: L.inv(SINGULAR), L.LinAlgError, "singular: its condition is"),
    (lambda: L.inv(np.stack([np.eye(3), SINGULAR])), L.LinAlgError, r"matrix \(1,\) of the batch"),
    (lambda: L.solve(SINGULAR, np.ones(3)), L.LinAlgError, "singular"),
    (lambda: L.solve(np.zeros((2, 2)), np.ones(2)), L.LinAlgError, "singular"),
    (lambda: L.matrix_power(np.zeros((2, 2)), -1), L.LinAlgError, "singular"),
    (lambda: L.solve_triangular(np.diag([1.0, 0]), np.ones(2), upper=True), L.LinAlgError,
     r"element \(1, 1\)"),
    (lambda: L.cholesky(np.diag([1.0, 2, -3])), L.LinAlgError, "leading minor of order 3"),
    (lambda: L.cholesky(np.stack([np.eye(2), -np.eye(2)])), L.LinAlgError,
     r"matrix \(1,\) of the batch .* order 1"),
    (lambda: L.cholesky(np.tril(positive(3, 3))), L.LinAlgError, "not symmetric"),
    (lambda: L.eigh(np.array([[1.0, 1], [0, 1]])), L.LinAlgError, "not symmetric"),
    (lambda: L.eigvalsh(1j * np.ones((2, 2))), L.LinAlgError, "not Hermitian"),
    (lambda: L.matrix_sqrt(-np.eye(2)), L.LinAlgError, "complex64"),
    (lambda: L.matrix_log(np.zeros((2, 2))), L.LinAlgError, "singular"),
    (lambda: L.matrix_log(-np.eye(2)), L.LinAlgError, "negative eigenvalues"),
    (lambda: L.inv(np.ones((2, 3))), cr.ShapeError, "square"),
    (lambda: L.det(np.ones(3)), cr.ShapeError, "it takes matrices"),
    (lambda: L.solve(np.eye(3), np.ones(2)), cr.ShapeError, "3 equations"),
    (lambda: L.solve(np.ones((2, 3, 3)), np.ones((3, 3, 1))), cr.ShapeError, "broadcast"),
    (lambda: L.solve_triangular(np.eye(3), np.ones((2, 2)), upper=True), cr.ShapeError, "3 equat"),
    (lambda: L.svd(np.ones(3)), cr.ShapeError, "matrices"),
    (lambda: L.qr(np.eye(2), mode="raw"), cr.ShapeError, "'reduced' or 'complete'"),
    (lambda: L.matrix_norm(np.eye(2), ord=3), cr.ShapeError, "no matrix norm 3"),
    (lambda: L.matrix_norm(np.eye(2), ord=True), cr.ShapeError, "no matrix norm"),
    (lambda: L.matrix_norm(np.ones((0, 2)), ord=-2), cr.ShapeError, "no elements"),
    (lambda: L.vector_norm(np.ones(2), ord="fro"), cr.DTypeError, "number"),
    (lambda: L.vector_norm(np.ones(2), ord=np.nan), cr.DTypeError, "NaN"),
    (lambda: L.vector_norm(np.ones(0), ord=-np.inf), cr.ShapeError, "no elements"),
    (lambda: L.vector_norm(np.ones(2), axis=1), cr.ShapeError, "axis"),
    (lambda: L.norm(np.ones((2, 2, 2)), 2), cr.ShapeError, "name one axis"),
    (lambda: L.norm(np.ones((2, 2, 2)), 2, (0, 1, 2)), cr.ShapeError, "pair"),
    (lambda: L.norm(np.ones((2, 2)), 2, (0, 0)), cr.ShapeError, "twice"),
    (lambda: L.cond(np.ones((0, 2))), cr.ShapeError, "empty"),
    (lambda: L.matrix_power(np.eye(2), 0.5), cr.DTypeError, "whole number"),
    (lambda: L.multi_dot([np.eye(2)]), cr.ShapeError, "two arrays"),
    (lambda: L.multi_dot([np.eye(2), np.eye(3)]), cr.ShapeError, "chain"),
    (lambda: L.multi_dot([np.ones((2, 2, 2)), np.eye(2)]), cr.ShapeError, "chain"),
    (lambda: L.lstsq(np.eye(3), np.ones(2)), cr.ShapeError, "3 equations"),
    (lambda: L.cross(np.ones(2), np.ones(2)), cr.ShapeError, "vectors of 3"),
    (lambda: L.diagonal(np.ones(3)), cr.ShapeError, "matrices"),
    (lambda: L.diagonal(np.eye(3), offset=1.5), cr.DTypeError, "whole number"),
    (lambda: cr.diag(np.ones((2, 2, 2))), cr.ShapeError, "vector or a matrix"),
    (lambda: L.vander(np.ones(2), N=-1), cr.ShapeError, "negative"),
    (lambda: L.vander(1.0), cr.ShapeError, "single number"),
    (lambda: L.vecdot(np.ones(3), np.ones(1)), cr.ShapeError, "differ in length"),
    (lambda: L.householder_product(np.ones((2, 3)), np.ones(2)), cr.ShapeError, "reflections"),
    (lambda: L.lu_solve(np.eye(2), np.ones(2), np.ones(2)), cr.DTypeError, "pivots"),
    (lambda: L.lu_solve(np.eye(2), np.array([5, 7]), np.ones(2)), cr.ShapeError, "pivots"),
    (lambda: L.inv(cr.ones((2, 2), dtype=cr.float16)), cr.DTypeError, r"astype\(cr.float32\)"),
    (lambda: L.matrix_rank(np.ones((2, 2, 2)), rtol=np.ones(3)), cr.ShapeError, "broadcast"),
    (lambda: L.pinv(np.eye(2), rtol=np.ones(3)), cr.ShapeError, "one for each matrix"),
    (lambda: L.pinv(np.eye(2), rtol=1j), cr.DTypeError, "real number"),
    (lambda: L.tensordot(np.eye(2), np.eye(2), axes={}), cr.DTypeError, "pair of sequences"),
    (lambda: L.tensordot(np.eye(2), np.eye(2), axes=((0, 0), (0, 1))), cr.ShapeError, "twice"),
    (lambda: L.vander(np.ones(2), N=10**30), cr.ShapeError, "memory"),
    (lambda: cr.diag(np.ones(2), k=2**40), cr.ShapeError, "no matrix"),
    (lambda: L.inv("text"), cr.DTypeError, "numbers"),
    *[(lambda f=f: f(np.full((2, 2), np.nan)), cr.NonFiniteError, "nan at")
      for f in (L.svd, L.cholesky, L.matrix_exp, L.eig, L.pinv, L.matrix_rank)],
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))
def test_errors(number):
    call, kind, text = BAD[number]
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, cr.ChainruleError)
    assert "test_linalg.py" in str(caught.value)


def test_numpys_error_catches_ours():
    with pytest.raises(np.linalg.LinAlgError):
        L.inv(SINGULAR)


def test_scaling_alone_makes_nothing_singular():
    a = np.diag([1e-30, 1.0, 1e30])
    np.testing.assert_allclose(np.asarray(L.inv(a)) @ a, np.eye(3))
    np.testing.assert_allclose(L.solve(a, np.diag(a)), 1)
    b = np.array([[1.0, 1e-200], [1e-200, 2.0]])
    np.testing.assert_allclose(L.inv(b), np.linalg.inv(b))

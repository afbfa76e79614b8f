"""Linear algebra beside PyTorch's: values and gradients, real and complex, single and stacked."""

import numpy as np
import pytest
import torch

import chainrule as cr

L, T = cr.linalg, torch.linalg
REAL, COMPLEX = np.float64, np.complex128


def drawn(*shape, dtype=REAL, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if dtype is COMPLEX else x


def hermitian(a):
    return a + np.conj(np.swapaxes(a, -1, -2))


def positive(a):
    return a @ np.conj(np.swapaxes(a, -1, -2)) + np.eye(a.shape[-1])


def as_it_is(a):
    return a


# Of eigenvectors and their like the moduli are compared: signs and phases are arbitrary.
# name: (ours, PyTorch's, shapes of the operands, what is made of the first operand)
CASES = {
    "inv": (L.inv, T.inv, [(2, 3, 3)], as_it_is),
    "solve": (L.solve, T.solve, [(2, 3, 3), (2, 3, 2)], as_it_is),
    "solve, a vector": (L.solve, T.solve, [(3, 3), (3,)], as_it_is),
    "solve, broadcast": (L.solve, T.solve, [(2, 1, 3, 3), (4, 3, 2)], as_it_is),
    "solve_triangular": (
        lambda a, b: L.solve_triangular(a, b, upper=True),
        lambda a, b: T.solve_triangular(a, b, upper=True), [(2, 3, 3), (3, 2)], as_it_is,
    ),
    "solve_triangular, right": (
        lambda a, b: L.solve_triangular(a, b, upper=False, left=False),
        lambda a, b: T.solve_triangular(a, b, upper=False, left=False), [(3, 3), (2, 3)], as_it_is,
    ),
    "solve_triangular, ones": (
        lambda a, b: L.solve_triangular(a, b, upper=False, unitriangular=True),
        lambda a, b: T.solve_triangular(a, b, upper=False, unitriangular=True),
        [(3, 3), (3, 2)], as_it_is,
    ),
    "cholesky": (L.cholesky, T.cholesky, [(2, 3, 3)], positive),
    "cholesky, upper": (
        lambda a: L.cholesky(a, upper=True), lambda a: T.cholesky(a, upper=True),
        [(3, 3)], positive,
    ),
    "cholesky_solve": (
        lambda a, b: L.cholesky_solve(b, L.cholesky(a)),
        lambda a, b: torch.cholesky_solve(b, T.cholesky(a)), [(3, 3), (3, 2)], positive,
    ),
    "det": (L.det, T.det, [(2, 3, 3)], as_it_is),
    "slogdet": (L.slogdet, T.slogdet, [(2, 3, 3)], as_it_is),
    "logdet": (L.logdet, torch.logdet, [(3, 3)], positive),
    "eigvalsh": (L.eigvalsh, T.eigvalsh, [(2, 3, 3)], hermitian),
    "eigh": (
        lambda a: (L.eigh(a)[0], cr.abs(L.eigh(a)[1])),
        lambda a: (T.eigh(a)[0], T.eigh(a)[1].abs()), [(2, 3, 3)], hermitian,
    ),
    "svdvals": (L.svdvals, T.svdvals, [(2, 3, 4)], as_it_is),
    **{
        f"svd of {shape}": (
            lambda a: [cr.abs(x) for x in L.svd(a, full_matrices=False)],
            lambda a: [x.abs() for x in T.svd(a, full_matrices=False)], [shape], as_it_is,
        )
        for shape in ((3, 3), (2, 4, 3), (3, 5))
    },
    **{
        f"qr of {shape}": (
            lambda a: [cr.abs(x) for x in L.qr(a)], lambda a: [x.abs() for x in T.qr(a)],
            [shape], as_it_is,
        )
        for shape in ((3, 3), (2, 4, 3), (3, 5))
    },
    **{
        f"lu of {shape}": (lambda a: L.lu(a)[1:], lambda a: T.lu(a)[1:], [shape], as_it_is)
        for shape in ((3, 3), (2, 4, 3), (3, 5))
    },
    "lu_factor": (lambda a: L.lu_factor(a)[0], lambda a: T.lu_factor(a)[0], [(2, 3, 3)], as_it_is),
    "lu_solve": (
        lambda a, b: L.lu_solve(*L.lu_factor(a), b), lambda a, b: T.lu_solve(*T.lu_factor(a), b),
        [(3, 3), (3, 2)], as_it_is,
    ),
    "eigvals": (
        lambda a: cr.sum(L.eigvals(a) ** 3, axis=-1), lambda a: (T.eigvals(a) ** 3).sum(-1),
        [(2, 3, 3)], as_it_is,
    ),
    "eig": (
        lambda a: cr.sum(cr.abs(L.eig(a)[1]) ** 3, axis=-1),
        lambda a: (T.eig(a)[1].abs() ** 3).sum(-1), [(2, 3, 3)], as_it_is,
    ),
    **{f"pinv of {shape}": (L.pinv, T.pinv, [shape], as_it_is)
       for shape in ((3, 3), (2, 4, 3), (3, 5))},
    "lstsq": (
        lambda a, b: L.lstsq(a, b).solution, lambda a, b: T.lstsq(a, b).solution,
        [(5, 3), (5, 2)], as_it_is,
    ),
    "matrix_exp": (L.matrix_exp, T.matrix_exp, [(2, 3, 3)], as_it_is),
    "matrix_power": (
        lambda a: L.matrix_power(a, 5), lambda a: T.matrix_power(a, 5), [(2, 3, 3)], as_it_is
    ),
    "matrix_power, negative": (
        lambda a: L.matrix_power(a, -2), lambda a: T.matrix_power(a, -2), [(3, 3)], as_it_is
    ),
    "multi_dot": (
        lambda *x: L.multi_dot(x), lambda *x: T.multi_dot(x), [(3, 4), (4, 2), (2, 5)], as_it_is
    ),
    **{
        f"vector_norm {o}": (
            lambda a, o=o: L.vector_norm(a, ord=o, axis=-1),
            lambda a, o=o: T.vector_norm(a, ord=o, dim=-1), [(2, 3)], as_it_is,
        )
        for o in (0, 0.5, 1, 2, 3, -1, float("inf"), -float("inf"))
    },
    **{
        f"matrix_norm {o}": (
            lambda a, o=o: L.matrix_norm(a, ord=o), lambda a, o=o: T.matrix_norm(a, ord=o),
            [(2, 3, 4)], as_it_is,
        )
        for o in ("fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf"))
    },
    **{
        f"cond {p}": (
            lambda a, p=p: L.cond(a, p=p), lambda a, p=p: T.cond(a, p=p), [(2, 3, 3)], as_it_is
        )
        for p in (None, 2, -2)
    },
    **{  # PyTorch's own cond overwrites there what its derivative needs
        f"cond {p}": (
            lambda a, p=p: L.cond(a, p=p),
            lambda a, p=p: T.matrix_norm(a, p) * T.matrix_norm(T.inv(a), p),
            [(2, 3, 3)], as_it_is,
        )
        for p in ("fro", "nuc", 1, float("inf"))
    },
    "kron": (L.kron, torch.kron, [(2, 3), (3, 2)], as_it_is),
    "cross": (L.cross, T.cross, [(4, 3), (1, 3)], as_it_is),
    "diagonal": (
        lambda a: L.diagonal(a, offset=1), lambda a: T.diagonal(a, offset=1), [(2, 3, 4)], as_it_is
    ),
    "diag_embed": (
        lambda a: cr.diag_embed(a, offset=-1), lambda a: torch.diag_embed(a, offset=-1),
        [(2, 3)], as_it_is,
    ),
    "trace": (L.trace, torch.trace, [(3, 3)], as_it_is),
    "vander": (lambda a: L.vander(a, N=4), lambda a: T.vander(a, N=4), [(2, 3)], as_it_is),
    "vecdot": (L.vecdot, T.vecdot, [(2, 3), (2, 3)], as_it_is),
    "householder_product": (
        L.householder_product, T.householder_product, [(2, 4, 3), (2, 2)], as_it_is
    ),
}  # fmt: skip


def as_tuple(found):
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def weights(like, i):
    w = np.random.default_rng(40 + i).standard_normal(like.shape)
    return w + 1j * w[..., ::-1] if np.iscomplexobj(like) and w.ndim else w


@pytest.mark.parametrize("dtype", [REAL, COMPLEX], ids=["real", "complex"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name, dtype):
    ours, theirs, shapes, prepare = CASES[name]
    arrays = [drawn(*s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]
    arrays[0] = prepare(arrays[0])
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    wanted = as_tuple(theirs(*tensors))
    loss = 0
    for i, y in enumerate(wanted):
        w = torch.tensor(weights(y.detach().numpy(), i))
        product = w * y
        loss = loss + (product.real if product.is_complex() else product).sum()
    gradients = (
        torch.autograd.grad(loss, tensors, allow_unused=True) if loss.requires_grad else None
    )

    def mine(*operands):
        total = 0
        for i, y in enumerate(as_tuple(ours(*operands))):
            product = cr.asarray(weights(np.empty(y.shape, y.dtype), i)) * y
            total = total + cr.sum(cr.real(product) if product.dtype.kind == "c" else product)
        return total

    found = as_tuple(ours(*map(cr.asarray, arrays)))
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), 1e-9, 1e-10)
    if gradients is None:
        return
    mine = cr.grad(mine, argnums=tuple(range(len(arrays))))(*map(cr.asarray, arrays))
    for i, (a, b) in enumerate(zip(mine, gradients, strict=True)):
        a = np.asarray(a)
        b = np.zeros_like(a) if b is None else b.resolve_conj().numpy()
        if i == 0 and prepare is not as_it_is:
            # Only changes that leave it Hermitian count; PyTorch's gradient has parts beside them.
            b = hermitian(b) / 2
        np.testing.assert_allclose(a, b, 1e-7, 1e-8)

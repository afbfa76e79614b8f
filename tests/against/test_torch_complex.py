"""Complex gradients beside PyTorch's, whose convention they follow, and beside JAX's conjugate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import chainrule as cr

RNG = np.random.default_rng(0)


def complex_(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


A, B = complex_(3, 4), complex_(4, 3)
Z, W = complex_(2, 3), complex_(2, 3)
X = RNG.standard_normal((2, 3))
P = np.abs(X) + 0.3

# name: (function of ours, PyTorch's, operands); each result may be complex or real.
UNARY = [
    "exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
    "asinh", "acosh", "atanh", "square", "reciprocal", "abs", "angle", "expm1", "log1p",
    "log2", "log10", "exp2", "sigmoid", "negative", "rsqrt", "conj", "real", "view_as_real",
]  # fmt: skip
CASES = {
    **{n: (getattr(cr, n), getattr(torch, n), (Z,)) for n in UNARY},
    "imag": (cr.imag, lambda z: z.imag, (Z,)),
    "sign": (cr.sign, torch.sgn, (Z,)),
    "add": (cr.add, torch.add, (Z, X)),
    "multiply": (cr.multiply, torch.mul, (Z, W)),
    "multiply by a real": (cr.multiply, torch.mul, (X, W)),
    "divide": (cr.divide, torch.div, (Z, W)),
    "divide a real": (cr.divide, torch.div, (X, W)),
    "pow": (cr.pow, torch.pow, (Z, W)),
    "pow, real exponent": (cr.pow, torch.pow, (Z, X)),
    "pow, real base": (cr.pow, torch.pow, (P, W)),
    "pow, negative real base": (lambda a, b: cr.pow(-a, b), lambda a, b: torch.pow(-a, b), (P, W)),
    "matmul": (cr.matmul, torch.matmul, (A, B)),
    "matmul with a real": (cr.matmul, lambda a, b: a @ b.to(a.dtype), (A, B.real.copy())),
    "matmul of a vector": (cr.matmul, torch.matmul, (A, B[:, 0].copy())),
    "vecdot": (cr.vecdot, torch.linalg.vecdot, (Z, W)),
    "tensordot": (
        lambda a, b: cr.tensordot(a, b, axes=1), lambda a, b: torch.tensordot(a, b, 1), (A, B),
    ),
    "outer": (cr.outer, torch.outer, (Z[0].copy(), W[1].copy())),
    "dot": (cr.dot, torch.dot, (Z[0].copy(), W[1].copy())),
    "sum": (lambda z: cr.sum(z, axis=0), lambda z: torch.sum(z, 0), (Z,)),
    "mean": (lambda z: cr.mean(z, axis=1), lambda z: torch.mean(z, 1), (Z,)),
    "prod": (lambda z: cr.prod(z, axis=1), lambda z: torch.prod(z, 1), (Z,)),
    "cumulative_sum": (
        lambda z: cr.cumulative_sum(z, axis=1), lambda z: torch.cumsum(z, 1), (Z,)
    ),
    "cumulative_prod": (
        lambda z: cr.cumulative_prod(z, axis=1), lambda z: torch.cumprod(z, 1), (Z,)
    ),
    "var": (lambda z: cr.var(z, axis=1), lambda z: torch.var(z, 1, correction=0), (Z,)),
    "where": (
        lambda z, x: cr.where(X > 0, z, x),
        lambda z, x: torch.where(torch.from_numpy(X > 0), z, x),
        (Z, W),
    ),
    "concat": (lambda z, x: cr.concat([z, x]), lambda z, x: torch.cat([z, x]), (Z, X)),
    "index": (lambda z: z[:, [0, 0, 2]], lambda z: z[:, [0, 0, 2]], (Z,)),
    "linear": (cr.linear, torch.nn.functional.linear, (A, complex_(2, 4), complex_(2))),
    "conv1d": (cr.conv1d, torch.nn.functional.conv1d, (complex_(1, 2, 6), complex_(3, 2, 3))),
    "conv2d": (cr.conv2d, torch.nn.functional.conv2d, (complex_(1, 2, 4, 4), complex_(3, 2, 2, 2))),
    "view_as_complex": (cr.view_as_complex, torch.view_as_complex, (RNG.standard_normal((3, 2)),)),
    "polar": (cr.polar, torch.polar, (P, X)),
    "to complex": (lambda x: x.astype(cr.complex128), lambda x: x.to(torch.complex128), (X,)),
    "abs at 0": (cr.abs, torch.abs, (np.array([0j, 1j]),)),
    "sign at 0": (cr.sign, torch.sgn, (np.array([0j, 1j]),)),
    "angle at 0": (cr.angle, torch.angle, (np.array([0j, 1j]),)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_cotangents(name):
    ours, theirs, operands = CASES[name]
    xs = [torch.tensor(x, requires_grad=True) for x in operands]
    wanted = theirs(*xs)
    y, pull = cr.vjp(ours, *map(cr.asarray, operands))
    np.testing.assert_allclose(y.numpy(), wanted.detach().resolve_conj().numpy(), 1e-12, 1e-13)
    rng = np.random.default_rng(1)
    g = rng.standard_normal(y.shape)
    if y.dtype.kind == "c":
        g = g + 1j * rng.standard_normal(y.shape)
    wanted.backward(torch.tensor(g))
    for x, c in zip(xs, pull(cr.asarray(g)), strict=True):
        assert c.dtype == x.detach().numpy().dtype
        np.testing.assert_allclose(c.numpy(), x.grad.resolve_conj().numpy(), 1e-11, 1e-12)


def test_a_step_of_descent():
    """The gradient of a real loss points uphill, in both."""
    target = complex_(3)

    def loss(w):
        return (abs(w @ A - W[0, 0]) ** 2).sum()

    w = torch.tensor(target, requires_grad=True)
    (abs(w @ torch.tensor(A) - torch.tensor(W[0, 0])) ** 2).sum().backward()
    found = cr.grad(loss)(cr.asarray(target))
    np.testing.assert_allclose(found.numpy(), w.grad.numpy(), 1e-12)
    moved = loss(cr.asarray(target) - 1e-3 * found).item()
    assert moved < loss(cr.asarray(target)).item()


def test_jaxs_gradient_is_the_conjugate():
    with jax.enable_x64(True):
        wanted = jax.grad(lambda z: jnp.sum(jnp.abs(z) * jnp.exp(z).real))(jnp.asarray(Z))
    found = cr.grad(lambda z: (cr.abs(z) * cr.exp(z).real).sum())(cr.asarray(Z))
    np.testing.assert_allclose(found.numpy(), np.conj(wanted), 1e-10)

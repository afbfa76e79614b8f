"""Special functions beside `torch.special`'s: values and, where PyTorch has them, derivatives."""

import numpy as np
import pytest
import torch

import chainrule as cr

X = np.linspace(-2.9, 3.1, 13)
P = np.abs(X) + 0.2
U = np.linspace(0.05, 0.95, 13)

# name: (operand, whether PyTorch has the derivative). PyTorch's trigamma has nine digits and its
# airy_ai five; tests/ops/test_special.py has them to more, by mpmath.
UNARY = {
    "gammaln": (P, True), "digamma": (P, True), "erf": (X, True), "erfc": (X, True),
    "erfcx": (X, True), "erfinv": (U, True), "ndtr": (X, True), "log_ndtr": (X, True),
    "ndtri": (U, True), "entr": (P, True), "logit": (U, True), "sinc": (X, True),
    "i0": (X, True), "i0e": (X, True), "i1": (X, True), "i1e": (X, True), "exp2": (X, True),
    "expm1": (X, True), "log1p": (P, True), "bessel_j0": (X, False), "bessel_j1": (X, False),
    "bessel_y0": (P, False), "bessel_y1": (P, False),
    "spherical_bessel_j0": (X, False),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    x, differentiable = UNARY[name]
    t = torch.tensor(x, requires_grad=differentiable)
    wanted = getattr(torch.special, name)(t)
    function = getattr(cr.special, name)
    np.testing.assert_allclose(function(x).numpy(), wanted.detach().numpy(), 1e-10, 1e-13)
    if differentiable:
        wanted.sum().backward()
        found = cr.grad(lambda x: function(x).sum())(cr.asarray(x)).numpy()
        np.testing.assert_allclose(found, t.grad.numpy(), 1e-9, 1e-13)


BINARY = {
    "xlogy": (U, P, (0, 1)), "xlog1py": (U, P, (0, 1)), "gammainc": (P, U * 3, (1,)),
    "gammaincc": (P, U * 3, (1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    a, b, differentiable = BINARY[name]
    ts = [torch.tensor(v, requires_grad=i in differentiable) for i, v in enumerate((a, b))]
    wanted = getattr(torch.special, name)(*ts)
    wanted.sum().backward()
    function = getattr(cr.special, name)
    np.testing.assert_allclose(function(a, b).numpy(), wanted.detach().numpy(), 1e-10)
    found = cr.grad(lambda *v: function(*v).sum(), argnums=(0, 1))(*map(cr.asarray, (a, b)))
    for i in differentiable:
        np.testing.assert_allclose(found[i].numpy(), ts[i].grad.numpy(), 1e-9)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_polygamma(n):
    t = torch.tensor(P, requires_grad=True)
    wanted = torch.special.polygamma(n, t)
    wanted.sum().backward()
    np.testing.assert_allclose(cr.polygamma(n, P).numpy(), wanted.detach().numpy(), 1e-9)
    found = cr.grad(lambda x: cr.polygamma(n, x).sum())(cr.asarray(P)).numpy()
    np.testing.assert_allclose(found, t.grad.numpy(), 1e-9)


def test_multigammaln():
    t = torch.tensor(P + 2, requires_grad=True)
    wanted = torch.special.multigammaln(t, 3)
    wanted.sum().backward()
    function = cr.special.multigammaln
    np.testing.assert_allclose(function(P + 2, 3).numpy(), wanted.detach().numpy(), 1e-10, 1e-12)
    found = cr.grad(lambda x: function(x, 3).sum())(cr.asarray(P + 2)).numpy()
    np.testing.assert_allclose(found, t.grad.numpy(), 1e-10)


@pytest.mark.parametrize(
    "name",
    [
        "chebyshev_polynomial_t", "chebyshev_polynomial_u", "hermite_polynomial_h",
        "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
    ],
)  # fmt: skip
def test_polynomials(name):
    for n in (0, 1, 5):
        found = getattr(cr.special, name)(U, n).numpy()
        wanted = getattr(torch.special, name)(torch.tensor(U), n).numpy()
        np.testing.assert_allclose(found, wanted, 1e-11, 1e-13)

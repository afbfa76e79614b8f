"""Transforms beside JAX's, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainrule as cr

rng = np.random.default_rng(0)
X, W = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
V, U = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


FUNCTIONS = {
    "dense": (lambda x, w: cr.tanh(x @ w), lambda x, w: jnp.tanh(x @ w)),
    "softmax": (
        lambda x, w: cr.softmax(x @ w, axis=0),
        lambda x, w: jax.nn.softmax(x @ w, axis=0),
    ),
    "mixed": (
        lambda x, w: cr.logsumexp(x, axis=1)[:, None] * cr.exp(w[0]) + cr.max(x),
        lambda x, w: jax.nn.logsumexp(x, axis=1)[:, None] * jnp.exp(w[0]) + jnp.max(x),
    ),
    "gelu": (
        lambda x, w: cr.gelu(x, approximate="tanh") @ (w * w),
        lambda x, w: jax.nn.gelu(x, approximate=True) @ (w * w),
    ),
    "gathered": (
        lambda x, w: x[:, [0, 2, 2]] * cr.sum(w),
        lambda x, w: x[:, jnp.array([0, 2, 2])] * jnp.sum(w),
    ),
}


def close(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_transforms(name):
    ours, theirs = FUNCTIONS[name]
    x, w = cr.asarray(X), cr.asarray(W)
    y, ty = cr.jvp(ours, (x, w), (cr.asarray(V), cr.asarray(U)))
    z, tz = jax.jvp(theirs, (X, W), (V, U))
    close(y, z)
    close(ty, tz)
    g = np.sin(np.arange(z.size)).reshape(z.shape)
    for a, b in zip(cr.vjp(ours, x, w)[1](cr.asarray(g)), jax.vjp(theirs, X, W)[1](g), strict=True):
        close(a, b)
    value, gradients = cr.value_and_grad(lambda x, w: (ours(x, w) ** 2).sum(), argnums=(0, 1))(x, w)
    wanted, expected = jax.value_and_grad(lambda x, w: (theirs(x, w) ** 2).sum(), (0, 1))(X, W)
    close(value, wanted)
    for a, b in zip(gradients, expected, strict=True):
        close(a, b)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_order(name):
    ours, theirs = FUNCTIONS[name]

    def hvp(f, grad, jvp, x, w, v):
        return jvp(grad(lambda x: (f(x, w) ** 3).sum()), (x,), (v,))[1]

    found = hvp(ours, cr.grad, cr.jvp, cr.asarray(X), cr.asarray(W), cr.asarray(V))
    close(found, hvp(theirs, jax.grad, jax.jvp, X, W, V))

    def reverse(f, grad, x, w, v):
        return grad(lambda x: (grad(lambda x: (f(x, w) ** 3).sum())(x) * v).sum())(x)

    found = reverse(ours, cr.grad, cr.asarray(X), cr.asarray(W), cr.asarray(V))
    close(found, reverse(theirs, jax.grad, jnp.asarray(X), W, V))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_forward_over_forward_and_reverse_over_forward(name):
    ours, theirs = FUNCTIONS[name]

    def twice(f, jvp, x, w, v):
        return jvp(lambda x: jvp(lambda x: f(x, w) ** 2, (x,), (v,))[1], (x,), (v,))[1]

    found = twice(ours, cr.jvp, cr.asarray(X), cr.asarray(W), cr.asarray(V))
    close(found, twice(theirs, jax.jvp, jnp.asarray(X), jnp.asarray(W), jnp.asarray(V)))

    def pulled(f, grad, jvp, x, w, v):
        return grad(lambda w: (jvp(lambda x: f(x, w), (x,), (v,))[1] ** 2).sum())(w)

    found = pulled(ours, cr.grad, cr.jvp, cr.asarray(X), cr.asarray(W), cr.asarray(V))
    close(found, pulled(theirs, jax.grad, jax.jvp, jnp.asarray(X), jnp.asarray(W), jnp.asarray(V)))


def test_nested_to_the_fourth_order():
    def ours(x):
        return cr.sin(x) * cr.exp(-x * x) / (1 + cr.cosh(x))

    def theirs(x):
        return jnp.sin(x) * jnp.exp(-x * x) / (1 + jnp.cosh(x))

    for _ in range(4):
        ours, theirs = cr.grad(ours), jax.grad(theirs)
        close(ours(cr.asarray(np.array(0.7))), theirs(0.7))


def test_structures_and_argnums():
    tree = {"w": W, "b": [V[0, :2], np.array(0.3)]}
    ours = cr.grad(
        lambda p, x: cr.sum(cr.tanh(x @ p["w"] + p["b"][0]) * p["b"][1]), argnums=(0, 1)
    )({"w": cr.asarray(W), "b": [cr.asarray(V[0, :2]), cr.asarray(np.array(0.3))]}, cr.asarray(X))
    theirs = jax.grad(
        lambda p, x: jnp.sum(jnp.tanh(x @ p["w"] + p["b"][0]) * p["b"][1]), argnums=(0, 1)
    )(tree, X)
    close(ours[1], theirs[1])
    close(ours[0]["w"], theirs[0]["w"])
    for a, b in zip(ours[0]["b"], theirs[0]["b"], strict=True):
        close(a, b)


def test_perturbations_and_stopped_gradients():
    def nested(grad, stop):
        return grad(lambda x: x * grad(lambda y: x * y * y + stop(x) * y)(x * x))

    found = nested(cr.grad, cr.stop_gradient)(cr.asarray(np.array(1.3)))
    close(found, nested(jax.grad, jax.lax.stop_gradient)(1.3))

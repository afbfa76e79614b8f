"""A hundred functions under every transform, nested, beside JAX's, in float64."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainrule as cr
from tests.against.jax_functions import FUNCTIONS

rng = np.random.default_rng(3)
X, V = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
XS = rng.normal(size=(4, 3, 4))
XSS = rng.normal(size=(2, 2, 3, 4))


class Theirs:
    """JAX by our names."""

    matrix_transpose = staticmethod(lambda x: jnp.swapaxes(x, -1, -2))
    scan, cond = staticmethod(jax.lax.scan), staticmethod(jax.lax.cond)
    grad, jvp, vmap = staticmethod(jax.grad), staticmethod(jax.jvp), staticmethod(jax.vmap)
    linalg = jnp.linalg
    erf = staticmethod(jax.scipy.special.erf)
    logsumexp = staticmethod(jax.nn.logsumexp)
    cumulative_prod = staticmethod(jnp.cumprod)
    gelu = staticmethod(lambda x: jax.nn.gelu(x, approximate=False))

    def __getattr__(self, name):
        return getattr(jnp, name, None) or getattr(jax.nn, name)

    def cumulative_sum(self, x, axis):
        return jnp.cumsum(x, axis)

    def layer_norm(self, x, size):
        m, v = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - m) / jnp.sqrt(v + 1e-5)

    def conv2d(self, x, w, stride=1, padding=0, groups=1):
        return jax.lax.conv_general_dilated(
            x, w, (stride,) * 2, [(padding, padding)] * 2, feature_group_count=groups
        )

    def max_pool2d(self, x, k):
        window = (1, 1, k, k)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def scaled_dot_product_attention(self, q, k, v):
        return jax.nn.softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])) @ v

    def segment_sum(self, x, places, n):
        return jax.ops.segment_sum(x, places, n)


class Ours:
    """What the functions call and chainrule has in `nn` or by another signature."""

    def __getattr__(self, name):
        return getattr(cr, name) if hasattr(cr, name) else getattr(cr.nn, name)

    def segment_sum(self, x, places, n):
        whole = cr.zeros((n, *x.shape[1:]), dtype=x.dtype)
        index = cr.broadcast_to(cr.asarray(places)[:, None], x.shape)
        return cr.scatter_add(whole, 0, index, x)


THEIRS, OURS = Theirs(), Ours()


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def scalar(space, xp, f):
    """The results, weighted and added up."""

    def total(x):
        y = f(xp, x)
        y = y[0] if isinstance(y, tuple) else y
        weights = np.cos(np.arange(int(np.prod(y.shape)))).reshape(y.shape)
        return (y * xp.asarray(weights)).sum()

    return total


def jacobian(mode):
    def make(space, xp, f):
        g = lambda x: f(xp, x)  # noqa: E731
        if space is cr:
            return cr.jacobian(g, mode=mode)
        return jax.jacfwd(g) if mode == "forward" else jax.jacrev(g)

    return make


TRANSFORMS = {
    "value": (lambda s, xp, f: lambda x: f(xp, x), (X,)),
    "grad": (lambda s, xp, f: s.grad(scalar(s, xp, f)), (X,)),
    "jacobian forward": (jacobian("forward"), (X,)),
    "jacobian reverse": (jacobian("reverse"), (X,)),
    "hessian": (lambda s, xp, f: s.hessian(scalar(s, xp, f)), (X,)),
    "jvp of grad": (
        lambda s, xp, f: lambda x, v: s.jvp(s.grad(scalar(s, xp, f)), (x,), (v,))[1], (X, V)),
    "grad of jvp": (
        lambda s, xp, f: lambda x, v: s.grad(lambda x: s.jvp(scalar(s, xp, f), (x,), (v,))[1])(x),
        (X, V)),
    "vmap": (lambda s, xp, f: s.vmap(lambda x: f(xp, x)), (XS,)),
    "vmap of grad": (lambda s, xp, f: s.vmap(s.grad(scalar(s, xp, f))), (XS,)),
    "grad of vmap": (
        lambda s, xp, f: s.grad(lambda xs: (s.vmap(scalar(s, xp, f))(xs) ** 2).sum()), (XS,)),
    "nested vmap": (lambda s, xp, f: s.vmap(s.vmap(lambda x: f(xp, x))), (XSS,)),
    "vmap of hessian": (lambda s, xp, f: s.vmap(s.hessian(scalar(s, xp, f))), (XS[:2],)),
}  # fmt: skip


def all_of_theirs(f):
    """Every transform by JAX, as one program: compiling each operation takes far longer."""

    def everything():
        return {
            title: make(jax, THEIRS, f)(*map(jnp.asarray, args))
            for title, (make, args) in TRANSFORMS.items()
        }

    quickly = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(everything).lower().compile(compiler_options=quickly)()


def test_there_are_a_hundred():
    assert len(FUNCTIONS) >= 100


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_transform(name, record_property):
    f = FUNCTIONS[name]
    counts = Counter()
    expected = all_of_theirs(f)
    for title, (make, args) in TRANSFORMS.items():
        found = make(cr, OURS, f)(*map(cr.asarray, args))
        found, wanted = np.asarray(found), np.asarray(expected[title])
        assert found.shape == wanted.shape, title
        scale = max(1.0, np.max(np.abs(wanted), initial=0))
        np.testing.assert_allclose(found, wanted, 1e-9, 1e-11 * scale, err_msg=title)
        counts[title] += 1
    record_property("jax", dict(counts))

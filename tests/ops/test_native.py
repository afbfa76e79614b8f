"""Large operations as machine code in eager: against their definitions, at every sample's size.

The threshold is taken away, so that the samples of the declarations run as machine code too.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.ops import native
from chainrule.ops.attention import attention_gradient, scaled_dot_product_attention
from chainrule.ops.composite import Composite
from chainrule.ops.operation import registry
from tests.ops.test_registry import KERNELS, floats, function, put, test_kernel_against_definition


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """Object code of this run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def always(monkeypatch):
    """Machine code for calls of every size; nothing is left in the operations' own tables."""
    monkeypatch.setattr(native, "SMALLEST", 0)
    monkeypatch.setattr(native, "_enough", lambda *_: True)
    for op in registry.values():
        monkeypatch.setattr(op, "natives", {})


@pytest.mark.parametrize(("op", "args", "kwargs"), KERNELS)
def test_machine_code_against_definition(op, args, kwargs, always):
    test_kernel_against_definition(op, args, kwargs, np.float32)


def test_most_kernels_are_machine_code(always):
    """So that the test above is one: for these nothing is left to NumPy."""
    wanted = {
        "linear", "gelu", "standardize", "softmax_cross_entropy", "softmax", "log_softmax",
        "scaled_dot_product_attention", "attention_gradient", "conv2d", "mean", "drop",
    }  # fmt: skip
    for op, args, kwargs in (case.values for case in KERNELS):
        if op.name in wanted:
            xs = function(op, args, kwargs)[1]
            inputs, attrs = op.arguments(*put(args, list(floats(args)), xs), **kwargs)
            op.apply(inputs, attrs)
    made = {name for name in wanted if any(registry[name].natives.values())}
    assert made == wanted


def _big(*shape):
    return np.sin(np.arange(np.prod(shape)) * 0.7).reshape(shape).astype(np.float32)


def test_only_large_calls(monkeypatch):
    """What is small stays with NumPy; equal calls have equal bits, whoever came first."""
    linear = registry["linear"]
    monkeypatch.setattr(linear, "natives", {})
    w = cr.asarray(_big(256, 256))
    cr.linear(cr.asarray(_big(4, 256)), w)
    assert not any(linear.natives.values())
    first = cr.linear(cr.asarray(_big(256, 256)), w).numpy()
    assert len([made for made in linear.natives.values() if made]) == 1
    assert (cr.linear(cr.asarray(_big(256, 256)), w).numpy() == first).all()
    wide = _big(256, 256).astype(np.float64) @ _big(256, 256).T.astype(np.float64)
    assert np.allclose(first, wide, atol=1e-4)


def test_other_dtypes_and_kinds_without_end(monkeypatch, always):
    """Half precision is NumPy's; so is every further kind of call after so many."""
    gelu = registry["gelu"]
    assert cr.gelu(cr.asarray(_big(64), dtype=cr.float16)).dtype == cr.float16
    assert not any(gelu.natives.values())
    monkeypatch.setattr(native, "KINDS", 2)
    for n in (3, 4, 5, 6):
        cr.gelu(cr.asarray(_big(n)))
    assert [v is not None for v in gelu.natives.values()][-4:] == [True, True, False, False]


def test_strided_operands_are_read_where_they_are(always):
    """Attention of slices of one product, as networks have it, against packed copies."""
    qkv = _big(2, 6, 3, 4, 8).transpose(2, 0, 3, 1, 4)
    strided = [cr.asarray(a, copy=False) for a in qkv]
    packed = [cr.asarray(np.ascontiguousarray(a)) for a in qkv]
    y, z = (scaled_dot_product_attention(*x, is_causal=True).numpy() for x in (strided, packed))
    assert np.allclose(y, z, atol=1e-6)
    keys = [key for key, made in scaled_dot_product_attention.natives.items() if made]
    assert any(kind[2] is not None for kind in keys[0][:3])


def test_a_float_mask_has_its_derivative(always):
    """The gradient as a whole gives none for the mask; then the definition does."""
    q, k, v = (cr.asarray(_big(2, 4, 3).astype(np.float64) + i) for i in range(3))
    mask = cr.asarray(_big(4, 4).astype(np.float64))

    def f(mask):
        return (scaled_dot_product_attention(q, k, v, mask) ** 2).sum()

    cr.check_gradients(f, mask)
    assert not any(attention_gradient.natives.values())


def test_second_derivatives(always):
    """They go by the definition."""
    x = cr.asarray(_big(3, 4).astype(np.float64))
    f = lambda x: (cr.gelu(x) ** 2).sum()  # noqa: E731
    hvp = cr.hvp(f, (x,), (cr.ones_like(x),))
    h = 1e-5
    g = lambda d: cr.grad(f)(x + d).numpy()  # noqa: E731
    found = hvp[1] if isinstance(hvp, tuple) else hvp
    assert np.allclose(np.asarray(found), (g(h) - g(-h)) / (2 * h), atol=1e-6)


def test_dropout_in_attention(always):
    """With the same draw, the same weights are dropped as in the definition."""
    q, k, v = (_big(2, 4, 8) + i for i in range(3))
    keep = _big(2, 4, 4) > -0.5
    attrs = {"is_causal": False, "scale": 0.5, "p": 0.25}
    arrays = [cr.asarray(x) for x in (q, k, v)]
    y = scaled_dot_product_attention.apply((*arrays, None, cr.asarray(keep)), attrs)
    z = scaled_dot_product_attention.expand((*arrays, None, cr.asarray(keep)), attrs)
    assert np.allclose(y.numpy(), z.numpy(), atol=1e-6)


def test_a_gradient_in_training_is_that_of_the_definitions(always):
    """A small transformer: every parameter's gradient, against machine code for nothing."""
    cr.seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True)
    x = cr.asarray(_big(2, 5, 16))

    def gradients():
        layer(x).sum().backward()
        found = [p.grad.numpy().copy() for p in layer.parameters()]
        for p in layer.parameters():
            p.grad = None
        return found

    mine = gradients()
    assert any(any(op.natives.values()) for op in registry.values() if isinstance(op, Composite))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "SMALLEST", 1 << 60)
        wanted = gradients()
    for a, b in zip(mine, wanted, strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_bits_do_not_depend_on_threads():
    x, w = cr.asarray(_big(512, 256), requires_grad=True), cr.asarray(_big(256, 256))

    def run():
        y = cr.gelu(cr.linear(x, w))
        (g,) = cr.vjp(lambda x: cr.gelu(cr.linear(x, w)), x)[1](y)
        return y.numpy(), g.numpy()

    before = cr.get_num_threads()
    try:
        cr.set_num_threads(1)
        one = run()
        cr.set_num_threads(2)
        two = run()
    finally:
        cr.set_num_threads(before)
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_small_programs_do_not_load_the_compiler():
    code = (
        "import sys, chainrule as cr; from chainrule import nn; m = nn.Linear(64, 64)\n"
        "m(cr.ones((32, 64))).sum().backward()\n"
        "assert 'llvmlite' not in sys.modules and 'chainrule.compile' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))

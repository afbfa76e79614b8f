"""Composites that a trace keeps whole, and their gradients, which are one operation too."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile.compiled import Compiled
from tests.compile.interpreter import interpret


def operands(mask=None):
    rng = np.random.default_rng(0)
    found = [rng.standard_normal((2, 3, 6, 4)) for _ in range(3)]
    return [cr.asarray(x) for x in (*found, *([] if mask is None else [mask]))]


def names(compiled):
    return [line.split()[2] for line in compiled.show("graph").splitlines()]


def compare(function, *args):
    """Compiled and eager give the same; gives the names of the operations of the graph."""
    compiled = Compiled(function, backend=interpret)
    for found, wanted in zip(compiled(*args), function(*args), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), 1e-12, 1e-13)
    return names(compiled)


def attention(**options):
    def loss(*args):
        return (cr.sin(nn.scaled_dot_product_attention(*args, **options))).sum()

    return loss


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_are_one_node_each(causal):
    loss = attention(is_causal=causal)
    found = compare(cr.grad(loss, argnums=(0, 1, 2)), *operands())
    assert found.count("scaled_dot_product_attention") == 1
    assert found.count("attention_gradient") == 1
    assert "exp" not in found


def test_a_mask_that_has_a_gradient_is_differentiated_by_the_definition():
    mask = np.random.default_rng(1).standard_normal((6, 6))
    found = compare(cr.grad(attention(), argnums=(1, 3)), *operands(mask))
    assert "attention_gradient" not in found
    found = compare(cr.grad(attention(), argnums=(0, 2)), *operands(mask))
    assert "attention_gradient" in found


def test_the_gradient_has_a_gradient():
    def bent(q, k, v):
        return (cr.grad(attention(is_causal=True), argnums=1)(q, k, v) ** 2).sum()

    compare(cr.grad(bent, argnums=(0, 1, 2)), *operands())


def test_dropout_is_drawn_once_for_both():
    def step(q, k, v):
        cr.seed(3)
        return cr.grad(attention(dropout_p=0.5), argnums=(0, 1, 2))(q, k, v)

    def bare(q, k, v):
        return cr.grad(attention(dropout_p=0.5), argnums=(0, 1, 2))(q, k, v)

    cr.seed(3)
    compiled = Compiled(bare, backend=interpret)
    found = compiled(*operands())
    for a, b in zip(found, step(*operands()), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-12, 1e-13)
    assert names(compiled).count("random_keep") == 1


def test_forward_mode_runs_the_definition():
    q, k, v = operands()

    def tangent(q, k, v):
        return cr.jvp(attention(), (q, k, v), (v, q, k))

    compare(tangent, q, k, v)

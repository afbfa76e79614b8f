"""Clipping of gradients against NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule import nn, optim

FINITE = st.floats(-1e6, 1e6)


def with_gradients(*gradients):
    parameters = []
    for g in map(np.asarray, gradients):
        p = nn.Parameter(cr.zeros(g.shape, dtype=cr.float64))
        p.grad = cr.asarray(g, dtype=cr.float64)
        parameters.append(p)
    return parameters


@given(
    hnp.arrays(float, hnp.array_shapes(max_dims=2, max_side=4), elements=FINITE),
    hnp.arrays(float, 3, elements=FINITE),
    st.sampled_from([1.0, 2.0, 3.0, math.inf]),
    st.floats(1e-2, 1e4),
)
def test_norm_over_all_parameters(a, b, order, limit):
    parameters = with_gradients(a, b)
    total = np.linalg.norm(np.concatenate([a.ravel(), b.ravel()]), order)
    assert optim.clip_grad_norm_(parameters, limit, order).item() == pytest.approx(total)
    scale = min(1.0, limit / (total + 1e-6))
    for p, g in zip(parameters, (a, b), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g * scale, rtol=1e-9, atol=1e-300)


def test_gradients_below_the_limit_stay_bit_for_bit():
    (p,) = with_gradients([0.1, 1 / 3])
    before = p.grad
    optim.clip_grad_norm_([p], 1.0)
    assert p.grad is before


@given(hnp.arrays(float, 5, elements=FINITE), st.floats(0, 1e4))
def test_value(g, limit):
    (p,) = with_gradients(g)
    optim.clip_grad_value_([p], limit)
    np.testing.assert_array_equal(p.grad.numpy(), np.clip(g, -limit, limit))


def test_one_parameter_a_generator_and_missing_gradients():
    (p,) = with_gradients([3.0, 4.0])
    bare = nn.Parameter(cr.ones(2))
    assert optim.clip_grad_norm_(p, 10.0).item() == 5.0
    assert optim.clip_grad_norm_((q for q in (bare, p)), 10.0).item() == 5.0
    assert optim.clip_grad_norm_([bare], 1.0).item() == 0.0
    assert bare.grad is None


@pytest.mark.parametrize("order", [2.0, math.inf])
def test_empty_gradients(order):
    assert optim.clip_grad_norm_(with_gradients(np.zeros((0, 3))), 1.0, order).item() == 0.0


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_a_norm_that_is_not_finite(wrong):
    parameters = with_gradients([wrong, 1.0])
    with pytest.raises(cr.NonFiniteError, match="learning rate"):
        optim.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert parameters[0].grad.numpy()[1] == 1.0  # nothing was changed
    assert not math.isfinite(optim.clip_grad_norm_(parameters, 1.0).item())
    assert math.isnan(parameters[0].grad.numpy()[0])


def test_half_precision_gradients_do_not_overflow():
    p = nn.Parameter(cr.zeros(2, dtype=cr.float16))
    p.grad = cr.asarray([3e4, 4e4], dtype=cr.float16)
    optim.clip_grad_norm_([p], 1.0)
    assert p.grad.dtype == cr.float16
    assert p.grad.numpy() == pytest.approx([0.6, 0.8], rel=2e-3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p: optim.clip_grad_norm_(p, -1.0), "max_norm"),
        (lambda p: optim.clip_grad_norm_(p, math.nan), "max_norm"),
        (lambda p: optim.clip_grad_norm_(p, 1.0, 0), "norm_type"),
        (lambda p: optim.clip_grad_value_(p, -1.0), "clip_value"),
        (lambda p: optim.clip_grad_norm_(nn.Linear(1, 1), 1.0), "parameters"),
        (lambda p: optim.clip_grad_value_([3], 1.0), "int"),
    ],
)
def test_misuse(call, says):
    with pytest.raises(cr.DTypeError, match=says):
        call(with_gradients([1.0]))

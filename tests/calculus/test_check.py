"""`check_gradients` on derivatives that are right, and on every kind of mistake, planted."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.declare import elementwise, operation
from chainrule.ops.operation import registry

rng = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def forget():
    """Operations declared here are forgotten afterwards."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def custom(forward, vjp, jvp=None, operands=1):
    """An operation with a vjp by hand; its shape is the first operand's."""

    def two(a, b, /):
        return (cr.asarray(a), cr.asarray(b)), {}

    def one(a, /):
        return (cr.asarray(a),), {}

    return operation(
        formula="y = custom",
        display_only=True,
        shape=lambda a, *rest: (a.shape, a.dtype),
        forward=forward,
        vjp=vjp,
        jvp=jvp,
        samples=lambda: [],
    )(one if operands == 1 else two)


def message(f, *args, **options):
    with pytest.raises(cr.GradientError) as found:
        cr.check_gradients(f, *args, **options)
    return str(found.value)


# What is right


def test_correct_functions_pass_to_second_order():
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    for f, args in [
        (lambda a, b: cr.softmax(a @ b), (a, b)),
        (lambda a: cr.logsumexp(cr.tanh(a), 1).sum(), (a,)),
        (lambda a: cr.max(a, 1), (a,)),
        (lambda p: p["w"] @ p["x"] + p["c"][0], ({"w": a, "x": b, "c": [1.5]},)),
        (lambda a: cr.exp(30 * a), (np.array([0.1, -0.2]),)),
        (lambda a: cr.cos(200 * a), (np.array([0.1, -0.2]),)),
        (lambda a: a * 0.0, (a,)),
        (lambda a: a**3, (np.array(2.0),)),
    ]:
        found = cr.check_gradients(f, *args, order=2)
        assert found.order == 2
        assert found.error < 1e-6
        assert "gradients agree" in str(found)
        assert found.to_dict()["elements"] == found.elements > 0


def test_a_large_argument_is_sampled_and_still_checked_as_a_whole():
    w = rng.standard_normal((40, 50))
    found = cr.check_gradients(lambda w: cr.tanh(w).sum(), w)
    assert found.elements == 400


def test_error_falls_and_rises_with_the_step():
    steps = cr.check_gradients(cr.exp, np.array([0.3])).steps
    errors = [error for _, error in steps]
    best = int(np.argmin(errors))
    assert 2 <= best <= 6  # h² on one side, rounding on the other
    assert errors[0] > 1e-4
    # Halving the digits of h takes off twice as many of the error.
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)


def test_argnums_chooses_what_is_checked():
    step = elementwise("step", np.sign, formula="sign(x)", derivative=lambda x, y: 1.0)

    def f(a, b):
        return (cr.tanh(a) + step(b)).sum()

    assert cr.check_gradients(f, np.ones(2), np.ones(2), argnums=0).elements == 2
    assert "argument 1" in message(f, np.ones(2), np.ones(2), argnums=1)


# What is wrong


def square(derivative, name="squared"):
    return elementwise(name, lambda x: x * x, formula="x²", derivative=derivative)


def test_sign_ratio_and_the_operation_are_named():
    x = rng.standard_normal((2, 3))
    wrong = square(lambda x, y: -2 * x)
    said = message(lambda x: cr.sin(wrong(x)).sum(), x)
    assert "a sign" in said
    assert "`squared` (test_check.py:" in said
    assert "argument 0 [" in said
    assert "relative error of" in said


@pytest.mark.parametrize(("factor", "what"), [(0.5, "½"), (2.0, "ratio of 2"), (1.7, "1.7")])
def test_constant_ratio(factor, what):
    wrong = square(lambda x, y: 2 * factor * x)
    assert what in message(lambda x: wrong(x).sum(), rng.standard_normal(5) + 3)


def test_batch_size():
    bias = custom(
        lambda x, b: x + b, lambda g, x, b, y: (g, cr.mean(g, 0)), lambda t, *r: t[0] + t[1], 2
    )
    said = message(bias, np.ones((6, 3)), np.ones(3))
    assert "1/6" in said
    assert "argument 1" in said


def test_broadcast_not_summed():
    bias = custom(lambda x, b: x + b, lambda g, x, b, y: (g, g), lambda t, *r: t[0] + t[1], 2)
    said = message(bias, np.ones((6, 3)), np.ones(3))
    assert "broadcast was not summed" in said
    assert "(6, 3)" in said
    spread = custom(
        lambda x: np.broadcast_to(x.sum(0, keepdims=True), x.shape),
        lambda g, x, y: g,
        lambda t, x, y: cr.broadcast_to(cr.sum(t, 0, keepdims=True), x.shape),
    )
    assert "sum over axis 0" in message(spread, rng.standard_normal((4, 3)))


def test_transpose():
    c = rng.standard_normal((3, 3))
    wrong = custom(lambda x: x * c, lambda g, x, y: (g * c).mT, lambda t, x, y: t * c)
    assert "a transpose" in message(lambda x: wrong(x).sum(), rng.standard_normal((3, 3)))


def test_kink():
    said = message(lambda x: cr.relu(x).sum(), np.array([1.0, 0.0]))
    assert "a kink" in said
    assert "[1]" in said


def test_a_path_that_is_missing():
    said = message(lambda x: (cr.stop_gradient(x) ** 2 + 0 * x).sum(), rng.standard_normal(3) + 2)
    assert "a missing path" in said


def test_one_wrong_row():
    mask = np.array([[1.0], [1.0], [0.0]])
    wrong = custom(lambda x: 2 * x, lambda g, x, y: 2 * g * mask, lambda t, x, y: 2 * t)
    assert "index 2 along axis 0" in message(wrong, rng.standard_normal((3, 2)))


def test_a_jvp_that_is_wrong_alone():
    wrong = custom(lambda x: 2 * x, lambda g, x, y: 2 * g, lambda t, x, y: 3 * t)
    said = message(wrong, rng.standard_normal((3, 2)))
    assert "forward mode" in said
    assert "jvp" in said


def test_wrong_in_second_order_only():
    cut = elementwise("cut", np.exp, formula="exp(x)", derivative=lambda x, y: cr.stop_gradient(y))
    x = rng.standard_normal(3)
    cr.check_gradients(cut, x)
    assert "own derivative" in message(cut, x, order=2)


def test_misuse():
    with pytest.raises(cr.DTypeError, match="floating-point argument"):
        cr.check_gradients(lambda n: n, np.arange(3))
    with pytest.raises(cr.NonFiniteError, match="nan"):
        cr.check_gradients(cr.log, np.array([-1.0]))
    assert "another value each time" in message(cr.dropout, np.ones(50))
    assert "not a tensor" in message(lambda x: float(x.sum().item()), np.ones(2))
    with pytest.raises(cr.DTypeError, match="order"):
        cr.check_gradients(cr.exp, np.ones(2), order=3)

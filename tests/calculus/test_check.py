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
        assert found.max_error < 1e-6
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


@pytest.mark.parametrize("x", [1e-4, 1e-9])
def test_close_to_the_edge_of_a_domain(x):
    found = cr.check_gradients(cr.log, np.array([x]))
    assert found.measured == pytest.approx(1 / x, rel=1e-6)


def test_rounding_is_no_error():
    # Terms of 1e8 that cancel: differences cannot be better than ε · 1e8 / h.
    found = cr.check_gradients(
        lambda x: (cr.sin(x) + np.array([1e8, -1e8])).sum(), np.array([0.3, 0.4])
    )
    assert 0 < found.max_error < 1e-5
    # An honest figure: it is the difference of the two numbers beside it.
    wide = cr.check_gradients(lambda x: x + np.array([1e9, -1e9]), np.array([0.3, 0.4]))
    apart = abs(wide.declared - wide.measured)
    assert wide.max_error == pytest.approx(apart / abs(wide.declared), rel=1)
    assert wide.max_error > 1e-7


def test_steps_along_a_direction_that_cross_kinks_are_no_error():
    x = rng.standard_normal((40, 50))
    x[np.abs(x) < 1e-5] = 1.0
    assert cr.check_gradients(lambda x: cr.relu(x).sum(), x).elements == 400


@pytest.mark.parametrize("modes", ["reverse", "forward", ("reverse", "forward")])
def test_modes(modes):
    good = cr.check_gradients(cr.tanh, rng.standard_normal(3), modes=modes)
    assert set(good.modes) == {modes} if isinstance(modes, str) else set(modes)
    wrong = square(lambda x, y: -2 * x)
    assert "a sign" in message(wrong, np.ones(2), modes=modes)
    jvp_only = custom(lambda x: 2 * x, lambda g, x, y: 2 * g, lambda t, x, y: 3 * t)
    if modes == "reverse":
        cr.check_gradients(jvp_only, np.ones(2), modes=modes)
    else:
        message(jvp_only, np.ones(2), modes=modes)


def test_module_by_its_parameters():
    model = cr.nn.Linear(3, 2)
    parameters = {k: np.float64(p.numpy()) for k, p in model.named_parameters()}
    x = rng.standard_normal((4, 3))
    found = cr.check_gradients(
        lambda p, x: cr.nn.functional_call(model, p, x), parameters, x, order=2
    )
    assert found.elements == 6 + 2 + 12
    # Called as it is, it computes in float32, and that is said.
    said = message(model, x)
    assert "float32" in said
    assert "functional_call" in said


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


def test_a_gradient_that_is_not_finite_is_no_agreement():
    def f(a, b):
        return cr.where(a > 0, cr.sqrt(a), 0.0).sum() + (b**2).sum()

    said = message(f, np.array([1.0, -1.0]), np.ones(2))
    assert "argument 0 [1] is nan" in said
    assert "cr.where" in said
    with pytest.raises(cr.NonFiniteError, match="edge"):
        cr.check_gradients(cr.sqrt, np.array([0.0]))


@pytest.mark.parametrize("place", [0, 777, 1777, 1999])
def test_one_wrong_element_of_many_is_found_whether_drawn_or_not(place):
    def forward(x):
        y = x.copy()
        y.reshape(-1)[place] *= 2
        return y

    wrong = custom(forward, lambda g, x, y: g, lambda t, x, y: t)
    said = message(wrong, rng.standard_normal((40, 50)))
    assert "`wrong`" in said or "The operation whose derivative is wrong" in said
    if "random direction" not in said:
        assert f"index {place // 50} along axis 0" in said


def test_a_large_array_is_told_what_it_looks_like():
    wrong = square(lambda x, y: -2 * x)
    assert "a sign" in message(lambda x: wrong(x).sum(), rng.standard_normal((40, 50)))


def test_a_large_constant_is_not_taken_for_a_kink():
    wrong = square(lambda x, y: -2 * x)
    said = message(lambda x: wrong(x).sum() + 1e8, rng.standard_normal(5))
    assert "a sign" in said
    assert "kink" not in said


def test_a_sound_operation_at_the_edge_of_its_domain_is_not_blamed():
    wrong = square(lambda x, y: -2 * x)
    said = message(lambda x: wrong(cr.log(x)).sum(), np.array([5e-5, 1.5]))
    assert "`squared`" in said
    # x^1.5 alone is defined on one side of 0 only; f is on both.
    said = message(lambda x: wrong(cr.where(x > 0, x**1.5, 0.0)).sum(), np.array([0.0, 1.5]))
    assert "`squared`" in said


def test_the_leaf_is_named_as_it_is_written():
    wrong = square(lambda x, y: -2 * x)
    tree = {"w": np.ones(2), "b": [np.ones(3), np.ones(1)]}
    said = message(lambda p: p["w"].sum() + p["b"][0].sum() + wrong(p["b"][1]).sum(), tree)
    assert "argument 0['b'][1] [0]" in said
    assert "relative error 2, ratio -1" in said


def test_a_value_taken_out():
    assert "a missing path" in message(lambda x: cr.asarray(np.sin(x.numpy())).sum(), np.ones(3))


def test_complex_numbers():
    z, x = np.array([1 + 2j, 0.5 - 1j]), np.array([1.0, 2.0])
    found = cr.check_gradients(lambda z, x: cr.exp(z) * cr.abs(z) * x, z, x, order=2)
    assert found.elements == 6
    assert found.max_error < 1e-9
    cr.check_gradients(lambda x: x * 1j, x)
    wrong = elementwise("_", np.exp, formula="exp(x)", derivative=lambda x, y: cr.conj(y))
    said = message(lambda z: wrong(z).real.sum(), z)
    assert "the imaginary part of argument 0 [" in said
    assert "the conjugate" in said
    assert "whose derivative is wrong: `_`" in said


def test_misuse():
    with pytest.raises(cr.GradientError, match="argument 5"):
        cr.check_gradients(cr.multiply, np.ones(2), np.ones(2), argnums=5)
    with pytest.raises(cr.DTypeError, match="modes"):
        cr.check_gradients(cr.exp, np.ones(2), modes="backward")
    assert "int64" in message(lambda x: x.astype(cr.int64), np.ones(2))
    with pytest.raises(cr.DTypeError, match="floating-point argument"):
        cr.check_gradients(lambda n: n, np.arange(3))
    with pytest.raises(cr.NonFiniteError, match="nan"):
        cr.check_gradients(cr.log, np.array([-1.0]))
    assert "another value each time" in message(cr.dropout, np.ones(50))
    assert "not a tensor" in message(lambda x: float(x.sum().item()), np.ones(2))
    with pytest.raises(cr.DTypeError, match="order"):
        cr.check_gradients(cr.exp, np.ones(2), order=3)

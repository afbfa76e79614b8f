"""The backward pass: its values, its formulas, its rules, and the differences that check it."""

import math
from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain.record import record
from chainrule.lens.explain.steps.backward import backward_section
from chainrule.lens.explain.steps.differences import DerivativeClaim


def backward(f, x, **options):
    """The steps of a function's backward pass, by name."""
    recorded = record(f, cr.asarray(x, requires_grad=True), **options)
    return {step.name: step for step in backward_section(recorded).walk()}


@pytest.fixture
def network():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    rng = np.random.default_rng(0)
    return model, rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(5, 2))


def by_hand(model, x, y):
    """The gradients of the mean squared error, by the textbook's formulas in NumPy."""
    w1, b1, w2, b2 = (p.numpy().astype(np.float64) for p in model.parameters())
    z1 = x @ w1.T + b1
    a1 = np.tanh(z1)
    z2 = a1 @ w2.T + b2
    d2 = 2 * (z2 - y) / z2.size
    d1 = (d2 @ w2) * (1 - a1**2)
    return {
        "δz2": d2, "∂L/∂2.weight": d2.T @ a1, "∂L/∂2.bias": d2.sum(0), "δa1": d2 @ w2,
        "δz1": d1, "∂L/∂0.weight": d1.T @ x, "∂L/∂0.bias": d1.sum(0),
    }  # fmt: skip


def test_values_are_the_textbooks(network):
    model, x, y = network
    found = cr.explain(model, x, y.astype(np.float32), loss=nn.mse_loss)
    assert found.verified
    for name, value in by_hand(model, x, y).items():
        np.testing.assert_allclose(found[name].value, value, 1e-5, 1e-6)
    assert found["δL"].value == 1


def test_values_are_those_that_training_gets(network):
    model, x, y = network
    found = cr.explain(model, x, y.astype(np.float32), loss=nn.mse_loss)
    nn.mse_loss(model(cr.asarray(x)), cr.asarray(y.astype(np.float32))).backward()
    for name, parameter in model.named_parameters():
        assert np.array_equal(found[f"∂L/∂{name}"].value, parameter.grad.numpy())


def test_index_form_first_then_matrix_form(network):
    model, x, y = network
    found = cr.explain(model, x, y.astype(np.float32), loss=nn.mse_loss)
    step = found["∂L/∂0.weight"]
    assert step.named.plain() == "∂L/∂0.weight[i, j] = Σ_n x[n, j] · δz1[n, i]"
    assert step.matrix.plain() == "∂L/∂0.weight = δz1ᵀ x"
    assert step.rule == "transpose of a matrix product"
    assert found["δz1"].named.plain() == "δz1[i, j] = δa1[i, j] · (1 − a1[i, j]²)"
    assert found["δz1"].operands == ("δa1", "a1")
    assert found["δz1"].module == "1"
    assert "test_backward.py" in found["δz1"].place
    assert "\\tanh" not in step.matrix.latex()
    assert "<math" in step.matrix.mathml()


def test_the_numbers_give_the_element(network):
    model, x, y = network
    step = cr.explain(model, x, y.astype(np.float32), loss=nn.mse_loss)["δz1"]
    left, right = step.numbers.split(" = ", 1)[1].rsplit(" = ", 1)
    text = left.replace("·", "*").replace("−", "-").replace("²", "**2")
    assert eval(text) == pytest.approx(float(right.replace("−", "-")), rel=2e-3)
    index = step.elements[0].index
    assert float(right.replace("−", "-")) == pytest.approx(step.value[index], rel=1e-3)


def test_the_local_derivative_is_told(network):
    model, x, y = network
    found = cr.explain(model, x, y.astype(np.float32), loss=nn.mse_loss)
    (note,) = found["δz1"].notes
    index = found["δz1"].elements[0].index
    slope = 1 - math.tanh(found["z1"].value[index]) ** 2
    assert float(note.rstrip(".").split(" is ")[1]) == pytest.approx(slope, rel=1e-3)
    told = replace(found["δz1"], notes=(note.replace("0.", "0.1", 1),))
    assert not told.verified


def test_where_the_gradient_shrank(network):
    model, x, y = network
    step = cr.explain(model, x, y.astype(np.float32), loss=nn.mse_loss)["‖δ‖"]
    hand = by_hand(model, x, y)
    norms = [np.linalg.norm(hand["δz2"]), np.linalg.norm(hand["δz1"])]
    np.testing.assert_allclose(step.value, norms, 1e-5)
    assert step.operands == ("δz2", "δz1")
    assert f"{norms[1] / norms[0]:.4g}" in step.notes[0]
    assert not replace(step, value=step.value * 1.001).verified


def test_a_sum_over_paths():
    x = np.array([0.3, -0.7])
    steps = backward(lambda x: cr.sum(cr.sin(x) * cr.exp(x)), x)
    assert "sum over paths" in steps["∂L/∂x"].rule
    through = [steps[name] for name in steps["∂L/∂x"].operands]
    np.testing.assert_allclose(sum(s.value for s in through), np.exp(x) * (np.sin(x) + np.cos(x)))
    assert all(s.verified for s in steps.values())


def test_an_operand_that_is_used_twice():
    steps = backward(lambda x: cr.sum(x * x), np.array([3.0, -2.0]))
    assert steps["∂L/∂x"].operands == ("∂L/∂x (a, a)", "∂L/∂x (a, b)")
    np.testing.assert_allclose(steps["∂L/∂x"].value, [6.0, -4.0])


def test_a_broadcast_is_summed():
    b = cr.asarray([1.0, 2.0, 3.0], dtype=cr.float64, requires_grad=True)
    weights = np.arange(6.0).reshape(2, 3)
    steps = backward(lambda x: cr.sum((x + b) * weights), np.ones((2, 3)), names={"b": b})
    step = steps["∂L/∂b"]
    np.testing.assert_allclose(step.value, weights.sum(0))
    assert "a broadcast is summed" in step.rule
    assert step.named.plain() == "∂L/∂b[i] = Σ_n δa[n, i]"
    assert step.verified


# At kinks, and where there is no derivative


@pytest.mark.parametrize(
    ("f", "x", "derivative"),
    [
        (cr.relu, [0.0, 1.0, -1.0], [0, 1, 0]),
        (cr.abs, [0.0, 2.0, -1.0], [0, 1, -1]),
        (lambda x: cr.max(x, axis=0), [1.0, 3.0, 3.0], [0, 0.5, 0.5]),
        (lambda x: cr.clip(x, 0.0, 1.0), [0.0, 0.5, 2.0], [1, 1, 0]),
    ],
)
def test_at_a_kink(f, x, derivative):
    """PyTorch's convention, which lies between the one-sided derivatives; the step says so."""
    step = backward(lambda x: cr.sum(3 * f(x)), np.array(x))["∂L/∂x"]
    np.testing.assert_allclose(step.value, 3 * np.array(derivative))
    assert step.verified
    assert "at a kink" in step.check.route or "at a kink" in str([c.route for c in step.checks])
    for wrong in (step.value + 3.5, step.value - 3.5, -2 * step.value - 0.01):
        assert not replace(step, value=wrong).verified


def test_where_no_gradient_passes():
    w = cr.asarray([0.1, 0.9, 0.5], requires_grad=True)

    def f(x):
        return cr.sum(w * x) + cr.astype(cr.argmax(w), cr.float32)

    recorded = record(f, np.ones(3, np.float32), names={"w": w})
    section = backward_section(recorded)
    (step,) = [s for s in section.walk() if s.operation == "argmax"]
    assert step.title.startswith("no gradient passes")
    assert "`argmax` has no derivative" in step.notes[0]
    assert "δL" in [s.name for s in section.walk()]


def test_nothing_but_a_choice():
    w = cr.asarray([0.1, 0.9, 0.5], requires_grad=True)
    recorded = record(lambda x: cr.astype(cr.argmax(w * x), cr.float32), np.ones(3, np.float32))
    (step,) = backward_section(recorded).walk()
    assert "has no derivative" in step.notes[0]


def test_no_backward_pass():
    assert backward_section(record(cr.tanh, np.array([0.5]))) is None
    assert backward_section(record(cr.sum, np.array([0.5]))) is None
    w = cr.asarray([0.0], requires_grad=True)
    for bad in (0.0, -1.0, np.nan):
        assert backward_section(record(lambda x: cr.sum(cr.log(x + w)), np.array([bad]))) is None


# The differences themselves


def _claim(f, x):
    recorded = record(f, cr.asarray(x, requires_grad=True))
    steps = list(backward_section(recorded).walk())
    return [
        (step, claim)
        for step in steps
        for claim in step.claims
        if isinstance(claim, DerivativeClaim)
    ]


def test_differences_have_the_exact_slopes():
    x = np.array([0.01, 0.4, -2.0, 30.0])
    _, claim = _claim(lambda x: cr.sum(cr.tanh(x)), x)[-1]
    exact = 1 / np.cosh(x) ** 2
    assert (np.abs(claim.slopes.values[0] - exact) <= claim.slopes.bounds[0]).all()
    assert claim.slopes.bounds.max() < 1e-8


def test_near_a_singularity():
    """A step that would leave the domain is not taken."""
    x = np.array([1e-7, 1e-3, 1.0])
    step, claim = _claim(lambda x: cr.sum(cr.log(x)), x)[-1]
    assert step.verified
    np.testing.assert_allclose(claim.slopes.values[0], 1 / x, 1e-4)


def test_near_a_kink():
    """Closer to it than a step goes."""
    step, _ = _claim(lambda x: cr.sum(cr.relu(x)), np.array([1e-6, -1e-6, 1e-9, 1.0]))[-1]
    np.testing.assert_allclose(step.value, [1, 0, 1, 1])
    assert step.verified
    assert not replace(step, value=np.array([0.0, 0, 1, 1])).verified


def test_large_operands_are_moved_along_a_direction():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(20, 30))
    step, claim = _claim(lambda x: cr.sum(cr.tanh(x @ w)), rng.normal(size=(40, 20)))[-1]
    assert "random direction" in step.check.route
    assert step.verified
    bound = claim.slopes.bounds.max()
    for place in rng.integers(0, step.value.size, 20):
        wrong = step.value.copy()
        wrong.reshape(-1)[place] += 3 * bound
        assert not replace(step, value=wrong).verified
    assert bound < 1e-6 * np.abs(step.value).max()


def test_single_precision_has_the_bound_of_single_precision():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 6)).astype(np.float32) + 100
    step, claim = _claim(lambda x: cr.sum(cr.layer_norm(x, (6,)) ** 3), x)[-1]
    assert step.verified
    assert claim.slopes.bounds.max() > 1e-6
    assert not replace(step, value=step.value * np.float32(1.05)).verified


def test_a_shape_that_is_another():
    step, _ = _claim(lambda x: cr.sum(cr.tanh(x)), np.ones((2, 3)))[-1]
    assert not replace(step, value=step.value[:1]).verified
    assert not replace(step, value=step.value.T).verified


def test_complex_numbers():
    """∂L/∂x is ∂L/∂Re + i ∂L/∂Im: of |x|² it is 2x."""
    x = np.array([1 + 2j, -0.5j])
    step = backward(lambda x: cr.sum(cr.abs(x) ** 2), x)["∂L/∂x"]
    assert step.verified
    assert not replace(step, value=step.value.conj()).verified
    assert not replace(step, value=step.value * 1j).verified


def test_dropout_keeps_its_mask():
    cr.seed(3)
    layer = nn.Dropout(0.5)
    layer.train()
    x = cr.asarray(np.ones((4, 5)), requires_grad=True)
    recorded = record(lambda x: cr.sum(layer(x) ** 2), x)
    section = backward_section(recorded)
    assert all(step.verified for step in section.walk())


def test_half_precision():
    x = cr.asarray(np.array([0.5, -1.0, 2.0]), dtype=cr.float16)
    steps = backward(lambda x: cr.sum(cr.tanh(x)), x)
    assert all(step.verified for step in steps.values())
    assert not replace(steps["∂L/∂x"], value=steps["∂L/∂x"].value * np.float16(1.2)).verified

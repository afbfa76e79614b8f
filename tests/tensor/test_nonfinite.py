"""detect_nonfinite: the first operation that made a NaN or an infinity, forward or backward."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.ops.operation import registry
from chainrule.tensor import debug, nonfinite


def caught(compute):
    with pytest.raises(cr.NonFiniteError) as error, cr.detect_nonfinite():
        compute()
    return str(error.value)


X = cr.asarray([[1.0, 0.5, 3.0], [0.0, 2.0, -1.0]])


def test_names_the_operation_the_line_the_place_and_the_operands():
    text = caught(lambda: cr.log(cr.maximum(X, 0.0)))
    assert "`log`" in text
    assert "test_nonfinite.py:" in text
    assert "-inf at (1, 0), and 1 more of 6 values" in text
    assert "x[1, 0] = 0.0" in text


def test_a_nan_counts_before_an_infinity_of_the_same_operation():
    assert "nan at (1, 2)" in caught(lambda: cr.log(X))


def test_the_first_of_several():
    assert "`exp`" in caught(lambda: cr.log(cr.exp(X * 1000) - cr.exp(X * 1000)))


def test_what_would_be_finite_in_float64_is_said():
    text = caught(lambda: cr.exp(X * 100))
    assert f"{np.exp(np.float64(100)):.4g}" in text
    assert "float32 holds up to 3.4e+38" in text


def test_the_module_path():
    class Net(nn.Module):
        def __init__(self):
            self.encoder = nn.Sequential(nn.Linear(3, 4), Rate())

        def forward(self, x):
            return self.encoder(x)

    class Rate(nn.Module):
        def forward(self, x):
            return 1 / (x - x)

    assert "in `encoder.1`" in caught(lambda: Net()(X))


def test_the_backward_pass_names_the_forward_operation_and_what_it_was_given():
    w = nn.Parameter(cr.zeros(3))
    loss = cr.sqrt((w * w).sum())
    text = caught(loss.backward)
    assert "in the backward pass of `sqrt` (test_nonfinite.py:" in text
    assert "`divide`" in text
    assert "b = 0.0" in text


def test_the_pullback_of_a_fused_operation():
    x = cr.asarray(np.full((1, 4), 1e30), dtype="float32", requires_grad=True)
    w = cr.asarray(np.full((2, 4), 1e30), dtype="float32", requires_grad=True)
    with cr.no_grad():
        big = cr.ones((1, 2)) * 1e30
    y = nn.linear(x * 1e-30, w)
    text = caught(lambda: y.backward(big))
    assert "a gradient is inf" in text
    assert "in the backward pass of `linear`" in text


def test_a_nan_in_the_data_is_no_operations_fault():
    x = np.ones((4, 3), np.float32)
    x[2, 1] = np.nan
    text = caught(lambda: nn.Linear(3, 2)(x))
    assert "operand x" in text
    assert "first at (2, 1)" in text
    assert "made" in text


@pytest.mark.parametrize(
    "compute",
    [
        lambda: cr.softmax(cr.where(X > 0, X, -np.inf)),  # a mask of −∞
        lambda: cr.pad(X, ((0, 0), (1, 1)), value=-np.inf),
        lambda: cr.where(X > 0, cr.log(cr.where(X > 0, X, 1)), 0),
        lambda: cr.max(X) > np.inf,
    ],
)
def test_what_was_asked_for_is_let_through(compute):
    with cr.detect_nonfinite():
        compute()


def test_infinity_minus_infinity_is_a_nan_that_was_made():
    assert "`subtract`" in caught(lambda: cr.asarray([np.inf]) - cr.asarray([np.inf]))


def test_a_compiled_function_runs_operation_by_operation():
    w = nn.Parameter(cr.ones(3))

    @cr.compile
    def step(x):
        loss = cr.log(x * w).sum()
        loss.backward()
        return loss

    step(cr.ones(3))
    assert "`log`" in caught(lambda: step(cr.zeros(3)))
    w.grad = None
    with cr.detect_nonfinite():
        found = step(cr.full(3, 2.0))
    assert found.item() == pytest.approx(3 * np.log(2))
    assert w.grad.tolist() == [1.0, 1.0, 1.0]


def test_as_a_decorator_and_put_back_afterwards():
    @cr.detect_nonfinite()
    def f(x):
        return 1 / x

    with pytest.raises(cr.NonFiniteError):
        f(cr.zeros(()))
    assert debug.observers == ()
    assert not debug.step_by_step
    assert np.isinf((1 / cr.zeros(())).item())


def test_inside_a_printing_block(capsys):
    with debug.at(1):
        assert "`log`" in caught(lambda: cr.log(X))
    assert "log" in capsys.readouterr().err
    assert debug.observers == ()


def test_ways_out_are_of_operations_that_exist():
    import chainrule.ops.exponential
    import chainrule.ops.trigonometry  # noqa: F401

    assert set(nonfinite._WAYS_OUT) <= set(registry)

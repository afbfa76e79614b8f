"""`require_finite`: other numbers are refused, and where it is compiled nothing is written then."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import NonFiniteError
from chainrule.ops.finite import require_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refused(bad):
    with pytest.raises(NonFiniteError, match="require_finite"):
        require_finite(cr.asarray([1.0, bad]))


def test_finite_numbers_pass_with_their_derivative():
    x = cr.asarray([1.0, -2.0])
    assert cr.grad(lambda x: (require_finite(x) ** 2).sum())(x).tolist() == [2.0, -4.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_compiled_nothing_is_written(bad):
    model = nn.Linear(3, 1)
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    @cr.compile
    def step(x):
        loss = require_finite(model(x).sum())
        loss.backward()
        optimizer.step()
        return loss

    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    step(x)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    state = optimizer.state_dict()["state"][0]
    x[1, 1] = bad
    with pytest.raises(NonFiniteError, match="not finite"):
        step(x)
    after = optimizer.state_dict()["state"][0]
    assert all((before[name] == value).all() for name, value in model.state_dict().items())
    assert state["step"] == after["step"]
    assert (state["exp_avg"] == after["exp_avg"]).all()

"""What interpret refuses or warns of, where a sentence would have no grounds."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def network(outputs: int = 2) -> nn.Module:
    cr.seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, outputs))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_held_out_rows_that_were_learnt_from(dtype):
    held = X[:60].astype(dtype), Y[:60]
    found = cr.interpret(network(), X[60:63], calibration=held, training=(X[:60], Y[:60]), detail=0)
    assert any("All held-out rows are training rows" in text for text in found.warnings)
    found = cr.interpret(
        network(), X[60:63], calibration=held, training=(X[50:80], Y[50:80]), detail=0
    )
    assert any("10 of the 60 held-out rows are training" in text for text in found.warnings)
    found = cr.interpret(
        network(), X[80:83], calibration=held, training=(X[60:80], Y[60:80]), detail=0
    )
    assert not any("held-out rows are training" in text for text in found.warnings)


@pytest.mark.parametrize("y", [X[:60, 0], Y[:60] + 0.5])
def test_of_several_real_outputs_none_is_picked(y):
    with pytest.raises(cr.ShapeError, match="2 real outputs a row"):
        cr.interpret(network(), X[60:63], calibration=(X[:60], y))


def test_a_network_whose_outputs_are_not_finite():
    model = network()
    model[0].weight.assign(np.full((4, 2), np.nan, np.float32))
    with pytest.raises(cr.DataError, match="output for x has nan"):
        cr.interpret(model, X[:3])
    with pytest.raises(cr.DataError, match="output has nan"):
        cr.attribute(model, X[:3])


def test_no_row_and_no_number_of_rows():
    with pytest.raises(cr.DataError, match="probabilities has no row"):
        cr.interpret(np.zeros((0, 2)), calibration=(np.eye(2), [0, 1]))
    for detail in (-1, 1.5, "all", True):
        with pytest.raises(cr.DataError, match="detail is"):
            cr.interpret(network(), X[:3], detail=detail)

"""Influence functions against leaving a row out and training again, where that has one answer."""

import numpy as np
import pytest
from scipy.optimize import minimize

import chainrule as cr
from chainrule import influence, nn
from chainrule.errors import DataError, GradientError
from chainrule.lens.interpret.influence import conjugate_gradients
from tests.lens.interpret.networks import dense, line

rng = np.random.default_rng(3)
N = 400
X = rng.normal(size=(N, 3))
Y = (X @ [1.5, -1.0, 0.3] + 0.8 * rng.normal(size=N) > 0).astype(int)
NEW, ANSWERS = rng.normal(size=(4, 3)), np.array([0, 1, 1, 0])
RIDGE = 0.05


def losses(w, x, y):
    z = x @ w[:-1] + w[-1]
    return np.logaddexp(0, z) - y * z


def trained(x, y):
    def objective(w):
        return losses(w, x, y).mean() + 0.5 * RIDGE * w @ w

    return minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-10}).x


def logistic(w):
    return line(w[:-1], w[-1])


def test_it_is_what_leaving_a_row_out_and_training_again_does():
    whole = trained(X, Y)
    found = influence(logistic(whole), NEW, ANSWERS, training=(X, Y), damping=RIDGE)
    rows = range(0, N, 20)
    again = np.empty((4, len(rows)))
    for k, j in enumerate(rows):
        kept = np.arange(N) != j

        # One row of n is left out, the others keep their weight 1/n in the objective.
        def objective(w, kept=kept):
            return losses(w, X[kept], Y[kept]).sum() / N + 0.5 * RIDGE * w @ w

        w = minimize(objective, whole, method="BFGS", options={"gtol": 1e-10}).x
        again[:, k] = losses(w, NEW, ANSWERS) - losses(whole, NEW, ANSWERS)
    mine = found.values[:, list(rows)]
    assert np.corrcoef(mine.ravel(), again.ravel())[0, 1] > 0.999
    slope = (mine * again).sum() / (mine**2).sum()
    assert slope == pytest.approx(1, abs=0.02)
    assert found.warnings == ()


def test_it_is_the_formula_with_the_hessian_written_out():
    w = trained(X, Y)
    p = 1 / (1 + np.exp(-(X @ w[:-1] + w[-1])))
    ones = np.concatenate([X, np.ones((N, 1))], 1)
    hessian = (ones * (p * (1 - p))[:, None]).T @ ones / N + RIDGE * np.eye(4)
    q = 1 / (1 + np.exp(-(NEW @ w[:-1] + w[-1])))
    test = (q - ANSWERS)[:, None] * np.concatenate([NEW, np.ones((4, 1))], 1)
    train = (p - Y)[:, None] * ones
    expected = test @ np.linalg.solve(hessian, train.T) / N
    found = influence(logistic(w), NEW, ANSWERS, training=(X, Y), damping=RIDGE)
    np.testing.assert_allclose(found.values, expected, atol=1e-7)


def test_least_squares_in_closed_form():
    y = X @ [1.0, 2.0, 0.0] + rng.normal(size=N)
    model = line([1.0, 2.0, 0.0])
    new, target = NEW[:2], np.array([0.3, -0.2])
    found = influence(model, new, target, training=(X, y), damping=0.1)
    ones = np.concatenate([X, np.ones((N, 1))], 1)
    hessian = ones.T @ ones / N + 0.1 * np.eye(4)
    train = (X @ [1.0, 2.0, 0.0] - y)[:, None] * ones
    error = new @ [1.0, 2.0, 0.0] - target
    test = error[:, None] * np.concatenate([new, np.ones((2, 1))], 1)
    np.testing.assert_allclose(
        found.values, test @ np.linalg.solve(hessian, train.T) / N, atol=1e-7
    )


def test_a_row_helps_itself_and_answers_are_the_networks_own_without_targets():
    w = trained(X, Y)
    model = logistic(w)
    own = influence(model, X[:5], Y[:5], training=(X, Y), damping=RIDGE)
    assert (own.values[np.arange(5), np.arange(5)] > 0).all()
    assert own.strongest(0, N)[0] == np.abs(own.values[0]).argmax()
    answers = (X[:5] @ w[:-1] + w[-1] > 0).astype(int)
    free = influence(model, X[:5], training=(X, Y), damping=RIDGE)
    told = influence(model, X[:5], answers, training=(X, Y), damping=RIDGE)
    np.testing.assert_array_equal(free.values, told.values)


def test_readings_of_the_same_network_agree():
    model = dense(3, 3)
    y = rng.integers(0, 3, N)
    plain = influence(model, NEW, training=(X, y), damping=3.0)
    soft = influence(nn.Sequential(*model, nn.Softmax(-1)), NEW, training=(X, y), damping=3.0)
    np.testing.assert_allclose(plain.values, soft.values, atol=1e-6)


def test_the_network_is_left_as_it_was_and_frozen_weights_do_not_count():
    model = dense(3, 2)
    model[0].weight.requires_grad = False
    before = {n: a.copy() for n, a in model.state_dict().items()}
    model.train()
    found = influence(model, NEW, training=(X, Y), damping=3.0)
    after = model.state_dict()
    assert all(np.array_equal(before[n], after[n]) for n in before)
    assert model.training
    assert np.isfinite(found.values).all()


def test_a_network_that_is_at_no_minimum_is_refused():
    with pytest.raises(GradientError, match="not at a minimum"):
        influence(dense(3, 2, hidden=20), X[:1], 1 - Y[:1], training=(5 * X, 1 - Y), damping=0.0)


def test_bad_questions():
    with pytest.raises(DataError, match="damping"):
        influence(dense(3, 2), NEW, training=(X, Y), damping=-1)
    with pytest.raises(DataError, match="needs its target"):
        influence(line([1.0, 1.0, 1.0]), NEW, training=(X, X[:, 0]))
    with pytest.raises(DataError, match="training labels"):
        influence(dense(3, 2), NEW, training=(X, Y + 5))


def test_conjugate_gradients_solve_what_a_solver_solves():
    a = rng.normal(size=(12, 12))
    a = a @ a.T + np.eye(12)
    b = rng.normal(size=12)
    s, residual = conjugate_gradients(lambda v: a @ v, b)
    np.testing.assert_allclose(s, np.linalg.solve(a, b), atol=1e-4)
    assert residual < 1e-5
    zero, none = conjugate_gradients(lambda v: a @ v, np.zeros(12))
    assert none == 0
    assert not zero.any()
    with pytest.raises(GradientError, match="curvature"):
        conjugate_gradients(lambda v: -v, b)


def test_float32_networks_are_solved_to_the_tolerance():
    cr.seed(0)
    model = nn.Linear(3, 2)
    found = influence(model, NEW[:1], training=(X.astype(np.float32), Y), damping=0.05)
    assert found.residual[0] < 1e-4

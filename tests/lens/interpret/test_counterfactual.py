"""Counterfactuals: verified on the network itself; of linear networks the smallest there are."""

import numpy as np
import pytest
from scipy.optimize import linprog

import chainrule as cr
from chainrule import nn
from chainrule.lens.interpret.counterfactual import Search, Space, flips, one_hot
from chainrule.lens.interpret.subjects import subject_of
from tests.lens.interpret.networks import dense, line

rng = np.random.default_rng(1)
W = np.array([1.0, -2.0, 0.5, 0.0])
SIZES = np.array([1.0, 0.3, 5.0, 1.0])
TRAINED = rng.normal(size=(400, 4)) * SIZES


def search(model, row, trained=TRAINED, groups=None, y=(0, 1)):
    groups = groups or [(j,) for j in range(trained.shape[1])]
    return Search(subject_of(model, trained[:4], y=np.array(y)), Space.of(trained, groups), row)


def cheapest(row, margin, low, high, scale):
    """min Σ|Δ|/σ with w · (x + Δ) = 0 within the range, by linear programming."""
    up, down = high - row, row - low
    cost = np.concatenate([1 / scale, 1 / scale])
    found = linprog(cost, A_eq=[np.concatenate([W, -W])], b_eq=[-margin],
                    bounds=[(0, u) for u in np.concatenate([up, down])])  # fmt: skip
    assert found.success
    return found.fun


@pytest.mark.parametrize("i", range(4))
@pytest.mark.parametrize("bias", [0.3, 9.0, -9.0])  # one column is enough, and is not
def test_of_a_linear_network_nothing_nearer_exists(i, bias):
    row, model = TRAINED[i] * 0.3, line(W, bias)
    asked = search(model, row)
    best = asked.smallest()
    margin = W @ row + bias
    assert best is not None
    assert (W @ best + bias > 0) != (margin > 0)
    space = asked.space
    expected = cheapest(row, margin, space.low, space.high, space.scale)
    assert space.distance(row, best[None])[0] == pytest.approx(expected, rel=2e-3, abs=1e-5)


def test_a_single_column_changes_where_its_range_is_wide_enough():
    row = np.array([0.2, 0.05, 0.5, 1.0])
    margin = W @ row
    best = search(line(W), row).smallest()
    # |w_j| σ_j is largest for the third column, of which a step of σ moves the output by 2.5.
    step = -margin / W[2]
    np.testing.assert_allclose(best - row, [0, 0, step, 0], atol=1e-3 * abs(step))


def test_where_no_column_is_enough_several_change_the_steepest_first():
    trained = rng.uniform(-1, 1, (400, 4))
    best = search(line([1.0, 1.0, 1.0, 0.01], 2.2), np.zeros(4), trained).smallest()
    # 2.2 below: two columns to the end of their range, and a third the rest of the way.
    assert best[:3].sum() == pytest.approx(-2.2, abs=0.02)
    assert best[3] == 0
    assert np.sort(best)[:2] == pytest.approx([-1, -1], abs=0.02)


def test_what_is_found_flips_the_network_and_stays_among_the_training_rows():
    model, trained = dense(4, 3, seed=2), rng.normal(size=(300, 4))
    subject = subject_of(model, trained[:4], y=np.array([0, 2]))
    space = Space.of(trained, [(j,) for j in range(4)])
    found = 0
    for row in trained[:10]:
        asked = Search(subject, space, row)
        best = asked.smallest()
        if best is None:
            continue
        found += 1
        answers = model(cr.asarray(np.stack([row, best]))).numpy().argmax(1)
        assert answers[0] != answers[1]
        assert (best >= space.low - 1e-12).all()
        assert (best <= space.high + 1e-12).all()
        # On the way back to the row the answer is the old one.
        back = row + 0.999 * (best - row)
        changed = (best != row).sum()
        if changed == 1:
            assert model(cr.asarray(back[None])).numpy().argmax(1)[0] == answers[0]
    assert found >= 8


def test_one_flip_of_a_category_is_seen_and_counts_as_one():
    trained = np.concatenate([rng.normal(size=(90, 1)), np.tile(np.eye(3), (30, 1))], 1)
    groups = [(0,), (1, 2, 3)]
    row = np.array([0.0, 1.0, 0.0, 0.0])
    asked = search(line([0.01, 1.0, -1.0, 0.5]), row, trained, groups)
    best = asked.smallest()
    np.testing.assert_array_equal(best, [0.0, 0.0, 1.0, 0.0])
    assert asked.space.distance(row, best[None])[0] == 1
    assert asked.space.changed(row, best) == [1]


def test_nothing_is_found_where_the_answer_never_changes():
    assert search(line([0.0, 0.0, 0.0, 0.0], 1.0), TRAINED[0]).smallest() is None
    assert search(line([1e-6, 0.0, 0.0, 0.0], 1.0), TRAINED[0]).smallest() is None


def test_probabilities_of_yes_are_read_at_one_half():
    model = nn.Sequential(line(W, 0.3), nn.Sigmoid())
    row = TRAINED[0] * 0.5
    mine, logits = search(model, row).smallest(), search(line(W, 0.3), row).smallest()
    np.testing.assert_allclose(mine, logits, atol=2e-3)


def test_one_hot():
    assert one_hot(np.eye(3))
    assert not one_hot(np.array([[1.0, 1.0]]))
    assert not one_hot(np.array([[0.5, 0.5]]))


def test_rows_of_an_interpretation_say_what_would_flip_them():
    from chainrule.lens.interpret.case import case_of_network
    from chainrule.lens.interpret.view import view_of

    names = ["age", "height", "weight", "idle"]
    y = (TRAINED @ W > 0).astype(int)
    view = view_of(line(W), names, ["no", "yes"])
    case = case_of_network(view, TRAINED[:2], None, (TRAINED, y), None)
    found = flips(case, [0, 1], [places for _, places in case.columns()], names)
    for i, flip in enumerate(found):
        assert flip.becomes == ("no" if y[i] else "yes")
        changed = TRAINED[i].copy()
        for name, _, after in flip.changes:
            changed[names.index(name)] = float(after)
        assert abs(changed @ W) < 0.01
        assert "idle" not in [name for name, *_ in flip.changes]

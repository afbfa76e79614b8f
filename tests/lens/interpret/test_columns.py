"""Permutation importance and partial dependence against their formulas, written out."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import attribute, nn, partial_dependence, permutation_importance
from chainrule.errors import DataError, DTypeError, ShapeError
from tests.lens.interpret.networks import Formula, Tokens, dense, line

rng = np.random.default_rng(2)
X = rng.normal(size=(60, 3))
W = np.array([2.0, -1.0, 0.0])
Y = X @ W + 0.3 * rng.normal(size=60)


def test_importance_of_a_linear_network_is_its_expectation_over_permutations():
    found = permutation_importance(line(W), X, Y, repeats=300)
    e = Y - X @ W
    for j in range(3):
        # A permutation takes each row to any of the n with the same chance.
        moved = e[:, None] + W[j] * (X[:, j, None] - X[None, :, j])
        expected = (moved**2 - e[:, None] ** 2).mean()
        assert found.increase[j] == pytest.approx(expected, rel=0.05, abs=1e-12)
    assert found.loss == pytest.approx((e**2).mean())
    assert found.order[:2] == [0, 1]
    np.testing.assert_allclose([found.increase[2], found.low[2], found.high[2]], 0, atol=1e-12)


def test_the_interval_holds_the_importance_that_all_rows_have():
    inside = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        x = draw.normal(size=(100, 2))
        found = permutation_importance(line([1.0, 0.0]), x, x[:, 0] + draw.normal(size=100),
                                       repeats=20, seed=seed)  # fmt: skip
        inside += found.low[0] <= 2.0 <= found.high[0]  # E (x − x')² = 2
    assert inside >= 53  # of 60 at 95 %: 57 ± 1.7


def test_importance_of_classes_is_in_nats_and_of_several_columns_at_once():
    model = dense(3, 3)
    y = model(cr.asarray(X)).numpy().argmax(1)
    found = permutation_importance(model, X, y, columns=["a", "b", "c"], repeats=1, seed=5)
    draw = np.random.default_rng(5)
    out = model(cr.asarray(X)).numpy()
    logp = out - np.log(np.exp(out).sum(1, keepdims=True))
    for j in range(3):
        mixed = X.copy()
        mixed[:, j] = X[draw.permutation(60), j]
        out = model(cr.asarray(mixed)).numpy()
        after = out - np.log(np.exp(out).sum(1, keepdims=True))
        expected = (logp - after)[np.arange(60), y].mean()
        assert found.increase[j] == pytest.approx(expected)
    assert found.columns == ("a", "b", "c")
    assert found.to_dict()["not_meaning"]


def test_importance_of_tokens_and_bad_questions():
    cr.seed(0)
    tokens = rng.integers(0, 7, (8, 4))
    assert len(permutation_importance(Tokens(), tokens, np.zeros(8, int)).increase) == 4
    with pytest.raises(DataError, match="repeats"):
        permutation_importance(line(W), X, Y, repeats=0)
    with pytest.raises(ShapeError, match="x: there are 60 rows, and 3 targets"):
        permutation_importance(line(W), X, Y[:3])
    with pytest.raises(DataError, match="one row"):
        permutation_importance(line(W), X[:1], Y[:1])


def test_partial_dependence_of_a_linear_network_is_its_line():
    found = partial_dependence(line(W, 1.0), X, "x0")
    expected = X.mean(0) @ W + 1.0 + W[0] * (found.values - X[:, 0].mean())
    np.testing.assert_allclose(found.mean, expected, atol=1e-12)
    np.testing.assert_allclose(np.diff(found.each, axis=1) / np.diff(found.values), W[0])
    assert found.values[0] == X[:, 0].min()
    assert found.values[-1] == X[:, 0].max()
    assert found.warnings == ()
    assert found.of == "the answer"


def test_partial_dependence_is_the_mean_answer_with_the_column_put_to_a_value():
    model = dense(3, 3)
    found = partial_dependence(model, X, 1, values=[-0.5, 0.7], target=2)
    for k, v in enumerate([-0.5, 0.7]):
        put = X.copy()
        put[:, 1] = v
        p = np.exp(model(cr.asarray(put)).numpy())
        p = p[:, 2] / p.sum(1)
        np.testing.assert_allclose(found.each[:, k], p)
        assert found.mean[k] == pytest.approx(p.mean())
    assert found.of == "the probability of 2"


def test_it_warns_where_the_curve_is_not_to_be_trusted():
    twins = np.stack([X[:, 0], X[:, 0] + 0.1 * X[:, 1], X[:, 2]], 1)
    together = partial_dependence(line(W), twins, "x0")
    assert any("goes together with x1 (r = 0.9" in w or "(r = 1.0" in w for w in together.warnings)
    bare = partial_dependence(line(W), X, "x0", values=[0.0, 9.0])
    assert bare.warnings == ("No row is near x0 = 9: there the curve is a guess of the network.",)
    crossing = Formula(lambda x: x[:, :1] * x[:, 1:2] + 0.2 * x[:, :1])
    other = partial_dependence(crossing, X, "x0")
    assert any("the other way in" in w for w in other.warnings)


def test_categories_are_asked_one_by_one():
    from chainrule.lens.interpret.view import View

    x = np.concatenate([X[:, :1], np.eye(2)[rng.integers(0, 2, 60)]], 1)
    model = line([1.0, 3.0, -2.0])

    class Encoded:
        def __interpreted__(self):
            write = {"colour": lambda f: ["red", "blue"][int(np.argmax(f))]}
            columns = (("size", (0,)), ("colour", (1, 2)))
            return View(model, np.asarray, np.asarray, columns, lambda _: {}, write)

    found = partial_dependence(Encoded(), x, "colour", reading="values")
    assert found.labels == ("red", "blue")
    np.testing.assert_allclose(found.mean, [x[:, 0].mean() + 3, x[:, 0].mean() - 2])
    with pytest.raises(DataError, match="category"):
        partial_dependence(Encoded(), x, "colour", values=[1.0])


BAD = [
    ({"column": "zz"}, DataError, "no column 'zz'"),
    ({"column": 7}, DataError, "no column 7"),
    ({"column": 0, "values": [np.inf]}, DataError, "finite"),
    ({"column": 0, "values": []}, DataError, "finite"),
    ({"column": 0, "target": 5}, DataError, "0 to 2"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_questions(options, error, text):
    with pytest.raises(error, match=text):
        partial_dependence(dense(3, 3), X, options.pop("column"), **options)


def test_estimators_are_looked_into_by_their_columns():
    x = np.random.default_rng(0).normal(size=(300, 3))
    y = np.where(x[:, 0] > 0, "yes", "no")
    cr.seed(0)
    model = cr.Classifier(hidden=(8,), epochs=20).fit(x, y)
    found = permutation_importance(model, x, y)
    assert len(found.columns) == 3
    assert found.order[0] == 0
    curve = partial_dependence(model, x, found.columns[0])
    assert curve.of == "the probability of yes"
    assert curve.mean[-1] > curve.mean[0]
    assert attribute(model, x[:4]).amounts.shape == (4, 3)
    with pytest.raises(DTypeError, match="network"):
        partial_dependence(nn.Linear, X, 0)

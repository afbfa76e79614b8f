"""Attribution keeps the laws it is defined by, and leaves the network to the bit as it was."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.lens.interpret.attribution import METHODS, attribute, patches
from chainrule.tensor import generator
from tests.lens.interpret.networks import Formula, Tokens, dense, images, line

rng = np.random.default_rng(0)
X = rng.normal(size=(5, 4))
B = rng.normal(size=(6, 4))
TABLES = ["gradient-x-input", "integrated-gradients", "smoothgrad", "occlusion", "shapley"]


def value(model, x, target=0):
    return model(cr.asarray(x)).numpy()[:, target]


def test_the_methods_are_the_files_of_their_package():
    assert set(METHODS) == {*TABLES, "grad-cam", "attention-rollout"}


@pytest.mark.parametrize("method", TABLES)
def test_of_a_linear_network_each_share_is_weight_times_distance(method):
    w = np.array([2.0, -1.0, 0.0, 0.5])
    found = attribute(line(w, 3.0), X, method=method, baseline=B)
    np.testing.assert_allclose(found.values, (X - B.mean(0)) * w, atol=1e-12)
    np.testing.assert_allclose(found.base, B.mean(0) @ w + 3.0)
    np.testing.assert_allclose(found.error, 0, atol=1e-12)
    assert found.meaning
    assert found.not_meaning


@pytest.mark.parametrize("method", ["integrated-gradients", "shapley"])
def test_shares_add_up_to_the_output_less_that_of_the_baseline(method):
    model = dense(4, 3)
    found = attribute(model, X, target=2, method=method, baseline=B[:1])
    difference = value(model, X, 2) - value(model, B[:1], 2)
    np.testing.assert_allclose(found.values.sum(1), difference, rtol=1e-2)
    if method == "shapley":
        np.testing.assert_allclose(found.values.sum(1), difference, rtol=1e-12)


def test_integrated_gradients_converge_and_too_few_steps_show_in_the_error():
    steep = Formula(lambda x: cr.tanh(40 * x.sum(1, keepdims=True)))
    rough = attribute(steep, X, steps=2)
    fine = attribute(steep, X)
    assert rough.error.max() > 0.1
    assert (fine.error <= 0.01 * np.abs(fine.values).sum(1)).all()
    assert max(fine.notes["steps"]) > 16


def test_integrated_gradients_of_a_product_are_halves():
    # F = x₁ x₂ from 0: ∫ α x₂ dα · x₁ = x₁ x₂ / 2.
    found = attribute(Formula(lambda x: x[:, :1] * x[:, 1:2]), X)
    half = X[:, 0] * X[:, 1] / 2
    expected = np.stack([half, half, 0 * half, 0 * half], 1)
    np.testing.assert_allclose(found.values, expected, atol=1e-12)


def by_orders(model, row, background, groups):
    """Shapley's definition: the mean over all orders of what a group adds."""

    def worth(known):
        mixed = background.copy()
        for g in known:
            mixed[:, groups[g]] = row[groups[g]]
        return value(model, mixed).mean()

    shares = np.zeros(len(groups))
    orders = list(itertools.permutations(range(len(groups))))
    for order in orders:
        for k, g in enumerate(order):
            shares[g] += worth(order[: k + 1]) - worth(order[:k])
    return shares / len(orders)


@pytest.mark.parametrize("groups", [[[0], [1], [2], [3]], [[0, 2], [3], [1]]])
def test_shapley_values_are_the_mean_over_all_orders(groups):
    model = dense(4, 2, hidden=5)
    found = attribute(model, X[:2], target=0, method="shapley", baseline=B, groups=groups)
    expected = [by_orders(model, row, B, groups) for row in X[:2]]
    np.testing.assert_allclose(found.amounts, expected, atol=1e-12)


def test_shapley_values_of_symmetric_and_idle_features():
    even = Formula(lambda x: (x[:, :1] * x[:, 1:2]) ** 2 + x[:, :1] + x[:, 1:2])
    x = np.array([[0.7, 0.7, 5.0]])
    amounts = attribute(even, x, method="shapley", baseline=np.array([[0.1, 0.1, -3.0]])).amounts
    assert amounts[0, 0] == pytest.approx(amounts[0, 1])
    assert amounts[0, 2] == 0


def test_shapley_values_are_linear_in_the_network():
    one, two = dense(4, 1, 1), dense(4, 1, 2)
    both = Formula(lambda x: 2 * one(x) - two(x))
    a, b, c = (attribute(m, X, method="shapley", baseline=B).values for m in (one, two, both))
    np.testing.assert_allclose(c, 2 * a - b, atol=1e-12)


def test_sampled_shapley_values_agree_with_exact_ones_within_their_errors(monkeypatch):
    from chainrule.lens.interpret.attribution.methods import shapley

    model = dense(6, 1, hidden=12)
    x, b = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    exact = attribute(model, x, method="shapley", baseline=b)
    monkeypatch.setattr(shapley, "EXACT", 3)
    drawn = attribute(model, x, method="shapley", baseline=b, orders=60)
    error = np.array(drawn.notes["standard error"])
    z = (drawn.amounts - exact.amounts) / np.maximum(error, 1e-12)
    assert np.abs(z).max() < 4
    assert error.max() < 0.1
    np.testing.assert_allclose(drawn.error, 0, atol=1e-12)


def test_occlusion_is_the_loss_of_one_part():
    model = dense(4, 2)
    found = attribute(
        model, X, target=1, method="occlusion", baseline=B[:1], groups=[[0, 3], [1, 2]]
    )
    without = X.copy()
    without[:, [0, 3]] = B[0, [0, 3]]
    np.testing.assert_allclose(found.amounts[:, 0], value(model, X, 1) - value(model, without, 1))
    np.testing.assert_allclose(found.values[:, 0], found.values[:, 3])


def test_smoothgrad_goes_to_the_gradient_and_does_not_depend_on_the_other_rows():
    model = dense(4, 2)
    still = attribute(model, X, target=0, method="smoothgrad", noise=1e-6)
    plain = attribute(model, X, target=0, method="gradient-x-input")
    np.testing.assert_allclose(still.values, plain.values, rtol=1e-3, atol=1e-5)
    alone = attribute(model, X[:1], target=0, method="smoothgrad", samples=5000, noise=0.2)
    beside = attribute(model, np.concatenate([X[:1], 100 * X]), target=0, method="smoothgrad",
                       samples=5000, noise=0.2)  # fmt: skip
    error = np.array(alone.notes["standard error"])[0]
    assert (np.abs(alone.values[0] - beside.values[0]) < 6 * error + 1e-9).all()


def test_each_row_has_the_target_of_its_largest_output_or_the_one_asked_for():
    model = dense(4, 3)
    largest = model(cr.asarray(X)).numpy().argmax(1)
    found = attribute(model, X, method="gradient-x-input")
    asked = attribute(model, X, method="gradient-x-input", target=largest)
    np.testing.assert_array_equal(found.values, asked.values)
    np.testing.assert_array_equal(found.output, model(cr.asarray(X)).numpy().max(1))


def test_many_rows_at_once_are_the_rows_one_by_one():
    model = dense(4, 3)
    rows = rng.normal(size=(300, 4))
    for method in ("integrated-gradients", "shapley", "occlusion"):
        whole = attribute(model, rows, method=method, baseline=B)
        for i in (0, 299):
            one = attribute(model, rows[i : i + 1], method=method, baseline=B)
            np.testing.assert_allclose(whole.values[i], one.values[0], atol=1e-10)


def test_tokens_are_asked_by_occlusion_and_shapley_values_and_have_no_slope():
    cr.seed(0)
    model, x = Tokens(), rng.integers(0, 7, (3, 5))
    found = attribute(model, x, method="occlusion", target=1)
    other = x.copy()
    other[:, 2] = 0
    np.testing.assert_allclose(
        found.values[:, 2], value(model, x, 1) - value(model, other, 1), atol=1e-6
    )
    assert attribute(model, x, method="shapley", target=1).error.max() < 1e-5
    for method in ("gradient-x-input", "integrated-gradients", "smoothgrad"):
        with pytest.raises(DTypeError, match="whole numbers"):
            attribute(model, x, method=method)


def test_attention_rollout_follows_the_weights_through_the_layers():
    cr.seed(0)
    model, x = Tokens(layers=2), rng.integers(0, 7, (3, 5))
    found = attribute(model, x, method="attention-rollout", position=0)
    rolled, h = np.eye(5), model.eval().embedding(cr.asarray(x))
    for layer in model.layers:
        _, weights = layer.self_attn(h, h, h)
        rolled = 0.5 * (weights.numpy() + np.eye(5)) @ rolled
        h = layer(h)
    np.testing.assert_allclose(found.values, rolled[:, 0], atol=1e-6)
    pooled = attribute(model, x, method="attention-rollout")
    np.testing.assert_allclose(pooled.values, rolled.mean(1), atol=1e-6)
    np.testing.assert_allclose(pooled.values.sum(1), 1, atol=1e-6)


def test_attention_rollout_sees_attention_that_is_written_by_hand():
    class Causal(nn.Module):
        def __init__(self):
            self.q, self.k, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            y = nn.scaled_dot_product_attention(self.q(x), self.k(x), x, is_causal=True)
            return self.head(y[:, -1])

    cr.seed(0)
    found = attribute(Causal(), rng.normal(size=(2, 3, 4)), method="attention-rollout", position=0)
    # A first token can look at itself alone.
    np.testing.assert_allclose(found.amounts.reshape(2, 3, 4).sum(2), [[1, 0, 0]] * 2, atol=1e-6)


def test_grad_cam_weighs_the_last_maps_by_their_mean_slope():
    model, x = images(), rng.normal(size=(2, 1, 8, 8)).astype(np.float32)
    found = attribute(model, x, method="grad-cam", target=1)
    maps = cr.asarray(x)
    for layer in list(model)[:4]:
        maps = layer(maps)
    rest = list(model)[4:]

    def after(a):
        for layer in rest:
            a = layer(a)
        return a[:, 1].sum()

    slope = cr.grad(after)(maps).numpy().mean((2, 3), keepdims=True)
    seen = np.maximum((slope * maps.numpy()).sum(1), 0)
    assert found.values.shape == x.shape
    assert found.notes["map"] == [4, 4]
    # Linear interpolation of 4 × 4 to 8 × 8: a corner is the corner, and the mean of inner cells.
    np.testing.assert_allclose(found.values[:, 0, 0, 0], seen[:, 0, 0], atol=1e-6)
    inner = (9 * seen[:, 0, 0] + 3 * seen[:, 0, 1] + 3 * seen[:, 1, 0] + seen[:, 1, 1]) / 16
    np.testing.assert_allclose(found.values[:, 0, 1, 1], inner, atol=1e-6)


def test_patches_of_an_image_belong_together():
    model, x = images(), rng.normal(size=(1, 1, 8, 8)).astype(np.float32)
    found = attribute(model, x, method="occlusion", target=0, groups=patches((1, 8, 8), 4))
    without = x.copy()
    without[:, :, 4:, :4] = 0
    expected = value(model, x) - value(model, without)
    np.testing.assert_allclose(found.amounts[:, 2], expected, atol=1e-6)


def state(model):
    return {n: a.copy() for n, a in model.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_to_the_bit_as_it_was(method):
    cr.seed(3)
    if method == "attention-rollout":
        model, x = Tokens(), rng.integers(0, 7, (2, 5))
    else:
        x = rng.normal(size=(2, 1, 8, 8)).astype(np.float32)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5),
                              nn.Flatten(), nn.Linear(72, 3))  # fmt: skip
    options = {"groups": patches((1, 8, 8), 4)} if method in ("shapley", "occlusion") else {}
    model.train()
    before, key = state(model), generator.default.state
    found = attribute(model, x, method=method, **options)
    assert found.sanity.layers
    after = state(model)
    assert all(np.array_equal(before[n], after[n]) for n in before)
    assert generator.default.state == key
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_sanity_sees_what_does_not_depend_on_the_weights():
    x = rng.normal(size=(20, 12)) * np.logspace(-3, 3, 12)
    learnt = attribute(dense(12, 3), rng.normal(size=(20, 12)), method="integrated-gradients")
    assert learnt.sanity.depends
    assert learnt.sanity.layers == (1, 2)
    assert "depends on what" in learnt.sanity.sentence
    # Inputs of very unlike sizes decide gradient × input by themselves.
    cr.seed(0)
    rough = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 3))
    by_size = attribute(rough, x, method="gradient-x-input")
    assert not by_size.sanity.depends
    assert "does not depend on the weights" in by_size.sanity.sentence


def test_sanity_of_too_little_says_so():
    with pytest.raises(DataError, match="2 parts"):
        _ = attribute(line([1.0, 2.0]), X[:, :2]).sanity
    with pytest.raises(DataError, match="no weights"):
        _ = attribute(Formula(lambda x: x[:, :1]), X).sanity


BAD = [
    ({"method": "lime"}, DataError, "no method 'lime'"),
    ({"orders": 3}, DataError, "no option of 'integrated-gradients'"),
    ({"steps": 0}, DataError, "steps"),
    ({"method": "shapley", "orders": 1}, DataError, "orders"),
    ({"method": "smoothgrad", "noise": -1}, DataError, "noise"),
    ({"target": 3}, DataError, "0 to 2"),
    ({"target": [0, 1]}, DataError, "one for each row"),
    ({"target": "a"}, DataError, "number of an output"),
    ({"baseline": np.zeros(3)}, ShapeError, "baseline"),
    ({"baseline": np.full(4, np.nan)}, DataError, "baseline"),
    ({"groups": [[0], [1]]}, DataError, "each of the 4 features once"),
    ({"groups": [[0, 1, 2, 3], []]}, DataError, "none is empty"),
    ({"method": "grad-cam"}, DataError, "no convolution"),
    ({"method": "attention-rollout"}, DataError, "no attention"),
    ({"reading": "scores"}, DTypeError, "log-odds"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD)
def test_bad_questions_are_answered_with_what_to_write(options, error, text):
    with pytest.raises(error, match=text):
        attribute(dense(4, 3), X, **options)


def test_bad_rows():
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        attribute(dense(4, 3), X[0])
    with pytest.raises(DataError, match="nan"):
        attribute(dense(4, 3), np.full((1, 4), np.nan))
    with pytest.raises(DTypeError, match="takes numbers"):
        attribute(dense(4, 3), np.array([["a", "b"]]))
    with pytest.raises(ShapeError, match="outputs of the shape"):
        attribute(Formula(lambda x: x[:, :, None]), X)
    with pytest.raises(DTypeError, match="takes a network"):
        attribute(lambda x: x, X)

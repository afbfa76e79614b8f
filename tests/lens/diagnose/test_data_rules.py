"""The rules about data and capacity, and the measurements that they rest on, against planted truth,
scikit-learn and closed forms."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn import datasets
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score

import chainrule as cr
from chainrule import nn
from chainrule.lens.diagnose.frameworks.ours import Ours
from chainrule.lens.diagnose.measure.confident import noise_of
from chainrule.lens.diagnose.measure.curves import turn_of
from chainrule.lens.diagnose.measure.duplicates import chance_pairs, overlap_of, strongest_column
from chainrule.lens.diagnose.measure.ntk import tangent_kernel
from chainrule.lens.diagnose.measure.probes import (
    features_of,
    interval,
    layer_probes,
    reach_of,
    targets_of,
)
from chainrule.lens.diagnose.measure.relation import PENALTIES, basis, best_of, kernels, relation_of
from chainrule.lens.diagnose.trace import EpochSample, Trace
from tests.lens.diagnose.cases import ask, setup, standard, trained

LOADERS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}


def table(name: str, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    x, y = LOADERS[name](return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:rows]
    return standard(x[order]), y[order]


def blobs(spread: float, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.make_blobs(rows, 4, centers=4, cluster_std=spread, random_state=1)
    return standard(x), y


def flipped(y: np.ndarray, share: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(labels, which were flipped): to another class, each equally likely."""
    rng = np.random.default_rng(seed)
    classes = len(np.unique(y))
    doomed = rng.random(len(y)) < share
    found = y.copy()
    found[doomed] = (y[doomed] + rng.integers(1, classes, doomed.sum())) % classes
    return found, doomed


# ------------------------------------------------------------------------------ measurements


def test_leave_one_out_is_what_fitting_without_each_row_gives() -> None:
    x, y = table("iris", 25)
    targets = targets_of(y, "classes")
    name, kernel = kernels(features_of(x))[1]
    assert name == "gaussian"
    explained, scores = best_of(basis(kernel), targets)

    mean, found = targets.mean(0), []
    for penalty in PENALTIES:
        out = np.empty_like(targets)
        for i in range(len(x)):
            rest = np.delete(np.arange(len(x)), i)
            fit = KernelRidge(alpha=penalty, kernel="precomputed")
            fit.fit(kernel[np.ix_(rest, rest)], targets[rest] - mean)
            out[i] = fit.predict(kernel[i : i + 1, rest])[0] + mean
        found.append((1 - np.sum((out - targets) ** 2) / np.sum((targets - mean) ** 2), out))
    best = max(found, key=lambda pair: pair[0])
    assert explained == pytest.approx(best[0], rel=1e-8)
    np.testing.assert_allclose(scores, best[1], atol=1e-8)


@pytest.mark.parametrize("name", LOADERS)
def test_simple_models_reach_what_scikit_learn_does(name: str) -> None:
    x, y = table(name)
    found = reach_of(x, y, "classes")
    base = 1 - np.bincount(y).max() / len(y)
    ridge = (1 - cross_val_score(RidgeClassifier(), x, y, cv=5).mean()) / base
    assert found.error < ridge + 0.05
    assert found.low <= found.error <= found.high


def test_intervals_of_shares_are_wilsons() -> None:
    statsmodels = {(0, 20): (0.0, 0.16113), (10, 100): (0.05523, 0.17437)}  # Wilson, 95 %
    for (hits, n), (low, high) in statsmodels.items():
        values = np.r_[np.ones(hits), np.zeros(n - hits)]
        assert interval(values, shares=True) == pytest.approx((hits / n, low, high), abs=2e-5)


@pytest.mark.parametrize("name", [*LOADERS, "diabetes"])
def test_a_relation_is_told_from_chance(name: str) -> None:
    if name == "diabetes":
        x, y = datasets.load_diabetes(return_X_y=True)
        task = "real"
    else:
        (x, y), task = table(name), "classes"
    x, y = x[:150], y[:150]
    features, rng = features_of(x), np.random.default_rng(5)
    assert relation_of(features, targets_of(y, task)).strength > 12
    chance = [relation_of(features, targets_of(rng.permutation(y), task)).strength
              for _ in range(8)]  # fmt: skip
    assert np.median(chance) < 1.5
    assert np.sum(np.array(chance) > 6) == 0


def test_features_that_only_a_product_shows_are_a_relation() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    assert relation_of(features_of(x), targets_of(y, "classes")).strength > 12


def noise(x: np.ndarray, y: np.ndarray):  # type: ignore[no-untyped-def]
    found = reach_of(x, y, "classes")
    return noise_of(found.best.scores, y, found.features)


@pytest.mark.parametrize("name", [*LOADERS, "blobs"])
@pytest.mark.parametrize("share", [0.2, 0.3])
def test_planted_label_noise_is_measured_and_found(name: str, share: float) -> None:
    x, y = blobs(2.0) if name == "blobs" else table(name)
    labels, doomed = flipped(y, share)
    found = noise(x, labels)
    assert found.low <= doomed.mean() + 0.02
    assert found.high >= doomed.mean() - 0.02
    right = doomed[found.rows].mean()
    recall = doomed[found.rows].sum() / doomed.sum()
    assert right > 0.9
    assert recall > 0.35
    assert np.mean(found.better == y[found.rows]) > 0.85


@pytest.mark.parametrize("data", [*LOADERS, 2.0, 3.0, 4.0, "moons"])
def test_classes_that_overlap_are_no_label_noise(data: str | float) -> None:
    if data == "moons":
        x, y = datasets.make_moons(400, noise=0.3, random_state=1)
    else:
        x, y = blobs(data) if isinstance(data, float) else table(data)
    assert noise(x, y).share < 0.04


@pytest.mark.parametrize("seed", range(6))
def test_clouds_that_overlap_by_a_third_are_a_hard_problem(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 6))
    centres = 3 * centres / np.linalg.norm(centres, axis=1, keepdims=True)
    y = rng.integers(0, 3, 500)
    x = (centres[y] + 1.8 * rng.normal(size=(500, 6))).astype(np.float32)
    assert not ask("label-noise", trained(setup([6, 8, 3], (x, y), epochs=2)))


def test_equal_rows_are_found_and_chance_is_known() -> None:
    rng = np.random.default_rng(0)
    x, held = rng.normal(size=(200, 5)), rng.normal(size=(60, 5))
    held[[3, 10, 20]] = x[[7, 8, 9]]
    found = overlap_of(x, held)
    assert found.held.tolist() == [3, 10, 20]
    assert found.train.tolist() == [7, 8, 9]
    assert found.across == pytest.approx(3 / 60)
    assert found.by_chance < 1e-6
    coins = rng.integers(0, 2, (4000, 6)).astype(float)
    assert chance_pairs(coins) == pytest.approx(2.0**-6, rel=0.05)
    again = overlap_of(coins[:2000], coins[2000:])
    assert again.by_chance > 1000


def test_a_column_that_is_the_target_is_told_from_one_that_goes_with_it() -> None:
    x, y = table("breast_cancer")
    targets = targets_of(y, "classes")
    assert not strongest_column(x, targets, classes=True).copy
    x[:, 7] = np.where(y == 1, 3.5, -0.5)
    found = strongest_column(x, targets, classes=True)
    assert (found.column, found.copy) == (7, True)
    x, t = datasets.load_diabetes(return_X_y=True)
    assert not strongest_column(x, t[:, None], classes=False).copy
    x[:, 4] = 2 - 0.1 * t
    found = strongest_column(x, t[:, None], classes=False)
    assert (found.column, found.copy) == (4, True)


def test_the_tangent_kernel_of_a_linear_model_is_its_gram_matrix() -> None:
    cr.seed(0)
    model, x = nn.Linear(3, 1), np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    found = tangent_kernel(Ours(), model, x, outputs=0)
    np.testing.assert_allclose(found.kernel, x @ x.T + 1, atol=1e-5)

    # Gradient descent on ½·mean square: r(t) = (I − ηK/n)ᵗ r(0).
    rate, residual = 0.05, np.random.default_rng(1).normal(size=12)
    k = x.astype(np.float64) @ x.T + 1
    # Only what the model can express decays: the residual in the span of K.
    residual = k @ residual
    steps = found.slowest(residual, rate)
    left = np.linalg.matrix_power(np.eye(12) - rate * k / 12, round(steps)) @ residual
    assert np.sum(left**2) / np.sum(residual**2) == pytest.approx(0.1, rel=0.1)


def test_the_tangent_kernel_of_a_network_is_j_jt() -> None:
    cr.seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    state, ours = Ours().state(model), Ours()
    step, rows = 1e-2, []
    for name, value in state.items():
        for i in range(value.size):
            out = []
            for sign in (1, -1):
                moved = value.copy().reshape(-1)
                moved[i] += sign * step
                ours.load(model, {name: moved.reshape(value.shape)})
                out.append(ours.outputs(model, x)[:, 0].astype(np.float64))
            rows.append((out[0] - out[1]) / (2 * step))
        ours.load(model, {name: value})
    jacobian = np.array(rows).T
    found = tangent_kernel(ours, model, x, outputs=0)
    np.testing.assert_allclose(found.kernel, jacobian @ jacobian.T, rtol=2e-3, atol=2e-3)


def curve(held: np.ndarray, train: np.ndarray, error: np.ndarray) -> Trace:
    looks = zip(held, train, error, strict=True)
    return Trace(epochs=[EpochSample(i, i, t, h, e, e) for i, (h, t, e) in enumerate(looks)])


def test_the_turn_of_a_curve_is_where_it_was_planted() -> None:
    t = np.arange(30.0)
    rng = np.random.default_rng(0)
    held = 1 + 0.002 * (t - 10) ** 2 + 0.001 * rng.normal(size=30)
    found = turn_of(curve(held, 1 / (1 + t), held))
    assert found is not None
    assert abs(found.epoch - 10) <= 2
    assert found.rise == pytest.approx(0.002 * 19**2, abs=0.08)
    assert 0.0005 < found.noise < 0.006
    falling = turn_of(curve(1 / (1 + t), 1 / (1 + t), 1 / (1 + t)))
    assert falling is not None
    assert falling.after <= 1


# ------------------------------------------------------------------------------ rules


@pytest.mark.parametrize("name", ["digits", "wine"])
@pytest.mark.parametrize("whole", [True, False])
def test_rows_shuffled_without_their_labels(name: str, whole: bool) -> None:
    x, y = table(name, 400)
    rng, cut = np.random.default_rng(1), 3 * len(x) // 4
    sizes = [x.shape[1], 32, len(np.unique(y))]
    if whole:
        made = setup(sizes, (rng.permutation(x), y))
    else:
        made = setup(sizes, (rng.permutation(x[:cut]), y[:cut]), validation=(x[cut:], y[cut:]))
    (found,) = ask("label-mismatch", trained(made))
    assert (found.severity, found.where) == ("error", "data")
    assert found.strength > 0.8
    if not whole:
        assert "the training rows' targets do not belong to their inputs" in found.claim
    twin = trained(setup(sizes, (x, y)))
    assert not ask("label-mismatch", twin)
    assert not ask("label-noise", twin)


def test_targets_shuffled_in_a_regression_and_a_network_that_fails_otherwise() -> None:
    x, t = datasets.load_diabetes(return_X_y=True)
    x, t = standard(x), standard(t[:, None])
    shuffled = np.random.default_rng(0).permutation(t)
    found = ask("label-mismatch", trained(setup([10, 16, 1], (x, shuffled), nn.mse_loss)))
    assert [f.rule for f in found] == ["label-mismatch"]
    # It learns nothing either, and its labels are right.
    idle = trained(setup([10, 16, 1], (x, t), nn.mse_loss, lr=1e-7))
    assert not ask("label-mismatch", idle)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "iris"])
def test_flipped_labels_are_found_by_the_rule(name: str) -> None:
    x, y = table(name, 400)
    labels, doomed = flipped(y, 0.2)
    case = trained(setup([x.shape[1], 16, len(np.unique(y))], (x, labels), epochs=5))
    (found,) = ask("label-noise", case)
    assert found.severity == "warning"
    assert "overfit" in found.explains
    made = found.remedies[0].apply(case.setup)
    # The rows that the remedy leaves out are the flipped ones.
    kept = {row.tobytes() for row in made.x}
    left_out = np.array([row.tobytes() not in kept for row in case.setup.x])
    where = {row.tobytes(): bad for row, bad in zip(x, doomed, strict=True)}
    assert np.mean([where[row.tobytes()] for row in case.setup.x[left_out]]) > 0.9


@pytest.mark.parametrize(
    "bug",
    [
        {"kind": "Adam", "weight_decay": 0.1},
        {"kind": "SGD", "lr": 0.1, "weight_decay": 0.1},
        {"kind": "AdamW", "weight_decay": 10.0},
        {"dropout": 0.9},
    ],
)
def test_regularisation_that_outweighs_the_data(bug: dict) -> None:
    x, y = table("digits", 500)
    options = {"epochs": 20, **bug}
    (found,) = ask("over-regularised", trained(setup([64, 32, 10], (x, y), **options)))
    assert found.where == ("2" if "dropout" in bug else "optimizer")
    assert found.remedies
    mild = {k: {"weight_decay": 1e-3, "dropout": 0.3}.get(k, v) for k, v in options.items()}
    assert not ask("over-regularised", trained(setup([64, 32, 10], (x, y), **mild)))


@pytest.mark.parametrize("strength", [0.1, 1e-6])
def test_a_penalty_in_the_users_own_loss(strength: float) -> None:
    made = setup([64, 32, 10], table("digits", 500), epochs=20)
    model = made.model

    def loss(outputs, targets):  # type: ignore[no-untyped-def]
        return nn.cross_entropy(outputs, targets) + strength * penalty()

    def penalty():  # type: ignore[no-untyped-def]
        return sum((p**2).sum() for p in model.parameters())

    found = ask("over-regularised", trained(made.with_(loss=loss)))
    assert [f.where for f in found] == (["loss"] if strength == 0.1 else [])


def test_a_loss_that_reads_the_model_reads_its_copy() -> None:
    made = setup([4, 3, 2], (np.zeros((20, 4), np.float32), np.arange(20) % 2))
    model, weights = made.model, list(made.model.parameters())

    def by_closure(outputs, y):  # type: ignore[no-untyped-def]
        return sum(p.sum() for p in model.parameters())

    def by_list(outputs, y, held=weights):  # type: ignore[no-untyped-def]
        return sum(p.sum() for p in held)

    for loss in (by_closure, by_list, partial(by_list), lambda o, y: by_closure(o, y)):
        copy = made.with_(loss=loss).copied()
        state = copy.framework.state(copy.model)
        copy.framework.load(copy.model, {n: v * 0 for n, v in state.items()})
        assert float(copy.loss(None, None).item()) == 0
        assert float(loss(None, None).item()) != 0
    assert made.with_(loss=nn.cross_entropy).copied().loss is nn.cross_entropy
    plain = lambda o, y: (o - y).sum()  # noqa: E731
    assert made.with_(loss=plain).copied().loss is plain


def test_overfitting_that_costs_and_that_does_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 30)).astype(np.float32)
    y = (x[:, :1] + 0.7 * rng.normal(size=(400, 1))).astype(np.float32)
    (found,) = ask("overfit", trained(setup([30, 128, 1], (x, y), nn.mse_loss, epochs=40)))
    assert found.severity == "warning"
    linear = trained(setup([30, 1], (x, y), nn.mse_loss, epochs=15))
    assert not [f for f in ask("overfit", linear) if f.severity != "advice"]
    x, y = table("digits")
    sure = trained(setup([64, 64, 10], (x, y), epochs=60))
    assert not [f for f in ask("overfit", sure) if f.severity != "advice"]


def teacher(units: int, rows: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """What a tanh network of so many units gives: orthogonal directions, so that each is needed."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 8)).astype(np.float32)
    directions = np.linalg.qr(rng.normal(size=(8, 8)))[0][:, :units]
    return x, standard(np.abs(x @ directions).sum(1, keepdims=True))


def test_a_layer_that_is_too_narrow() -> None:
    data = teacher(3)
    (found,) = ask("capacity-too-small", trained(setup([8, 2, 1], data, nn.mse_loss, epochs=30)))
    assert (found.where, found.severity) == ("0", "warning")
    assert not ask("capacity-too-small", trained(setup([8, 48, 1], data, nn.mse_loss, epochs=30)))
    # A narrow layer in the middle of an autoencoder is what it is there for.
    x, _ = table("digits")
    assert not ask("capacity-too-small", trained(setup([64, 3, 64], (x, x), nn.mse_loss)))


def test_a_layer_that_is_far_too_wide_is_advice() -> None:
    x = np.linspace(-2, 2, 800, dtype=np.float32)[:, None]
    case = trained(setup([1, 256, 1], (x, x**2), nn.mse_loss, epochs=8))
    (found,) = ask("capacity-too-large", case)
    assert (found.severity, found.where) == ("advice", "0")


def test_held_out_rows_that_are_training_rows() -> None:
    x, y = table("breast_cancer", 400)
    doubled = (np.concatenate([x, x[:200]]), np.concatenate([y, y[:200]]))
    (found,) = ask("leakage", trained(setup([30, 8, 2], doubled, epochs=2)))
    assert found.severity == "warning"
    assert "held-out rows" in found.claim
    case = trained(setup([30, 8, 2], (x, y), epochs=2))
    assert not ask("leakage", case)
    mended = found.remedies[0].apply(trained(setup([30, 8, 2], doubled, epochs=2)).setup)
    assert overlap_of(mended.x, mended.x_held).across == 0


def test_small_tables_that_repeat_are_no_leak() -> None:
    x = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), (25, 1))
    y = (x[:, 0] != x[:, 1]).astype(int)
    case = trained(setup([2, 8, 2], (x, y)))
    for rule in ("leakage", "duplicates", "conflicting-labels", "label-mismatch", "label-noise"):
        assert not ask(rule, case), rule
    all_of_it = trained(setup([2, 8, 2], (x, y), validation=(x, y)))
    assert not ask("leakage", all_of_it)
    line = np.linspace(0, 1, 100, dtype=np.float32)[:, None]
    (same,) = ask("leakage", trained(setup([1, 8, 1], (line, line), nn.mse_loss,
                                           validation=(line, line))))  # fmt: skip
    assert same.severity == "advice"


def test_a_column_that_is_the_label() -> None:
    x, y = table("breast_cancer", 300)
    x[:, 3] = y
    made = setup([30, 8, 2], (x, y), epochs=2)
    names = tuple(f"c{i}" for i in range(30))
    (found,) = ask("leakage", trained(made.with_(columns=names)))
    assert (found.where, found.severity) == ("c3", "warning")
    mended = found.remedies[0].apply(made)
    assert np.ptp(mended.x[:, 3]) == 0


def test_repeated_rows_and_rows_in_conflict() -> None:
    x, y = table("wine")
    many = trained(setup([13, 8, 3], (np.tile(x, (2, 1)), np.tile(y, 2)), epochs=2))
    (found,) = ask("duplicates", many)
    assert found.severity == "advice"
    assert not ask("conflicting-labels", many)
    rng = np.random.default_rng(0)
    torn = np.concatenate([y, rng.integers(0, 3, len(y))])
    (found,) = ask("conflicting-labels", trained(setup([13, 8, 3], (np.tile(x, (2, 1)), torn),
                                                       epochs=2)))  # fmt: skip
    assert found.severity == "warning"


def test_a_rare_class_that_is_lost_and_one_that_is_only_rare() -> None:
    x, y = datasets.make_classification(
        800, 10, n_informative=6, weights=[0.95], flip_y=0, class_sep=1.5, random_state=0
    )
    x = standard(x)
    lost = trained(setup([10, 16, 2], (x, y), kind="SGD", lr=1e-2, epochs=6))
    (found,) = ask("class-imbalance", lost)
    assert "class 1" in found.claim
    kept = trained(setup([10, 16, 2], (x, y), epochs=40))
    assert not ask("class-imbalance", kept)


def test_layers_are_read_off_against_their_untrained_twins() -> None:
    x, y = table("digits", 400)
    found = layer_probes(trained(setup([64, 8, 10], (x, y), epochs=30)))
    assert [p.path for p in found] == ["0"]
    assert found[0].error < found[0].untrained - 0.1


def test_all_of_it_is_quick_and_leaves_everything_as_it_was() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 64)).astype(np.float32)
    y = (x[:, :4].sum(1) > 0).astype(int)
    case = trained(setup([64, 32, 2], (x, y), epochs=3))
    before = case.framework.state(case.setup.model)
    kept = rng.bit_generator.state
    for rule in ("over-regularised", "overfit", "capacity-too-small", "capacity-too-large",
                 "label-noise", "label-mismatch", "leakage", "duplicates", "conflicting-labels",
                 "class-imbalance"):  # fmt: skip
        assert not ask(rule, case), rule
    after = case.framework.state(case.setup.model)
    assert all(np.array_equal(before[n], after[n]) for n in before)
    assert rng.bit_generator.state == kept
